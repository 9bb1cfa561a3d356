"""Exported files against the models that they were made of, run without torch."""

import json
import re
import subprocess
import sys
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
import pytest
import torch
from helpers import classifiers, detectors, segmenters
from helpers.commands import run
from helpers.disks import small_files_only
from helpers.training import COLOURS, paint
from onnx import TensorProto, helper
from PIL import Image

import internimage as ii
from internimage.contracts import TaskExport, task_export
from internimage.description import ExportedDescription, ModelDescription
from internimage.errors import ConfigError, DataError, ExportError, FileWriteError
from internimage.exporting.accuracy import Accuracy, LowPrecision, read_split
from internimage.exporting.export import export
from internimage.exporting.low_precision import halve, quantise, recorded_feeds
from internimage.exporting.onnx_file import onnx_program, write_onnx
from internimage.exporting.openvino_file import placed_openvino
from internimage.exporting.parity import Parity, check_parity, checked_pictures
from internimage.exporting.predictor import ExportedPredictor
from internimage.exporting.reading import read_inside
from internimage.exporting.runtimes import open_exported
from internimage.exporting.torch_file import run_in_torch
from internimage.images import FitPreprocessing, ImageSource, Preprocessing, list_images
from internimage.settings.views import PredictionOptions, Window
from internimage.tasks.segmentation.export import ExportedSegmenter
from internimage.tasks.segmentation.pipeline import SegmentationPipeline

PACKAGED = {
    "classifier": "internimage_atto_clothing_128",
    "detector": "faster_rcnn_internimage_atto_bccd_320",
    "segmenter": "segformer_internimage_zepto_nuclei_384",
}
SMALL: dict[str, Any] = {
    "tiny classifier": classifiers.CONFIGS["small"][0],
    "cascade": detectors.SMALL_CASCADE,
    "mask": detectors.SMALL_MASK,
    "dino": detectors.SMALL_DINO,
    "mask_dino": detectors.SMALL_MASK_DINO,
    "composite": detectors.SMALL_COMPOSITE,
    **{name.removeprefix("small_"): config for name, config in segmenters.CONFIGS.items()},
    "segformer": replace(segmenters.CONFIGS["small_segformer"], window=None),
    "segformer in windows": segmenters.CONFIGS["small_segformer"],
    # with one channel in each of GroupNorm's groups, PyTorch's own rounding is 1e-3 on a picture that shows nothing
    "mask2former": replace(segmenters.CONFIGS["small_mask2former"], channels=128),
}


BLANK = Image.new("RGB", (97, 131), (127, 127, 127))


@dataclass(frozen=True)
class Made:
    """A model, and files: with functions for deformable operators, also taking pixels, without any, OpenVINO's."""

    predictor: ii.Predictor
    task: TaskExport
    functions: Path
    pixels: Path | None
    plain: Path
    openvino: Path
    description: ExportedDescription
    pictures: list[ImageSource]


def made(
    model: Any, folder: Path, pictures: list[ImageSource], frame: tuple[int, int] | None = None, **options: Any
) -> Made:
    predictor = ii.Predictor(model, device="cpu", **options)
    own = predictor.model.keeping(options["max_objects"]) if options else predictor.model
    task = task_export(predictor.spec)
    assert task is not None
    described = replace(own.description, config=asdict(own.config))
    description = ExportedDescription(predictor.spec.name, described, frame=frame)
    program = onnx_program(task.graph(own, frame))  # traced once
    copy, pixels = ir.to_proto(program.model), None
    if described.config.get("window") is None and frame is None:
        pixels, seen = folder / "pixels.onnx", described.preprocessing
        assert seen is not None
        read_inside(program.model, seen, task.pixels(described).ending)
        write_onnx(program, replace(description, pixels=True), pixels, "deform_conv", plain=False)
        program.model = ir.from_proto(copy)
    write_onnx(program, description, folder / "functions.onnx", "deform_conv", plain=False)
    write_onnx(program, description, folder / "plain.onnx", "grid_sample", plain=True)
    placed = placed_openvino(folder / "plain.onnx", folder)
    return Made(
        predictor, task, folder / "functions.onnx", pixels, folder / "plain.onnx", placed, description, pictures
    )


def small(name: str) -> Any:
    """With scores far enough from each other to have an order."""
    torch.manual_seed(0)
    model: Any = ii.create_model(SMALL[name])
    for layer, weight in model.named_parameters():
        if layer.endswith(("rpn.objectness.weight", "classifier.weight")):
            torch.nn.init.normal_(weight, std=0.3)
    seen = Preprocessing(72, 64) if "classifier" in name else FitPreprocessing(160, 256)
    model.description = replace(model.description, preprocessing=seen)
    return model.eval()


