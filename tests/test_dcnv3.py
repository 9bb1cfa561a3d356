"""The operator and its definition against the released code, hand-made cases, and PyTorch's contract for operators."""

import dataclasses
from collections.abc import Callable
from functools import partial
from itertools import product
from math import floor
from typing import Any

import pytest
import torch
from helpers.goldens import golden, near
from torch import Tensor

from internimage.errors import OperatorError
from internimage.ops import convolution_torch, dcnv3
from internimage.ops.convolution_reference import convolution_reference
from internimage.ops.geometry import SamplingGeometry
from internimage.ops.registration import convolution_arguments

Operator = Callable[[Tensor, Tensor, Tensor, SamplingGeometry], Tensor]
PLAIN = SamplingGeometry((3, 3), (1, 1), (1, 1), (1, 1), groups=2, offset_scale=1.0, remove_center=False)
POINT = dataclasses.replace(PLAIN, kernel_size=(1, 1), padding=(0, 0), groups=1)
# Rectangular, even, strided, without its centre: no released model does this, no golden covers it.
ODD = SamplingGeometry((2, 3), (2, 1), (1, 2), (2, 1), groups=2, offset_scale=1.5, remove_center=True)


def operator(input: Tensor, offset: Tensor, mask: Tensor, geometry: SamplingGeometry) -> Tensor:
    return dcnv3(input, offset, mask, **dataclasses.asdict(geometry))


def one_by_one(input: Tensor, offset: Tensor, mask: Tensor, geometry: SamplingGeometry) -> Tensor:
    samples = zip(input.split(1), offset.split(1), mask.split(1), strict=True)
    return torch.cat([operator(*sample, geometry) for sample in samples])


both = pytest.mark.parametrize("run", [operator, convolution_reference], ids=["operator", "reference"])


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
    """Output, and the gradients of input, offset and mask for a cotangent that every dtype can represent."""
    output = run(*inputs, geometry)
    cotangent = torch.arange(output.numel()).mul(7).remainder(33).sub(16).div(8).view(output.shape)
    return [output.detach(), *torch.autograd.grad(output, inputs, cotangent.to(output))]


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


