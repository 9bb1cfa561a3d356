"""What a report says of mistakes: matches as pycocotools makes them, counts by hand, the worst pictures."""

import contextlib
import io
import json
import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from helpers.objects import CLASSES, random_data
from PIL import Image

from internimage.data.objects import ObjectAnnotation, ObjectImage, ObjectImages
from internimage.drawing.canvas import BAD
from internimage.images import ImageSource
from internimage.metrics.accuracy import Accuracy
from internimage.metrics.average_precision import AveragePrecision
from internimage.metrics.mean_iou import MeanIoU
from internimage.metrics.mistakes import FALSE, IGNORED, find_mistakes, match
from internimage.metrics.worst_pictures import MOST, WorstPictures
from internimage.results.detections import Detections
from internimage.tasks.classification.evaluation import ClassificationReport
from internimage.tasks.detection.evaluation import DetectionReport
from internimage.tasks.detection.worst import FOUND, MISSED, WRONG
from internimage.tasks.segmentation.evaluation import SegmentationReport

DATA, RESULTS = random_data()
FOUND_IN = [(image, one.labels, one.scores, one.boxes) for image, one in zip(DATA.images, RESULTS, strict=True)]


def test_matches_are_those_of_pycocotools() -> None:
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    truth, entries = [], []
    for number, (image, result) in enumerate(zip(DATA.images, RESULTS, strict=True)):
        for place, one in enumerate(image.objects):
            x1, y1, x2, y2 = one.box
            own = {"id": 100 * number + place + 1, "image_id": number, "category_id": one.label + 1, "area": one.area}
            truth.append({**own, "iscrowd": int(one.crowd), "bbox": [x1, y1, x2 - x1, y2 - y1]})
        for place in range(len(result)):
            x1, y1, x2, y2 = result.boxes[place].astype(float).tolist()
            entry = {"image_id": number, "category_id": int(result.labels[place]) + 1, "score": result.scores[place]}
            entries.append({**entry, "bbox": [x1, y1, x2 - x1, y2 - y1]})
    with contextlib.redirect_stdout(io.StringIO()):
        annotated = COCO()
        images = [{"id": number} for number in range(len(DATA))]
        annotated.dataset = {"images": images, "annotations": truth, "categories": [{"id": i + 1} for i in range(5)]}
        annotated.createIndex()
        evaluation = COCOeval(annotated, annotated.loadRes(entries), "bbox")
        evaluation.evaluate()
    expected: dict[int, int] = {}
    for one in evaluation.evalImgs:
        if one is not None and one["aRng"] == [0, 1e10]:
            for identity, found, ignored in zip(one["dtIds"], one["dtMatches"][0], one["dtIgnore"][0], strict=True):
                expected[identity] = IGNORED if ignored else (int(found) - 1) % 100 if found else FALSE
    ours = np.concatenate([match(*one) for one in FOUND_IN])
    assert ours.tolist() == [expected[number + 1] for number in range(len(entries))]
    assert {FALSE, IGNORED} < set(ours.tolist())


def test_the_threshold_is_the_hundredth_of_the_best_f1() -> None:
    found = find_mistakes(FOUND_IN, len(CLASSES))
    f1 = [find_mistakes(FOUND_IN, len(CLASSES), number / 100).compute()["f1"] for number in range(1, 100)]
    assert found.compute()["f1"] == max(f1)
    assert found.threshold == max(number for number, value in enumerate(f1, 1) if value == max(f1)) / 100


def scene(folder: Path) -> tuple[ObjectImages, list[Detections]]:
    """Two pictures of 60x40: a cat found, one taken for a dog, one missed, a crowd; a dog found, and a false one."""
    boxes = {"a": (0, 0, 10, 10), "b": (20, 0, 30, 10), "c": (40, 0, 50, 10), "crowd": (0, 20, 30, 40)}
    objects = [
        ObjectAnnotation(box, 0, None, name == "crowd", number) for number, (name, box) in enumerate(boxes.items(), 1)
    ]
    dog = ObjectAnnotation((5, 5, 25, 25), 1, None, False, 9)
    images = []
    for number, own in enumerate(((*objects,), (dog,))):
        Image.new("RGB", (60, 40)).save(folder / f"{number}.png")
        images.append(ObjectImage(folder / f"{number}.png", number, (40, 60), own))
    rows = [
        [(boxes["a"], 0, 0.9), (boxes["b"], 1, 0.8), ((0, 20, 20, 30), 0, 0.7), (boxes["c"], 0, 0.2)],
        [((5, 5, 25, 25), 1, 0.95), ((40, 20, 55, 35), 1, 0.6)],
    ]
    results = [
        Detections(
            np.array([row[0] for row in own], np.float32),
            np.array([row[2] for row in own], np.float32),
            np.array([row[1] for row in own]),
            ("cat", "dog"),
            (40, 60),
            ImageSource(f"{number}.png", folder / f"{number}.png"),
        )
        for number, own in enumerate(rows)
    ]
    return ObjectImages("scene", ("cat", "dog"), (1, 2), tuple(images)), results


@pytest.fixture
def report(tmp_path: Path) -> DetectionReport:
    data, results = scene(tmp_path)
    metric = AveragePrecision(data, masks=False)
    for image, result in zip(data.images, results, strict=True):
        metric.add(result, image.identity)
    return DetectionReport(metric, np.arange(2), score_threshold=0.5)


