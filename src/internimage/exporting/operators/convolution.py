"""DCNv3 and DCNv4 in standard operators of ONNX, written three ways.  All compute the definition of ``ops``.

Tensors are laid out as those of :func:`internimage.ops.dcnv3`; batch and sizes of images may be symbolic.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from internimage.exporting.operators.nodes import FLOAT, Nodes
from internimage.exporting.operators.pixels import gathered, grid_sampled
from internimage.ops.geometry import SamplingGeometry


def deform_conv(op: Nodes, input: Any, offset: Any, mask: Any, geometry: SamplingGeometry, softmax: bool) -> Any:
    """By ``DeformConv`` with a kernel of ones, whose points run row by row and whose offsets are (y, x)."""
    height, width = geometry.kernel_size
    groups, points, channels = geometry.groups, geometry.points, input.shape[3]
    point = {place: number for number, place in enumerate(geometry.kernel())}
    kernel = [(row, column) for row in range(height) for column in range(width)]
    there = [place for place in kernel if place in point]
    flipped = [2 * point.get(place, 0) + axis for place in kernel for axis in (1, 0)]
    stretched = (np.array(kernel) * geometry.dilation - geometry.centre()) * (geometry.offset_scale - 1)
    offset = op.columns(
        offset,
        _each_group(groups, 2 * points, flipped),
        geometry.offset_scale,
        np.tile(stretched.ravel(), groups),
    )
    mask = op.columns(mask, _each_group(groups, points, [point[place] for place in there]))
    mask = _softmax(op, mask, groups, points) if softmax else mask
    if geometry.remove_center:  # DeformConv has all points: the centre is sampled anywhere and weighs nothing
        at = [there.index(place) if place in point else 0 for place in kernel]
        mask = op.columns(mask, _each_group(groups, points, at))
    ones = np.array([place in point for place in kernel], np.float32).reshape(height, width)
    sampled = op.DeformConv(
        _channels_first(op, input),
        np.broadcast_to(ones, (channels, 1, height, width)),
        _channels_first(op, offset),
        None,
        _channels_first(op, mask),
        kernel_shape=geometry.kernel_size,
        strides=geometry.stride,
        pads=geometry.padding * 2,
        dilations=geometry.dilation,
        group=channels,
        offset_group=groups,
    )
    return op.Transpose(sampled, perm=[0, 2, 3, 1])


def grid_sample(op: Nodes, input: Any, offset: Any, mask: Any, geometry: SamplingGeometry, softmax: bool) -> Any:
    """By ``GridSample``, group by group."""
    groups, points, channels = geometry.groups, geometry.points, input.shape[3]
    out_height, out_width, height, width = (op.extent(each, axis) for each in (offset, input) for axis in (1, 2))
    pixels = op.Mul(out_height, out_width)
    is_y = np.tile(np.array([0.0, 1.0], np.float32), groups * points)
    moved = op.columns(offset, np.arange(2 * groups * points), geometry.offset_scale, _taps(geometry, (1, 0)))
    steps, starts = [], []
    for axis, size, chosen in ((0, height, is_y), (1, width, 1 - is_y)):
        size = op.Cast(size, to=FLOAT)
        start = op.Sub(op.Div(op.Add(op.Mul(_base(op, offset, geometry, axis), 2.0), 1.0), size), 1.0)
        steps.append(op.Mul(op.Div(2.0, size), chosen))
        starts.append(op.Mul(start, chosen))
    grid = op.Add(op.Mul(moved, op.Add(*steps)), op.Add(*starts))
    grid = op.Transpose(op.Reshape(grid, [0, -1, groups, points, 2]), perm=[0, 2, 3, 1, 4])
    mask = _softmax(op, mask, groups, points) if softmax else mask
    weight = op.Transpose(op.Reshape(mask, [0, -1, groups * points]), perm=[0, 2, 1])
    image = op.Reshape(_channels_first(op, input), op.shape(-1, channels // groups, height, width))
    sampled = grid_sampled(op, image, op.Reshape(grid, op.shape(-1, points, pixels, 2)))
    weighted = op.Mul(sampled, op.Reshape(weight, op.shape(-1, 1, points, pixels)))
    output = op.Reshape(op.ReduceSum(weighted, [2], keepdims=0), op.shape(-1, channels, out_height, out_width))
    return op.Transpose(output, perm=[0, 2, 3, 1])


def gather(op: Nodes, input: Any, offset: Any, mask: Any, geometry: SamplingGeometry, softmax: bool) -> Any:
    """By ``Gather``, without a sampling operator."""
    groups, points = geometry.groups, geometry.points
    order = np.arange(2 * groups * points).reshape(-1, 2).T.ravel()  # all x, then all y
    moved = op.columns(offset, order, geometry.offset_scale, _taps(geometry, (1, 0))[order])
    x, y = op.Split(moved, axis=-1, num_outputs=2, outputs=2)
    places = []
    for axis, displacement in ((0, y), (1, x)):
        whole = op.Floor(displacement)
        pixel = op.Add(whole, _base(op, offset, geometry, axis))
        places.append([op.Reshape(each, [0, -1, groups, points]) for each in (pixel, op.Sub(displacement, whole))])
    mask = _softmax(op, mask, groups, points) if softmax else mask
    weight = op.Reshape(mask, [0, -1, groups, points])
    sampled = gathered(op, input, (groups, points, input.shape[3] // groups), places[0], places[1], weight)
    return op.Reshape(sampled, op.shape(op.Shape(offset, start=0, end=3), input.shape[3]))


def _taps(geometry: SamplingGeometry, axes: tuple[int, int]) -> Any:
    """The kernel's points around its centre, as offsets are laid out; ``axes`` in their order, 0 being y."""
    taps = geometry.taps(torch.float32, torch.device("cpu"))
    return np.tile(np.stack([taps[axis].numpy() for axis in axes], -1).ravel(), geometry.groups)


def _base(op: Nodes, offset: Any, geometry: SamplingGeometry, axis: int) -> Any:
    """(Ho, 1, 1) or (Wo, 1): where the kernel's centre lies in the image, of each output row or column."""
    number = op.Squeeze(op.extent(offset, 1 + axis))
    count = op.Cast(op.Range(0, number, 1), to=FLOAT)
    start = float(geometry.centre()[axis] - geometry.padding[axis])
    return op.Unsqueeze(op.Add(op.Mul(count, float(geometry.stride[axis])), start), [1, 2] if axis == 0 else [1])


def _softmax(op: Nodes, mask: Any, groups: int, points: int) -> Any:
    by_group = op.Softmax(op.Reshape(mask, [0, 0, 0, groups, points]), axis=-1)
    return op.Reshape(by_group, [0, 0, 0, groups * points])


def _channels_first(op: Nodes, maps: Any) -> Any:
    return op.Transpose(maps, perm=[0, 3, 1, 2])


def _each_group(groups: int, width: int, at: Sequence[int]) -> Any:
    """Indices ``at`` of each group of ``width`` numbers."""
    return (np.arange(groups)[:, None] * width + np.array(at)).ravel()
