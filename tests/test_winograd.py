"""Convolutions by tiles: the definition's numbers, of the weights as they are now, and out of the way otherwise."""

import copy
import os
import random
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any
from unittest import mock

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from internimage import create_model
from internimage.ops import conv2d, implementation
from internimage.ops.cpu_inference import least_multiplications

pytestmark = pytest.mark.skipif(
    not (implementation("cpu").name.startswith("compiled") and torch.float32 in least_multiplications()),
    reason="tiles need the compiled kernels, and oneDNN's product where it was measured",
)


def by_tiles(run: Callable[[], Any]) -> bool:
    """Whether anything ran by tiles."""
    real = torch.ops.internimage.winograd_transform
    with mock.patch.object(torch.ops.internimage, "winograd_transform", side_effect=real) as spy:
        run()
    return bool(spy.called)


def expected(layer: nn.Conv2d, x: Tensor, norm: nn.Module | None = None) -> Tensor:
    """In float64, without a ReLU."""
    result: Tensor = copy.deepcopy(layer).double()(x.double())
    return result if norm is None else copy.deepcopy(norm).double()(result)


def batch_norm(channels: int) -> nn.BatchNorm2d:
    norm = nn.BatchNorm2d(channels).eval()
    for one, low, high in ((norm.running_mean, -1, 1), (norm.running_var, 0.2, 2), (norm.weight, -2, 2)):
        assert one is not None
        nn.init.uniform_(one, low, high)
    nn.init.normal_(norm.bias)
    return norm


def shapes(count: int) -> Iterator[tuple[int, int, int, int, int]]:
    """Random batches, channels and sides of convolutions that are large enough, the remainders of tiles among them."""
    draw = random.Random(0)
    while count:
        batch, height, width = draw.choice((1, 1, 2, 7)), draw.randint(1, 90), draw.randint(1, 90)
        inputs, outputs = (draw.choice((32, 33, 48, 64, 100, 129)) for _ in range(2))
        if 2**25 <= batch * height * width * inputs * outputs * 9 <= 2**28:
            yield batch, inputs, outputs, height, width
            count -= 1


@pytest.mark.parametrize("count", [40, pytest.param(1_000, marks=pytest.mark.full)])
@torch.inference_mode()
def test_random_shapes_are_the_definition(count: int) -> None:
    """Norms, ReLU, biases and memory formats in turn; off by up to 5e-6 of the largest, as the docstring says."""
    torch.manual_seed(0)
    for number, (batch, inputs, outputs, height, width) in enumerate(shapes(count)):
        layer = nn.Conv2d(inputs, outputs, 3, padding=1, bias=number % 2 > 0)
        norm = (None, batch_norm(outputs), nn.GroupNorm(1, outputs))[number % 3]
        relu, last = number % 5 > 1, number % 4 > 1
        x = torch.randn(batch, inputs, height, width)
        x = x.contiguous(memory_format=torch.channels_last) if last else x
        found: list[Tensor] = []
        assert by_tiles(lambda: found.append(conv2d(layer, x, norm, relu=relu)))  # noqa: B023
        wanted = expected(layer, x, norm)
        largest = wanted.abs().max()
        wanted = wanted.relu() if relu else wanted
        assert found[0].shape == wanted.shape
        assert (found[0] - wanted).abs().max() <= 5e-6 * largest, (number, inputs, outputs, height, width)


def through_data(layer: nn.Conv2d, norm: nn.BatchNorm2d) -> None:
    layer.weight.data.neg_()


def one_number(layer: nn.Conv2d, norm: nn.BatchNorm2d) -> None:
    layer.weight.detach().numpy()[3, 5, 1, 1] += 1.0


def a_step(layer: nn.Conv2d, norm: nn.BatchNorm2d) -> None:
    with torch.inference_mode(False), torch.enable_grad():
        optimizer = torch.optim.SGD(layer.parameters(), lr=1.0)
        conv2d(layer, torch.ones(1, 64, 40, 40)).square().mean().backward()
        optimizer.step()


def other_state(layer: nn.Conv2d, norm: nn.BatchNorm2d) -> None:
    layer.load_state_dict(nn.Conv2d(64, 64, 3, padding=1).state_dict())


def other_parameter(layer: nn.Conv2d, norm: nn.BatchNorm2d) -> None:
    with torch.inference_mode(False):
        layer.weight = nn.Parameter(layer.weight.detach() * 2)


def other_statistics(layer: nn.Conv2d, norm: nn.BatchNorm2d) -> None:
    assert norm.running_mean is not None
    norm.running_mean.add_(1)


CHANGES = [through_data, one_number, a_step, other_state, other_parameter, other_statistics]


@pytest.mark.parametrize("change", CHANGES, ids=lambda one: one.__name__)
def test_what_changes_a_weight_changes_the_next_result(change: Callable[[nn.Conv2d, nn.BatchNorm2d], None]) -> None:
    torch.manual_seed(0)
    layer, norm, x = nn.Conv2d(64, 64, 3, padding=1), batch_norm(64), torch.randn(1, 64, 40, 40)
    with torch.inference_mode():
        before = conv2d(layer, x, norm)
        change(layer, norm)
        found: list[Tensor] = []
        assert by_tiles(lambda: found.append(conv2d(layer, x, norm)))
    wanted = expected(layer, x, norm).detach()
    assert (found[0] - wanted).abs().max() <= 5e-6 * wanted.abs().max()
    assert not torch.equal(found[0], before)