def by_hand(input: Tensor, offset: Tensor, mask: Tensor, geometry: SamplingGeometry) -> Tensor:
    """The formula in the documentation, sample by sample."""
    (kernel_h, kernel_w), (dilation_h, dilation_w) = geometry.kernel_size, geometry.dilation
    centre_y, centre_x = dilation_h * (kernel_h - 1) // 2, dilation_w * (kernel_w - 1) // 2
    taps = [(i, j) for i in range(kernel_w) for j in range(kernel_h)]
    if geometry.remove_center:
        taps.remove((kernel_w // 2, kernel_h // 2))
    image, mask = (t.detach().unflatten(-1, (geometry.groups, -1)) for t in (input, mask))
    output = image.new_zeros(*mask.shape[:4], image.shape[-1])
    for n, oy, ox, g, p in product(*map(range, mask.shape)):
        dx, dy = offset.detach().view(*mask.shape, 2)[n, oy, ox, g, p].tolist()
        y = oy * geometry.stride[0] - geometry.padding[0] + centre_y
        x = ox * geometry.stride[1] - geometry.padding[1] + centre_x
        y += (taps[p][1] * dilation_h - centre_y + dy) * geometry.offset_scale
        x += (taps[p][0] * dilation_w - centre_x + dx) * geometry.offset_scale
        for row, column in product((floor(y), floor(y) + 1), (floor(x), floor(x) + 1)):
            if 0 <= row < input.shape[1] and 0 <= column < input.shape[2]:
                weight = mask[n, oy, ox, g, p] * (1 - abs(y - row)) * (1 - abs(x - column))
                output[n, oy, ox, g] += weight * image[n, row, column, g]
    return output.flatten(-2)


@pytest.mark.full
def test_geometry_of_no_released_model() -> None:
    inputs = tensors(ODD, batch=2)
    for run in (operator, convolution_reference):
        near(run(*inputs, ODD), by_hand(*inputs, ODD), 1e-14)
    assert torch.autograd.gradcheck(partial(convolution_reference, geometry=ODD), inputs)
    assert torch.autograd.gradcheck(partial(operator, geometry=ODD), inputs)


def test_vmap_is_refused_by_name() -> None:
    inputs = [t.detach().unsqueeze(0) for t in tensors(dtype=torch.float32)]
    with pytest.raises(OperatorError, match="put the mapped dimension into its batch dimension"):
        torch.vmap(lambda *t: dcnv3(*t, groups=2))(*inputs)


@pytest.mark.full
def test_second_derivatives() -> None:
    inputs = tensors(ODD, size=(3, 4))
    assert torch.autograd.gradgradcheck(partial(operator, geometry=ODD), inputs)
    penalties = []
    for run in (operator, convolution_reference):  # a penalty on one gradient alone
        (gradient,) = torch.autograd.grad(run(*inputs, ODD).square().sum(), inputs[1], create_graph=True)
        penalties.append(torch.autograd.grad(gradient.square().sum(), inputs))
    for found, expected in zip(*penalties, strict=True):
        near(found, expected, 1e-11)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_only_rounds_inputs_and_results(dtype: torch.dtype) -> None:
    """Coordinates up to 700 with a fraction do not exist in bfloat16, nor weights and sums as good as these."""
    inputs = tensors(size=(3, 700), channels=32, dtype=dtype, spread=100.0)
    wide = [t.detach().float().requires_grad_() for t in inputs]
    assert identical(with_gradients(operator, inputs), [t.to(dtype) for t in with_gradients(operator, wide)])
    exact = convolution_reference(*(t.detach().double() for t in inputs), PLAIN)
    near(operator(*inputs, PLAIN), exact, atol=1e-5, rtol=torch.finfo(dtype).eps / 2)


def test_float32_is_as_exact_at_column_4000() -> None:
    """Absolute coordinates in float32 would be wrong by 1e-4 pixels there, and the output by up to 1e-3."""
    inputs = tensors(size=(2, 4000), dtype=torch.float32, spread=3.0)
    exact = with_gradients(convolution_reference, [t.detach().double().requires_grad_() for t in inputs])
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
def test_wild_offsets_count_as_a_mask_of_zero(run: Operator, wild: float) -> None:
    inputs = tensors(dtype=torch.float32)
    dropped = torch.rand(inputs[2].shape, generator=torch.Generator().manual_seed(2)) < 0.4
    pairs = dropped.repeat_interleave(2, -1)
    silenced = [inputs[0], inputs[1].where(~pairs, 0), inputs[2].where(~dropped, 0)]
    found = with_gradients(run, [inputs[0], inputs[1].detach().where(~pairs, wild).requires_grad_(), inputs[2]])
    output, grad_input, grad_offset, grad_mask = with_gradients(run, silenced)
    assert identical(found, [output, grad_input, grad_offset.where(~pairs, 0), grad_mask.where(~dropped, 0)])


@both
@pytest.mark.parametrize("pixel", [torch.nan, torch.inf])
@pytest.mark.parametrize("position", [-1.0, 3.0, 1e4, torch.nan])
def test_pixels_do_not_leak_into_samples_outside(run: Operator, pixel: float, position: float) -> None:
    """A weight of zero is not enough: zero times inf is NaN."""
    offset = torch.zeros(1, 3, 3, 2)
    offset[..., 0] = position - torch.arange(3)
    inputs = [t.requires_grad_() for t in (torch.full((1, 3, 3, 2), pixel), offset, torch.ones(1, 3, 3, 1))]
    assert not any(t.any() for t in with_gradients(run, inputs, POINT))


@pytest.mark.parametrize("deterministic", [False, True])
def test_results_depend_on_nothing_but_the_values(deterministic: bool) -> None:
    """Not on the run, the number of threads, the neighbours in the batch or the strides: bit for bit."""
    inputs = tensors(batch=3, size=(17, 19), dtype=torch.float32)
    torch.use_deterministic_algorithms(deterministic)
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        once = with_gradients(operator, inputs)
        torch.set_num_threads(1)
        assert identical(with_gradients(operator, inputs), once)
    finally:
        torch.set_num_threads(threads)
        torch.use_deterministic_algorithms(False)
    strided = [t.detach().mT.contiguous().mT.requires_grad_() for t in inputs]
    assert not any(t.is_contiguous() for t in strided)
    assert identical(with_gradients(operator, strided), once)
    assert identical(with_gradients(one_by_one, inputs), once)


@pytest.mark.parametrize("samples", [1, 100, 1000])
def test_chunks_change_nothing(samples: int, monkeypatch: pytest.MonkeyPatch) -> None:
    inputs = tensors(batch=2)
    whole = with_gradients(operator, inputs)
    monkeypatch.setattr(convolution_torch, "CHUNK_SAMPLES", {"cpu": samples})
    output, grad_input, *rest = with_gradients(operator, inputs)
    assert identical([output, *rest], [whole[0], *whole[2:]])
    near(grad_input, whole[1], 1e-14)  # summed chunk by chunk


def test_empty_batch() -> None:
    inputs = tensors(batch=0)
    assert [t.shape for t in with_gradients(operator, inputs)] == [inputs[0].shape, *(t.shape for t in inputs)]


def test_meta_tensors_have_the_shape_of_the_result() -> None:
    inputs = tensors(ODD, batch=2, dtype=torch.bfloat16)
    expected = with_gradients(operator, inputs, ODD)
    found = with_gradients(operator, [t.detach().to("meta").requires_grad_() for t in inputs], ODD)
    assert [(t.shape, t.dtype) for t in found] == [(t.shape, t.dtype) for t in expected]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_autocast_is_an_explicit_cast(dtype: torch.dtype) -> None:
    inputs = tensors(dtype=dtype)
    target = torch.bfloat16 if dtype == torch.float32 else dtype
    with torch.autocast("cpu", torch.bfloat16):
        found = with_gradients(operator, inputs)
    expected = with_gradients(operator, [t.detach().to(target).requires_grad_() for t in inputs])
    assert found[0].dtype == target
    assert identical(found, [expected[0], *(t.to(dtype) for t in expected[1:])])


@pytest.mark.parametrize("geometry", [pytest.param(PLAIN, marks=pytest.mark.full), ODD])
def test_contract_of_registered_operators(geometry: SamplingGeometry) -> None:
    inputs = tensors(geometry, batch=2, dtype=torch.float32)
    arguments = convolution_arguments(geometry, softmax=False)
    torch.library.opcheck(torch.ops.internimage.dcnv3.default, (*inputs, *arguments))
    constants = [t.detach() for t in inputs]
    gradient = torch.ones_like(operator(*constants, geometry))
    torch.library.opcheck(torch.ops.internimage.dcnv3_backward.default, (gradient, *constants, *arguments))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"input": torch.zeros(6, 7, 4)}, r"input is \(6, 7, 4\) torch.float32; expected a floating tensor \(N, H, W"),
        ({"mask": torch.zeros(1, 6, 7, 18, dtype=torch.int64)}, "mask is .* torch.int64; expected a floating tensor"),
        ({"offset": torch.zeros(1, 6, 7, 36, device="meta")}, "offset is on meta, input on cpu"),
        ({"mask": torch.zeros(1, 6, 7, 18).bfloat16()}, "mask is torch.bfloat16, input torch.float32; convert one"),
        ({"offset": torch.zeros(1, 6, 7, 18)}, r"offset is \(1, 6, 7, 18\); expected \(1, 6, 7, 36\)"),
        ({"mask": torch.zeros(2, 6, 7, 18)}, r"mask is \(2, 6, 7, 18\); expected \(1, 6, 7, 18\)"),
        ({"stride": 2}, r"offset is \(1, 6, 7, 36\); expected \(1, 3, 4, 36\)"),
        ({"groups": 3}, "4 channels do not divide into 3 groups"),
        ({"groups": 0}, "groups is 0; expected an integer, at least 1"),
        ({"groups": 2.0}, "groups is 2.0; expected an integer"),
        ({"dilation": 5}, "an input of 6x7 is smaller than the kernel"),
        ({"kernel_size": (3, 3, 3)}, "kernel_size is .*; expected an integer or a pair"),
        ({"kernel_size": 2.5}, "kernel_size is 2.5; expected an integer or a pair"),
        ({"kernel_size": 0}, "kernel_size is .* at least 1"),
        ({"stride": (1, 0)}, "stride is .* at least 1"),
        ({"dilation": 0}, "dilation is .* at least 1"),
        ({"padding": -1}, "padding is .* at least 0"),
        ({"kernel_size": 1, "remove_center": True}, "leaves no point to sample"),
    ],
)
def test_contradictions(changes: dict[str, Any], message: str) -> None:
    names = ("input", "offset", "mask")
    arguments: dict[str, Any] = dict(zip(names, tensors(dtype=torch.float32), strict=True))
    with pytest.raises(OperatorError, match=message):
        dcnv3(**{**arguments, "groups": 2, **changes})