IN_CI = ("tiny classifier", "detector", "segformer")


@pytest.fixture(
    scope="module",
    params=[pytest.param(name, marks=[] if name in IN_CI else [pytest.mark.full]) for name in (*SMALL, *PACKAGED)],
)
def exported(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Made:
    """Of every architecture; and what is packaged, whose weights were learned."""
    name = request.param
    options = {"max_objects": 300} if name == "detector" else {}
    pictures = checked_pictures()[-5:]
    if name in ("cascade", "mask"):  # where nothing is shown, random weights find equal boxes: NMS may keep any
        pictures = checked_pictures()[-6:-1]
    return made(PACKAGED.get(name) or small(name), tmp_path_factory.mktemp("exported"), pictures, **options)


def test_results_agree_in_each_runtime(exported: Made) -> None:
    """Pictures of five sizes, none of them the example's, alone and in batches, one that shows nothing."""
    results = list(exported.predictor.stream(exported.pictures))
    for file in (
        ExportedPredictor(exported.functions),
        ExportedPredictor(exported.functions, own_operators=False),
        ExportedPredictor(exported.openvino),
        *([] if exported.pixels is None else [ExportedPredictor(exported.pixels)]),
    ):
        found = check_parity(results, file.stream(exported.pictures), exported.task.differences, exported.task.limits)
        assert found.agrees, f"{file.runtime}\n{found.table()}"
        assert found.pictures == 5
    assert {node.domain for node in onnx.load(exported.plain).graph.node} == {""}
    for file in (exported.functions, exported.plain):
        assert str(Path.cwd()).encode() not in file.read_bytes()  # no traces of this machine


def test_files_need_no_torch(exported: Made, tmp_path: Path) -> None:
    commands = [
        ["predict", str(checked_pictures()[0].value), "--model", str(exported.functions), "--save", str(tmp_path)],
        ["predict", str(checked_pictures()[0].value), "--model", str(exported.openvino), "--json"],
    ]
    script = (
        "import sys; from internimage.cli.main import main\n"
        f"for command in {commands!r}:\n"
        "    try: main(command)\n"
        "    except SystemExit as end: assert end.code == 0\n"
        "assert not {'torch', 'torchvision', 'openvino_telemetry.main'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", script], check=True, timeout=120)
    assert any(tmp_path.iterdir())


def test_batches(exported: Made) -> None:
    file = ExportedPredictor(exported.functions, batch_size=3)
    assert file([]) == []
    assert len(file([BLANK] * 4)) == 4
    if exported.pixels is not None:
        with pytest.raises(ConfigError, match="finished results"):
            ExportedPredictor(exported.pixels, augmentation=ii.TestTimeAugmentation())


@pytest.mark.parametrize("exported", ["detector"], indirect=True)
def test_blank_and_crowded_pictures(exported: Made) -> None:
    file = ExportedPredictor(exported.functions)
    assert len(file(BLANK)) == len(exported.predictor(BLANK)) == 0
    cells = np.asarray(checked_pictures()[0].read().resize((40, 40)))
    crowd = Image.fromarray(np.tile(cells, (8, 14, 1))[:, :533])
    ours, theirs = exported.predictor(crowd), file(crowd)
    assert len(ours) == len(theirs) == 300
    found = exported.task.differences(ours, theirs)
    assert all(found[name] <= limit for name, limit in exported.task.limits.items()), found
    tiled = ExportedPredictor(exported.functions, tiles=ii.Tiles(320))(crowd)
    found = exported.task.differences(ii.Predictor(exported.predictor.model, tiles=ii.Tiles(320))(crowd), tiled)
    assert found["boxes, pixels"] < 0.02
    assert found["objects without a partner"] == 0
    with pytest.raises(ConfigError, match="has its NMS inside"):
        ExportedPredictor(exported.functions, soft_nms=True)


