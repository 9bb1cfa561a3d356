"""``torch.ops.internimage`` as nodes of ONNX, each one node, when PyTorch's exporter writes a graph."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from onnx import TensorProto
from onnx.defs import OpSchema
from onnxscript import opset20, values

from internimage.exporting.operators import DOMAIN
from internimage.ops.registration import geometry_of


def translations() -> Mapping[Any, Callable[..., Any]]:
    """For ``custom_translation_table`` of :func:`torch.onnx.export`."""
    operators = torch.ops.internimage
    return {
        operators.dcnv3.default: _dcnv3,
        operators.dcnv4.default: _dcnv4,
        operators.ms_deform_attn.default: _ms_deform_attn,
    }


def _dcnv3(input: Any, offset: Any, mask: Any, *arguments: Any) -> Any:
    return _node("DCNv3", {"input": input, "offset": offset, "mask": mask}, _attributes(arguments))


def _dcnv4(input: Any, packed: Any, *arguments: Any) -> Any:
    return _node("DCNv4", {"input": input, "packed": packed}, _attributes(arguments))


def _ms_deform_attn(value: Any, location: Any, weight: Any, shapes: Any) -> Any:
    op: Any = opset20  # whose types know no numbers, which become constants
    listed = op.Concat(*(op.Reshape(op.Cast(size, to=TensorProto.INT64), [1]) for size in shapes), axis=0)
    return _node("MSDeformAttn", {"value": value, "location": location, "weight": weight, "shapes": listed}, {})


def _attributes(arguments: tuple[Any, ...]) -> dict[str, Any]:
    geometry = geometry_of(arguments)
    return {
        "kernel_shape": geometry.kernel_size,
        "strides": geometry.stride,
        "pads": geometry.padding,
        "dilations": geometry.dilation,
        "groups": geometry.groups,
        "offset_scale": geometry.offset_scale,
        "remove_center": int(geometry.remove_center),
        "softmax": int(arguments[11]),
    }


def _node(name: str, inputs: Mapping[str, Any], attributes: Mapping[str, Any]) -> Any:
    kinds = {int: OpSchema.AttrType.INT, float: OpSchema.AttrType.FLOAT, tuple: OpSchema.AttrType.INTS}
    floats = ["tensor(float)", "tensor(float16)", "tensor(bfloat16)", "tensor(double)"]
    schema = OpSchema(
        name,
        DOMAIN,
        1,
        inputs=[OpSchema.FormalParameter(each, "S" if each == "shapes" else "T") for each in inputs],
        outputs=[OpSchema.FormalParameter("output", "T")],
        type_constraints=[("T", floats, ""), ("S", ["tensor(int64)"], "")],
        attributes=[OpSchema.Attribute(each, kinds[type(value)], "") for each, value in attributes.items()],
    )
    return values.Op(values.Opset(DOMAIN, 1), name, schema)(*inputs.values(), **attributes)
