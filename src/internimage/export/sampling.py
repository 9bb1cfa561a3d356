"""The deformable operators in standard operators of ONNX, written three ways.  All compute the definitions of ``ops``.

Tensors are laid out as those of ``internimage.ops``; batch and sizes of images may be symbolic.  What a form does to
offsets and masks before anything else (other order, scale, shift) stands first, where
:mod:`internimage.export.folding` can make it part of the layers that predict them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx_ir as ir  # type: ignore[import-untyped]
import torch
from onnxscript import opset20 as op

from internimage.ops.geometry import SamplingGeometry

FRAME = 2  # of zeros around an image: positions are clipped into it
_INDEX = ir.DataType.INT32
_FLOAT = ir.DataType.FLOAT


def convolution_deform_conv(input: Any, offset: Any, mask: Any, geometry: SamplingGeometry, softmax: bool) -> Any:
    """By ``DeformConv`` with a kernel of ones, whose points run row by row and whose offsets are (y, x)."""
    height, width = geometry.kernel_size
    groups, points, channels = geometry.groups, geometry.points, input.shape[3]
    number = {place: point for point, place in enumerate(geometry.kernel())}
    kernel = [(row, column) for row in range(height) for column in range(width)]
    there = [number[place] for place in kernel if place in number]
    at = [2 * number.get(place, 0) + axis for place in kernel for axis in (1, 0)]
    offset = op.Gather(offset, _each_group(groups, 2 * points, at), axis=-1)
    scale, (centre_y, centre_x) = geometry.offset_scale, geometry.centre()
    if scale != 1:
        rows, columns = (np.array(kernel) * geometry.dilation - (centre_y, centre_x)).T * (scale - 1)
        offset = op.Add(op.Mul(offset, scale), _floats(np.tile(np.stack((rows, columns), -1).ravel(), groups)))
    mask = op.Gather(mask, _each_group(groups, points, there), axis=-1)
    if softmax:
        mask = _softmax(mask, groups, points)
    if geometry.remove_center:  # DeformConv has all points: the centre is sampled anywhere and weighs nothing
        position = {place: index for index, place in enumerate(place for place in kernel if place in number)}
        mask = op.Gather(mask, _each_group(groups, points, [position.get(place, 0) for place in kernel]), axis=-1)
    ones = np.array([place in number for place in kernel], np.float32).reshape(height, width)
    sampled = op.DeformConv(
        _channels_first(input),
        _floats(np.broadcast_to(ones, (channels, 1, height, width))),
        _channels_first(offset),
        None,
        _channels_first(mask),
        kernel_shape=geometry.kernel_size,
        strides=geometry.stride,
        pads=geometry.padding * 2,
        dilations=geometry.dilation,
        group=channels,
        offset_group=groups,
    )
    return op.Transpose(sampled, perm=[0, 2, 3, 1])


def convolution_grid_sample(input: Any, offset: Any, mask: Any, geometry: SamplingGeometry, softmax: bool) -> Any:
    """By ``GridSample``, group by group."""
    groups, points, channels = geometry.groups, geometry.points, input.shape[3]
    offset = _displacement(offset, geometry, order=(1, 0))
    if softmax:
        mask = _softmax(mask, groups, points)
    vertical = _floats(np.tile((0.0, 1.0), groups * points))  # 1 where a number is y
    across = _floats(np.tile((1.0, 0.0), groups * points))
    steps, starts = [], []
    for axis, which in ((0, vertical), (1, across)):
        size = op.Cast(_extent(input, 1 + axis), to=_FLOAT)
        place = op.Div(op.Add(op.Mul(_base(offset, geometry, axis), 2.0), 1.0), size)
        steps.append(op.Mul(op.Div(2.0, size), which))
        starts.append(op.Mul(op.Sub(place, 1.0), which))
    table = op.Add(op.Unsqueeze(starts[0], [1]), starts[1])
    grid = op.Add(op.Mul(offset, op.Add(*steps)), table)
    grid = op.Transpose(op.Reshape(grid, [0, -1, groups, 2 * points]), perm=[0, 2, 1, 3])
    weight = op.Transpose(op.Reshape(mask, [0, -1, groups, points]), perm=[0, 2, 1, 3])
    height, width = _extent(input, 1), _extent(input, 2)
    image = op.Reshape(_channels_first(input), _shape(-1, channels // groups, height, width))
    sampled = _grid_sampled(image, op.Reshape(grid, _shape(-1, op.Mul(*_outer(offset)), points, 2)))
    weighted = op.Mul(sampled, op.Reshape(weight, _shape(-1, 1, op.Mul(*_outer(offset)), points)))
    output = op.ReduceSum(weighted, [-1], keepdims=0)
    return op.Transpose(op.Reshape(output, _shape(-1, channels, *_outer(offset))), perm=[0, 2, 3, 1])


def convolution_gather(input: Any, offset: Any, mask: Any, geometry: SamplingGeometry, softmax: bool) -> Any:
    """By ``Gather`` of four pixels in a row of memory, without sampling operators."""
    groups, points = geometry.groups, geometry.points
    if softmax:
        mask = _softmax(mask, groups, points)
    order = np.arange(2 * groups * points).reshape(-1, 2).T.ravel()  # all x, then all y
    taps = [axis.tolist() for axis in geometry.taps(torch.float32, torch.device("cpu"))]
    offset = op.Gather(offset, integers(order), axis=-1)
    if geometry.offset_scale != 1:
        offset = op.Mul(offset, geometry.offset_scale)
    offset = op.Add(offset, _floats(np.concatenate([np.tile(taps[axis], groups) for axis in (1, 0)])))
    x, y = op.Split(offset, axis=-1, num_outputs=2)
    places = []
    for axis, moved in ((0, y), (1, x)):
        whole = op.Floor(moved)
        base = op.Unsqueeze(_base(offset, geometry, axis), [1]) if axis == 0 else _base(offset, geometry, axis)
        places.append(tuple(op.Reshape(each, [0, -1, groups, points]) for each in (op.Add(whole, base), op.Sub(moved, whole))))
    weight = op.Reshape(mask, [0, -1, groups, points])
    sampled = _gathered(input, groups, points, input.shape[3] // groups, places[0], places[1], weight)
    return op.Reshape(sampled, _shape(op.Shape(offset, start=0, end=3), input.shape[3]))


def attention_grid_sample(value: Any, location: Any, weight: Any, sizes: Sequence[tuple[Any, Any]]) -> Any:
    """By one ``GridSample`` a level."""
    heads, depth, points = value.shape[2], value.shape[3], weight.shape[4]
    grids = op.Transpose(op.Sub(op.Mul(location, 2.0), 1.0), perm=[3, 0, 2, 1, 4, 5])
    queries = _extent(location, 1)
    sampled = []
    for level, (part, height, width) in enumerate(_levels(value, sizes)):
        image = op.Reshape(op.Transpose(part, perm=[0, 2, 3, 1]), _shape(-1, depth, height, width))
        grid = op.Reshape(op.Gather(grids, integers(level)), _shape(-1, queries, points, 2))
        sampled.append(_grid_sampled(image, grid))
    by_head = op.Transpose(weight, perm=[0, 2, 1, 3, 4])
    by_head = op.Reshape(by_head, _shape(-1, 1, queries, points * len(sizes)))
    output = op.ReduceSum(op.Mul(op.Concat(*sampled, axis=-1), by_head), [-1], keepdims=0)
    return op.Transpose(op.Reshape(output, _shape(-1, heads * depth, queries)), perm=[0, 2, 1])


def attention_gather(value: Any, location: Any, weight: Any, sizes: Sequence[tuple[Any, Any]]) -> Any:
    """By one ``Gather`` a level."""
    heads, depth, points = value.shape[2], value.shape[3], weight.shape[4]
    output = None
    for level, (part, height, width) in enumerate(_levels(value, sizes)):
        here = op.Gather(location, integers(level), axis=3)
        places = []
        for axis, size in ((1, height), (0, width)):
            at = op.Sub(op.Mul(op.Gather(here, integers(axis), axis=-1), op.Cast(size, to=_FLOAT)), 0.5)
            whole = op.Floor(at)
            places.append((whole, op.Sub(at, whole)))
        image = op.Reshape(part, _shape(_extent(part, 0), height, width, heads * depth))
        found = _gathered(image, heads, points, depth, places[0], places[1], op.Gather(weight, integers(level), axis=3))
        output = found if output is None else op.Add(output, found)
    return output


def _gathered(image: Any, groups: int, points: int, depth: int, y: Any, x: Any, weight: Any) -> Any:
    """Weighted sums (N, Q, C) of samples of ``image`` (N, H, W, C) at (row, fraction) ``y`` and (column, fraction) ``x``.

    Rows, columns, fractions and weights are (N, Q, G, P).  Each pixel of a group lies beside its right, lower and
    lower right neighbours, so that a sample is one piece of memory.
    """
    framed = op.Pad(image, [FRAME] * 4, None, [1, 2])
    corners = []
    for top, left in ((0, 0), (0, 1), (1, 0), (1, 1)):
        first, last = [top, left], [top or -1, left or -1]
        corner = op.Slice(framed, first, [2**31 - 1 if end == 1 else end for end in last], [1, 2])
        corners.append(op.Reshape(corner, [0, 0, 0, groups, depth]))
    table = op.Concat(*corners, axis=-1)
    height, width = (op.Cast(_extent(table, axis), to=_INDEX) for axis in (1, 2))
    rows = []
    for axis, (whole, _) in ((1, y), (2, x)):
        size = op.Cast(op.Squeeze(_extent(image, axis)), to=_FLOAT)
        inside = op.Clip(whole, -float(FRAME), size)
        rows.append(op.Cast(op.Add(inside, float(FRAME)), to=_INDEX))
    batch = op.Range(_scalar(0), op.Squeeze(op.Cast(_extent(image, 0), to=_INDEX)), _scalar(1))
    start = op.Mul(op.Reshape(batch, [-1, 1, 1, 1]), op.Mul(height, width))
    pixel = op.Add(op.Add(op.Mul(rows[0], width), rows[1]), start)
    index = op.Add(op.Mul(pixel, _scalar(groups)), _ints32(np.arange(groups)[:, None]))
    samples = op.Gather(op.Reshape(table, [-1, 4 * depth]), index)
    bottom = op.Mul(weight, y[1])
    top = op.Sub(weight, bottom)
    top_right, bottom_right = op.Mul(top, x[1]), op.Mul(bottom, x[1])
    four = (op.Sub(top, top_right), top_right, op.Sub(bottom, bottom_right), bottom_right)
    weights = op.Concat(*(op.Unsqueeze(each, [-1]) for each in four), axis=-1)
    weights = op.Reshape(weights, [-1, 1, 4 * points])
    sums = op.MatMul(weights, op.Reshape(samples, [-1, 4 * points, depth]))
    return op.Reshape(sums, _shape(_extent(image, 0), -1, groups * depth))


def _displacement(offset: Any, geometry: SamplingGeometry, order: tuple[int, int]) -> Any:
    """Offsets, scaled, and the kernel's points, in pixels from its centre; ``order`` of the axes, 0 being y."""
    if geometry.offset_scale != 1:
        offset = op.Mul(offset, geometry.offset_scale)
    taps = [each.numpy() for each in geometry.taps(torch.float32, torch.device("cpu"))]
    return op.Add(offset, _floats(np.tile(np.stack([taps[axis] for axis in order], -1).ravel(), geometry.groups)))


