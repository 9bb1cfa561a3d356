"""The sampling kernels for GPUs, in Triton: one forward and one backward for every operator.

A pair is an output pixel (query) and a group (head).  A program works on a block of pairs, neighbouring groups and
pixels, so that its reads share cache lines; the channels of a group are the inner dimension, read in wide vectors.
Positions and weights are computed in float32 once for a pair and point, and all sums are float32.  A convolution
is a problem of one level, whose points lie on a grid around an integer base; attention has several levels and no
base.  Importing this file imports Triton: ``triton_launch`` does so when the first tensor arrives.
"""
# mypy: disable-error-code="no-untyped-def, untyped-decorator, import-untyped, import-not-found"
# ruff: noqa: N803, N806  (what is known when a kernel is compiled is written in capitals)

import triton
import triton.language as tl

_FAR = tl.constexpr(1 << 30)  # outside every image, and no sum with a base overflows

# Numbers in a tile (pairs x channels) and the warps that share it: 16 bytes a thread, or 32.  With more, threads no
# longer hold the positions of just their own pairs, and those go through shared memory.
_CONFIGS = [
    triton.Config({"TILE": tile}, num_warps=warps)
    for tile, warps in ((1024, 4), (512, 4), (512, 2), (256, 2), (1024, 8))
]
if triton.knobs.runtime.interpret:
    _CONFIGS = _CONFIGS[:1]  # there is nothing to time
_KEY = ["GROUPS", "DEPTH", "LEVELS", "POINTS", "SOFTMAX", "ATTENTION"]  # Triton adds the dtypes
# These vary from image to image; without this a kernel would be compiled again for sizes that divide by 16.
_VARYING = [
    *("pairs", "pixels", "queries", "out_width", "stride_y", "stride_x"),
    *("start_y", "start_x", "place_row", "weight_row"),
]


@triton.jit
def _pairs(pairs, queries, out_width, GROUPS: tl.constexpr, INDEX: tl.constexpr, BLOCK: tl.constexpr):
    """Which pairs of this program exist, their row (query of the batch), group, image, and output pixel."""
    pair = tl.program_id(0).to(INDEX) * BLOCK + tl.arange(0, BLOCK)
    row = pair // GROUPS
    image = row // queries
    query = row - image * queries
    line = query // out_width
    return pair < pairs, row.to(tl.int64), pair - row * GROUPS, image.to(tl.int64), line, query - line * out_width


@triton.jit
def _neighbours(base, displacement, size):
    """Along one axis: the pixel at or before the sample, what is beyond it, and whether it and the next pixel exist.

    A sample on or beyond -1 and ``size`` has neither.  Only the displacement from the integer base is rounded.
    """
    displacement = tl.where(tl.abs(displacement) < _FAR, displacement, -_FAR)  # false for NaN
    whole = tl.floor(displacement)
    fraction = displacement - whole
    pixel = base + whole.to(tl.int32)
    first = (pixel >= 0) & (pixel < size)
    second = ((pixel >= 0) | ((pixel == -1) & (fraction > 0))) & (pixel < size - 1)
    return tl.where(first | second, pixel, 0), fraction, first, second


@triton.jit
def _point(
    place_at, weight_at, level, point, valid, base_y, base_x, height, width, scale, largest, inverse,
    ATTENTION: tl.constexpr, POINTS: tl.constexpr, SOFTMAX: tl.constexpr, KERNEL: tl.constexpr,
):  # fmt: skip
    """Weight, and for y and x what :func:`_neighbours` returns, of one point of every pair."""
    index = level * POINTS + point
    x = tl.load(place_at + 2 * index, mask=valid, other=0).to(tl.float32)
    y = tl.load(place_at + 2 * index + 1, mask=valid, other=0).to(tl.float32)
    weight = tl.load(weight_at + index, mask=valid, other=0).to(tl.float32)
    if ATTENTION:
        x = x * width - 0.5
        y = y * height - 0.5
    else:
        tap = point + (point >= KERNEL[1])  # the centre may be left out
        column = tap // KERNEL[0]
        x = (column * KERNEL[3] - KERNEL[5]) * scale + x * scale
        y = ((tap - column * KERNEL[0]) * KERNEL[2] - KERNEL[4]) * scale + y * scale
    if SOFTMAX:
        weight = tl.exp(weight - largest) * inverse
    row, fraction_y, top, bottom = _neighbours(base_y, y, height)
    column, fraction_x, left, right = _neighbours(base_x, x, width)
    return weight, row, fraction_y, top & valid, bottom & valid, column, fraction_x, left, right


