"""From a graph with this package's operators to one of standard operators."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import onnx_ir as ir
from onnx_ir.passes.common import RemoveUnusedNodesPass

from internimage.exporting.operators import DOMAIN, SAMPLING_LAYER, Sampling, attention, convolution
from internimage.exporting.operators.nodes import Nodes
from internimage.ops.geometry import SamplingGeometry

_CONVOLUTIONS: Mapping[str, Callable[..., Any]] = {
    "grid_sample": convolution.grid_sample,
    "deform_conv": convolution.deform_conv,
    "gather": convolution.gather,
}
_ATTENTIONS: Mapping[str, Callable[..., Any]] = {
    "grid_sample": attention.grid_sample,
    "deform_conv": attention.grid_sample,  # DeformConv samples around each pixel of its input, attention anywhere
    "gather": attention.gather,
}


def expand(model: ir.Model, sampling: Sampling) -> None:
    """Replace the operators of ``DOMAIN``; their inputs' channels must be known, nothing else.

    Their nodes are named by the layer, with ``SAMPLING_LAYER`` below it.
    """
    model.functions.clear()
    graph = model.graph
    nodes = Nodes(graph)
    for node in [each for each in graph if each.domain == DOMAIN]:
        output = _written(nodes, node, node.inputs, sampling)
        written = nodes.take()
        layer, _, number = str(node.name).partition("/")
        for index, each in enumerate(written):
            each.name = f"{layer}.{SAMPLING_LAYER}/{each.op_type}_{number.rpartition('_')[2]}_{index}"
        graph.insert_before(node, written)
        old = node.outputs[0]
        output.name, output.shape, output.type = old.name, old.shape, old.type
        ir.convenience.replace_all_uses_with(old, output, replace_graph_outputs=True)
        graph.remove(node, safe=True)
    graph.opset_imports.pop(DOMAIN, None)
    RemoveUnusedNodesPass()(model)


def add_bodies(model: ir.Model, sampling: Sampling) -> None:
    """Give the operators of ``DOMAIN`` bodies: functions of standard operators, for runtimes that know them not.

    One for operators with equal attributes and channels; ``overload`` tells them apart (ONNX IR version 10).
    """
    bodies: dict[Any, ir.Function] = {}
    for node in [each for each in model.graph if each.domain == DOMAIN]:
        attributes = list(node.attributes.values())
        tensors: list[Any] = list(node.inputs)
        known = [
            None if value.shape is None else [one if isinstance(one, int) else None for one in value.shape]
            for value in tensors
        ]
        key = node.op_type, str(attributes), str(known)
        if key not in bodies:
            inputs = [
                ir.Value(name=f"input_{number}", shape=None if shape is None else ir.Shape(shape), type=value.type)
                for number, (value, shape) in enumerate(zip(tensors, known, strict=True))
            ]
            nodes = Nodes(None)
            output = _written(nodes, node, inputs, sampling)
            graph = ir.Graph(inputs, [output], nodes=nodes.take(), opset_imports={"": model.graph.opset_imports[""]})
            bodies[key] = ir.Function(
                DOMAIN,
                node.op_type,
                f"{len(bodies)}",
                graph=graph,
                attributes=[ir.Attr(each.name, each.type, None) for each in attributes],
            )
            model.functions[bodies[key].identifier()] = bodies[key]
        node.overload = bodies[key].overload
    model.ir_version = max(model.ir_version, 10)


def _written(nodes: Nodes, node: ir.Node, tensors: Sequence[Any], sampling: Sampling) -> Any:
    """The output of what a node does to the tensors, in standard operators."""
    if node.op_type == "MSDeformAttn":
        return _ATTENTIONS[sampling](nodes, *tensors)
    geometry = _geometry(node)
    others = tensors[1:] if node.op_type == "DCNv3" else _unpacked(nodes, tensors[1], geometry)
    return _CONVOLUTIONS[sampling](nodes, tensors[0], *others, geometry, bool(node.attributes["softmax"].as_int()))


def _geometry(node: ir.Node) -> SamplingGeometry:
    kernel, stride, padding, dilation = (
        tuple(node.attributes[name].as_ints()) for name in ("kernel_shape", "strides", "pads", "dilations")
    )
    groups, scale = node.attributes["groups"].as_int(), node.attributes["offset_scale"].as_float()
    remove_center = bool(node.attributes["remove_center"].as_int())
    return SamplingGeometry(kernel, stride, padding, dilation, groups, scale, remove_center)  # type: ignore[arg-type]


def _unpacked(nodes: Nodes, packed: Any, geometry: SamplingGeometry) -> tuple[Any, Any]:
    """Offsets and weights, as for DCNv3."""
    groups, points = geometry.groups, geometry.points
    blocks = np.arange(3 * groups * points).reshape(groups, 3 * points)
    offset, weight = (nodes.columns(packed, at.ravel()) for at in (blocks[:, : 2 * points], blocks[:, 2 * points :]))
    return offset, weight
