"""The compiled CPU kernels: that they run, and that they hold to the float64 definitions whatever they are given."""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from internimage.ops import dcnv3, implementation, ms_deform_attn
from internimage.ops.attention_reference import attention_reference
from internimage.ops.convolution_reference import convolution_reference
from internimage.ops.geometry import SamplingGeometry
from internimage.ops.native import build
from internimage.ops.registration import convolution_arguments

TESTS = Path(__file__).parent


def test_compiled_where_there_is_a_compiler() -> None:
    """On CI, which has one, this is what makes sure that every other test ran the kernels."""
    name, reason = implementation("cpu")
    if os.environ.get("INTERNIMAGE_NATIVE") == "0" or build.compiler() is None:
        assert name == "plain PyTorch"
    else:
        assert name.startswith("compiled"), reason


def error(found: Tensor, expected: Tensor, scale: float) -> float:
    return float((found.double() - expected).abs().max()) / max(scale, 1e-30) if found.numel() else 0.0


def magnitude(tensor: Tensor) -> float:
    return float(tensor.abs().max()) if tensor.numel() else 0.0


def with_gradients(run: Any, inputs: list[Tensor]) -> list[Tensor]:
    leaves = [t.detach().requires_grad_() for t in inputs]
    output = run(*leaves)
    cotangent = torch.arange(output.numel()).mul(7).remainder(33).sub(16).div(8).view(output.shape)
    return [output.detach(), *torch.autograd.grad(output, leaves, cotangent.to(output))]


def definition(input: Tensor, offset: Tensor, mask: Tensor, geometry: SamplingGeometry, softmax: bool) -> Tensor:
    if softmax:
        mask = mask.unflatten(-1, (geometry.groups, geometry.points)).softmax(-1).flatten(-2)
    return convolution_reference(input, offset, mask, geometry)


def operator(input: Tensor, offset: Tensor, mask: Tensor, geometry: SamplingGeometry, softmax: bool) -> Tensor:
    return torch.ops.internimage.dcnv3(input, offset, mask, *convolution_arguments(geometry, softmax))


def small(least: int, most: int) -> st.SearchStrategy[tuple[int, int]]:
    return st.tuples(st.integers(least, most), st.integers(least, most))


@st.composite
def geometries(draw: st.DrawFn) -> SamplingGeometry:
    kernel = draw(small(1, 5))
    return SamplingGeometry(
        kernel_size=kernel,
        stride=draw(small(1, 3)),
        padding=draw(small(0, 3)),
        dilation=draw(small(1, 3)),
        groups=draw(st.integers(1, 9)),
        offset_scale=draw(st.sampled_from([0.25, 0.5, 1.0, 1.5, 2.0])),
        remove_center=kernel != (1, 1) and draw(st.booleans()),
    )


@st.composite
def convolutions(draw: st.DrawFn) -> tuple[SamplingGeometry, bool, list[Tensor]]:
    """Geometry, softmax, and float64 tensors that float32 holds exactly.

    Offsets are multiples of 1/64, so that float32 and float64 agree on which side of a pixel line a sample lies.
    """
    geometry, extra = draw(geometries()), draw(small(0, 11))
    reach = [d * (k - 1) + 1 for d, k in zip(geometry.dilation, geometry.kernel_size, strict=True)]
    height, width = (max(1, r - 2 * p) + e for r, p, e in zip(reach, geometry.padding, extra, strict=True))
    batch, depth = draw(st.integers(1, 3)), draw(st.sampled_from([1, 2, 3, 8, 15, 16, 17, 32, 40, 64]))
    place, samples = (batch, *geometry.output_size(height, width)), geometry.groups * geometry.points
    random = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    image = torch.randn(batch, height, width, geometry.groups * depth, generator=random)
    offset = torch.randn(*place, 2 * samples, generator=random) * draw(st.sampled_from([0.0, 0.5, 3.0, 20.0]))
    mask = torch.randn(*place, samples, generator=random) * draw(st.sampled_from([1.0, 40.0]))
    return geometry, draw(st.booleans()), [t.double() for t in (image, (offset * 64).round() / 64, mask)]


@pytest.mark.full
@settings(max_examples=200, deadline=None, derandomize=True)
@given(convolutions())
def test_float32_convolution_on_random_configurations(case: tuple[SamplingGeometry, bool, list[Tensor]]) -> None:
    """Outputs are off by 3e-7 of the largest sum of magnitudes, gradients by 1e-6."""
    geometry, softmax, tensors = case
    exact = with_gradients(lambda *t: definition(*t, geometry, softmax), tensors)
    found = with_gradients(lambda *t: operator(*t, geometry, softmax), [t.float() for t in tensors])
    image, offset, mask = tensors
    scale = magnitude(definition(image.abs(), offset, mask if softmax else mask.abs(), geometry, softmax))
    assert error(found[0], exact[0], scale) < 3e-7
    for result, truth in zip(found[1:], exact[1:], strict=True):  # a softmax's gradient may all but vanish
        assert error(result, truth, max(magnitude(truth), scale)) < 1e-6