@triton.jit
def _softmax_parts(weight_at, valid, COUNT: tl.constexpr, BLOCK_POINTS: tl.constexpr):
    """Largest logit of each pair and one over the sum of exponentials of the differences from it."""
    point = tl.arange(0, BLOCK_POINTS)[None, :]
    logits = tl.load(weight_at[:, None] + point, mask=valid[:, None] & (point < COUNT), other=float("-inf"))
    logits = tl.where(valid[:, None], logits.to(tl.float32), 0.0)
    largest = tl.max(logits, axis=1)
    return largest, 1.0 / tl.sum(tl.exp(logits - largest[:, None]), axis=1)


@triton.autotune(configs=_CONFIGS, key=_KEY)
@triton.jit(do_not_specialize=_VARYING)
def forward(
    value, place, weight, output,
    shapes, pairs, pixels, queries, out_width, stride_y, stride_x, start_y, start_x, scale, place_row, weight_row,
    ATTENTION: tl.constexpr, LEVELS: tl.constexpr, POINTS: tl.constexpr, SOFTMAX: tl.constexpr, KERNEL: tl.constexpr,
    GROUPS: tl.constexpr, DEPTH: tl.constexpr, PLACE_GROUP: tl.constexpr, WEIGHT_GROUP: tl.constexpr,
    BLOCK_POINTS: tl.constexpr, BLOCK_DEPTH: tl.constexpr, INDEX: tl.constexpr, TILE: tl.constexpr,
):  # fmt: skip
    """``output[pair] = sum over points of weight * bilinear(value at place)``; ``triton_launch`` has the arguments."""
    INNER: tl.constexpr = BLOCK_DEPTH if BLOCK_DEPTH > BLOCK_POINTS else BLOCK_POINTS
    BLOCK: tl.constexpr = TILE // INNER if TILE > INNER else 1
    CHANNELS: tl.constexpr = GROUPS * DEPTH
    valid, row, group, image, line, column = _pairs(pairs, queries, out_width, GROUPS, INDEX, BLOCK)
    base_y = line * stride_y + start_y
    base_x = column * stride_x + start_x
    place_at = place + row * place_row + group * PLACE_GROUP
    weight_at = weight + row * weight_row + group * WEIGHT_GROUP
    largest = 0.0
    inverse = 1.0
    if SOFTMAX:
        largest, inverse = _softmax_parts(weight_at, valid, POINTS, BLOCK_POINTS)
    channel = tl.arange(0, BLOCK_DEPTH)[None, :]
    exists = channel < DEPTH
    image_at = value + image * pixels * CHANNELS + group * DEPTH

    UNROLL: tl.constexpr = 3 if POINTS % 3 == 0 else 2  # reads of several points are under way at once
    result = tl.zeros((BLOCK, BLOCK_DEPTH), tl.float32)
    for level in tl.static_range(LEVELS):
        height = shapes[3 * level] >> 1
        width = shapes[3 * level + 1] >> 1
        start = shapes[3 * level + 2] >> 1
        for point in tl.range(POINTS, loop_unroll_factor=UNROLL):
            share, y, fraction_y, top, bottom, x, fraction_x, left, right = _point(
                place_at, weight_at, level, point, valid, base_y, base_x, height, width, scale, largest, inverse,
                ATTENTION, POINTS, SOFTMAX, KERNEL,
            )  # fmt: skip
            low = share * fraction_y
            high = share - low
            low_right = low * fraction_x
            high_right = high * fraction_x
            pixel = start + y.to(INDEX) * width + x
            at = image_at + pixel.to(tl.int64) * CHANNELS
            at = at[:, None] + channel
            below = width.to(tl.int64) * CHANNELS
            top_left = tl.load(at, mask=(top & left)[:, None] & exists, other=0).to(tl.float32)
            top_right = tl.load(at + CHANNELS, mask=(top & right)[:, None] & exists, other=0).to(tl.float32)
            bottom_left = tl.load(at + below, mask=(bottom & left)[:, None] & exists, other=0).to(tl.float32)
            bottom_right = tl.load(at + (below + CHANNELS), mask=(bottom & right)[:, None] & exists, other=0).to(
                tl.float32
            )
            result += (high - high_right)[:, None] * top_left
            result += high_right[:, None] * top_right
            result += (low - low_right)[:, None] * bottom_left
            result += low_right[:, None] * bottom_right
    output_at = output + row * CHANNELS + group * DEPTH
    tl.store(output_at[:, None] + channel, result, mask=valid[:, None] & exists)


