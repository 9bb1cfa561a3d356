"""COCO's numbers: pycocotools' stored ones, pycocotools on random objects, and what an evaluation must survive."""

import contextlib
import copy
import io
import json
import pickle
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from faster_coco_eval import mask as run_length
from helpers.objects import CLASSES, IDENTITIES, random_data
from PIL import Image

from internimage.contracts import task_spec
from internimage.data.formats.coco import read_coco
from internimage.data.objects import ObjectImages
from internimage.drawing.canvas import INK
from internimage.drawing.objects import class_colour
from internimage.drawing.precision_recall import precision_recall_chart
from internimage.errors import DataError, ImageReadError, MissingExtraError
from internimage.images import ImageSource
from internimage.inference.evaluation import evaluate_part
from internimage.metrics.average_precision import AveragePrecision
from internimage.metrics.coco import Kind, average_precision
from internimage.results.detections import Detections, run_lengths
from internimage.results.pasting import ObjectMask
from internimage.tasks.detection.evaluation import DetectionReport

GOLDENS = Path(__file__).parent / "goldens" / "coco_eval"


def golden(name: str) -> Any:
    return json.loads((GOLDENS / f"{name}.json").read_text())


@dataclass(frozen=True)
class Decoded(Detections):
    """Detections whose masks are given as COCO's run lengths."""

    runs: tuple[dict[str, Any], ...] = ()

    def object_mask(self, index: int) -> ObjectMask:
        return ObjectMask.of(run_length.decode(self.runs[index]).astype(bool))


def reference_metric() -> AveragePrecision:
    """The metric over the golden data and detections."""
    data = read_coco(GOLDENS / "gt.json", GOLDENS)
    metric = AveragePrecision(data, masks=True)
    pairs = list(zip(golden("dets_bbox"), golden("dets_segm"), strict=True))
    for image in data.images:
        own = [(box, segm) for box, segm in pairs if box["image_id"] == image.identity]
        boxes = np.array([box["bbox"] for box, _ in own]).reshape(-1, 4)
        boxes[:, 2:] += boxes[:, :2]
        scores = np.array([box["score"] for box, _ in own])
        labels = np.array([data.category_ids.index(box["category_id"]) for box, _ in own], int)
        source = ImageSource(image.file.name, image.file)
        runs = tuple(segm["segmentation"] for _, segm in own)
        metric.add(Decoded(boxes, scores, labels, data.classes, image.size, source, runs=runs), image.identity)
    return metric


def test_numbers_of_pycocotools(capfd: pytest.CaptureFixture[str]) -> None:
    expected, metric = golden("expected"), reference_metric()
    found = metric.compute()
    assert found.pop("images") == 30
    twelve = ["ap", "ap50", "ap75", "ap_small", "ap_medium", "ap_large"]
    twelve += ["ar1", "ar10", "ar100", "ar_small", "ar_medium", "ar_large"]
    assert list(found) == [f"{what}_{name}" for what in ("box", "mask") for name in twelve]
    assert list(found.values()) == pytest.approx([*expected["bbox"].values(), *expected["segm"].values()], abs=1e-12)
    rows = metric.per_class()
    assert sum(row["objects"] for row in rows.values()) == 189 - 25
    kinds: list[tuple[Kind, str]] = [("bbox", "box"), ("segm", "mask")]
    for kind, prefix in kinds:
        of_category = [value for value in expected[f"{kind}_per_category_AP"].values() if value is not None]
        assert [row[f"{prefix}_ap"] for row in rows.values()] == pytest.approx(of_category, abs=1e-12)
        recall, curves = metric.precision_recall(kind)
        person = expected[f"{kind}_precision_at_iou50_by_recall_cat1"]
        assert curves["person"][::10] == pytest.approx(person, abs=1e-12)
        assert recall[::10] == pytest.approx(np.arange(11) / 10)
        assert list(curves) == [*rows, "all"]
        assert curves["all"].mean() == pytest.approx(found[f"{prefix}_ap50"])
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("kind", ["bbox", "segm"])
def test_plain_dictionaries_as_mmdet_evaluates_them(kind: Kind) -> None:
    truth, entries = golden("gt"), golden(f"dets_{kind}")
    truth["annotations"][0]["id"] = 0  # taken for "no object" by the library
    for entry in entries[::2] if kind == "segm" else ():
        entry["segmentation"]["counts"] = run_lengths(run_length.decode(entry["segmentation"]))
        entry["bbox"] = [0, 0, 1, 1]
    before = copy.deepcopy((truth, entries))
    found = average_precision(truth, entries, kind, (100, 300, 1000)).numbers()
    expected = golden("expected")[f"{kind}_mmdet_maxDets_100_300_1000"]
    assert list(found.values()) == pytest.approx(list(expected.values()), abs=1e-12)
    assert (truth, entries) == before
    with pytest.raises(DataError, match="detections in image 5, which is not among the 30"):
        average_precision(truth, [{**entries[0], "image_id": 5}], kind)


