"""The layers that run faster in inference: the fast form gives the layer's numbers, and steps aside where it must."""

import copy
from collections.abc import Callable
from typing import Any
from unittest import mock

import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from internimage import create_model
from internimage.ops import LayerNorm, cpu_inference, implementation, linear

FUSED = [dtype for dtype in (torch.float32, torch.bfloat16) if dtype in cpu_inference.least_multiplications()]


def calls(run: Callable[[], Any]) -> set[str]:
    """Which fast forms ran."""
    used: set[str] = set()
    real = torch.ops.mkldnn._linear_pointwise, torch.ops.internimage.layer_norm

    def spy(name: str, operator: Any) -> Any:
        return lambda *inputs: (used.add(name), operator(*inputs))[1]

    with (
        mock.patch.object(torch.ops.mkldnn, "_linear_pointwise", spy("linear", real[0])),
        mock.patch.object(torch.ops.internimage, "layer_norm", spy("layer_norm", real[1])),
    ):
        run()
    return used


def worst(found: Tensor, expected: Tensor) -> float:
    return float((found.double() - expected).abs().max()) if found.numel() else 0.0


@pytest.mark.parametrize("dtype", FUSED, ids=str)
@pytest.mark.parametrize("activation", [None, nn.GELU(), nn.ReLU(), nn.GELU("tanh"), nn.SiLU()], ids=repr)
@pytest.mark.parametrize("strided", [False, True])
@torch.inference_mode()
def test_linear_against_float64(dtype: torch.dtype, activation: nn.Module | None, strided: bool) -> None:
    torch.manual_seed(0)
    layer = nn.Linear(96, 200, bias=not strided).to(dtype)
    x = torch.randn(2, 25, 20, 96, dtype=dtype)
    x = x.transpose(1, 2) if strided else x
    found: Tensor | None = None

    def run() -> None:
        nonlocal found
        found = linear(layer, x, activation)

    assert calls(run) == {"linear"}
    expected = copy.deepcopy(layer).double()(x.double())
    expected = expected if activation is None else activation(expected)
    assert found is not None
    assert (found.dtype, found.shape) == (dtype, expected.shape)
    separate = layer(x) if activation is None else activation(layer(x))
    assert worst(found, expected) <= worst(separate, expected) * 1.01 + 1e-6


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("shape", [(1, 1, 1, 1), (2, 3, 5, 7), (1, 9, 2, 64), (3, 1, 1, 130), (0, 4, 4, 8)])
@torch.inference_mode()
def test_layer_norm_against_float64(dtype: torch.dtype, shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    layer = LayerNorm(shape[-1], eps=1e-6)
    nn.init.normal_(layer.weight)
    nn.init.normal_(layer.bias)
    layer.to(dtype)
    x = (torch.randn(shape) * 3 + 100 * (dtype == torch.float32)).to(dtype)  # a mean that squares would drown in
    assert calls(lambda: layer(x)) == {"layer_norm"}
    expected = nn.functional.layer_norm(x.double(), shape[-1:], layer.weight.double(), layer.bias.double(), layer.eps)
    assert worst(layer(x), expected) <= worst(nn.LayerNorm.forward(layer, x), expected) * 1.01 + 2e-6
    turned = x.transpose(1, 2)
    assert worst(layer(turned), expected.transpose(1, 2)) <= worst(layer(x), expected) * 1.01 + 2e-5


class Doubled(nn.Linear):
    def forward(self, input: Tensor) -> Tensor:
        return 2 * super().forward(input)


def watched(block: nn.Module, x: Tensor) -> Any:
    seen: list[Tensor] = []
    block.mlp.fc1.register_forward_hook(lambda module, inputs, output: seen.append(output))
    result = block(x)
    assert len(seen) == 1, "the hook was passed by"
    return result


def replaced(block: nn.Module, x: Tensor) -> Any:
    real = block.mlp.fc1.forward
    block.mlp.fc1.forward = lambda input: 3 * real(input)
    return block(x)


def subclassed(block: nn.Module, x: Tensor) -> Any:
    block.mlp.fc1.__class__ = Doubled
    return block(x)


def with_gradients(block: nn.Module, x: Tensor) -> Any:
    with torch.inference_mode(False), torch.enable_grad():
        leaf = x.clone().requires_grad_()
        result = block(leaf)
        assert torch.autograd.grad(result.sum(), leaf)[0].abs().sum() > 0
    return result.detach()


def autocast(block: nn.Module, x: Tensor) -> Any:
    with torch.autocast("cpu", torch.bfloat16):
        return block(x)


def counted(block: nn.Module, x: Tensor) -> Any:
    with FlopCounterMode(display=False) as counter:
        result = block(x)
    assert counter.get_flop_counts()["Global"][torch.ops.aten.addmm] > 0
    return result


def exported(block: nn.Module, x: Tensor) -> Any:
    program = torch.export.export(block, (x,))
    assert not [node for node in program.graph.nodes if "mkldnn" in str(node.target) or node.target == "layer_norm"]
    return program.module()(x)


def without_onednn(block: nn.Module, x: Tensor) -> Any:
    with torch.backends.mkldnn.flags(enabled=False):
        return block(x)


@pytest.mark.parametrize(
    ("way", "stays"),
    [
        (watched, {"linear", "layer_norm"}),
        (replaced, {"linear", "layer_norm"}),
        (subclassed, {"linear", "layer_norm"}),
        (with_gradients, set()),
        (autocast, set()),
        (counted, set()),
        (exported, set()),
        (without_onednn, {"layer_norm"}),
    ],
)
def test_steps_aside(way: Callable[[nn.Module, Tensor], Any], stays: set[str]) -> None:
    """Whatever is done to a layer has its effect, and the block's result is that of the ordinary layers."""
    torch.manual_seed(0)
    block = create_model("internimage_t_1k_224").backbone.stages[0].blocks[0].eval()
    x = torch.randn(1, 56, 56, 64)
    result: list[Tensor] = []
    with torch.no_grad():
        assert calls(lambda: result.append(way(copy.deepcopy(block), x))) == stays
        with mock.patch.object(cpu_inference, "is_plain_inference", return_value=False):
            expected = way(copy.deepcopy(block), x)
    torch.testing.assert_close(result[0], expected, rtol=1e-5, atol=1e-5)


@torch.inference_mode()
def test_wrong_input_ends_like_the_ordinary_layer() -> None:
    for dtype, width in ((torch.float32, 63), (torch.float64, 64)):
        with pytest.raises(RuntimeError) as ours:
            linear(nn.Linear(64, 64), torch.zeros(9000, width, dtype=dtype))
        with pytest.raises(RuntimeError) as theirs:
            nn.Linear(64, 64)(torch.zeros(9000, width, dtype=dtype))
        assert str(ours.value) == str(theirs.value)


def test_they_run_at_all() -> None:
    """Where oneDNN is, a network's inference uses both; the layer norm is the compiled one."""
    if torch.backends.mkldnn.is_available() and torch.backends.cpu.get_cpu_capability().startswith("AVX"):
        assert torch.float32 in FUSED
    if implementation("cpu").name.startswith("compiled"):
        assert torch._C._dispatch_has_kernel_for_dispatch_key("internimage::layer_norm", "CPU")
