"""Each operator on the layers of real networks, against the plain PyTorch formulation that everybody uses.

The references (``ops/standard.py``) build normalised sampling grids for ``torch.nn.functional.grid_sample``, as the
released InternImage and Deformable DETR do where their CUDA extensions are missing.  In half precision they sample in
float32: ``grid_sample`` takes images and grids of one dtype, and positions in half precision are useless.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from internimage import ops
from internimage.benchmark.timing import Limits, Timing, compare
from internimage.ops.geometry import SamplingGeometry
from internimage.ops.packing import split_packed
from internimage.ops.standard import attention_standard, convolution_standard

Operator = Literal["dcnv3", "dcnv4", "ms_deform_attn"]

Size = tuple[int, int]  # height, width


@dataclass(frozen=True)
class ConvolutionLayer:
    """A map of ``height`` x ``width`` pixels with 16 channels a group; batch 1, kernel 3, stride 1, padding 1."""

    name: str
    height: int
    width: int
    groups: int


@dataclass(frozen=True)
class AttentionLayer:
    """Maps of several levels, largest first; 8 heads of 32 channels, 4 points a level, batch 1."""

    name: str
    levels: tuple[Size, ...]
    queries: int | None  # None: one for each pixel of each level, as in an encoder


_CHANNELS = 16
_HEADS, _DEPTH, _POINTS = 8, 32, 4
_DETECTION = ((100, 152), (50, 76), (25, 38), (13, 19))  # an image of 800 x 1216 at strides 8 to 64

CONVOLUTIONS = (
    ConvolutionLayer("224, stage 1: 56x56, G 4", 56, 56, 4),
    ConvolutionLayer("224, stage 2: 28x28, G 8", 28, 28, 8),
    ConvolutionLayer("224, stage 3: 14x14, G 16", 14, 14, 16),
    ConvolutionLayer("224, stage 4: 7x7, G 32", 7, 7, 32),
    ConvolutionLayer("800x1216: 200x304, G 4", 200, 304, 4),
    ConvolutionLayer("800x1216: 100x152, G 8", 100, 152, 8),
)
ATTENTIONS = (
    AttentionLayer("800x1216 encoder, 20197 queries", _DETECTION, None),
    AttentionLayer("800x1216 decoder, 900 queries", _DETECTION, 900),
)


@dataclass(frozen=True)
class Work:
    """What a layer costs at least, in ``flops`` operations and ``bytes`` moved; see :func:`count_work`."""

    flops: int
    bytes: int


@dataclass(frozen=True)
class Comparison:
    """Times of one pass, ours and the reference's, measured in alternation."""

    work: Work
    ours: Timing
    reference: Timing

    @property
    def speedup(self) -> float:
        """How many times faster than the reference ours is."""
        return self.reference.median / self.ours.median

    @property
    def gflops(self) -> float:
        """1e9 operations a second of ours."""
        return self.work.flops / self.ours.median / 1e6

    @property
    def gb_per_s(self) -> float:
        """1e9 bytes a second of ours."""
        return self.work.bytes / self.ours.median / 1e6

    def to_dict(self, limits: Limits) -> dict[str, object]:
        """Plain data for JSON, with what follows from the times."""
        return {
            "work": vars(self.work),
            "ours_ms": vars(self.ours),
            "reference_ms": vars(self.reference),
            "speedup": self.speedup,
            "gflops": self.gflops,
            "gflops_share": self.gflops / limits.gflops,
            "gb_per_s": self.gb_per_s,
            "gb_per_s_share": self.gb_per_s / limits.gb_per_s,
        }


@dataclass(frozen=True)
class LayerResult:
    """One layer.  The errors are the largest differences of the outputs from ours in float64."""

    layer: str
    forward: Comparison
    forward_backward: Comparison
    error: float
    reference_error: float

    def to_dict(self, limits: Limits) -> dict[str, object]:
        """Plain data for JSON."""
        passes = {"forward": self.forward.to_dict(limits), "forward_backward": self.forward_backward.to_dict(limits)}
        return {"layer": self.layer, **passes, "error": self.error, "reference_error": self.reference_error}


@dataclass(frozen=True)
class Problem:
    """Tensors of a layer, the two functions of them that are compared, and the number of products they sum."""

    name: str
    tensors: tuple[Tensor, ...]
    ours: Callable[..., Tensor]
    reference: Callable[..., Tensor]
    terms: int


def layers_of(operator: Operator) -> tuple[ConvolutionLayer, ...] | tuple[AttentionLayer, ...]:
    """The layers that :func:`benchmark_operator` measures, in its order."""
    return ATTENTIONS if operator == "ms_deform_attn" else CONVOLUTIONS