DATA, RESULTS = random_data()


def measured(results: list[Detections], data: ObjectImages = DATA, *, masks: bool = True) -> AveragePrecision:
    """The metric after the first results."""
    metric = AveragePrecision(data, masks)
    for result, image in zip(results, data.images, strict=False):
        metric.add(result, image.identity)
    return metric


def test_random_objects_as_pycocotools_evaluates_them() -> None:
    from pycocotools import mask as oracle
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    objects = [(image, one) for image in DATA.images for one in image.objects]
    entries = [
        entry
        for image, result in zip(DATA.images, RESULTS, strict=True)
        for entry in result.to_coco(image.identity, IDENTITIES)
    ]
    for entry in entries:
        entry["segmentation"] = oracle.frPyObjects(entry["segmentation"], *entry["segmentation"]["size"])
    truth = {
        "images": [{"id": x.identity, "height": x.size[0], "width": x.size[1]} for x in DATA.images],
        "categories": [{"id": identity} for identity in IDENTITIES],
        "annotations": [
            {
                "id": number,
                "image_id": image.identity,
                "category_id": IDENTITIES[one.label],
                "bbox": [one.box[0], one.box[1], one.box[2] - one.box[0], one.box[3] - one.box[1]],
                "area": one.area,
                "iscrowd": int(one.crowd),
                "segmentation": one.segmentation or [[one.box[i] for i in (0, 1, 2, 1, 2, 3, 0, 3)]],
            }
            for number, (image, one) in enumerate(objects, start=1)
        ],
    }
    metric = measured(RESULTS)
    kinds: list[tuple[Kind, str]] = [("bbox", "box"), ("segm", "mask")]
    for kind, prefix in kinds:
        with contextlib.redirect_stdout(io.StringIO()):
            annotated = COCO()
            annotated.dataset = copy.deepcopy(truth)
            annotated.createIndex()
            shown = [{key: v for key, v in entry.items() if kind == "bbox" or key != "bbox"} for entry in entries]
            evaluation = COCOeval(annotated, annotated.loadRes(shown), kind)
            evaluation.evaluate()
            evaluation.accumulate()
            evaluation.summarize()
        numbers = [value for name, value in metric.compute().items() if name.startswith(prefix)]
        assert numbers == pytest.approx(evaluation.stats.tolist(), abs=1e-12)
        assert 0.1 < numbers[0] < 0.9
        _, curves = metric.precision_recall(kind)
        for name, index in (("cat", 0), ("dog", 2), ("bird", 4)):
            np.testing.assert_allclose(curves[name], evaluation.eval["precision"][0, :, index, 0, 2], atol=1e-12)
    assert list(metric.per_class()) == ["cat", "dog", "bird"]  # one class has only crowds, one nothing


def test_processes_together_are_one() -> None:
    """Two processes, three images seen by both; and a process that merged can go on."""
    one, two = AveragePrecision(DATA, masks=True), AveragePrecision(DATA, masks=True)
    for index, (image, result) in enumerate(zip(DATA.images, RESULTS, strict=True)):
        for metric in [one] * (index < 6) + [two] * (index > 2):
            metric.add(result, image.identity)
    assert one.compute() != two.compute()
    one.merge([pickle.loads(pickle.dumps(metric.state())) for metric in (one, two)])
    assert one.compute() == measured(RESULTS).compute()


def test_only_predicted_images_count() -> None:
    part = replace(DATA, images=DATA.images[:5])
    metric = measured(RESULTS[:5])
    found = metric.compute()
    assert found == measured(RESULTS[:5], part).compute()
    assert found["images"] == 5
    for image, result in zip(DATA.images[5:], RESULTS[5:], strict=True):
        metric.add(result, image.identity)
    assert found["box_ap"] != metric.compute()["box_ap"] == measured(RESULTS).compute()["box_ap"]


