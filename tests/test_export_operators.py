"""The deformable operators in ONNX, each way of writing them, against their definitions in float64."""

from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

from internimage.contracts import Graph
from internimage.description import ExportedDescription, ModelDescription
from internimage.exporting.onnx_file import onnx_program, write_onnx
from internimage.exporting.operators import DOMAIN, Sampling
from internimage.exporting.operators.expanding import add_bodies, expand
from internimage.ops import dcnv3, dcnv4, ms_deform_attn
from internimage.ops.attention_reference import attention_reference
from internimage.ops.convolution_reference import convolution_reference
from internimage.ops.geometry import SamplingGeometry
from internimage.ops.packing import join_packed

PROVIDERS = ["CPUExecutionProvider"]
FORMS = ("grid_sample", "deform_conv", "gather")
CONVOLUTIONS = [  # kernel, stride, padding, dilation, groups, scale, without centre; softmax; channels of a group
    ((3, 3), (1, 1), (1, 1), (1, 1), 2, 1.0, False, True, 3),
    ((3, 3), (1, 1), (1, 1), (1, 1), 4, 2.0, False, False, 2),
    ((2, 3), (2, 1), (1, 2), (2, 1), 2, 1.5, True, True, 3),
    ((5, 4), (1, 2), (2, 0), (1, 1), 1, 0.5, True, False, 1),
    ((1, 1), (1, 1), (0, 0), (1, 1), 3, 1.0, False, False, 5),
    ((3, 3), (2, 2), (1, 1), (3, 2), 2, 1.0, True, True, 4),
]
SIZES = ((2, 9, 8), (1, 12, 15))


def run(nodes: list[onnx.NodeProto], constants: dict[str, Tensor], feeds: dict[str, Tensor], form: Sampling) -> Tensor:
    """Output "y" of nodes that know of their inputs no batch, height, width, nor number of pixels and queries."""
    free = {name: [f"{name}{axis}" for axis in range(3)] + list(one.shape[3:]) for name, one in feeds.items()}
    if "shapes" in feeds:
        free = {name: [f"{name}0", f"{name}1", *one.shape[2:]] for name, one in feeds.items()}
        free["shapes"] = list(feeds["shapes"].shape)
    kinds = {torch.int64: TensorProto.INT64, torch.float32: TensorProto.FLOAT}
    slots = [helper.make_tensor_value_info(name, kinds[feeds[name].dtype], free[name]) for name in feeds]
    weights = [numpy_helper.from_array(one.numpy(), name) for name, one in constants.items()]
    output = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    graph = helper.make_graph(nodes, "g", slots, [output], weights)
    opsets = [helper.make_opsetid("", 20), helper.make_opsetid(DOMAIN, 1)]
    written = helper.make_model(graph, ir_version=10, opset_imports=opsets)
    found = []
    for write in (expand, add_bodies):  # into the graph, or as functions, which ONNX Runtime takes apart
        model = ir.from_proto(written)
        write(model, form)
        assert ({node.domain for node in model.graph} == {""}) == (write is expand)
        session = onnxruntime.InferenceSession(ir.to_proto(model).SerializeToString(), providers=PROVIDERS)
        found += session.run(None, {name: one.numpy() for name, one in feeds.items()})
    near(torch.from_numpy(found[1]), torch.from_numpy(found[0]))
    return torch.from_numpy(np.asarray(found[0]))


def own(operator: str, inputs: list[str], geometry: SamplingGeometry, softmax: bool) -> onnx.NodeProto:
    return helper.make_node(
        operator,
        inputs,
        ["y"],
        domain=DOMAIN,
        kernel_shape=geometry.kernel_size,
        strides=geometry.stride,
        pads=geometry.padding,
        dilations=geometry.dilation,
        groups=geometry.groups,
        offset_scale=geometry.offset_scale,
        remove_center=int(geometry.remove_center),
        softmax=int(softmax),
    )


def tensors(geometry: SamplingGeometry, depth: int, size: tuple[int, int, int]) -> tuple[Tensor, Tensor, Tensor]:
    """Input, offsets that often lead out of the picture, and weights of any size."""
    samples = geometry.groups * geometry.points
    out = size[0], *geometry.output_size(*size[1:])
    return (
        torch.randn(*size, geometry.groups * depth),
        torch.randn(*out, 2 * samples) * 4,
        torch.randn(*out, samples) * 3,
    )


def definition(input: Tensor, offset: Tensor, mask: Tensor, geometry: SamplingGeometry, softmax: bool) -> Tensor:
    mask = mask.double()
    if softmax:
        mask = mask.unflatten(-1, (geometry.groups, geometry.points)).softmax(-1).flatten(-2)
    return convolution_reference(input.double(), offset.double(), mask, geometry)


