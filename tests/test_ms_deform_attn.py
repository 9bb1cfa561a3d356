"""Multi-scale deformable attention: the operator and its definition against grid_sample, and PyTorch's contract."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from helpers.goldens import near
from torch import Tensor

from internimage.errors import OperatorError
from internimage.ops import ms_deform_attn
from internimage.ops.attention_reference import attention_reference

Shapes = list[tuple[int, int]]
LEVELS: Shapes = [(6, 9), (3, 5), (1, 1)]


def operator(value: Tensor, location: Tensor, weight: Tensor, shapes: Shapes) -> Tensor:
    return ms_deform_attn(value, shapes, location, weight)


def definition(value: Tensor, location: Tensor, weight: Tensor, shapes: Shapes) -> Tensor:
    return attention_reference(value, location, weight, [extent for shape in shapes for extent in shape])


def by_grid_sample(value: Tensor, location: Tensor, weight: Tensor, shapes: Shapes) -> Tensor:
    """The formulation of the papers that use the operator: one ``grid_sample`` a level."""
    batch, _, heads, depth = value.shape
    parts = value.split([height * width for height, width in shapes], 1)
    output = 0
    for level, ((height, width), part) in enumerate(zip(shapes, parts, strict=True)):
        image = part.permute(0, 2, 3, 1).reshape(batch * heads, depth, height, width)
        grid = (2 * location[:, :, :, level] - 1).transpose(1, 2).flatten(0, 1)
        sampled = F.grid_sample(image, grid, padding_mode="zeros", align_corners=False)
        by_head = weight[:, :, :, level].transpose(1, 2).flatten(0, 1).unsqueeze(1)
        output = output + (sampled * by_head).sum(-1)
    assert isinstance(output, Tensor)
    return output.view(batch, heads * depth, -1).transpose(1, 2)


def tensors(
    shapes: Shapes = LEVELS,
    batch: int = 2,
    heads: int = 3,
    depth: int = 5,
    queries: int = 11,
    points: int = 4,
    dtype: torch.dtype = torch.float64,
) -> list[Tensor]:
    """Value, location (a tenth of them outside) and weight that require gradients."""
    random = torch.Generator().manual_seed(0)
    pixels = sum(height * width for height, width in shapes)
    value = torch.randn(batch, pixels, heads, depth, generator=random, dtype=torch.float64)
    place = batch, queries, heads, len(shapes), points
    location = torch.rand(*place, 2, generator=random, dtype=torch.float64) * 1.3 - 0.15
    weight = torch.randn(place, generator=random, dtype=torch.float64)
    return [t.to(dtype).requires_grad_() for t in (value, location, weight)]


def with_gradients(run: Callable[..., Tensor], inputs: list[Tensor], shapes: Shapes = LEVELS) -> list[Tensor]:
    output = run(*inputs, shapes)
    cotangent = torch.arange(output.numel()).mul(7).remainder(33).sub(16).div(8).view(output.shape)
    return [output.detach(), *torch.autograd.grad(output, inputs, cotangent.to(output))]


@pytest.mark.parametrize("run", [operator, definition])
@pytest.mark.parametrize(
    ("shapes", "heads", "depth", "points"), [(LEVELS, 3, 5, 4), ([(7, 4)], 1, 16, 1), ([(2, 3), (5, 5)], 8, 32, 3)]
)
def test_equals_grid_sample(run: Callable[..., Tensor], shapes: Shapes, heads: int, depth: int, points: int) -> None:
    inputs = tensors(shapes, heads=heads, depth=depth, points=points)
    for found, expected in zip(
        with_gradients(run, inputs, shapes), with_gradients(by_grid_sample, inputs, shapes), strict=True
    ):
        near(found, expected, 1e-11)


@pytest.mark.parametrize(("depth", "heads"), [(32, 8), (16, 2), (8, 4), (5, 3), (70, 1)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_lower_precision_rounds_values_alone(dtype: torch.dtype, depth: int, heads: int) -> None:
    inputs = tensors(heads=heads, depth=depth, dtype=torch.float32)
    inputs[0] = inputs[0].detach().to(dtype).requires_grad_()
    found = with_gradients(operator, inputs)
    exact = with_gradients(definition, [t.detach().double().requires_grad_() for t in inputs])
    rounding = 0.0 if dtype == torch.float32 else torch.finfo(dtype).eps / 2
    assert [t.dtype for t in found] == [dtype, dtype, torch.float32, torch.float32]
    for name, tensor, expected in zip(("output", "value", "location", "weight"), found, exact, strict=True):
        # positions are absolute here: 1e-7 of nine pixels, times slopes of up to 4 a pixel and 9 pixels a unit
        near(tensor, expected, (2e-4 if name == "location" else 2e-5), rounding)


def test_derivatives() -> None:
    shapes = [(2, 3), (1, 2)]
    inputs = tensors(shapes, batch=1, heads=1, depth=2, queries=2, points=2)
    assert torch.autograd.gradcheck(lambda *t: operator(*t, shapes), inputs)
    assert torch.autograd.gradgradcheck(lambda *t: operator(*t, shapes), inputs)


def test_contract_of_registered_operators() -> None:
    inputs = tensors(dtype=torch.float32)
    flat = [extent for shape in LEVELS for extent in shape]
    torch.library.opcheck(torch.ops.internimage.ms_deform_attn.default, (*inputs, flat))
    constants = [t.detach() for t in inputs]
    cotangent = torch.ones_like(operator(*constants, LEVELS))
    torch.library.opcheck(torch.ops.internimage.ms_deform_attn_backward.default, (cotangent, *constants, flat))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("wild", [torch.nan, torch.inf, -torch.inf, 1e30])
def test_wild_locations_and_pixels_outside_do_not_leak(wild: float, dtype: torch.dtype) -> None:
    value, location, weight = (t.detach() for t in tensors([(2, 2)], points=2, dtype=dtype))
    value[:] = torch.inf
    location[..., 0, :] = wild
    location[..., 1, :] = -0.25  # pixel -1: at the very edge nothing is sampled
    inputs = [t.requires_grad_() for t in (value, location, weight)]
    assert not any(t.any() for t in with_gradients(operator, inputs, [(2, 2)]))


def test_autocast_keeps_locations() -> None:
    inputs = tensors(dtype=torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        found = with_gradients(operator, inputs)
    half = [inputs[0].detach().bfloat16().requires_grad_(), *inputs[1:]]
    expected = with_gradients(operator, half)
    assert found[0].dtype == torch.bfloat16
    assert all(torch.equal(f, e.to(f.dtype)) for f, e in zip(found, expected, strict=True))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_empty_batch(dtype: torch.dtype) -> None:
    inputs = tensors(batch=0, dtype=dtype)
    assert [t.shape for t in with_gradients(operator, inputs)] == [(0, 11, 15), *(t.shape for t in inputs)]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"value": torch.zeros(2, 70, 15)}, r"value is \(2, 70, 15\) .* floating tensor \(N, S, M, D\)"),
        ({"shapes": [(6, 9)]}, r"value has 70 pixels, but the shapes \[\(6, 9\)\] do not add up"),
        ({"location": torch.zeros(2, 11, 3, 3, 4, 3)}, "location ends in 3 numbers; expected 2"),
        ({"location": torch.zeros(2, 11, 3, 3, 0, 2), "weight": torch.zeros(2, 11, 3, 3, 0)}, "has no points"),
        ({"location": torch.zeros(2, 11, 2, 3, 4, 2)}, r"location is \(2, 11, 2, 3, 4\)"),
        ({"weight": torch.zeros(2, 11, 3, 3, 5)}, r"weight is \(2, 11, 3, 3, 5\); expected \(2, 11, 3, 3, 4\)"),
        ({"weight": torch.zeros(2, 11, 3, 3, 4, device="meta")}, "weight is on meta, value on cpu"),
        ({"weight": torch.zeros(2, 11, 3, 3, 4, dtype=torch.int64)}, "weight is .* torch.int64; expected a floating"),
    ],
)
def test_contradictions(changes: dict[str, Any], message: str) -> None:
    value, location, weight = (t.detach() for t in tensors(dtype=torch.float32))
    arguments = {"value": value, "shapes": LEVELS, "location": location, "weight": weight}
    with pytest.raises(OperatorError, match=message):
        ms_deform_attn(**{**arguments, **changes})