def test_a_weight_is_transformed_once() -> None:
    """Though maps of a pyramid that are too small for tiles come between; training drops what is kept."""
    layer, large, small = nn.Conv2d(64, 64, 3, padding=1), torch.randn(1, 64, 40, 40), torch.randn(1, 64, 4, 4)
    real = torch.ops.mkldnn._reorder_linear_weight
    with mock.patch.object(torch.ops.mkldnn, "_reorder_linear_weight", side_effect=real) as spy:
        with torch.inference_mode():
            for x in (large, small, large):
                conv2d(layer, x)
        assert spy.call_count == 36
        conv2d(layer, large)
        with torch.inference_mode():
            conv2d(layer, large)
        assert spy.call_count == 72


def with_gradients(layer: nn.Conv2d, x: Tensor) -> Tensor:
    with torch.inference_mode(False), torch.enable_grad():
        leaf = x.clone().requires_grad_()
        result = conv2d(layer, leaf)
        assert torch.autograd.grad(result.sum(), leaf)[0].abs().sum() > 0
    return result.detach()


def autocast(layer: nn.Conv2d, x: Tensor) -> Tensor:
    with torch.autocast("cpu", torch.bfloat16):
        return conv2d(layer, x).float()


def watched(layer: nn.Conv2d, x: Tensor) -> Tensor:
    seen: list[Tensor] = []
    layer.register_forward_hook(lambda module, inputs, output: seen.append(output))
    conv2d(layer, x)
    return seen[0]


def without_onednn(layer: nn.Conv2d, x: Tensor) -> Tensor:
    with torch.backends.mkldnn.flags(enabled=False):
        return conv2d(layer, x)


def exported(layer: nn.Conv2d, x: Tensor) -> Tensor:
    class Holder(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = layer

        def forward(self, x: Tensor) -> Tensor:
            return conv2d(self.layer, x)

    program = torch.export.export(Holder(), (x,))
    assert any("conv2d" in str(node.target) for node in program.graph.nodes)
    result: Tensor = program.module()(x)
    return result


WAYS = [with_gradients, autocast, watched, without_onednn, exported]


@pytest.mark.parametrize("way", WAYS, ids=lambda one: one.__name__)
def test_it_steps_aside(way: Callable[[nn.Conv2d, Tensor], Tensor]) -> None:
    torch.manual_seed(0)
    layer, x = nn.Conv2d(64, 64, 3, padding=1), torch.randn(1, 64, 40, 40)
    found: list[Tensor] = []
    with torch.inference_mode():
        assert not by_tiles(lambda: found.append(way(layer, x)))
    wanted = expected(layer, x).detach()
    assert (found[0] - wanted).abs().max() <= (0.02 if way is autocast else 1e-5) * wanted.abs().max()


@pytest.mark.parametrize(
    "layer",
    [
        nn.Conv2d(64, 64, 3, stride=2, padding=1),
        nn.Conv2d(64, 64, 3, padding=1, groups=2),
        nn.Conv2d(64, 64, 3, padding=2, dilation=2),
        nn.Conv2d(64, 64, 3, padding=1, padding_mode="reflect"),
        nn.Conv2d(64, 64, 3, padding="same"),
        nn.Conv2d(64, 64, 1),
    ],
    ids=repr,
)
@torch.inference_mode()
def test_other_convolutions_are_their_own(layer: nn.Conv2d) -> None:
    x = torch.randn(1, 64, 80, 80)
    assert not by_tiles(lambda: conv2d(layer, x))
    assert torch.equal(conv2d(layer, x, relu=True), F.relu(layer(x)))


@torch.inference_mode()
def test_a_segmenter_runs_by_tiles_and_says_the_same() -> None:
    torch.manual_seed(0)
    model = create_model("upernet_internimage_t_512_160k_ade20k").eval()
    x = torch.randn(1, 3, 128, 128)
    found: list[Tensor] = []
    assert by_tiles(lambda: found.append(model(x)))
    with torch.backends.mkldnn.flags(enabled=False):
        plain = model(x)
    assert (found[0] - plain).abs().max() <= 2e-5 * plain.abs().max()


def test_it_can_be_left_out() -> None:
    script = (
        "import torch; from internimage.ops import conv2d; from torch import nn; torch.set_grad_enabled(False)\n"
        "y = conv2d(nn.Conv2d(64, 64, 3, padding=1), torch.ones(1, 64, 40, 40))\n"
        "print(y.is_contiguous(memory_format=torch.channels_last))"
    )
    for asked, ran in (("1", "True"), ("0", "False")):
        settings = {**os.environ, "INTERNIMAGE_WINOGRAD": asked}
        done = subprocess.run([sys.executable, "-c", script], env=settings, capture_output=True, text=True, check=True)
        assert done.stdout.strip() == ran
