"""Our operators in ONNX Runtime: nodes of the domain ``internimage`` against the float64 definitions."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from helpers.goldens import near
from onnx import TensorProto, helper
from torch import Tensor

from internimage.errors import ExportError
from internimage.exporting.runtimes import OPERATORS, lacking_operators, open_exported
from internimage.ops.attention_reference import attention_reference
from internimage.ops.convolution_reference import convolution_reference
from internimage.ops.geometry import SamplingGeometry
from internimage.ops.native import build
from internimage.ops.packing import join_packed

INPUTS = {"DCNv3": "input offset mask", "DCNv4": "input packed", "MSDeformAttn": "value location weight shapes"}
PLAIN = SamplingGeometry((3, 3), (1, 1), (1, 1), (1, 1), 4, 1.0, False)
ODD = SamplingGeometry((2, 3), (2, 1), (1, 2), (2, 1), 2, 1.5, True)

pytestmark = pytest.mark.skipif(
    build.compiler() is None or os.environ.get("INTERNIMAGE_NATIVE") == "0",
    reason="these operators are compiled: there is no compiler, or they are left out",
)


def attributes(geometry: SamplingGeometry, softmax: bool = False) -> dict[str, Any]:
    return {
        "kernel_shape": geometry.kernel_size,
        "strides": geometry.stride,
        "pads": geometry.padding,
        "dilations": geometry.dilation,
        "groups": geometry.groups,
        "offset_scale": geometry.offset_scale,
        "remove_center": int(geometry.remove_center),
        "softmax": int(softmax),
    }


def model(operator: str, **given: Any) -> onnx.ModelProto:
    """A node with inputs of any shape."""
    names = INPUTS[operator].split()
    types = {name: TensorProto.INT64 if name == "shapes" else TensorProto.FLOAT for name in names}
    slots = [helper.make_tensor_value_info(name, kind, None) for name, kind in types.items()]
    node = helper.make_node(operator, names, ["output"], domain="internimage", **given)
    output = helper.make_tensor_value_info("output", TensorProto.FLOAT, None)
    opsets = [helper.make_opsetid("", 20), helper.make_opsetid("internimage", 1)]
    return helper.make_model(helper.make_graph([node], "g", slots, [output]), ir_version=10, opset_imports=opsets)


def session(made: onnx.ModelProto, threads: int = 1) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 4
    options.register_custom_ops_library(str(OPERATORS))
    return onnxruntime.InferenceSession(made.SerializeToString(), options, providers=["CPUExecutionProvider"])


def run(opened: onnxruntime.InferenceSession, *tensors: Tensor) -> Tensor:
    feeds = {slot.name: tensor.numpy() for slot, tensor in zip(opened.get_inputs(), tensors, strict=True)}
    return torch.from_numpy(opened.run(None, feeds)[0])


def convolution(geometry: SamplingGeometry, size: tuple[int, int, int], depth: int, reach: float) -> list[Tensor]:
    """Image, offsets and mask; offsets are multiples of 1/64, so that all agree on the pixels around a sample."""
    random = torch.Generator().manual_seed(0)
    place, samples = (size[0], *geometry.output_size(*size[1:])), geometry.groups * geometry.points
    image = torch.randn(*size, geometry.groups * depth, generator=random)
    offset = (torch.randn(*place, 2 * samples, generator=random) * reach * 64).round() / 64
    return [image, offset, torch.randn(*place, samples, generator=random)]


@pytest.mark.parametrize("softmax", [False, True])
@pytest.mark.parametrize(
    ("geometry", "depth", "reach"), [(PLAIN, 16, 1.0), (PLAIN, 16, 20.0), (ODD, 5, 3.0)], ids=["plain", "far", "odd"]
)
def test_convolutions(geometry: SamplingGeometry, depth: int, reach: float, softmax: bool) -> None:
    """At two sizes and batches, on one thread and on several."""
    dcnv3, dcnv4 = (model(name, **attributes(geometry, softmax)) for name in ("DCNv3", "DCNv4"))
    opened = [(session(dcnv3, threads), session(dcnv4, threads)) for threads in (1, 3)]
    for size in ((2, 21, 34), (1, 60, 53)):
        image, offset, mask = convolution(geometry, size, depth, reach)
        by_group = geometry.groups, geometry.points
        weight = mask.double().unflatten(-1, by_group).softmax(-1).flatten(-2) if softmax else mask.double()
        expected = convolution_reference(image.double(), offset.double(), weight, geometry).float()
        packed = join_packed(offset, mask, geometry.groups, -(-3 * geometry.groups * geometry.points // 8) * 8)
        for separate, together in opened:
            found = run(separate, image, offset, mask)
            near(found, expected, 1e-5)
            assert torch.equal(found, run(together, image, packed))
            assert torch.equal(found, run(opened[0][0], image, offset, mask))


@pytest.mark.parametrize("flat", [False, True])
def test_attention(flat: bool) -> None:
    opened = session(model("MSDeformAttn"), threads=2)
    for batch, shapes in ((2, [[9, 7], [4, 5], [1, 2]]), (1, [[30, 41]])):
        random = torch.Generator().manual_seed(0)
        place = batch, 57, 3, len(shapes), 4
        value = torch.randn(batch, sum(h * w for h, w in shapes), 3, 8, generator=random)
        location = torch.rand(*place, 2, generator=random).mul(1.4).sub(0.2).mul(4096).round().div(4096)
        weight, sizes = torch.randn(place, generator=random), torch.tensor(shapes)
        exact = (each.double() for each in (value, location, weight))
        expected = attention_reference(*exact, sizes.flatten().tolist()).float()
        near(run(opened, value, location, weight, sizes.flatten() if flat else sizes), expected, 1e-5)


def test_an_empty_batch() -> None:
    image, offset, mask = convolution(PLAIN, (0, 8, 8), 4, 1.0)
    assert run(session(model("DCNv3", **attributes(PLAIN))), image, offset, mask).shape == (0, 8, 8, 16)


@pytest.mark.parametrize(
    ("number", "wrong", "message"),
    [
        (0, (1, 8, 16), r"input is \(1, 8, 16\); expected \(any, any, any, any\)"),
        (0, (1, 8, 8, 15), r"input is \(1, 8, 8, 15\).* channels in 4 groups"),
        (0, (1, 1, 0, 16), r"input is \(1, 1, 0, 16\).* at least as large as the kernel"),
        (1, (1, 8, 8, 71), r"offset is \(1, 8, 8, 71\); expected \(1, 8, 8, 72\)"),
        (2, (2, 8, 8, 36), r"mask is \(2, 8, 8, 36\); expected \(1, 8, 8, 36\)"),
    ],
)
def test_tensors_that_do_not_fit(number: int, wrong: tuple[int, ...], message: str) -> None:
    tensors = convolution(PLAIN, (1, 8, 8), 4, 1.0)
    tensors[number] = torch.zeros(wrong)
    with pytest.raises(Exception, match=f"DCNv3: {message}"):
        run(session(model("DCNv3", **attributes(PLAIN))), *tensors)


@pytest.mark.parametrize(
    ("shapes", "points", "message"),
    [
        ([[3, 4], [2, 1]], 2, r"value is \(1, 13, 2, 4\); its pixels are not .*\(3, 4, 2, 1\)"),
        ([[13, 1], [-1, 0]], 2, r"value is \(1, 13, 2, 4\); its pixels are not"),
        ([[2**40, 2**40], [1, 1]], 2, r"value is \(1, 13, 2, 4\); its pixels are not"),
        ([[13, 1]], 2, r"shapes is \(1, 2\); expected \(2, 2\)"),
        ([[3, 4], [1, 1]], 0, r"weight is \(1, 5, 2, 2, 0\); expected at least one level and one point"),
        ([[3, 4], [1, 1]], 3, r"location is \(1, 5, 2, 2, 2, 2\); expected \(1, 5, 2, 2, 3, 2\)"),
    ],
)
def test_levels_that_do_not_fit(shapes: list[list[int]], points: int, message: str) -> None:
    tensors = torch.zeros(1, 13, 2, 4), torch.zeros(1, 5, 2, 2, 2, 2), torch.zeros(1, 5, 2, 2, points)
    with pytest.raises(Exception, match=f"MSDeformAttn: {message}"):
        run(session(model("MSDeformAttn")), *tensors, torch.tensor(shapes))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"groups": 0}, "attribute groups is 0; expected 1 to"),
        ({"strides": (1, -2)}, "attribute strides is -2"),
        ({"dilations": (2**40, 1)}, "attribute dilations is 1099511627776"),
        ({"kernel_shape": (3,)}, "attribute kernel_shape needs two numbers"),
        ({"kernel_shape": (3, 3, 3)}, "attribute kernel_shape: "),
        ({"kernel_shape": (1, 1), "remove_center": 1}, ".*no point to sample"),
        ({"offset_scale": None}, "attribute offset_scale: "),
    ],
)
def test_attributes_that_mean_nothing(wrong: dict[str, Any], message: str) -> None:
    given = {name: value for name, value in {**attributes(PLAIN), **wrong}.items() if value is not None}
    with pytest.raises(Exception, match=f"DCNv4: {message}"):
        session(model("DCNv4", **given))


def test_files_with_own_operators_say_what_they_need(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file, other = tmp_path / "m.onnx", tmp_path / "other.so"
    onnx.save(model("DCNv3", **attributes(PLAIN)), file)
    assert lacking_operators() is None
    with pytest.raises(ExportError, match="was not written by `internimage export`"):  # it was opened
        open_exported(file)
    monkeypatch.setattr("internimage.exporting.runtimes.OPERATORS", other)
    with pytest.raises(ExportError, match=r"m.onnx has operators of internimage's own.*other.so is missing"):
        open_exported(file)
    other.write_bytes(b"of another machine")
    with pytest.raises(ExportError, match=r"m.onnx has operators of internimage's own.* does not load here"):
        open_exported(file)


def test_any_onnx_runtime_may_inline_a_definition(tmp_path: Path) -> None:
    """A node may bring its definition as a function of the file: our kernel runs where there is one, it elsewhere."""
    made, tensors = model("DCNv3", **attributes(PLAIN)), convolution(PLAIN, (1, 8, 8), 4, 1.0)
    body, names = [helper.make_node("Neg", ["input"], ["output"])], INPUTS["DCNv3"].split()
    opsets, known = [helper.make_opsetid("", 20)], list(attributes(PLAIN))
    made.functions.append(
        helper.make_function("internimage", "DCNv3", names, ["output"], body, opsets, attributes=known)
    )
    elsewhere = onnxruntime.InferenceSession(made.SerializeToString(), providers=["CPUExecutionProvider"])
    assert np.array_equal(run(elsewhere, *tensors), -tensors[0])
    near(run(session(made), *tensors), run(session(model("DCNv3", **attributes(PLAIN))), *tensors), 0)