@pytest.mark.parametrize("exported", ["detector"], indirect=True)
def test_files_are_measured_like_their_model(exported: Made, tmp_path: Path) -> None:
    """On what the model itself finds, with and without its pixels' scaling in the file."""
    photos, objects = checked_pictures()[:3], []
    for number, photo in enumerate(photos):
        photo.read().save(tmp_path / f"{number}.png")
        found = exported.predictor(tmp_path / f"{number}.png").filter(score_threshold=0.5)
        for (x1, y1, x2, y2), label in zip(found.boxes.tolist(), found.labels.tolist(), strict=True):
            one = {"id": len(objects), "image_id": number, "category_id": label, "bbox": [x1, y1, x2 - x1, y2 - y1]}
            objects.append(one)
    images = [{"id": number, "file_name": f"{number}.png"} for number in range(len(photos))]
    classes = [{"id": number, "name": name} for number, name in enumerate(exported.predictor.model.description.labels)]
    content = {"images": images, "annotations": objects, "categories": classes}
    (tmp_path / "val.json").write_text(json.dumps(content))
    assert exported.pixels is not None
    files = (exported.functions, exported.pixels)
    own, *others = [
        ii.evaluate(tmp_path, predictor).compute() for predictor in (exported.predictor, *map(ExportedPredictor, files))
    ]
    assert own["box_ap50"] > 0.5
    for other in others:
        assert other == pytest.approx(own, abs=1e-3)


NO_PADDING = ((512, 320), (256, 160))
FRAMES: dict[str, tuple[tuple[int, int], ...]] = {  # pictures that have no other padding in a frame than alone
    "tiny classifier": NO_PADDING,
    **dict.fromkeys(("cascade", "mask", "dino", "mask_dino", "composite"), (*NO_PADDING, (227, 131), (229, 160))),
    **dict.fromkeys(("upernet", "segformer", "mask2former"), NO_PADDING),
    "segformer in windows": (*NO_PADDING, (200, 150)),
}


@pytest.mark.parametrize(
    "name", [name if name in ("dino", "segformer") else pytest.param(name, marks=pytest.mark.full) for name in FRAMES]
)
def test_files_of_one_size(name: str, tmp_path: Path) -> None:
    """Results are the model's own where it pads alike, and otherwise those of its network on padded pictures."""
    model, frame = small(name), (160, 256)
    if name in ("tiny classifier", "segformer in windows"):
        frame = (64, 64)
    photo = checked_pictures()[0].read()
    alike = [ImageSource(str(size), photo.resize(size)) for size in FRAMES[name]]
    file = made(model, tmp_path, checked_pictures()[-6:-1], frame)
    network = ExportedPredictor(run_in_torch(file.task.graph(file.predictor.model, frame), file.description))
    for one in (file.functions, file.openvino):
        predictor = ExportedPredictor(one)
        for pictures, truth in ((alike, file.predictor), (file.pictures, network)):
            results = truth.stream(pictures)
            found = check_parity(results, predictor.stream(pictures), file.task.differences, file.task.limits)
            assert found.agrees, f"{predictor.runtime}\n{found.table()}"
    shape = onnx.load(file.functions).graph.input[0].type.tensor_type.shape
    assert [side.dim_value for side in shape.dim] == [1, 3, *frame]


def test_pictures_in_a_frame() -> None:
    """Around the network, against PyTorch: what a frame cuts away of a segmenter's map, and tells a detector."""
    picture, frame = checked_pictures()[0].read().resize((150, 260)), (160, 256)
    seen = FitPreprocessing(93, 160)(picture)
    assert seen.shape == (3, 160, 92)
    padded = torch.nn.functional.pad(seen, (0, 256 - 92))[None]
    for name in ("segformer", "mask"):
        model = small(name)
        predictor = ii.Predictor(model, device="cpu")
        task = task_export(predictor.spec)
        assert task is not None
        described = replace(model.description, config=asdict(model.config))
        description = ExportedDescription(predictor.spec.name, described, frame=frame)
        found: Any = ExportedPredictor(run_in_torch(task.graph(model, frame), description))(picture)
        with torch.inference_mode():
            if name == "mask":
                scale = torch.tensor([[92 / 150, 160 / 260, 92 / 150, 160 / 260]])
                (objects,) = model(padded, [(160, 92)], scale)
                np.testing.assert_allclose(found.boxes, objects.boxes, atol=1e-3)
                np.testing.assert_allclose(found.scores, objects.scores, atol=1e-6)
                assert found.boxes[:, 2].max() <= 150 + 1e-4
            else:
                whole = torch.nn.functional.interpolate(model(padded, coarse=True), size=frame, mode="bilinear")
                logits = torch.nn.functional.interpolate(whole[..., :160, :92], size=(260, 150), mode="bilinear")
                expected = logits[0].softmax(0).max(0)
                assert (found.label_map != expected.indices.numpy()).mean() < 1e-3
                np.testing.assert_allclose(found.confidence, expected.values, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "size", "said"),
    [
        ("tiny classifier", (64, 96), "squares, such as 64x64"),
        ("mask", (150, 256), "multiples of 32, such as 160x256"),
        ("segformer in windows", (160, 256), "windows of 64x64"),
        ("segformer", (16, 256), "32 pixels or more"),
    ],
)
def test_sizes_that_a_model_cannot_have(name: str, size: tuple[int, int], said: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=said):
        export(small(name), tmp_path / "m.onnx", size=size)
    assert not list(tmp_path.iterdir())