def test_nothing_to_find_and_nothing_found() -> None:
    blind = [result.filter(2.0) for result in RESULTS]
    metric = measured(blind)
    assert set(metric.compute().values()) == {0.0, 12.0}
    assert set(metric.compute()) == set(measured(RESULTS).compute())
    assert set(metric.per_class()["cat"].values()) >= {0.0}
    diverged = [replace(result, scores=np.full(len(result), np.nan)) for result in RESULTS]
    assert measured(diverged).compute() == metric.compute()
    empty = replace(DATA, images=tuple(image._replace(objects=()) for image in DATA.images))
    for results in (RESULTS, blind):
        metric = measured(results, empty)
        assert metric.compute() == {"images": 12}
        assert (metric.per_class(), metric.precision_recall("segm")[1]) == ({}, {})
    assert AveragePrecision(replace(DATA, images=()), masks=True).compute() == {"images": 0}


def test_a_hundred_of_a_thousand_detections_count() -> None:
    box = np.array([DATA.images[0].objects[0].box], np.float32)
    label = DATA.images[0].objects[0].label
    many = replace(
        RESULTS[0],
        boxes=np.repeat(box, 1000, 0) + np.linspace(40, 0, 1000)[:, None],
        scores=np.linspace(1, 0, 1000),
        labels=np.full(1000, label),
        soft_masks=None,
    )
    found = measured([many], masks=False).compute()
    assert found == measured([many.filter(float(many.scores[99]))], masks=False).compute()


def test_what_cannot_be_compared_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    metric = AveragePrecision(DATA, masks=False)
    with pytest.raises(DataError, match=r"0\.jpg: random has no image 5"):
        metric.add(RESULTS[0], 5)
    with pytest.raises(DataError, match=r"1\.jpg is 260x180, its annotations are for 256x185"):
        metric.add(RESULTS[0], DATA.images[1].identity)
    bare = [
        image._replace(objects=(one._replace(segmentation=None),)) for image in DATA.images for one in image.objects
    ]
    with pytest.raises(DataError, match=r"images have objects without masks, 0\.jpg for one"):
        AveragePrecision(replace(DATA, images=tuple(bare)), masks=True)
    monkeypatch.setitem(__import__("sys").modules, "faster_coco_eval", None)
    with pytest.raises(MissingExtraError, match=r"internimage\[train\]"):
        AveragePrecision(DATA, masks=False)


class Pipeline:
    """Gives stored results by the names of the pictures, under the classes of ``labels``."""

    def __init__(self, labels: tuple[str, ...] | None, results: list[Detections], classes: int = len(CLASSES)) -> None:
        self.labels = labels
        self.classes = classes if labels is None else len(labels)
        self.has_masks = results[0].soft_masks is not None
        self.max_objects = 100
        self.results = {result.source.name: result for result in results}

    def read(self, source: ImageSource) -> Image.Image:
        return source.read()

    def prepare(self, picture: Image.Image) -> tuple[int, int]:
        return picture.height, picture.width

    def predict(self, prepared: Any, sources: Any, known: Any) -> list[Detections]:
        found = [self.results[Path(source.name).name] for source in sources]
        assert [result.size for result in found] == prepared
        return found


def reported(pipeline: Pipeline, data: ObjectImages, on_corrupt: Any = "error") -> DetectionReport:
    """The report of an evaluation, in batches of five."""
    predictor: Any = SimpleNamespace(spec=task_spec("detection"), pipeline=pipeline, batch_size=5)
    report = evaluate_part(predictor, data, on_corrupt=on_corrupt)
    assert isinstance(report, DetectionReport)
    return report


@pytest.fixture
def data(tmp_path: Path) -> ObjectImages:
    """The images of ``DATA`` as files."""
    for image in DATA.images:
        Image.new("RGB", image.size[::-1]).save(tmp_path / image.file)
    return replace(DATA, images=tuple(image._replace(file=tmp_path / image.file) for image in DATA.images))


def renamed(result: Detections, names: tuple[str, ...]) -> Detections:
    """The result of a model that knows the classes in another order, and finds a car on top of all."""
    labels = np.array([names.index("car")] + [names.index(CLASSES[label]) for label in result.labels])
    assert result.soft_masks is not None
    boxes, soft = (np.concatenate([values[:1], values]) for values in (result.boxes, result.soft_masks))
    scores = np.concatenate([[1.0], result.scores])
    return replace(result, boxes=boxes, scores=scores, soft_masks=soft, labels=labels, names=names)


