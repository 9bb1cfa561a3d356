"""Boxes in space as results: in files of nuScenes' format, as JSON and text, and in reports."""

import json
import math
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from internimage.data.samples import EvaluationSample, Measured
from internimage.driving.boxes3d.evaluation import BoxReport, measure_submission
from internimage.driving.data.frames import NUSCENES_CLASSES, Frame, Frames
from internimage.driving.data.nuscenes_classes import likely_attributes
from internimage.driving.geometry.boxes import Boxes, GlobalBoxes, in_global
from internimage.driving.geometry.poses import Pose
from internimage.driving.results.boxes3d import FoundBoxes
from internimage.driving.results.submission import Meta, NuScenesWriter, SubmissionWriter
from internimage.driving.results.submission_reading import is_submission, read_submission
from internimage.errors import DataError
from internimage.images import ImageSource
from internimage.results.output import Output, Picture
from internimage.settings.views import DisplayOptions, ReportOptions

EGO = Pose.from_quaternion(np.array([0.8, 0.01, -0.02, 0.6]) / np.linalg.norm([0.8, 0.01, -0.02, 0.6]), [600, 900, 1])
LIDAR = Pose.from_quaternion([math.sqrt(0.5), 0, 0, -math.sqrt(0.5)], [0.94, 0, 1.84])


def some_boxes(seed: int, count: int, classes: int = 10) -> Boxes:
    random = np.random.default_rng(seed)
    return Boxes(
        random.normal(0, (20, 20, 1), (count, 3)),
        random.uniform(0.5, 5, (count, 3)),
        random.uniform(-math.pi, math.pi, count),
        random.normal(0, 0.3, (count, 2)),
        random.integers(classes, size=count),
        np.sort(random.uniform(0.05, 0.95, count))[::-1].round(3),
    )


def frame(token: str, truth: Boxes | None = None, time: int = 0) -> Frame:
    known = None
    if truth is not None:
        there = in_global(truth, EGO @ LIDAR, likely_attributes(NUSCENES_CLASSES, truth.labels, np.zeros(len(truth))))
        known = replace(there, points=np.full(len(truth), 4))
    return Frame(token, "scene-1", time, EGO, LIDAR, (), truth=known)


def result(seed: int, count: int = 12, token: str = "a", names: tuple[str, ...] = NUSCENES_CLASSES) -> FoundBoxes:
    return FoundBoxes(some_boxes(seed, count, len(names)), names, frame(token), ImageSource("front.jpg", "front.jpg"))


def written(path: Path, *results: FoundBoxes) -> Path:
    writer = SubmissionWriter(path, NUSCENES_CLASSES, Meta(use_external=True))
    for one in results:
        writer.add(one)
    (file,) = writer.close()
    return file


def test_file_of_results(tmp_path: Path) -> None:
    """Each box through matrices, the far ones left out; what is read is what was written."""
    found = result(0, 60)
    content = json.loads(written(tmp_path / "deep" / "results.json", found, result(1, 0, "b")).read_text())
    assert content["meta"] == {
        "use_camera": True, "use_lidar": False, "use_radar": False, "use_map": False, "use_external": True,
    }  # fmt: skip
    assert content["results"]["b"] == []
    ranges = {"pedestrian": 40, "motorcycle": 40, "bicycle": 40, "traffic_cone": 30, "barrier": 30}
    expected, whole = [], EGO.matrix @ LIDAR.matrix
    for i, (x, y, z) in enumerate(found.boxes.centres.tolist()):
        ahead, left, *_ = LIDAR.matrix @ [x, y, z, 1]
        if math.hypot(ahead, left) <= ranges.get(found.name(i), 50):
            expected.append((i, (whole @ [x, y, z, 1])[:3], (whole @ [*found.boxes.velocities[i], 0, 0])[:2]))
    assert 0 < len(expected) < 60
    for entry, (i, centre, velocity) in zip(content["results"]["a"], expected, strict=True):
        assert (entry["sample_token"], entry["detection_name"]) == ("a", found.name(i))
        np.testing.assert_allclose(entry["translation"], centre, atol=1e-9)
        np.testing.assert_allclose(entry["velocity"], velocity, atol=1e-12)
        assert (entry["size"], entry["detection_score"]) == (found.boxes.sizes[i].tolist(), found.boxes.scores[i])
        heading = Pose.from_quaternion(entry["rotation"], [0, 0, 0]).rotation[:, 0]
        yaw = found.boxes.yaws[i]
        np.testing.assert_allclose(heading, (whole @ [math.cos(yaw), math.sin(yaw), 0, 0])[:3], atol=1e-12)
        speed, kind = np.hypot(*velocity), found.name(i)
        moving = {"pedestrian": "pedestrian.moving", "bus": "vehicle.moving", "car": "vehicle.moving"}
        standing = {"pedestrian": "pedestrian.standing", "bus": "vehicle.stopped", "car": "vehicle.parked"}
        if kind in moving or kind in ("barrier", "traffic_cone"):
            assert entry["attribute_name"] == (moving if speed > 0.2 else standing).get(kind, "")
    read = read_submission(tmp_path / "deep" / "results.json", NUSCENES_CLASSES, ["b", "a"])
    again = found.part([i for i, *_ in expected]).in_global()
    assert list(read) == ["a", "b"]
    assert read["a"].attributes == again.attributes
    for name in ("centres", "sizes", "rotations", "velocities", "labels", "scores"):
        np.testing.assert_allclose(getattr(read["a"], name), getattr(again, name), atol=1e-15)