def _base(offset: Any, geometry: SamplingGeometry, axis: int) -> Any:
    """(Ho, 1) or (Wo, 1): where the kernel's centre lies in the image, of each output row or column."""
    number = op.Squeeze(_extent(offset, 1 + axis))
    count = op.Cast(op.Range(_long(0), number, _long(1)), to=_FLOAT)
    start = float(geometry.centre()[axis] - geometry.padding[axis])
    return op.Unsqueeze(op.Add(op.Mul(count, float(geometry.stride[axis])), start), [1])


def _levels(value: Any, sizes: Sequence[tuple[Any, Any]]) -> list[tuple[Any, Any, Any]]:
    """Of each level its pixels (N, H * W, M, D), H and W, the latter as tensors (1,)."""
    pairs = [(length(height), length(width)) for height, width in sizes]
    levels, start = [], integers([0])
    for height, width in pairs:
        end = op.Add(start, op.Mul(height, width))
        part = value if len(pairs) == 1 else op.Slice(value, start, end, [1])
        levels.append((part, height, width))
        start = end
    return levels


def _grid_sampled(image: Any, grid: Any) -> Any:
    return op.GridSample(image, grid, align_corners=0, mode="linear", padding_mode="zeros")


def _softmax(mask: Any, groups: int, points: int) -> Any:
    return op.Reshape(op.Softmax(op.Reshape(mask, [0, 0, 0, groups, points]), axis=-1), [0, 0, 0, groups * points])


