"""Multi-scale deformable attention in standard operators of ONNX, written two ways.

Tensors are laid out as those of :func:`internimage.ops.ms_deform_attn`; ``shapes`` is a tensor (2 L,) of heights and
widths.  Batch, queries and sizes may be symbolic.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from internimage.exporting.operators.nodes import FLOAT, Nodes
from internimage.exporting.operators.pixels import gathered, grid_sampled


def grid_sample(op: Nodes, value: Any, location: Any, weight: Any, shapes: Any) -> Any:
    """By one ``GridSample`` a level."""
    heads, depth, levels, points = value.shape[2], value.shape[3], weight.shape[3], weight.shape[4]
    grids = op.Transpose(op.Sub(op.Mul(location, 2.0), 1.0), perm=[3, 0, 2, 1, 4, 5])
    queries = op.extent(location, 1)
    sampled = []
    for level, (part, height, width) in enumerate(_levels(op, value, shapes, levels)):
        image = op.Reshape(op.Transpose(part, perm=[0, 2, 3, 1]), op.shape(-1, depth, height, width))
        grid = op.Reshape(op.Gather(grids, level), op.shape(-1, queries, points, 2))
        sampled.append(grid_sampled(op, image, grid))
    by_head = op.Reshape(op.Transpose(weight, perm=[0, 2, 1, 3, 4]), op.shape(-1, 1, queries, levels * points))
    output = op.ReduceSum(op.Mul(op.Concat(*sampled, axis=-1), by_head), [-1], keepdims=0)
    return op.Transpose(op.Reshape(output, op.shape(-1, heads * depth, queries)), perm=[0, 2, 1])


def gather(op: Nodes, value: Any, location: Any, weight: Any, shapes: Any) -> Any:
    """By one ``Gather`` a level."""
    heads, depth, levels, points = value.shape[2], value.shape[3], weight.shape[3], weight.shape[4]
    found = []
    for level, (part, height, width) in enumerate(_levels(op, value, shapes, levels)):
        here = op.Gather(location, level, axis=3)
        places = []
        for axis, size in ((1, height), (0, width)):
            position = op.Sub(op.Mul(op.Gather(here, axis, axis=-1), op.Cast(size, to=FLOAT)), 0.5)
            whole = op.Floor(position)
            places.append((whole, op.Sub(position, whole)))
        image = op.Reshape(part, op.shape(op.extent(part, 0), height, width, heads * depth))
        weights = op.Gather(weight, level, axis=3)
        found.append(gathered(op, image, (heads, points, depth), places[0], places[1], weights))
    return op.Sum(*found)


def _levels(op: Nodes, value: Any, shapes: Any, levels: int) -> Iterator[tuple[Any, Any, Any]]:
    """Of each level its pixels (N, H * W, M, D), H and W, the latter as tensors (1,)."""
    start = op.value([0])
    for level in range(levels):
        height, width = (op.Gather(shapes, [2 * level + axis]) for axis in (0, 1))
        end = op.Add(start, op.Mul(height, width))
        yield op.Slice(value, start, end, [1]), height, width
        start = end
