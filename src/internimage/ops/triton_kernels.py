"""The sampling kernels for GPUs, in Triton: one forward and one backward for every operator.

A pair is an output pixel (query) and a group (head).  A program works on a block of pairs, neighbouring groups and
pixels, so that its reads share cache lines; the channels of a group are the inner dimension, read in wide vectors.
Positions and weights are computed once for a pair and point, in float32, as are all sums.  Importing this file
imports Triton: ``triton_launch`` does so when the first tensor arrives.

Every convolution has one level, whose displacement from an integer base position alone is rounded; attention has
several, and its base is 0.  A pixel that does not exist is masked, never multiplied, so that an infinity at the
edge cannot become NaN outside.
"""

from __future__ import annotations

import triton
import triton.language as tl

_FAR = tl.constexpr(1 << 30)  # outside every image, and no sum with a base overflows

# Elements of a tile (pairs x channels) and the warps that share it: two to four 16-byte vectors for each thread.
_CONFIGS = [
    triton.Config({"TILE": tile}, num_warps=warps)
    for tile, warps in ((1024, 4), (512, 2), (1024, 2), (2048, 8), (2048, 4))
]
_KEY = ["GROUPS", "DEPTH", "LEVELS", "POINTS", "SOFTMAX", "ATTENTION"]  # and, by Triton's own doing, the dtypes
# Sizes of images vary from call to call; a kernel compiled for one that divides by 16 would be compiled again.
_SIZES = [
    "shapes",
    "pairs",
    "pixels",
    "queries",
    "out_width",
    "stride_y",
    "stride_x",
    "start_y",
    "start_x",
    "place_row",
    "weight_row",
]
if triton.knobs.runtime.interpret:
    _CONFIGS = _CONFIGS[:1]  # there is nothing to time


@triton.jit
def _split(displacement):  # type: ignore[no-untyped-def]
    """Floor and the remaining fraction; NaN and what is beyond every image become one far integer."""
    displacement = tl.where(tl.abs(displacement) < _FAR, displacement, -_FAR)  # a comparison with NaN is false
    whole = tl.floor(displacement)
    return whole.to(tl.int32), displacement - whole


@triton.jit
def _neighbours(base, displacement, size):  # type: ignore[no-untyped-def]
    """Along one axis: the pixel before the sample, the fraction beyond it, and whether it and the next pixel exist.

    On or beyond -1 and ``size`` neither exists.  The pixel is 0 where neither exists: no index overflows.
    """
    whole, fraction = _split(displacement)
    pixel = base + whole
    first = (pixel >= 0) & (pixel < size)
    second = (pixel >= 0) | ((pixel == -1) & (fraction > 0))
    second = second & (pixel < size - 1)
    return tl.where(first | second, pixel, 0), fraction, first, second


@triton.jit
def _pairs(pairs, pixels, queries, out_width, stride_y, stride_x, start_y, start_x, INDEX: tl.constexpr, TILE: tl.constexpr, GROUPS: tl.constexpr, DEPTH: tl.constexpr, BLOCK_DEPTH: tl.constexpr):  # type: ignore[no-untyped-def]  # fmt: skip # noqa: E501, N803
    """Rows, groups and base positions of this program's pairs, which of them exist, and where their images begin."""
    BLOCK: tl.constexpr = TILE // BLOCK_DEPTH if TILE > BLOCK_DEPTH else 1
    pair = tl.program_id(0).to(INDEX) * BLOCK + tl.arange(0, BLOCK)
    row = pair // GROUPS
    group = pair - row * GROUPS
    image = row // queries
    query = row - image * queries
    line = query // out_width
    base_y = line * stride_y + start_y
    base_x = (query - line * out_width) * stride_x + start_x
    return pair, row.to(tl.int64), group, base_y, base_x, image.to(tl.int64) * pixels * (GROUPS * DEPTH)
