"""From a graph with this package's operators to one of standard operators."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import onnx_ir as ir
from onnx_ir.passes.common import RemoveUnusedNodesPass

from internimage.export.operators import Sampling, attention, convolution
from internimage.export.operators.nodes import Nodes
from internimage.ops.geometry import SamplingGeometry

DOMAIN = "internimage"
"""Of the operators ``DCNv3`` (input, offset, mask), ``DCNv4`` (input, packed) and ``MSDeformAttn`` (value, location,
weight, shapes), as in ``internimage.ops``."""

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
    """Replace the operators of ``DOMAIN``; their inputs' channels must be known, nothing else."""
    if sampling == "own":
        return
    graph = model.graph
    nodes = Nodes(graph)
    for node in [each for each in graph if each.domain == DOMAIN]:
        tensors = node.inputs
        if node.op_type == "MSDeformAttn":
            output = _ATTENTIONS[sampling](nodes, *tensors)
        else:
            geometry = _geometry(node)
            others = tensors[1:] if node.op_type == "DCNv3" else _unpacked(nodes, tensors[1], geometry)
            softmax = bool(node.attributes["softmax"].as_int())
            output = _CONVOLUTIONS[sampling](nodes, tensors[0], *others, geometry, softmax)
        graph.insert_before(node, nodes.take())
        old = node.outputs[0]
        output.name, output.shape, output.type = old.name, old.shape, old.type
        ir.convenience.replace_all_uses_with(old, output, replace_graph_outputs=True)
        graph.remove(node, safe=True)
    graph.opset_imports.pop(DOMAIN, None)
    RemoveUnusedNodesPass()(model)


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
