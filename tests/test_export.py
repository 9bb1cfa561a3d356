"""Exported files against the model that they were made of, run without torch."""

import subprocess
import sys
from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper

from internimage.errors import ConfigError, ExportError
from internimage.exporting.export import export
from internimage.exporting.predictor import ExportedPredictor
from internimage.exporting.runtimes import open_exported


@pytest.fixture
def foreign(tmp_path: Path) -> Path:
    """A file of another program."""
    slots = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in "xy"]
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "g", slots[:1], slots[1:])
    onnx.save(helper.make_model(graph, ir_version=10, opset_imports=[helper.make_opsetid("", 20)]), tmp_path / "m.onnx")
    return tmp_path / "m.onnx"


def test_what_is_no_exported_model(foreign: Path, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="was not written by `internimage export`"):
        open_exported(foreign)
    (tmp_path / "broken.onnx").write_bytes(foreign.read_bytes()[:20])
    for name, message in (
        ("broken.onnx", "cannot be run by ONNX Runtime"),
        ("none.onnx", "there is no file"),
        (foreign.parent, "there is no file"),
    ):
        with pytest.raises(ExportError, match=message):
            ExportedPredictor(tmp_path / name)
    (tmp_path / "m.pth").write_bytes(b"")
    with pytest.raises(ExportError, match=r"expected \.onnx or OpenVINO's \.xml"):
        open_exported(tmp_path / "m.pth")


def test_wrong_orders(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="expected onnx or openvino"):
        export("internimage_atto_clothing_128", tmp_path / "m.onnx", to="caffe")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=r"m.xml has another suffix than .onnx"):
        export("internimage_atto_clothing_128", tmp_path / "m.xml")


@pytest.mark.full
@pytest.mark.parametrize("to", ["onnx", "openvino"])
@pytest.mark.parametrize(
    "name",
    ["internimage_atto_clothing_128", "mask_rcnn_internimage_atto_nuclei_320", "faster_rcnn_internimage_atto_bccd_320"],
)
def test_results_agree_and_need_no_torch(name: str, to: str, tmp_path: Path) -> None:
    written = export(name, tmp_path / f"m{'.onnx' if to == 'onnx' else '.xml'}", to=to)  # type: ignore[arg-type]
    assert written.comparison.agrees, written.comparison.table()
    assert written.comparison.pictures >= 9
    assert {path.name for path in tmp_path.iterdir()} <= {"m.onnx", "m.xml", "m.bin"}
    assert str(Path.cwd()).encode() not in written.file.read_bytes()  # no traces of this machine
    script = (
        "import sys; from internimage.exporting.predictor import ExportedPredictor\n"
        f"predict = ExportedPredictor({str(written.file)!r})\n"
        "from internimage.exporting.parity import checked_pictures\n"
        "print(len(predict(checked_pictures()))); assert not {'torch', 'torchvision'} & set(sys.modules)"
    )
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert int(ended.stdout) == written.comparison.pictures