def test_report(data: ObjectImages, tmp_path: Path) -> None:
    names = ("car", *reversed(CLASSES))
    pipeline = Pipeline(names, [renamed(result, names) for result in RESULTS])
    report = reported(pipeline, data)
    assert report.compute() == measured(RESULTS).compute()
    missing = data.images[-1].file
    missing.unlink()
    with pytest.raises(ImageReadError, match=r"11\.jpg: no such file .*\(--on-corrupt skip"):
        reported(pipeline, data)
    report = reported(pipeline, data, "skip")
    numbers = measured(RESULTS[:-1]).compute()
    lines = report.table().splitlines()
    cat = report.metric.per_class()["cat"]
    counted = [f"{report.per_class()['cat'][name]:.0f}" for name in ("objects", "found", "missed", "false")]
    assert lines[0] == "class  objects  found  missed  false  box AP  box AP50  mask AP  mask AP50"
    assert lines[1].split() == ["cat", *counted, *(f"{v:.1%}" for v in list(cat.values())[1:])]
    shares = report.mistakes.compute()
    assert lines[4] == (
        f"at score {shares['score_threshold']:g}, the best F1, boxes at IoU 0.5: precision {shares['precision']:.1%}  "
        f"recall {shares['recall']:.1%}  F1 {shares['f1']:.1%}"
    )
    assert lines[5].startswith(f"box AP {numbers['box_ap']:.1%}  box AP50 {numbers['box_ap50']:.1%}  mask AP ")
    assert lines[5:] == [lines[5], f"left out: {missing}"]
    assert lines[5].endswith("images 11")
    written = report.save(tmp_path / "out")
    names = ["metrics.json", "precision_recall.png", "precision_recall_masks.png", "confusion.png", "worst.png"]
    assert [path.name for path in written] == names
    assert json.loads(written[0].read_text()) == report.to_dict()
    assert {key: report.to_dict()[key] for key in numbers} == numbers
    assert all(Image.open(path).size[0] > 400 for path in written[1:])


def test_report_without_masks_names_or_objects(data: ObjectImages, tmp_path: Path) -> None:
    boxes = [replace(result, soft_masks=None) for result in RESULTS]
    bare = tuple(image._replace(objects=image.objects[:0]) for image in data.images[:11])
    last = data.images[11]._replace(objects=(data.images[11].objects[0]._replace(segmentation=None),))
    report = reported(Pipeline(CLASSES, RESULTS), replace(data, images=(*bare, last)))
    assert not [name for name in report.compute() if name.startswith("mask")]
    report = reported(Pipeline(None, boxes), data)
    assert report.table().splitlines()[0] == "class  objects  found  missed  false  box AP  box AP50"
    assert report.compute() == measured(RESULTS, masks=False).compute()
    empty = replace(data, images=tuple(image._replace(objects=()) for image in data.images))
    report = reported(Pipeline(None, boxes), empty)
    false = sum(row["false"] for row in report.per_class().values())
    assert [row["objects"] for row in report.per_class().values()] == [0] * len(report.per_class())
    assert report.table().splitlines()[-2:] == [
        "at score 0.3, boxes at IoU 0.5: precision 0.0%  recall -  F1 0.0%",
        "images 12",
    ]
    assert false == sum(int((result.scores >= 0.3).sum()) for result in RESULTS)
    written = report.save(tmp_path / "out")
    assert [path.name for path in written] == ["metrics.json", "confusion.png", "worst.png"]
    with pytest.raises(DataError, match="the model has 1 classes without names, the data 5"):
        reported(Pipeline(None, RESULTS, classes=1), data)
    with pytest.raises(DataError, match="does not know the classes dog, crowds, bird; it knows cat, fish"):
        reported(Pipeline(("cat", "fish"), RESULTS), data)
    for image in data.images:
        image.file.unlink()
    with pytest.raises(DataError, match="random: none of 12 images can be read"):
        reported(Pipeline(CLASSES, RESULTS), data, "skip")


def test_chart_shows_every_curve() -> None:
    """The mean is black and bold; a class that is found up to recall 0.5 falls there; colours are the classes'."""
    recall = np.linspace(0, 1, 101)
    classes = [("steps", 4, (recall <= 0.5) * 0.8), ("flat", 9, np.full(101, 0.4))]
    picture = np.asarray(precision_recall_chart(recall, np.full(101, 0.6), classes)).astype(int)
    plot = picture[56:576, 72:592]
    assert (plot[205:212, 400] == INK).all(-1).sum() >= 4  # 1 - 0.6 of 520 rows
    column = (np.abs(plot[:, 100] - class_colour(4)).sum(-1) < 40).nonzero()[0]
    assert column == pytest.approx(0.2 * 519, abs=2)
    assert not (np.abs(plot[:510, 275:] - class_colour(4)).sum(-1) < 40).any()
    row = (np.abs(plot[311] - class_colour(9)).sum(-1) < 40).mean()
    assert 0.5 < row < 0.9  # the second curve is dashed
