"""The GPU kernels against the float64 definitions: on a GPU if there is one, else under Triton's interpreter."""
# ruff: noqa: E402  (Triton reads the environment when it is imported)

import os
from typing import Any

import pytest
import torch
from torch import Tensor

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
if DEVICE == "cpu":
    os.environ["TRITON_INTERPRET"] = "1"
pytest.importorskip("triton", reason="PyTorch brings Triton on Linux alone")

from internimage.ops import registration, triton_launch
from internimage.ops.attention_reference import attention_reference
from internimage.ops.geometry import SamplingGeometry
from internimage.ops.registration import convolution_arguments

# In units of the largest magnitude; half precision is rounded once, at the end, to 8 or 11 bits.  The interpreter cuts
# the bits of bfloat16 off instead.
BOUNDS = {
    torch.float32: 4e-7,
    torch.bfloat16: 2 ** (-8 if DEVICE == "cuda" else -7) + 4e-7,
    torch.float16: 2**-11 + 4e-7,
}
PLAIN = SamplingGeometry((3, 3), (1, 1), (1, 1), (1, 1), 2, 1.0, False)
CASES = {  # geometry, channels of a group, softmax
    "3x3": (PLAIN, 16, False),
    "softmax": (PLAIN, 16, True),
    "no centre": (SamplingGeometry((3, 3), (1, 1), (1, 1), (1, 1), 1, 2.0, True), 32, True),
    "rectangular": (SamplingGeometry((2, 3), (2, 1), (1, 2), (2, 1), 3, 1.5, True), 5, True),
    "even": (SamplingGeometry((4, 2), (1, 2), (2, 0), (1, 1), 4, 0.7, False), 8, False),
    "1x1": (SamplingGeometry((1, 1), (1, 1), (0, 0), (1, 1), 1, 1.0, False), 1, False),
    "strided, dilated": (SamplingGeometry((3, 3), (2, 2), (2, 2), (2, 2), 3, 1.0, False), 4, True),
}


def tensors(geometry: SamplingGeometry, depth: int, size: tuple[int, int] = (5, 4), batch: int = 2) -> list[Tensor]:
    """Input, offset and mask of random numbers."""
    random = torch.Generator().manual_seed(depth)
    output, samples = geometry.output_size(*size), geometry.groups * geometry.points
    shapes = (*size, geometry.groups * depth), (*output, 2 * samples), (*output, samples)
    return [torch.randn(batch, *shape, generator=random) for shape in shapes]


def pack(offset: Tensor, mask: Tensor, geometry: SamplingGeometry) -> Tensor:
    blocks = [tensor.unflatten(-1, (geometry.groups, -1)) for tensor in (offset, mask)]
    padding = torch.full((*mask.shape[:3], 5), torch.nan).to(mask)  # read by nobody
    return torch.cat((torch.cat(blocks, -1).flatten(-2), padding), -1)


def check(name: str, inputs: list[Tensor], arguments: tuple[Any, ...]) -> list[Tensor]:
    """Output and gradients of a launch, compared with the definition in float64 and its derivatives by autograd."""
    bound = BOUNDS[inputs[0].dtype]
    exact = [tensor.double().requires_grad_() for tensor in inputs]
    definition = attention_reference if name == "ms_deform_attn" else getattr(registration, f"_{name}_definition")
    expected = definition(*exact, *arguments)
    grad = torch.arange(expected.numel()).mul(7).remainder(33).sub(16).div(8).view(expected.shape)
    there = [tensor.to(DEVICE) for tensor in inputs]
    found = [getattr(triton_launch, name)(*there, *arguments)]
    found += getattr(triton_launch, f"{name}_backward")(grad.to(found[0]), *there, *arguments)
    gradients = torch.autograd.grad(expected, exact, grad.double())
    for result, truth, source in zip(found, (expected, *gradients), (inputs[0], *inputs), strict=True):
        assert result.dtype == source.dtype
        assert result.shape == truth.shape
        if result.numel():
            assert (result.cpu().double() - truth).abs().max() <= bound * truth.abs().max()
    return found


@pytest.mark.parametrize("case", CASES)
def test_dcnv3(case: str) -> None:
    geometry, depth, softmax = CASES[case]
    check("dcnv3", tensors(geometry, depth), convolution_arguments(geometry, softmax))


@pytest.mark.parametrize("case", ["softmax", "rectangular", "even"])
def test_dcnv4_with_padding(case: str) -> None:
    geometry, depth, softmax = CASES[case]
    input, offset, mask = tensors(geometry, depth)
    packed = pack(offset, mask, geometry)
    *_, gradient = check("dcnv4", [input, packed], convolution_arguments(geometry, softmax))
    assert (gradient[..., 3 * geometry.groups * geometry.points :] == 0).all()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision(dtype: torch.dtype) -> None:
    inputs = [tensor.to(dtype) for tensor in tensors(PLAIN, 8)]
    check("dcnv3", inputs, convolution_arguments(PLAIN, True))


