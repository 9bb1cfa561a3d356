"""What becomes of ``torch.ops.internimage`` when a graph is written as ONNX."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal

import numpy as np
import onnx
import torch
from onnx.defs import OpSchema
from onnxscript import opset20 as op
from onnxscript import values

from internimage.export import sampling as forms
from internimage.ops.geometry import SamplingGeometry
from internimage.ops.registration import geometry_of

Sampling = Literal["grid_sample", "deform_conv", "gather", "own"]
"""How the operators sample: three forms in standard operators, or the operators themselves, of another domain."""

DOMAIN = "internimage"
Table = Mapping[Any, Callable[..., Any]]
_CONVOLUTIONS = {
    "grid_sample": forms.convolution_grid_sample,
    "deform_conv": forms.convolution_deform_conv,
    "gather": forms.convolution_gather,
}
_ATTENTIONS = {
    "grid_sample": forms.attention_grid_sample,
    "deform_conv": forms.attention_grid_sample,  # samples lie anywhere, DeformConv's near a pixel each
    "gather": forms.attention_gather,
}


def translations(sampling: Sampling) -> Table:
    """For ``custom_translation_table`` of :func:`torch.onnx.export`."""
    convolution, attention = _CONVOLUTIONS.get(sampling, _own_convolution), _ATTENTIONS.get(sampling, _own_attention)

    def dcnv3(input: Any, offset: Any, mask: Any, *arguments: Any) -> Any:
        return convolution(input, offset, mask, geometry_of(arguments), arguments[11])

    def dcnv4(input: Any, packed: Any, *arguments: Any) -> Any:
        geometry = geometry_of(arguments)
        return convolution(input, *_unpacked(packed, geometry), geometry, arguments[11])

    def ms_deform_attn(value: Any, location: Any, weight: Any, shapes: Any) -> Any:
        return attention(value, location, weight, list(zip(shapes[::2], shapes[1::2], strict=True)))

    operators = torch.ops.internimage
    return {
        operators.dcnv3.default: dcnv3,
        operators.dcnv4.default: dcnv4,
        operators.ms_deform_attn.default: ms_deform_attn,
    }


def _unpacked(packed: Any, geometry: SamplingGeometry) -> tuple[Any, Any]:
    """Offsets and weights, as for DCNv3."""
    groups, points = geometry.groups, geometry.points
    blocks = np.arange(3 * groups * points).reshape(groups, 3 * points)
    parts = blocks[:, : 2 * points], blocks[:, 2 * points :]
    offset, weight = (op.Gather(packed, forms.integers(part.ravel()), axis=-1) for part in parts)
    return offset, weight


def _own_convolution(input: Any, offset: Any, mask: Any, geometry: SamplingGeometry, softmax: bool) -> Any:
    attributes = {
        "kernel_shape": geometry.kernel_size,
        "strides": geometry.stride,
        "pads": geometry.padding,
        "dilations": geometry.dilation,
        "groups": geometry.groups,
        "offset_scale": geometry.offset_scale,
        "remove_center": int(geometry.remove_center),
        "softmax": int(softmax),
    }
    return _own("DCNv3", ("input", "offset", "mask"), attributes)(input, offset, mask, **attributes)


def _own_attention(value: Any, location: Any, weight: Any, sizes: Any) -> Any:
    shapes = op.Concat(*(forms.length(size) for pair in sizes for size in pair), axis=0)
    return _own("MSDeformAttn", ("value", "location", "weight", "shapes"), {})(value, location, weight, shapes)


def _own(name: str, inputs: tuple[str, ...], attributes: Mapping[str, Any]) -> values.Op:
    """An operator of this package's domain."""
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
    return values.Op(values.Opset(DOMAIN, 1), name, schema)
