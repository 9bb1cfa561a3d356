"""DCNv4 against the released kernel, and what its packed tensor adds to DCNv3."""

from typing import Any

import pytest
import torch
from helpers.goldens import golden, near
from torch import Tensor

from internimage.errors import OperatorError
from internimage.ops import dcnv3, dcnv4
from internimage.ops.geometry import SamplingGeometry
from internimage.ops.packing import join_packed, split_packed
from internimage.ops.registration import convolution_arguments

CASES = {case["name"]: case for case in golden("dcnv4_op").info["cases"]}


def geometry(case: dict[str, Any]) -> SamplingGeometry:
    pairs = ((case[f"{part}_h"], case[f"{part}_w"]) for part in ("kernel", "stride", "pad", "dilation"))
    return SamplingGeometry(*pairs, case["group"], case["offset_scale"], case["remove_center"])


def inputs(name: str, dtype: torch.dtype) -> list[Tensor]:
    return [golden("dcnv4_op")[f"{name}/{part}"].to(dtype).requires_grad_() for part in ("value", "offset_mask")]


def run(name: str, value: Tensor, packed: Tensor) -> Tensor:
    case = CASES[name]
    return torch.ops.internimage.dcnv4(value, packed, *convolution_arguments(geometry(case), case["softmax"]))


@pytest.mark.parametrize(
    ("dtype", "atol", "rtol"),
    [
        (torch.float64, 1e-11, 0.0),
        (torch.float32, 2e-5, 0.0),
        (torch.bfloat16, 2e-5, 2**-8),
        (torch.float16, 2e-5, 2**-11),
    ],
)
@pytest.mark.parametrize("name", CASES)
def test_released_kernel(name: str, dtype: torch.dtype, atol: float, rtol: float) -> None:
    """The inputs are exact in bfloat16, so half precision may only round the results."""
    truth, (value, packed) = golden("dcnv4_op"), inputs(name, dtype)
    output = run(name, value, packed)
    cotangent = truth[f"{name}/grad_output"].to(dtype)
    found = [output, *torch.autograd.grad(output, (value, packed), cotangent)]
    for part, tensor in zip(("output", "grad_value", "grad_offset_mask"), found, strict=True):
        near(tensor, truth[f"{name}/{part}"], atol, rtol)


def test_padding_is_never_read_and_has_no_gradient() -> None:
    name = next(name for name, case in CASES.items() if case["P"] > case["P_used"])
    used = CASES[name]["P_used"]
    for dtype in (torch.float64, torch.float32):
        value, packed = inputs(name, dtype)
        poisoned = packed.detach().clone()
        poisoned[..., used:] = torch.nan
        output = run(name, value, poisoned.requires_grad_())
        assert torch.equal(output, run(name, value, packed))
        (gradient,) = torch.autograd.grad(output.sum(), poisoned)
        assert not gradient[..., used:].any()
        assert gradient[..., :used].isfinite().all()


def test_every_image_of_a_batch_is_computed_as_alone() -> None:
    """The published launch takes rows of one image for rows of the next where 64 does not divide their number."""
    random = torch.Generator().manual_seed(0)
    value, packed = torch.randn(3, 7, 9, 32, generator=random), torch.randn(3, 7, 9, 56, generator=random)
    together = dcnv4(value, packed, groups=2)
    alone = [dcnv4(*pair, groups=2) for pair in zip(value.split(1), packed.split(1), strict=True)]
    assert torch.equal(together, torch.cat(alone))


@pytest.mark.parametrize("softmax", [False, True])
@pytest.mark.parametrize("kernel_size", [(3, 3), (2, 5)])
def test_packing_is_all_that_differs_from_dcnv3(kernel_size: tuple[int, int], softmax: bool) -> None:
    form = SamplingGeometry(kernel_size, (1, 2), (1, 1), (1, 1), 3, 0.7, False)
    random = torch.Generator().manual_seed(0)
    size = form.output_size(6, 8)
    value = torch.randn(2, 6, 8, 15, generator=random)
    offset, weight = (torch.randn(2, *size, 3 * form.points * k, generator=random) for k in (2, 1))
    packed = join_packed(offset, weight, form.groups, 96)
    assert all(torch.equal(a, b) for a, b in zip(split_packed(packed, form), (offset, weight), strict=True))
    options = {"kernel_size": kernel_size, "stride": (1, 2), "groups": 3, "offset_scale": 0.7, "softmax": softmax}
    assert torch.equal(dcnv4(value, packed, **options), dcnv3(value, offset, weight, **options))


@pytest.mark.full
@pytest.mark.parametrize("softmax", [False, True])
def test_derivatives_and_contract(softmax: bool) -> None:
    form = SamplingGeometry((2, 2), (1, 1), (1, 1), (1, 1), 2, 1.5, False)
    random = torch.Generator().manual_seed(0)
    value = torch.randn(1, 3, 2, 4, generator=random, dtype=torch.float64, requires_grad=True)
    packed = torch.randn(1, 4, 3, 26, generator=random, dtype=torch.float64, requires_grad=True)
    arguments = convolution_arguments(form, softmax)
    call = torch.ops.internimage.dcnv4
    assert torch.autograd.gradcheck(lambda *t: call(*t, *arguments), (value, packed))
    assert torch.autograd.gradgradcheck(lambda *t: call(*t, *arguments), (value, packed))
    single = [t.detach().float().requires_grad_() for t in (value, packed)]
    torch.library.opcheck(call.default, (*single, *arguments))
    constants = [t.detach() for t in single]
    cotangent = torch.ones_like(call(*constants, *arguments))
    torch.library.opcheck(torch.ops.internimage.dcnv4_backward.default, (cotangent, *constants, *arguments))
    compiled = torch.compile(
        lambda *t: dcnv4(*t, kernel_size=2, groups=2, offset_scale=1.5, softmax=softmax),
        fullgraph=True,
        backend="aot_eager",
    )
    assert torch.equal(compiled(*constants), call(*constants, *arguments))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"packed": torch.zeros(1, 6, 7, 48)}, r"packed is \(1, 6, 7, 48\); expected \(1, 6, 7, 54\)"),
        ({"packed": torch.zeros(1, 5, 7, 56)}, r"packed is \(1, 5, 7, 56\); expected \(1, 6, 7, 56\)"),
        ({"packed": torch.zeros(1, 6, 7, 56, dtype=torch.bfloat16)}, "packed is torch.bfloat16, input torch.float32"),
        ({"packed": torch.zeros(1, 6, 7, 56, device="meta")}, "packed is on meta, input on cpu"),
        ({"groups": 3}, "32 channels do not divide into 3 groups"),
    ],
)
def test_contradictions(changes: dict[str, Any], message: str) -> None:
    arguments = {"input": torch.zeros(1, 6, 7, 32), "packed": torch.zeros(1, 6, 7, 56), "groups": 2}
    with pytest.raises(OperatorError, match=message):
        dcnv4(**{**arguments, **changes})