def near(found: Tensor, expected: Tensor) -> None:
    assert found.shape == expected.shape
    assert (found - expected).abs().max() < 1e-5 * expected.abs().max()


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("case", range(len(CONVOLUTIONS)))
def test_convolutions(case: int, form: Sampling) -> None:
    torch.manual_seed(case)
    *numbers, softmax, depth = CONVOLUTIONS[case]
    geometry = SamplingGeometry(*numbers)  # type: ignore[arg-type]
    for size in SIZES:
        input, offset, mask = tensors(geometry, depth, size)
        expected = definition(input, offset, mask, geometry, softmax)
        node = own("DCNv3", ["input", "offset", "mask"], geometry, softmax)
        near(run([node], {}, {"input": input, "offset": offset, "mask": mask}, form), expected)
        packed = join_packed(offset, mask, geometry.groups, 3 * mask.shape[-1] + 5)
        node = own("DCNv4", ["input", "packed"], geometry, softmax)
        near(run([node], {}, {"input": input, "packed": packed}, form), expected)


@pytest.mark.parametrize("form", FORMS)
def test_attention(form: Sampling) -> None:
    torch.manual_seed(0)
    for batch, height, width in SIZES:
        shapes = torch.tensor([height, width, 3, 4, 1, 1])
        value = torch.randn(batch, height * width + 13, 3, 5)
        location, weight = torch.rand(batch, 7, 3, 3, 4, 2) * 2 - 0.5, torch.randn(batch, 7, 3, 3, 4)
        expected = attention_reference(value.double(), location.double(), weight.double(), shapes.tolist())
        names = ["value", "location", "weight", "shapes"]
        node = helper.make_node("MSDeformAttn", names, ["y"], domain=DOMAIN)
        near(run([node], {}, dict(zip(names, (value, location, weight, shapes), strict=True)), form), expected)


@pytest.mark.parametrize("form", FORMS)
def test_linear_layers_take_over_order_scale_and_points(form: Sampling) -> None:
    torch.manual_seed(0)
    geometry, softmax = SamplingGeometry((3, 3), (1, 1), (1, 1), (1, 1), 2, 2.0, False), True
    input, offset, mask = tensors(geometry, 4, (1, 6, 5))
    context = torch.randn(1, 6, 5, 7)
    constants, nodes = {}, []
    for name, width in (("offset", offset.shape[-1]), ("mask", mask.shape[-1])):
        constants |= {f"{name}.weight": torch.randn(7, width), f"{name}.bias": torch.randn(width)}
        nodes.append(helper.make_node("MatMul", ["context", f"{name}.weight"], [f"{name}.product"]))
        nodes.append(helper.make_node("Add", [f"{name}.product", f"{name}.bias"], [name]))
    offset, mask = (context @ constants[f"{name}.weight"] + constants[f"{name}.bias"] for name in ("offset", "mask"))
    nodes.append(own("DCNv3", ["input", "offset", "mask"], geometry, softmax))
    found = run(nodes, constants, {"input": input, "context": context}, form)
    near(found, definition(input, offset, mask, geometry, softmax))


class Together(nn.Module):
    def forward(self, input: Tensor, offset: Tensor, mask: Tensor, packed: Tensor) -> Tensor:
        first = dcnv3(input, offset, mask, groups=2, offset_scale=2.0, remove_center=True, softmax=True)
        second = dcnv4(first, packed, groups=2, remove_center=True)
        height, width = input.shape[1:3]
        location = offset.sigmoid()[..., :4].reshape(1, -1, 2, 1, 1, 2)
        weight = mask[..., :2].reshape(1, -1, 2, 1, 1)
        return ms_deform_attn(second.reshape(1, -1, 2, 3), [(height, width)], location, weight)


def test_what_pytorch_exports_is_translated(tmp_path: Path) -> None:
    torch.manual_seed(0)
    sizes = {"input": 6, "offset": 32, "mask": 16, "packed": 48}
    inputs = {name: torch.randn(1, 5, 6, width) for name, width in sizes.items()}
    varying = {name: {1: "height", 2: "width"} for name in inputs}
    graph = Graph(Together(), inputs, ("sampled",), varying)
    about = ExportedDescription("none", ModelDescription("none"))
    write_onnx(onnx_program(graph), about, tmp_path / "m.onnx", "gather", plain=True)
    session = onnxruntime.InferenceSession(tmp_path / "m.onnx", providers=PROVIDERS)
    other = {name: torch.randn(1, 8, 7, width) for name, width in sizes.items()}
    (found,) = session.run(None, {name: one.numpy() for name, one in other.items()})
    near(torch.from_numpy(found), Together()(*other.values()))