def test_writers(tmp_path: Path) -> None:
    """No frame twice, nothing that is not finite, the 500 best; nothing half-written."""
    output = Output(tmp_path, (), NUSCENES_CLASSES, DisplayOptions(), least=0.1)
    writer, many = NuScenesWriter(output), result(0, 700)
    many = replace(many, boxes=replace(many.boxes, centres=many.boxes.centres / 9))
    writer.add(Picture("a.jpg", "a"), many)
    with pytest.raises(DataError, match="a come twice"):
        writer.add(Picture("a.jpg", "a"), many)
    odd = result(1, 3, "b")
    odd.boxes.velocities[0] = math.nan
    with pytest.raises(DataError, match="results of b: a velocity is not finite"):
        writer.add(Picture("b.jpg", "b"), odd)
    assert not list(tmp_path.iterdir())
    (file,) = writer.close()
    assert file.name == "results_nusc.json"
    assert writer.notes == ("1 frame had more than 500 boxes, of which the best are written",)
    (boxes,) = read_submission(file, NUSCENES_CLASSES).values()
    assert boxes.scores.tolist() == many.boxes.scores[:500].tolist()
    assert is_submission(file)
    assert not is_submission(tmp_path)


Change = Callable[[dict[str, Any]], Any]


def entry(**changed: Any) -> Change:
    def change(content: dict[str, Any]) -> None:
        content["results"]["a"][1].update(changed)

    return change


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda content: content["results"].update(x=[]), "has results of 1 sample (x), which the data lacks"),
        (lambda content: content["results"].pop("b"), "lacks 1 sample (b) of 2 samples"),
        (lambda content: content["results"]["a"].extend(content["results"]["a"] * 99), "boxes; expected 500 at most"),
        (lambda content: content.pop("results"), "missing required field `results`; expected nuScenes' results"),
        (lambda content: content.update(results=[]), "Expected `object`, got `array` - at `$.results`"),
        (entry(detection_name="tram"), "box 1: detection_name is 'tram'; expected one of car, truck"),
        (entry(attribute_name="vehicle.flying"), "box 1: attribute_name is 'vehicle.flying'; expected one of"),
        (entry(sample_token="b"), "results of a, box 1: sample_token is 'b'; expected 'a'"),
        (entry(translation=[1, 2]), "Expected `array` of length 3 - at `$[1].translation`"),
        (entry(velocity=None), "Expected `array`, got `null` - at `$[1].velocity`"),
        (entry(size=[1, 0, 1]), "results of a, box 1: sizes [1.0, 0.0, 1.0]; expected lengths above 0"),
        (entry(translation=[1, math.nan, 3]), "results of a, box 1: centres [1.0, nan, 3.0]; expected finite numbers"),
        (entry(detection_score=math.nan), "results of a, box 1: scores nan; expected finite numbers"),
        (lambda _: "{", "is not readable JSON"),
        (lambda _: "", "is not readable JSON"),
        (lambda _: '{"results": NaN}', "has no results; expected nuScenes' results"),
    ],
)
def test_broken_files(change: Change, said: str, tmp_path: Path) -> None:
    file = written(tmp_path / "results.json", result(0), result(1, 5, "b"))
    content = json.loads(file.read_text())
    text = change(content)
    file.write_text(text if isinstance(text, str) else json.dumps(content))
    with pytest.raises(DataError, match=re.escape(said)) as raised:
        read_submission(file, NUSCENES_CLASSES, ["a", "b"])
    assert str(raised.value).startswith(str(file))


