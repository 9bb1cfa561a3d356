"""The operator and its definition against the released code, hand-made cases, and PyTorch's contract for operators."""

import dataclasses
from collections.abc import Callable

import pytest
import torch
from conftest import golden
from torch import Tensor

from internimage.ops import dcnv3
from internimage.ops.dcnv3_reference import dcnv3_reference
from internimage.ops.geometry import SamplingGeometry

Operator = Callable[[Tensor, Tensor, Tensor, SamplingGeometry], Tensor]
PLAIN = SamplingGeometry((3, 3), (1, 1), (1, 1), (1, 1), groups=2, offset_scale=1.0, remove_center=False)
POINT = dataclasses.replace(PLAIN, kernel_size=(1, 1), padding=(0, 0), groups=1)
# Rectangular, even, strided, without its centre: no released model does this, no golden covers it.
ODD = SamplingGeometry((2, 3), (2, 1), (1, 2), (1, 2), groups=2, offset_scale=1.5, remove_center=True)


def operator(input: Tensor, offset: Tensor, mask: Tensor, geometry: SamplingGeometry) -> Tensor:
    return dcnv3(input, offset, mask, **dataclasses.asdict(geometry))


both = pytest.mark.parametrize("run", [operator, dcnv3_reference], ids=["operator", "reference"])


def tensors(
    geometry: SamplingGeometry = PLAIN,
    size: tuple[int, int] = (6, 7),
    batch: int = 1,
    channels: int = 4,
    dtype: torch.dtype = torch.float64,
    spread: float = 1.0,
) -> list[Tensor]:
    """Input, offset and mask that require gradients."""
    random = torch.Generator().manual_seed(0)
    output = batch, *geometry.output_size(*size)
    samples = geometry.groups * geometry.points
    shapes = (batch, *size, channels), (*output, 2 * samples), (*output, samples)
    made = [torch.randn(shape, generator=random, dtype=torch.float64) for shape in shapes]
    return [(t * s).to(dtype).requires_grad_() for t, s in zip(made, (1.0, spread, 1.0), strict=True)]


def with_gradients(run: Operator, inputs: list[Tensor], geometry: SamplingGeometry = PLAIN) -> list[Tensor]:
    """Output and the gradients of input, offset and mask for a fixed cotangent."""
    output = run(*inputs, geometry)
    cotangent = torch.randn(output.shape, generator=torch.Generator().manual_seed(1)).to(output.dtype)
    return [output.detach(), *torch.autograd.grad(output, inputs, cotangent)]


def near(found: Tensor, expected: Tensor, atol: float, rtol: float = 0.0) -> None:
    torch.testing.assert_close(found.detach(), expected.detach(), rtol=rtol, atol=atol, check_dtype=False)


def identical(found: list[Tensor], expected: list[Tensor]) -> bool:
    return all(torch.equal(f, e) and f.dtype == e.dtype for f, e in zip(found, expected, strict=True))


@both
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-11), (torch.float32, 2e-5)])
@pytest.mark.parametrize("name", [f"c{index:02}" for index in range(53)])
def test_released_code(name: str, dtype: torch.dtype, tolerance: float, run: Operator) -> None:
    truth = golden("dcnv3_op")
    (case,) = (case for case in truth.info["cases"] if case["name"] == name)
    pairs = ((case[f"{part}_h"], case[f"{part}_w"]) for part in ("kernel", "stride", "pad", "dilation"))
    geometry = SamplingGeometry(*pairs, case["group"], case["offset_scale"], case["remove_center"])
    inputs = [truth[f"{name}/{part}"].to(dtype).requires_grad_() for part in ("input", "offset", "mask")]
    output = run(*inputs, geometry)
    found = [output, *torch.autograd.grad(output, inputs, truth[f"{name}/cotangent"].to(dtype))]
    for part, tensor in zip(("output", "grad_input", "grad_offset", "grad_mask"), found, strict=True):
        assert tensor.dtype == dtype
        if part != "grad_offset" or case["grad_offset_stored"]:
            near(tensor, truth[f"{name}/{part}"], tolerance)