@pytest.mark.full
@pytest.mark.parametrize("to", ["onnx", "openvino"])
def test_mask_rcnn_by_the_command(to: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / f"m{'.onnx' if to == 'onnx' else '.xml'}"
    assert run(["export", "mask_rcnn_internimage_atto_nuclei_320", "--to", to, "--output", file]) == 0
    said = capfd.readouterr()
    assert "compared with the model on 9 pictures" in said.out
    assert str(file) in said.out
    names = {"m.onnx", "m.parity.json"} if to == "onnx" else {"m.xml", "m.bin", "m.parity.json"}
    assert {path.name for path in tmp_path.iterdir()} == names
    assert json.loads((tmp_path / "m.parity.json").read_text())["differences"]["objects without a partner"] == 0


@pytest.mark.full
@pytest.mark.parametrize("plain", [False, True])
def test_programs_of_pytorch(plain: bool, tmp_path: Path) -> None:
    """The gate compares their results; with standard operators they are loaded without this package."""
    written = export(PACKAGED["detector"], tmp_path / "m.pt2", to="torch-export", plain=plain)
    assert isinstance(written.comparison, Parity)
    assert written.comparison.agrees
    script = (
        f"import sys, torch, torchvision\n{'' if plain else 'import internimage.ops'}\n"
        f"nodes = torch.export.load({str(written.file)!r}, extra_files=(extra := {{'internimage': ''}})).graph.nodes\n"
        f"assert ('internimage' in sys.modules) != {plain} and 'RBC' in extra['internimage']\n"
        f"assert any('internimage' in str(node.target) for node in nodes) != {plain}\n"
        "assert not any(node.meta.get('stack_trace') for node in nodes)"
    )
    subprocess.run([sys.executable, "-c", script], check=True)
    with pytest.raises(ExportError, match="may execute what is in it"):
        ExportedPredictor(written.file)


@pytest.mark.full
@pytest.mark.parametrize("exported", PACKAGED, indirect=True)
def test_fewer_bits(exported: Made, tmp_path: Path) -> None:
    """Sampling stays exact; results stay near: an independent float32 run says how near."""
    photos = checked_pictures()[:6]
    feeds = recorded_feeds(exported.plain, exported.task, photos)
    quantise(exported.plain, tmp_path / "int8.onnx", feeds)
    quantise(exported.plain, tmp_path / "dynamic.onnx", None)
    halve(exported.functions, tmp_path / "half.onnx")
    size = exported.plain.stat().st_size
    exact = exported.predictor(photos)
    for name, smaller in (("int8", 0.7), ("dynamic", 0.9), ("half", 0.7)):
        file = tmp_path / f"{name}.onnx"
        assert file.stat().st_size < smaller * size
        assert open_exported(file).description.model.labels == exported.predictor.labels
        graph = onnx.load(file).graph
        made_by = {output: node.op_type for node in graph.node for output in node.output}
        kept = [node for node in graph.node if re.search(r"(sampling|offset|mask)/(MatMul|Gemm)", node.name)]
        assert kept
        assert {made_by.get(value) for node in kept for value in node.input} & {"DequantizeLinear"} == set()
        assert all(node.op_type in ("MatMul", "Gemm") for node in kept)
        if name == "int8":
            assert "DequantizeLinear" in made_by.values()
        for one, other in zip(exact, ExportedPredictor(file)(photos), strict=True):
            found = exported.task.differences(one, other)
            limits = {"logits, relative": 0.2, "scores": 0.2, "pixels of another class": 0.05}
            (value,) = (found[each] / limit for each, limit in limits.items() if each in found)
            assert value < (0.1 if name == "half" else 1), (name, found)


@pytest.mark.parametrize(
    "preprocessing",
    [
        FitPreprocessing(160, 256),
        FitPreprocessing(64, 100, multiple=32),
        Preprocessing(236, 224),
        Preprocessing(224, 224, "bilinear"),
        Preprocessing(64, 97),
        Preprocessing(128),
    ],
    ids=repr,
)
def test_pixels_become_what_the_preprocessing_gives(preprocessing: Preprocessing | FitPreprocessing) -> None:
    """Bit for bit, of pictures in any shape."""
    images, out = (ir.Value(name=name, type=ir.TensorType(ir.DataType.FLOAT)) for name in ("images", "out"))
    graph = ir.Graph([images], [out], nodes=[ir.Node("", "Identity", [images], outputs=[out])], opset_imports={"": 20})
    model = ir.Model(graph, ir_version=10)

    def ending(op: Any, outputs: Any, original: Any, seen: Any) -> Any:
        return {"seen": outputs["out"], "sizes": op.Concat(original, seen, axis=0)}

    read_inside(model, preprocessing, ending)
    session = onnxruntime.InferenceSession(ir.to_proto(model).SerializeToString())
    rng = np.random.default_rng(0)
    sizes_of_pictures = [(97, 131), (400, 448), (31, 200), (427, 640), (1, 1), (300, 3), (224, 224)]
    for height, width in sizes_of_pictures + [(1500, 3)] * (preprocessing != Preprocessing(128)):
        pixels = rng.integers(0, 256, (height, width, 3), np.uint8)
        pixels[:, : width // 2] = 255  # edges, where filters overshoot
        seen, sizes = session.run(None, {"picture": pixels})
        expected = preprocessing.array(Image.fromarray(pixels))
        np.testing.assert_array_equal(seen[0], expected)
        assert sizes.tolist() == [height, width, *expected.shape[1:]]


def test_accuracy_decides(tmp_path: Path) -> None:
    spec = ii.Predictor("internimage_atto_clothing_128", device="cpu").spec
    data = paint(tmp_path / "data", COLOURS)
    with pytest.raises(DataError, match=r"at most 12 labelled pictures in a part; .* told by 50 or more"):
        read_split(spec, data)
    for after, accepted, good in (
        (0.745, False, True),
        (0.73, False, False),
        (0.73, True, True),
        (float("nan"), False, False),
    ):
        assert Accuracy("val", 60, {"top1": 0.75}, {"top1": after}, accepted).agrees == good
    assert not Accuracy("val", 60, {"a": 0.5, "b": 0.5}, {"a": 0.5, "b": float("nan")}, False).agrees  # in any place
    assert not Accuracy("val", 60, {}, {}, False).agrees


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
    (tmp_path / "broken.xml").write_text("<net>")
    for name, message in (
        ("broken.onnx", "cannot be run by ONNX Runtime"),
        ("broken.xml", "cannot be run by OpenVINO"),
        ("none.onnx", "there is no file"),
        (foreign.parent, "there is no file"),
    ):
        with pytest.raises(ExportError, match=message):
            ExportedPredictor(tmp_path / name)
    with pytest.raises(ConfigError, match=r"m.onnx is an exported file: internimage.ExportedPredictor"):
        ii.Predictor(foreign)
    (tmp_path / "m.pth").write_bytes(b"")
    with pytest.raises(ExportError, match=r"expected \.onnx or OpenVINO's \.xml"):
        open_exported(tmp_path / "m.pth")


MODEL = "internimage_atto_clothing_128"


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"to": "caffe"}, ConfigError, "expected onnx or openvino or tensorrt"),
        ({"to": "openvino"}, ConfigError, r"m.onnx has another suffix than .xml"),
        ({"to": "openvino", "output": "m.xml", "plain": True}, ConfigError, "leave plain out"),
        ({"max_objects": 5}, ConfigError, "for detectors"),
        ({"layers": ["stage9"]}, ConfigError, "no layer is called stage9"),
        ({"pixels": True, "to": "openvino"}, ConfigError, "leave pixels out"),
        ({"layers": ["pooled"], "precision": LowPrecision("int8", "x")}, ConfigError, "leave precision or layers out"),
        ({"precision": LowPrecision("int8", "nosuch")}, DataError, "there is no folder or file nosuch"),
        ({"output": "/proc/none/m.onnx"}, FileWriteError, "cannot write /proc/none/m.onnx"),
    ],
)
def test_wrong_orders(options: dict[str, Any], error: type[Exception], message: str, tmp_path: Path) -> None:
    with pytest.raises(error, match=message):
        export(MODEL, **{"output": tmp_path / "m.onnx", **options})
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("config", "said"),
    [(segmenters.CONFIGS["small_segformer"], "in windows"), (classifiers.CONFIGS["small_inat"][0], "time and place")],
)
def test_models_that_need_more_than_pixels(config: Any, said: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=f"{said}.*leave pixels out"):
        export(ii.create_model(config), tmp_path / "m.onnx", pixels=True)
    assert not list(tmp_path.iterdir())