def test_counts_by_hand(report: DetectionReport, tmp_path: Path) -> None:
    found = report.to_dict()
    counts = {"classes": ["cat", "dog", "nothing"], "counts": [[1, 1, 1], [0, 1, 0], [0, 1, 0]]}
    assert found["confusion"] == counts
    assert [found["per_class"]["cat"][name] for name in ("objects", "found", "missed", "false")] == [3, 1, 2, 0]
    assert [found["per_class"]["dog"][name] for name in ("objects", "found", "missed", "false")] == [1, 1, 0, 2]
    assert (found["precision"], found["recall"], found["f1"]) == pytest.approx((2 / 4, 2 / 4, 2 / 4))
    assert found["worst"] == [
        {"image": str(tmp_path / "0.png"), "missed": 2, "false": 1},
        {"image": str(tmp_path / "1.png"), "missed": 0, "false": 1},
    ]
    assert "at score 0.5, boxes at IoU 0.5: precision 50.0%  recall 50.0%  F1 50.0%" in report.table()
    lower = replace(report, score_threshold=0.1, _mistakes=None)
    assert lower.to_dict()["confusion"]["counts"][0] == [2, 1, 0]
    assert json.loads(json.dumps(found)) == found


def test_the_sheet_shows_what_is_found_missed_and_false(report: DetectionReport, tmp_path: Path) -> None:
    written = report.save(tmp_path / "out")
    assert [path.name for path in written] == ["metrics.json", "precision_recall.png", "confusion.png", "worst.png"]
    sheet = np.asarray(Image.open(written[-1])).astype(int)
    columns = [sheet[100:400, 20 + 414 * number : 420 + 414 * number] for number in range(4)]
    shown = [[bool((part == colour).all(-1).any()) for colour in (FOUND, MISSED, WRONG)] for part in columns]
    assert shown == [[True, True, False], [True, False, True], [True, False, False], [True, False, True]]
    for image in report.metric.truth.images:
        image.file.unlink()  # numbers need no pictures
    assert [path.name for path in report.save(tmp_path / "again")][-1] == "confusion.png"


def test_processes_together_have_the_mistakes_of_one(report: DetectionReport) -> None:
    """What is counted before results of others come is not what is told afterwards."""
    whole, data = report.mistakes.confusion, report.metric.truth
    parts = [AveragePrecision(data, masks=False) for _ in range(2)]
    for metric, result, image in zip(parts, report.metric.state().values(), data.images, strict=True):
        metric.merge([{image.identity: result}])
    one = DetectionReport(parts[0], np.arange(2), score_threshold=0.5)
    assert one.mistakes.confusion.sum() < whole.sum()
    one.merge([pickle.loads(pickle.dumps(metric.state())) for metric in parts])
    np.testing.assert_array_equal(one.mistakes.confusion, whole)


def test_the_worst_segmented_pictures_are_kept_and_drawn(tmp_path: Path) -> None:
    """Picture n of 30: a square of class 1 on class 0, whose n leftmost columns of 30 are predicted as class 0."""
    truth = np.zeros((40, 60), np.int32)
    truth[5:35, 10:40] = 1
    truth[:5, :5] = -1
    reports = [SegmentationReport(MeanIoU(("a", "b")), np.arange(2), WorstPictures(2)) for _ in range(2)]
    expected = {}
    for number in range(30):
        file = tmp_path / f"{number}.png"
        Image.new("RGB", (60, 40)).save(file)
        found = truth.clip(0)
        found[5:35, 10 : 10 + number] = 0
        reports[number % 2].add_map(file, found, truth)
        inside, outside = 900 - 30 * number, 60 * 40 - 900 - 25
        expected[str(file)] = (inside / 900 + outside / (outside + 30 * number)) / 2
    assert len(pickle.dumps(reports[0].worst.state())) < 4000  # 15 pictures' maps are 72,000 bytes
    reports[0].merge([pickle.loads(pickle.dumps(one.state())) for one in reports])
    worst = reports[0].to_dict()["worst"]
    assert [one["image"] for one in worst] == [str(tmp_path / f"{number}.png") for number in range(29, 29 - MOST, -1)]
    assert [one["iou"] for one in worst] == pytest.approx([expected[one["image"]] for one in worst])
    assert reports[0].compute()["images"] == 30
    written = reports[0].save(tmp_path / "out")
    assert [path.name for path in written] == ["metrics.json", "confusion.png", "worst.png"]
    sheet = np.asarray(Image.open(written[-1]))
    difference = sheet[100:310, 20 + 3 * 314 : 20 + 3 * 314 + 300]
    assert (difference == BAD).all(-1).sum() == pytest.approx(29 * 30 * 25, rel=0.05)  # drawn five times as large


def test_processes_together_know_a_classifier_s_worst_mistakes(tmp_path: Path) -> None:
    reports = [ClassificationReport(("a", "b"), (0, 1), Accuracy(2)) for _ in range(2)]
    for number in range(60):
        reports[number % 2].add_ranked(tmp_path / f"{number}.png", 0, np.array([1, 0]), number / 100)
    reports[0].merge([pickle.loads(pickle.dumps(one.state())) for one in reports])
    assert [round(100 * score) for score, *_ in reports[0].mistakes] == list(range(59, 35, -1))
    assert reports[0].compute()["images"] == 60
