"""Bilinear samples of maps anywhere, with zeros around, in ONNX."""

from __future__ import annotations

from typing import Any

import numpy as np

from internimage.exporting.operators.nodes import FLOAT, INDEX, Nodes

_FRAME = 2  # of zeros around an image, into which positions are clipped


def grid_sampled(op: Nodes, image: Any, grid: Any) -> Any:
    return op.GridSample(image, grid, align_corners=0, mode="linear", padding_mode="zeros")


def gathered(op: Nodes, image: Any, sizes: tuple[int, int, int], y: Any, x: Any, weight: Any) -> Any:
    """Weighted sums (N, Q, G * D) of samples of ``image`` (N, H, W, G * D).

    Rows and columns are given as (pixel, fraction), pixels being whole numbers in float32.  They and the weights are
    (N, Q, G, P); ``sizes`` are (G, P, D).  A copy of the image has its right, lower and lower right neighbours beside
    each pixel of a group, so that a sample is one piece of memory.
    """
    groups, points, depth = sizes
    framed = op.Pad(image, [_FRAME] * 4, None, [1, 2])
    corners = []
    for top, left in ((0, 0), (0, 1), (1, 0), (1, 1)):
        ends = [2**31 - 1 if last else -1 for last in (top, left)]
        corners.append(op.Reshape(op.Slice(framed, [top, left], ends, [1, 2]), [0, 0, 0, groups, depth]))
    table = op.Concat(*corners, axis=-1)
    height, width = (op.Cast(op.extent(table, axis), to=INDEX) for axis in (1, 2))
    row, column = (
        op.Cast(
            op.Add(
                op.Clip(pixel, -float(_FRAME), op.Cast(op.Squeeze(op.extent(image, axis)), to=FLOAT)), float(_FRAME)
            ),
            to=INDEX,
        )
        for axis, pixel in ((1, y[0]), (2, x[0]))
    )
    batch = op.Cast(op.Range(0, op.Squeeze(op.extent(image, 0)), 1), to=INDEX)
    start = op.Mul(op.Unsqueeze(batch, [1, 2, 3]), op.Mul(height, width))
    place = op.Add(op.Add(op.Mul(row, width), column), start)
    index = op.Add(op.Mul(place, np.array(groups, np.int32)), np.arange(groups, dtype=np.int32)[:, None])
    samples = op.Gather(op.Reshape(table, [-1, 4 * depth]), index)
    bottom = op.Mul(weight, y[1])
    top = op.Sub(weight, bottom)
    top_right, bottom_right = op.Mul(top, x[1]), op.Mul(bottom, x[1])
    shares = (op.Sub(top, top_right), top_right, op.Sub(bottom, bottom_right), bottom_right)
    weights = op.Reshape(op.Concat(*(op.Unsqueeze(each, [-1]) for each in shares), axis=-1), [-1, 1, 4 * points])
    sums = op.MatMul(weights, op.Reshape(samples, [-1, 4 * points, depth]))
    return op.Reshape(sums, op.shape(op.extent(image, 0), -1, groups * depth))
