"""Graphs that take the 8-bit pixels of a picture and give finished results."""

from __future__ import annotations

import onnx_ir as ir

from internimage.contracts import Ending
from internimage.exporting.operators.nodes import Nodes
from internimage.exporting.runtimes import PICTURE
from internimage.images import FitPreprocessing, Preprocessing


def read_inside(model: ir.Model, preprocessing: Preprocessing | FitPreprocessing, ending: Ending) -> None:
    """Let a graph of normalised images take the pixels of one picture, and give results in its pixels.

    Args:
        model: with the input ``images`` (N, C, H, W), or (1, C, H, W).
        preprocessing: what becomes its beginning.
        ending: the task's, see :class:`internimage.contracts.PixelExport`.
    """
    graph, op = model.graph, Nodes(model.graph, "reading_constant")
    (images,) = graph.inputs
    sizes = ir.Shape(["picture_height", "picture_width", preprocessing.channels])
    picture = ir.Value(name=PICTURE, shape=sizes, type=ir.TensorType(ir.DataType.UINT8))
    seen = preprocessing.nodes(op, picture)
    graph.insert_before(next(iter(graph)), op.take())
    ir.convenience.replace_all_uses_with(images, seen)
    graph.inputs[:] = [picture]
    original, network = op.Shape(picture, start=0, end=2), op.Shape(seen, start=2, end=4)
    found = ending(op, {str(value.name): value for value in graph.outputs}, original, network)
    for value in graph.outputs:
        value.name = f"{value.name}_seen"
    outputs = {name: value if value.producer() is None else op.Identity(value) for name, value in found.items()}
    graph.extend(op.take())
    for name, value in outputs.items():
        value.name = name
    graph.outputs[:] = list(outputs.values())