def test_samples_at_borders_and_on_pixel_lines() -> None:
    """Whole offsets: right derivatives inside, nothing exactly at -1 or at the image's size."""
    input, offset, mask = tensors(PLAIN, 4)
    offset = offset.mul(2).round()
    check("dcnv3", [input, offset, mask], convolution_arguments(PLAIN, False))


@pytest.mark.parametrize("wild", [float("nan"), float("inf"), -float("inf"), 1e30])
def test_wild_offsets_sample_nothing(wild: float) -> None:
    input, offset, mask = tensors(PLAIN, 4)
    offset[:, 1::2, :, ::3] = wild
    *_, gradient, _ = check("dcnv3", [input, offset, mask], convolution_arguments(PLAIN, False))
    assert (gradient[:, 1::2, :, ::3] == 0).all()


def test_an_infinity_at_the_edge_stays_there() -> None:
    """Only pixels that are sampled count; the sample half a pixel beyond the corner has one."""
    geometry = CASES["1x1"][0]
    input, arguments = torch.ones(1, 3, 3, 1), convolution_arguments(geometry, False)
    input[0, 0, 0] = torch.inf
    offset, mask = torch.zeros(1, 3, 3, 2), torch.ones(1, 3, 3, 1)
    offset[0, 0, 1] = torch.tensor([-2.0, 0.0])  # exactly at -1
    offset[0, 2, 2] = torch.tensor([0.5, 0.5])
    offset[0, 1, 1] = torch.tensor([-2.5, -1.0])
    found = triton_launch.dcnv3(input.to(DEVICE), offset.to(DEVICE), mask.to(DEVICE), *arguments).cpu()
    expected = torch.ops.internimage.dcnv3_plain(input.double(), offset.double(), mask.double(), *arguments)
    assert torch.equal(found.double().nan_to_num(7.0), expected.nan_to_num(7.0))
    assert found[0, 0, 1] == 0
    assert found[0, 1, 1] == 0
    assert found[0, 2, 2] == 0.25


def test_one_pixel_and_no_image() -> None:
    for size, batch in (((1, 1), 2), ((3, 3), 0)):
        for softmax in (False, True):
            check("dcnv3", tensors(PLAIN, 5, size, batch), convolution_arguments(PLAIN, softmax))


def test_float64_and_mixed_types_are_left_to_the_plain_implementation() -> None:
    inputs = [tensor.double() for tensor in tensors(PLAIN, 4)]
    arguments = convolution_arguments(PLAIN, False)
    expected = torch.ops.internimage.dcnv3_plain(*inputs, *arguments)
    assert torch.equal(triton_launch.dcnv3(*inputs, *arguments), expected)
    mixed = [inputs[0], inputs[1].float(), inputs[2].float()]
    assert torch.equal(triton_launch.dcnv3(*mixed, *arguments), torch.ops.internimage.dcnv3_plain(*mixed, *arguments))


@pytest.mark.parametrize(
    ("dtype", "heads", "depth"), [(torch.float32, 2, 8), (torch.float32, 3, 5), (torch.bfloat16, 2, 4)]
)
def test_ms_deform_attn(dtype: torch.dtype, heads: int, depth: int) -> None:
    random = torch.Generator().manual_seed(0)
    shapes, queries, points = [4, 5, 2, 3], 7, 3
    value = torch.randn(2, 26, heads, depth, generator=random).to(dtype)
    location = torch.rand(2, queries, heads, 2, points, 2, generator=random) * 1.4 - 0.2
    location[:, 0, :, :, 0] = torch.tensor([torch.nan, 0.5])
    location[:, 1] = 0.0
    weight = torch.rand(2, queries, heads, 2, points, generator=random)
    check("ms_deform_attn", [value, location, weight], (shapes,))


def test_registration_names_every_operator(monkeypatch: pytest.MonkeyPatch) -> None:
    class Recorder:
        def __init__(self) -> None:
            self.calls: list[tuple[str, str]] = []

        def impl(self, name: str, _: Any, key: str) -> None:
            self.calls.append((name, key))

    monkeypatch.setattr(torch.version, "cuda", "13.0")
    recorder = Recorder()
    name, _ = triton_launch.register(recorder)
    assert name is not None
    assert name.startswith("Triton")
    operators = [f"{operator}{end}" for operator in ("dcnv3", "dcnv4", "ms_deform_attn") for end in ("", "_backward")]
    assert recorder.calls == [(operator, "CUDA") for operator in operators]
    assert all(hasattr(torch.ops.internimage, operator) for operator in operators)
    monkeypatch.setenv("INTERNIMAGE_TRITON", "0")
    assert triton_launch.register(recorder)[0] is None