@pytest.mark.full
@settings(max_examples=50, deadline=None, derandomize=True)
@given(
    st.lists(small(1, 9), min_size=1, max_size=4),
    st.integers(1, 8),
    st.sampled_from([1, 4, 16, 20, 32, 64]),
    st.integers(1, 5),
    st.integers(0, 2**31),
)
def test_float32_attention_on_random_configurations(
    shapes: list[tuple[int, int]], heads: int, depth: int, points: int, seed: int
) -> None:
    random = torch.Generator().manual_seed(seed)
    value = torch.randn(2, sum(h * w for h, w in shapes), heads, depth, generator=random).double()
    place = 2, 13, heads, len(shapes), points
    location = torch.rand(*place, 2, generator=random).mul(1.4).sub(0.2).mul(4096).round().div(4096).double()
    weight = torch.randn(place, generator=random).double()
    flat = [extent for shape in shapes for extent in shape]
    exact = with_gradients(lambda *t: attention_reference(*t, flat), [value, location, weight])
    found = with_gradients(
        lambda *t: ms_deform_attn(t[0], shapes, t[1], t[2]), [t.float() for t in (value, location, weight)]
    )
    for result, truth in zip(found, exact, strict=True):
        assert error(result, truth, max(magnitude(truth), magnitude(exact[0]))) < 1e-6


def example(dtype: torch.dtype = torch.float32) -> list[Tensor]:
    random = torch.Generator().manual_seed(0)
    shapes = (2, 14, 14, 64), (2, 14, 14, 72), (2, 14, 14, 36)
    return [torch.randn(shape, generator=random).to(dtype) for shape in shapes]


def checksum(_: int = 0) -> float:
    torch.set_num_threads(1)
    return float(dcnv3(*example(), groups=4, softmax=True).double().sum())


def repeat_from_threads(calls: int) -> None:
    """Calls from eight threads, each of which must give the same bits."""
    tensors = example()
    once = dcnv3(*tensors, groups=4, softmax=True)
    with ThreadPoolExecutor(8) as pool:
        same = pool.map(lambda _: torch.equal(dcnv3(*tensors, groups=4, softmax=True), once), range(calls))
        assert all(same)


def test_a_thousand_calls_from_many_threads_agree() -> None:
    repeat_from_threads(1000)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_calls_keep_no_memory() -> None:
    repeat_from_threads(100)
    before = resident()
    repeat_from_threads(900)
    assert resident() - before < 900 * example()[0].nbytes / 2  # a leak of each result would be twice that


def resident() -> int:
    """Resident size in bytes, now: a peak would hide a leak behind what earlier tests took."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.skipif(not implementation("cpu").name.startswith("compiled"), reason="there are no compiled kernels")
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_an_error_arrives_and_keeps_no_memory() -> None:
    """PyTorch throws it: the kernels have no C++ runtime.  What they asked memory for would be 5 PB."""
    before = resident()
    for _ in range(3):
        image = torch.ones(1, 2048, 2048, 4)  # 64 MiB
        with pytest.raises(RuntimeError, match="internimage: there is not enough memory"):
            torch.ops.internimage.winograd_transform(image, 0, 2**43)
        del image
    assert resident() - before < 2**26
    with pytest.raises(RuntimeError, match="internimage: a call of LibTorch's stable interface failed"):
        torch.ops.internimage.winograd_untransform(torch.ones(1, 4, 4, 4), [torch.ones(1, 4)], torch.ones(4), False, 0)


def test_strides_do_not_mislead_who_calls_the_registered_operator() -> None:
    """The public functions make tensors contiguous; this is the way around them."""
    geometry = SamplingGeometry((3, 3), (1, 1), (1, 1), (1, 1), 4, 1.0, False)
    tensors = example()
    strided = [t.mT.contiguous().mT for t in tensors]
    torch.testing.assert_close(operator(*strided, geometry, True), operator(*tensors, geometry, True))


def test_a_forked_process_computes_the_same() -> None:
    expected = checksum()
    with get_context("fork").Pool(2) as pool:
        assert pool.map(checksum, range(2)) == [expected] * 2


def test_a_forward_call_allocates_its_output_alone() -> None:
    tensors = example()
    with torch.profiler.profile(profile_memory=True) as profile, torch.inference_mode():
        output = dcnv3(*tensors, groups=4, softmax=True)
    (event,) = (event for event in profile.key_averages() if event.key == "internimage::dcnv3")
    assert event.cpu_memory_usage <= output.nbytes * 1.01


@pytest.mark.full
@pytest.mark.parametrize("limit", ["avx2", "portable"])
def test_every_instruction_set_passes_the_operators_tests(limit: str) -> None:
    """The kernels for lesser machines, on this one: their numbers; PyTorch's contract does not depend on them."""
    files = [str(TESTS / f"test_{name}.py") for name in ("dcnv4", "ms_deform_attn")]
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", "not contract", *files],
        env=os.environ | {"INTERNIMAGE_CPU": limit},
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stdout[-3000:]


@pytest.mark.full
@pytest.mark.parametrize(
    ("variable", "value", "name"), [("NATIVE", "0", "plain PyTorch"), ("CPU", "portable", "portable")]
)
def test_what_runs_can_be_limited(variable: str, value: str, name: str) -> None:
    code = "from internimage.ops import implementation; print(implementation('cpu').name)"
    run = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {f"INTERNIMAGE_{variable}": value},
        capture_output=True,
        text=True,
    )
    assert run.stdout.strip().endswith(name)