def _channels_first(maps: Any) -> Any:
    return op.Transpose(maps, perm=[0, 3, 1, 2])


def _outer(maps: Any) -> tuple[Any, Any]:
    return _extent(maps, 1), _extent(maps, 2)


def _extent(tensor: Any, axis: int) -> Any:
    """Its length along an axis, as a tensor (1,)."""
    return op.Shape(tensor, start=axis, end=axis + 1)


def length(size: Any) -> Any:
    return op.Reshape(op.Cast(size, to=ir.DataType.INT64), [1]) if isinstance(size, ir.Value) else integers([size])


def _shape(*extents: Any) -> Any:
    return op.Concat(*(integers([each]) if isinstance(each, int) else each for each in extents), axis=0)


def _each_group(groups: int, width: int, at: Sequence[int]) -> Any:
    """Indices ``at`` of each group of ``width`` numbers."""
    return integers((np.arange(groups)[:, None] * width + np.array(at)).ravel())


def integers(values: Any) -> Any:
    return op.Constant(value=ir.tensor(np.array(values, np.int64)))


def _ints32(values: Any) -> Any:
    return op.Constant(value=ir.tensor(np.array(values, np.int32)))


def _scalar(value: int) -> Any:
    return _ints32(value)


def _long(value: int) -> Any:
    return integers(value)


def _floats(values: Any) -> Any:
    return op.Constant(value=ir.tensor(np.ascontiguousarray(values, np.float32)))