def benchmark_operator(
    operator: Operator, dtype: torch.dtype, device: torch.device, rounds: int
) -> Iterator[LayerResult]:
    """Measure layer by layer, forward in inference mode, forward and backward with gradients of every tensor."""
    for layer in layers_of(operator):
        problem = make_problem(operator, layer, dtype, device)
        with torch.inference_mode():
            exact = problem.ours(*(tensor.double() for tensor in problem.tensors))
            ours, reference = problem.ours(*problem.tensors), problem.reference(*problem.tensors)
            error, reference_error = ((output - exact).abs().max().item() for output in (ours, reference))
            forward = compare(
                {
                    "reference": lambda problem=problem: problem.reference(*problem.tensors),  # type: ignore[misc]
                    "ours": lambda problem=problem: problem.ours(*problem.tensors),  # type: ignore[misc]
                },
                rounds,
                device,
            )
        leaves = [tensor.clone().requires_grad_() for tensor in problem.tensors]
        cotangent = torch.randn(ours.shape, generator=torch.Generator().manual_seed(1)).to(ours)

        def both(
            run: Callable[..., Tensor], leaves: list[Tensor] = leaves, cotangent: Tensor = cotangent
        ) -> tuple[Tensor, ...]:
            return torch.autograd.grad(run(*leaves), leaves, cotangent)

        backward = compare(
            {
                "reference": lambda problem=problem, both=both: both(problem.reference),  # type: ignore[misc]
                "ours": lambda problem=problem, both=both: both(problem.ours),  # type: ignore[misc]
            },
            rounds,
            device,
        )
        work, work_both = count_work(problem.terms, problem.tensors, ours)
        yield LayerResult(
            problem.name,
            Comparison(work, forward["ours"], forward["reference"]),
            Comparison(work_both, backward["ours"], backward["reference"]),
            error,
            reference_error,
        )


def count_work(terms: int, tensors: Sequence[Tensor], output: Tensor) -> tuple[Work, Work]:
    """Work of the forward pass, and of forward and backward together.

    ``terms`` is the number of (sampled point, channel) pairs.  Forward, each takes the weighted sum of four pixels: 4
    multiply-adds, 8 operations.  Backward it adds to the gradients of four pixels and takes four products for those
    of position and weight: 16 more.  Positions, bilinear weights and a softmax, shared by a group's channels, are not
    counted.

    Bytes count every tensor once wherever it has to be read or written: forward the inputs and the output, backward
    the inputs, the output's gradient and the inputs' gradients.  Small layers stay in the caches and can
    exceed the limit of the memory.
    """
    inputs = sum(tensor.nbytes for tensor in tensors)
    return Work(8 * terms, inputs + output.nbytes), Work(24 * terms, 3 * inputs + 2 * output.nbytes)


def make_problem(
    operator: Operator, layer: ConvolutionLayer | AttentionLayer, dtype: torch.dtype, device: torch.device
) -> Problem:
    """The layer with random tensors, the same in every run."""
    random = torch.Generator().manual_seed(0)
    if isinstance(layer, AttentionLayer):
        return _attention(layer, dtype, device, random)
    shape, groups = (1, layer.height, layer.width), layer.groups
    geometry = SamplingGeometry((3, 3), (1, 1), (1, 1), (1, 1), groups, 1.0, False)
    # offsets of about a pixel: trained networks sample near the kernel's taps, not all over the image
    widths = (groups * _CHANNELS, groups * 18, groups * 9)
    input, offset, mask = (torch.randn(*shape, width, generator=random).to(device, dtype) for width in widths)
    terms = layer.height * layer.width * 9 * groups * _CHANNELS
    if operator == "dcnv3":
        return Problem(
            layer.name,
            (input, offset, mask),
            lambda input, offset, mask: ops.dcnv3(input, offset, mask, groups=groups, softmax=True),
            lambda input, offset, mask: convolution_standard(input, offset, mask, geometry, softmax=True),
            terms,
        )
    packed = torch.randn(*shape, -(-groups * 27 // 8) * 8, generator=random).to(device, dtype)
    return Problem(
        layer.name,
        (input, packed),
        lambda input, packed: ops.dcnv4(input, packed, groups=groups),
        lambda input, packed: convolution_standard(input, *split_packed(packed, geometry), geometry, softmax=False),
        terms,
    )


def _attention(layer: AttentionLayer, dtype: torch.dtype, device: torch.device, random: torch.Generator) -> Problem:
    sizes = torch.tensor(layer.levels)
    pixels = int(sizes.prod(1).sum())
    if layer.queries is None:  # the pixel's own place in [0, 1]
        centres = [
            torch.stack(
                torch.meshgrid((torch.arange(w) + 0.5) / w, (torch.arange(h) + 0.5) / h, indexing="xy"), -1
            ).view(-1, 2)
            for h, w in layer.levels
        ]
        centre = torch.cat(centres)
    else:
        centre = torch.rand(layer.queries, 2, generator=random)
    queries, levels = len(centre), len(layer.levels)
    # samples about two pixels of their level around the query's place, as detectors start with
    spread = 2 * torch.randn(1, queries, _HEADS, levels, _POINTS, 2, generator=random)
    location = centre.view(1, -1, 1, 1, 1, 2) + spread / sizes.flip(1).view(levels, 1, 2)
    weight = torch.randn(1, queries, _HEADS, levels * _POINTS, generator=random).softmax(-1)
    value = torch.randn(1, pixels, _HEADS, _DEPTH, generator=random)
    return Problem(
        layer.name,
        # under autocast too, positions and weights stay in float32
        (value.to(device, dtype), location.to(device), weight.view(*location.shape[:-1]).to(device)),
        lambda value, location, weight: ops.ms_deform_attn(value, layer.levels, location, weight),
        lambda value, location, weight: attention_standard(value, location, weight, layer.levels),
        queries * _HEADS * _DEPTH * levels * _POINTS,
    )