@pytest.mark.full
@pytest.mark.parametrize(("to", "name"), [("onnx", "m.onnx"), ("openvino", "m.xml"), ("torch-export", "m.pt2")])
def test_a_full_disk_leaves_nothing_half_written(to: Any, name: str, tmp_path: Path) -> None:
    with small_files_only(1_000_000), pytest.raises(FileWriteError, match=rf"cannot write .*{name}: "):
        export(MODEL, tmp_path / name, to=to)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["export", MODEL, "--dynamic"], "--dynamic belongs to --int8 DATA"),
        (["export", MODEL, "--int8", "a", "--half", "b"], "contradict each other"),
        (["predict", "x.jpg", "--model", "m.onnx", "--dtype", "bfloat16"], "leave --dtype out"),
        (["features", "x.jpg", "--model", "m.onnx", "--checkpoint", "w.pth"], "leave --checkpoint out"),
        (["evaluate", "--data", ".", "--model", "none.onnx"], "there is no file none.onnx"),
    ],
)
def test_wrong_commands(arguments: list[str | Path], said: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert run(arguments) == 1
    shown = capfd.readouterr().err
    assert said in shown
    assert len(shown.strip().splitlines()) == 1


@pytest.mark.full
def test_features_leave_pytorch(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    model: Any = ii.create_model("internimage_atto", num_classes=2)
    ii.save_model(model, tmp_path / "small")
    layers = ["stage1", "stage4", "pooled"]
    assert run(["export", tmp_path / "small", "--layers", *layers, "--output", tmp_path / "f.onnx"]) == 0
    assert "features, relative" in capfd.readouterr().out
    photos = str(Path(str(checked_pictures()[0].value)).parent)
    command = ["features", photos, "--average", "--layers", *layers, "--output"]
    for name, place in (("file", tmp_path / "f.onnx"), ("model", tmp_path / "small")):
        assert run([*command, tmp_path / f"{name}.npz", "--model", place]) == 0
    file, own = (np.load(tmp_path / f"{name}.npz") for name in ("file", "model"))
    assert file["images"].tolist() == own["images"].tolist() == [one.name for one in list_images(photos)]
    for name in layers:
        np.testing.assert_allclose(file[name], own[name], rtol=1e-4, atol=1e-5)
    with pytest.raises(ExportError, match="gives features and predicts nothing"):
        ExportedPredictor(tmp_path / "f.onnx")


def test_windows_and_scaling_equal_the_torch_pipeline(tmp_path: Path) -> None:
    """A network that averages 4 x 4 pixels stands for the graph, so that everything around it is compared."""
    options, window = PredictionOptions(), Window((32, 40), (20, 24))
    config = {"num_classes": 3, "window": asdict(window)}
    for own in (config, config | {"window": None}):
        description = ModelDescription("upernet", own, FitPreprocessing(60, 90))
        network = Averaging(window if own["window"] else None, description)

        def run_numpy(inputs: Any, network: Averaging = network) -> dict[str, Any]:
            return {"logits": network(torch.from_numpy(inputs["images"])).numpy()}

        exported = ExportedSegmenter(ExportedDescription("segmentation", description), run_numpy, options)
        pipeline: Any = SegmentationPipeline(network, options)
        source = checked_pictures()[0]
        picture = source.read().resize((150, 113))
        (ours,) = pipeline.predict([pipeline.prepare(picture)], [source], [None])
        (theirs,) = exported.predict([exported.prepare(picture)], [source], [None])
        assert theirs.label_map.shape == (113, 150)
        assert len(np.unique(ours.label_map)) > 1
        assert (ours.label_map != theirs.label_map).mean() < 1e-4
        np.testing.assert_allclose(theirs.confidence, ours.confidence, atol=1e-5)


class Averaging(torch.nn.Module):
    def __init__(self, window: Window | None, description: ModelDescription) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(1))
        self.config = SimpleNamespace(num_classes=3, window=window)
        self.description = description

    def forward(self, images: torch.Tensor, coarse: bool = True) -> torch.Tensor:
        return torch.nn.functional.avg_pool2d(images * self.weight, 4, ceil_mode=True).detach()