def test_unusual_geometry_against_finite_differences_and_definition() -> None:
    inputs = tensors(ODD, batch=2)
    assert torch.autograd.gradcheck(lambda *t: operator(*t, ODD), inputs)
    for found, expected in zip(*(with_gradients(run, inputs, ODD) for run in (operator, dcnv3_reference)), strict=True):
        near(found, expected, 1e-13)


def test_second_derivatives_are_refused() -> None:
    inputs = tensors()
    (gradient,) = torch.autograd.grad(operator(*inputs, PLAIN).square().sum(), inputs[1], create_graph=True)
    with pytest.raises(RuntimeError, match="double backward|second derivative"):
        gradient.sum().backward()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_only_rounds_inputs_and_results(dtype: torch.dtype) -> None:
    """Coordinates up to 700 with a fraction do not exist in bfloat16, nor weights and sums as good as these."""
    inputs = tensors(size=(3, 700), channels=32, dtype=dtype, spread=100.0)
    wide = [t.detach().float().requires_grad_() for t in inputs]
    assert identical(with_gradients(operator, inputs), [t.to(dtype) for t in with_gradients(operator, wide)])
    exact = dcnv3_reference(*(t.detach().double() for t in inputs), PLAIN)
    near(operator(*inputs, PLAIN), exact, atol=1e-5, rtol=torch.finfo(dtype).eps / 2)


def test_float32_is_as_exact_at_column_4000() -> None:
    """Absolute coordinates in float32 would be wrong by 1e-4 pixels there, and the output by up to 1e-3."""
    inputs = tensors(size=(2, 4000), dtype=torch.float32, spread=3.0)
    exact = with_gradients(dcnv3_reference, [t.detach().double().requires_grad_() for t in inputs])
    for part in (0, 1, 3):  # the gradient of the offset jumps where a sample crosses a pixel line
        near(with_gradients(operator, inputs)[part], exact[part], 1e-5)


@both
@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize(("position", "value", "slope"), [(-1, 0, 0), (0, 2, 3), (1, 5, -4), (2, 1, -1), (3, 0, 0)])
def test_exact_pixel_lines(run: Operator, axis: int, position: int, value: float, slope: float) -> None:
    """Along the pixels 2, 5, 1 the derivative is the right one; a sample at -1 or 3 is outside, and has none."""
    image = torch.tensor([2.0, 5.0, 1.0], dtype=torch.float64).view(1, 1, 3, 1)
    offset = torch.zeros(1, 1, 3, 2, dtype=torch.float64)
    offset[..., 0] = position - torch.arange(3)
    if axis == 0:
        image, offset = image.transpose(1, 2), offset.transpose(1, 2).flip(-1)
    offset.requires_grad_()
    output = run(image, offset, torch.ones_like(image), POINT)
    output.sum().backward()
    assert output.unique().tolist() == [value]
    assert offset.grad is not None
    assert offset.grad[..., 1 - axis].unique().tolist() == [slope]


@both
@pytest.mark.parametrize("wild", [torch.nan, torch.inf, -torch.inf, 1e30, -1e30, 1e4])
@pytest.mark.parametrize("fill", [0.0, torch.nan, torch.inf])
def test_samples_outside_do_not_count(run: Operator, wild: float, fill: float) -> None:
    """Neither wild offsets nor what the border pixels hold: as if these samples' mask were zero."""
    inputs = tensors(dtype=torch.float32, spread=0.3)
    outside = torch.rand(inputs[2].shape, generator=torch.Generator().manual_seed(2)) < 0.4
    pairs = outside.unsqueeze(-1).expand(*outside.shape, 2).flatten(-2)
    with torch.no_grad():
        inputs[1][pairs] = wild
    silent = [t.detach().clone().requires_grad_() for t in inputs]
    with torch.no_grad():
        silent[1][pairs], silent[2][outside] = 0.0, 0.0
    found, expected = with_gradients(run, inputs), with_gradients(run, silent)
    near(found[0], expected[0], 1e-6)
    near(found[1], expected[1], 1e-6)
    assert torch.equal(found[2][~pairs], expected[2][~pairs])
    assert torch.equal(found[3][~outside], expected[3][~outside])
    assert not found[2][pairs].any()
    assert not found[3][outside].any()
    inputs[2].data[~outside], inputs[0].data[...] = 0.0, fill