@triton.autotune(configs=_CONFIGS, key=_KEY, reset_to_zero=["grad_value"])
@triton.jit(do_not_specialize=_VARYING)
def backward(  # noqa: PLR0915  Triton inlines no call with this many tensors
    grad_output, value, place, weight, grad_value, grad_place, grad_weight,
    shapes, pairs, pixels, queries, out_width, stride_y, stride_x, start_y, start_x, scale, place_row, weight_row,
    ATTENTION: tl.constexpr, LEVELS: tl.constexpr, POINTS: tl.constexpr, SOFTMAX: tl.constexpr, KERNEL: tl.constexpr,
    GROUPS: tl.constexpr, DEPTH: tl.constexpr, PLACE_GROUP: tl.constexpr, WEIGHT_GROUP: tl.constexpr,
    BLOCK_POINTS: tl.constexpr, BLOCK_DEPTH: tl.constexpr, INDEX: tl.constexpr, TILE: tl.constexpr,
):  # fmt: skip
    """All gradients; ``grad_value`` is float32 and zero at the start, since pairs share pixels and add to it.

    The gradients of places and weights are collected in tiles (pairs x points) and written at the end: they leave in
    whole cache lines, and that of a softmax needs the gradients of all its points.
    """
    INNER: tl.constexpr = BLOCK_DEPTH if BLOCK_DEPTH > BLOCK_POINTS else BLOCK_POINTS
    BLOCK: tl.constexpr = TILE // INNER if TILE > INNER else 1
    CHANNELS: tl.constexpr = GROUPS * DEPTH
    COUNT: tl.constexpr = LEVELS * POINTS
    valid, row, group, image, line, column = _pairs(pairs, queries, out_width, GROUPS, INDEX, BLOCK)
    base_y = line * stride_y + start_y
    base_x = column * stride_x + start_x
    place_start = row * place_row + group * PLACE_GROUP
    weight_start = row * weight_row + group * WEIGHT_GROUP
    place_at = place + place_start
    weight_at = weight + weight_start
    largest = 0.0
    inverse = 1.0
    if SOFTMAX:
        largest, inverse = _softmax_parts(weight_at, valid, POINTS, BLOCK_POINTS)
    # Sixteen bytes of the gradient, which is float32: half precision read in as wide vectors would have to change
    # hands between threads, through shared memory, before each addition.
    channel = tl.max_contiguous(tl.arange(0, BLOCK_DEPTH), 4 if BLOCK_DEPTH > 4 else BLOCK_DEPTH)[None, :]
    exists = channel < DEPTH
    image_start = image * pixels * CHANNELS + group * DEPTH
    output_at = grad_output + row * CHANNELS + group * DEPTH
    gradient = tl.load(output_at[:, None] + channel, mask=valid[:, None] & exists, other=0).to(tl.float32)

    slot = tl.arange(0, BLOCK_POINTS)[None, :]
    all_x = tl.zeros((BLOCK, BLOCK_POINTS), tl.float32)
    all_y = tl.zeros((BLOCK, BLOCK_POINTS), tl.float32)
    all_weights = tl.zeros((BLOCK, BLOCK_POINTS), tl.float32)
    all_shares = tl.zeros((BLOCK, BLOCK_POINTS), tl.float32)  # the compiler drops it where there is no softmax
    mean = tl.zeros((BLOCK,), tl.float32)
    for level in tl.static_range(LEVELS):
        height = shapes[3 * level] >> 1
        width = shapes[3 * level + 1] >> 1
        start = shapes[3 * level + 2] >> 1
        for point in tl.range(POINTS):
            share, y, fraction_y, top, bottom, x, fraction_x, left, right = _point(
                place_at, weight_at, level, point, valid, base_y, base_x, height, width, scale, largest, inverse,
                ATTENTION, POINTS, SOFTMAX, KERNEL,
            )  # fmt: skip
            low = share * fraction_y
            high = share - low
            low_right = low * fraction_x
            high_right = high * fraction_x
            pixel = start + y.to(INDEX) * width + x
            at = image_start + pixel.to(tl.int64) * CHANNELS
            at = at[:, None] + channel
            below = width.to(tl.int64) * CHANNELS
            here = (top & left)[:, None] & exists
            beside = (top & right)[:, None] & exists
            under = (bottom & left)[:, None] & exists
            across = (bottom & right)[:, None] & exists
            near = value + at
            top_left = tl.sum(gradient * tl.load(near, mask=here, other=0).to(tl.float32), axis=1)
            top_right = tl.sum(gradient * tl.load(near + CHANNELS, mask=beside, other=0).to(tl.float32), axis=1)
            bottom_left = tl.sum(gradient * tl.load(near + below, mask=under, other=0).to(tl.float32), axis=1)
            bottom_right = tl.sum(
                gradient * tl.load(near + (below + CHANNELS), mask=across, other=0).to(tl.float32), axis=1
            )
            to = grad_value + at
            tl.atomic_add(to, (high - high_right)[:, None] * gradient, mask=here, sem="relaxed")
            tl.atomic_add(to + CHANNELS, high_right[:, None] * gradient, mask=beside, sem="relaxed")
            tl.atomic_add(to + below, (low - low_right)[:, None] * gradient, mask=under, sem="relaxed")
            tl.atomic_add(to + (below + CHANNELS), low_right[:, None] * gradient, mask=across, sem="relaxed")

            top_slope = top_right - top_left
            bottom_slope = bottom_right - bottom_left
            on_top = top_left + fraction_x * top_slope
            on_bottom = bottom_left + fraction_x * bottom_slope
            of_weight = on_top + fraction_y * (on_bottom - on_top)
            of_x = share * (top_slope + fraction_y * (bottom_slope - top_slope))
            of_y = share * (on_bottom - on_top)
            if ATTENTION:
                of_x *= width
                of_y *= height
            else:
                of_x *= scale
                of_y *= scale
            mine = slot == level * POINTS + point
            all_x = tl.where(mine, of_x[:, None], all_x)
            all_y = tl.where(mine, of_y[:, None], all_y)
            all_weights = tl.where(mine, of_weight[:, None], all_weights)
            if SOFTMAX:
                all_shares = tl.where(mine, share[:, None], all_shares)
                mean += share * of_weight
    if SOFTMAX:
        all_weights = all_shares * (all_weights - mean[:, None])
    written = valid[:, None] & (slot < COUNT)
    tl.store(grad_weight + (weight_start[:, None] + slot), all_weights, mask=written)
    axis = tl.arange(0, 2)[None, None, :]
    place_to = grad_place + (place_start[:, None, None] + 2 * slot[:, :, None] + axis)
    tl.store(place_to, tl.join(all_x, all_y), mask=written[:, :, None] & (axis >= 0))