def test_files_of_other_tools(tmp_path: Path) -> None:
    """NaN, another encoding, more keys, quaternions of another length."""
    file = written(tmp_path / "results.json", result(0))
    first, content = read_submission(file, NUSCENES_CLASSES), json.loads(file.read_text())
    for one in content["results"]["a"]:
        one.update(velocity=[math.nan, 1], tracking_id="7", rotation=[5 * value for value in one["rotation"]])
    file.write_text(json.dumps(content), encoding="utf-16")
    other = read_submission(file, NUSCENES_CLASSES)
    np.testing.assert_allclose(other["a"].rotations, first["a"].rotations, atol=1e-12)
    assert np.isnan(other["a"].velocities[:, 0]).all()


def test_result_as_text_and_json() -> None:
    found = result(0)
    content = found.to_dict()
    assert json.loads(json.dumps(content))["token"] == "a"
    one, there = content["objects"][3], found.in_global()
    assert one["label"] == found.name(3)
    boxes = found.boxes
    lidar = {"centre": boxes.centres[3].tolist(), "yaw": boxes.yaws[3], "velocity": boxes.velocities[3].tolist()}
    assert one["lidar"] == lidar
    assert one["global"]["centre"] == there.centres[3].tolist()
    back = there.upright(EGO @ LIDAR)
    np.testing.assert_allclose(back.centres, found.boxes.centres, atol=1e-9)
    np.testing.assert_allclose(np.cos(back.yaws - found.boxes.yaws), 1, atol=1e-12)
    at = replace(found.boxes.chosen([0]), centres=np.array([[3.0, 10.0, 0.0]]), velocities=np.array([[3.0, 4.0]]))
    text = replace(found, boxes=at).text()  # the lidar's y axis points ahead, x to the right
    assert text.splitlines()[0] == "scene-1 a: 1 object"
    assert re.search(r" 10\.9 m ahead +3\.0 m right +5\.0 m/s", text)
    assert [len(found.filter(0.5)), len(found.filter(0, ["car"]))] == [
        sum(found.boxes.scores >= 0.5), sum(found.boxes.labels == 0),
    ]  # fmt: skip
    with pytest.raises(KeyError, match="no class is called tram"):
        found.filter(0, ["tram"])
    assert repr(found).startswith("FoundBoxes(a: 12 objects, ")
    empty = replace(found, boxes=Boxes.empty())
    assert empty.to_dict()["objects"] == []
    assert empty.text() == "scene-1 a: 0 objects"


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int, int]]:
    """What is drawn: token, predictions, true boxes."""
    calls: list[tuple[str, int, int]] = []

    def draw_frame(frame: Frame, boxes: Boxes, names: Any, *, truth: Boxes | None = None, width: int = 1600) -> Any:
        assert names == NUSCENES_CLASSES
        calls.append((frame.token, len(boxes), 0 if truth is None else len(truth)))
        return Image.new("RGB", (width, 300))

    module = ModuleType("internimage.driving.drawing.scene")
    module.__dict__["draw_frame"] = draw_frame
    monkeypatch.setitem(sys.modules, module.__name__, module)
    return calls


def frames(count: int = 4) -> Frames:
    every = [frame(f"f{i}", replace(some_boxes(i, 20), scores=np.ones(20)), i) for i in range(count)]
    return Frames("world val", NUSCENES_CLASSES, every)


MODEL = ("tram", *NUSCENES_CLASSES[::-1])


def predicted(data: Frames) -> Iterator[tuple[FoundBoxes, EvaluationSample]]:
    """Nearly the truth, by a model whose classes are in another order and one more."""
    for number, one in enumerate(data.frames):
        true = one.boxes
        labels = np.array([MODEL.index(NUSCENES_CLASSES[label]) for label in true.labels])
        labels[:number] = 0
        boxes = replace(true, labels=labels, scores=np.linspace(0.9, 0.4, len(true)), centres=true.centres + 0.1)
        source = ImageSource("a.jpg", "a.jpg")
        yield FoundBoxes(boxes, MODEL, one, source), EvaluationSample(one, source, None, Measured(one.truth))


