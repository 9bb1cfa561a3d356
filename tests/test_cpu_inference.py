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
from internimage.ops import LayerNorm, add, cpu_inference, implementation, linear, normalise, two_linear

FUSED = [dtype for dtype in (torch.float32, torch.bfloat16) if dtype in cpu_inference.least_multiplications()]


def calls(run: Callable[[], Any]) -> set[str]:
    """Which fast forms ran."""
    used: set[str] = set()
    ours = torch.ops.internimage
    real = torch.ops.mkldnn._linear_pointwise, ours.layer_norm, ours.layer_norm_add

    def spy(name: str, operator: Any) -> Any:
        return lambda *inputs: (used.add(name), operator(*inputs))[1]

    with (
        mock.patch.object(torch.ops.mkldnn, "_linear_pointwise", spy("linear", real[0])),
        mock.patch.object(ours, "layer_norm", spy("layer_norm", real[1])),
        mock.patch.object(ours, "layer_norm_add", spy("layer_norm_add", real[2])),
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


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("shape", [(1, 1, 1, 1), (2, 3, 5, 7), (1, 9, 2, 64), (3, 1, 1, 130), (0, 4, 4, 8)])
@pytest.mark.parametrize("after", ["gelu", "residual", "scaled residual", "scaled residual without norm"])
@torch.inference_mode()
def test_what_follows_a_norm_against_float64(dtype: torch.dtype, shape: tuple[int, ...], after: str) -> None:
    """One pass is as exact as the passes one by one, and runs where a pass is saved."""
    torch.manual_seed(0)
    layer, scale = LayerNorm(shape[-1], eps=1e-6), nn.Parameter(torch.randn(shape[-1])) if "scaled" in after else None
    nn.init.normal_(layer.weight)
    nn.init.normal_(layer.bias)
    x, y = (3 * torch.randn(shape).to(dtype) for _ in range(2))
    norm = None if "without" in after else layer

    def both(one: bool, x: Tensor, y: Tensor) -> Tensor:
        layer.to(x.dtype)
        factor = None if scale is None else nn.Parameter(scale.to(dtype).to(x.dtype))
        if one:
            return normalise(layer, y, nn.GELU()) if after == "gelu" else add(x, y, factor, norm)
        normal = y if norm is None else nn.LayerNorm.forward(norm, y)
        if after == "gelu":
            return nn.functional.gelu(normal)
        return x + (normal if factor is None else factor * normal)

    found = both(True, x, y)
    used = {"gelu": {"layer_norm"}}.get(after, set() if norm is None else {"layer_norm_add"})
    assert calls(lambda: both(True, x, y)) == used
    separate, expected = both(False, x, y), both(False, x.double(), y.double())
    assert found.dtype == dtype
    assert worst(found, expected) <= worst(separate, expected) * 1.01 + 3e-6


@torch.inference_mode()
def test_a_scale_of_another_shape_is_broadcast() -> None:
    layer, x, y = LayerNorm(8), torch.randn(1, 2, 2, 8), torch.randn(1, 2, 2, 8)
    for scale in (nn.Parameter(torch.tensor([2.0])), nn.Parameter(torch.randn(2, 2, 8))):
        torch.testing.assert_close(add(x, y, scale, layer), x + scale * layer(y))


@torch.inference_mode()
def test_gelu_everywhere() -> None:
    """Of numbers from -12 to 12, and of what is no number."""
    values = torch.cat((torch.linspace(-12, 12, 24_001), torch.tensor([float("nan"), float("inf"), float("-inf")])))
    layer = LayerNorm(len(values), eps=1.0)
    layer.weight, layer.bias = nn.Parameter(torch.zeros(len(values))), nn.Parameter(values)
    found = normalise(layer, torch.zeros(1, 1, 1, len(values)), nn.GELU()).flatten()
    expected = nn.functional.gelu(values.double())
    scale = values.nan_to_num().abs().clamp(1)
    torch.testing.assert_close(found / scale, (expected / scale).float(), rtol=0, atol=3e-7, equal_nan=True)


@pytest.mark.parametrize("dtype", FUSED, ids=str)
@torch.inference_mode()
def test_two_linear_in_parts(dtype: torch.dtype) -> None:
    """What lies between takes little memory; a hook on the second layer sees all rows at once."""
    torch.manual_seed(0)
    first, second, x = nn.Linear(32, 256).to(dtype), nn.Linear(256, 16).to(dtype), torch.randn(3, 30_011, 32).to(dtype)
    expected = second(nn.functional.gelu(first(x[:, :50])))
    found = two_linear(first, nn.GELU(), second, x)
    assert (found.dtype, found.shape) == (dtype, (3, 30_011, 16))
    torch.testing.assert_close(found[:, :50], expected, rtol=0, atol=2e-6 if dtype == torch.float32 else 2e-2)
    rows: list[int] = []

    def seen() -> Tensor:
        rows.clear()
        return two_linear(first, nn.GELU(), second, x)

    real = torch.ops.mkldnn._linear_pointwise
    with mock.patch.object(
        torch.ops.mkldnn, "_linear_pointwise", lambda *some: (rows.append(some[0].shape[:-1].numel()), real(*some))[1]
    ):
        assert torch.equal(seen(), found)
        assert max(rows) * 256 * x.element_size() <= 2**24
        handle = second.register_forward_hook(lambda module, inputs, output: rows.append(-inputs[0].shape[1]))
        torch.testing.assert_close(seen(), found, rtol=0, atol=2e-6 if dtype == torch.float32 else 2e-2)
        assert rows == [3 * 30_011, -30_011]
        handle.remove()


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


def test_no_size_is_fixed_where_a_block_is_exported() -> None:
    """Though what is fast depends on sizes."""
    torch.manual_seed(0)
    block = create_model("internimage_s_1k_224").backbone.stages[0].blocks[0].eval()
    dimensions = {"x": dict.fromkeys((1, 2), torch.export.Dim("side", min=4))}
    with torch.no_grad():
        program = torch.export.export(block, (torch.randn(1, 200, 200, 80),), dynamic_shapes=dimensions).module()
        x = torch.randn(1, 24, 24, 80)
        torch.testing.assert_close(program(x), block(x), rtol=1e-4, atol=1e-5)


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