def test_report(tmp_path: Path, drawn: list[tuple[str, int, int]]) -> None:
    data, pipeline = frames(), SimpleNamespace(labels=MODEL, classes=len(MODEL))
    report, parts = BoxReport.on(pipeline, data), [BoxReport.on(pipeline, data) for _ in range(2)]  # type: ignore[arg-type]
    for number, pair in enumerate(predicted(data)):
        report.add(*pair)
        parts[number % 2].add(*pair)
    parts[0].merge([part.state() for part in parts])
    assert parts[0].compute() == report.compute()
    assert parts[0].table() == report.table()
    numbers, rows = report.compute(), report.per_class()
    assert numbers["frames"] == 4
    assert numbers["mate"] == pytest.approx(0.1 * math.sqrt(2), abs=1e-2)
    assert sum(row["missed"] for row in rows.values()) <= 6  # trams; those that are too far are not counted
    counted, precisions = ["objects", "found", "missed", "false"], ["ap", "ap_0.5", "ap_1", "ap_2", "ap_4"]
    assert list(rows["car"]) == [*counted, *precisions, "ate", "ase", "aoe", "ave", "aae"]
    names = [path.name for path in report.save(tmp_path)]
    assert names == ["metrics.json", "table.txt", "precision_recall.png", "worst.png"]
    assert all((tmp_path / name).is_file() for name in names)
    content = json.loads((tmp_path / "metrics.json").read_text())
    assert content["per_class"]["barrier"]["ave"] is None
    assert content["worst"][0]["frame"] == drawn[0][0]
    assert (tmp_path / "table.txt").read_text() == report.table() + "\n"
    assert re.search(r"^NDS \d+\.\d%  mAP \d+\.\d%  mATE 0\.1[34]\d .* frames 4$", report.table(), re.MULTILINE)


def test_report_on_a_file(tmp_path: Path, drawn: list[tuple[str, int, int]]) -> None:
    """The same numbers as without the file between."""
    data, pipeline = frames(), SimpleNamespace(labels=MODEL, classes=len(MODEL))
    report = BoxReport.on(pipeline, data)  # type: ignore[arg-type]
    writer = SubmissionWriter(tmp_path / "results.json", MODEL)
    for found, sample in predicted(data):
        report.add(found, sample)
        writer.add(found.filter(0, NUSCENES_CLASSES))
    (file,) = writer.close()
    measured = measure_submission(data, file, ReportOptions(0.5))
    assert measured.compute() == pytest.approx(report.compute(), abs=1e-9)
    assert "at score 0.5, centres within 2 m" in measured.table()
    with pytest.raises(DataError, match="world val: frame x has no annotations"):
        report.add_boxes(frame("x"), GlobalBoxes.empty(), 0)
    with pytest.raises(DataError, match="lacks 3 samples"):
        measure_submission(frames(7), file, ReportOptions())


@pytest.mark.full
def test_released_exporter(shared: Path, tmp_path: Path) -> None:
    """Code boxes to the file's entries as the released exporter makes them, and no others."""
    stored = json.loads((shared / "goldens" / "driving" / "nuscenes_io.json").read_text())
    tables = {name: {one["token"]: one for one in rows} for name, rows in stored["tables"].items()}
    keys = {one["sample_token"]: one for one in tables["sample_data"].values() if "LIDAR" in one["filename"]}
    writer = SubmissionWriter(tmp_path / "results.json", stored["classes"])
    for given, token in zip(stored["predictions"], stored["exported"], strict=True):
        poses = (tables[name][keys[token][f"{name}_token"]] for name in ("ego_pose", "calibrated_sensor"))
        ego, lidar = (Pose.from_quaternion(one["rotation"], one["translation"]) for one in poses)
        code = np.array(given["boxes_bottom"])
        centres = code[:, :3] + [0, 0, 0.5] * code[:, 5:6]
        columns = code[:, 3:6], -code[:, 6] - math.pi / 2, code[:, 7:9], np.array(given["labels"])
        boxes = Boxes(centres, *columns, np.array(given["scores"]))
        moment = Frame(token, "", 0, ego, lidar, ())
        writer.add(FoundBoxes(boxes, tuple(stored["classes"]), moment, ImageSource("a", "a.jpg")))
    (file,) = writer.close()
    results = json.loads(file.read_text())["results"]
    for token, entries in stored["exported"].items():
        for ours, theirs in zip(results[token], entries, strict=True):
            for name in ("sample_token", "detection_name", "attribute_name"):
                assert ours[name] == theirs[name]
            for name in ("translation", "size", "velocity", "detection_score"):
                assert ours[name] == pytest.approx(theirs[name], abs=1e-5)
            same = np.sign(np.dot(ours["rotation"], theirs["rotation"]))
            assert ours["rotation"] == pytest.approx(same * np.array(theirs["rotation"]), abs=1e-6)
