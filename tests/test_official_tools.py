"""Random sets through the packages of a set's authors and through ours: ``make test-official``.

These packages bring plotting, a compiler and OpenCV with them, so that they are installed for this alone.
"""

import logging
from typing import Any

import numpy as np
import pytest

from internimage.metrics.sets.lvis import lvis_average_precision
from internimage.structures.boxes import Found
from internimage.structures.merging import non_maximum_weighted, weighted_boxes_fusion

pytestmark = pytest.mark.official

CLASSES, HEIGHT, WIDTH = 12, 120, 160


def boxes(random: np.random.Generator, count: int) -> np.ndarray[Any, Any]:
    """x, y, width, height, of all sizes."""
    sides = np.exp(random.uniform(np.log(4), np.log(100), (count, 2)))
    return np.concatenate([random.random((count, 2)) * ((WIDTH, HEIGHT) - sides), sides], 1)


def outline(box: list[float]) -> list[list[float]]:
    x, y, width, height = box
    return [[x, y, x + width, y, x + width, y + height / 2, x + width / 2, y + height]]


def made_up(seed: int, kind: str) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """An LVIS file and results on it: objects found, displaced, and false ones, many of equal score."""
    random = np.random.default_rng(seed)
    images, annotations, results = [], [], []
    for number in range(25):
        some = random.permutation(CLASSES)[:5].tolist()
        looked_for = {"neg_category_ids": some[:3], "not_exhaustive_category_ids": some[3:]}
        images.append({"id": number, "height": HEIGHT, "width": WIDTH, **looked_for})
        given = boxes(random, int(random.integers(12)))
        labels = [label for label in random.integers(CLASSES, size=len(given)).tolist() if label not in some[:3]]
        given = given[: len(labels)]
        found = np.concatenate([given * random.normal(1, 0.03, given.shape), boxes(random, int(random.integers(400)))])
        for box, label in zip(given.tolist(), labels, strict=True):
            own = {"id": len(annotations) + 1, "image_id": number, "category_id": label, "area": box[2] * box[3] * 0.75}
            annotations.append({**own, "iscrowd": 0, "bbox": box, "segmentation": outline(box)})
        for place, box in enumerate(found.tolist()):
            label = labels[place] if place < len(labels) else int(random.integers(CLASSES))
            score = round(float(random.beta(4, 2) if place < len(labels) else random.beta(1, 3)), 2)
            shape = {"segmentation": run_lengths(box)} if kind == "segm" else {"bbox": box}
            results.append({"image_id": number, "category_id": label, "score": score, **shape})
    categories = [
        {"id": n, "name": str(n), "frequency": "rcf"[n % 3], "image_count": 1, "instance_count": 1}
        for n in range(CLASSES)
    ]
    return {"images": images, "annotations": annotations, "categories": categories}, results


def run_lengths(box: list[float]) -> dict[str, Any]:
    from pycocotools import mask

    encoded = mask.merge(mask.frPyObjects(outline(box), HEIGHT, WIDTH))
    return {"size": encoded["size"], "counts": encoded["counts"].decode()}


@pytest.mark.parametrize("kind", ["bbox", "segm"])
@pytest.mark.parametrize("seed", range(5))
def test_lvis(seed: int, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(np, "float", float, raising=False)  # lvis 0.5.3 asks for the name that NumPy 1.24 took away
    from lvis import LVIS, LVISEval, LVISResults  # type: ignore[import-not-found]

    content, results = made_up(seed, kind)
    ours = lvis_average_precision(content, results, "bbox" if kind == "bbox" else "segm").numbers()
    annotated = LVIS.__new__(LVIS)  # its constructor reads a file
    annotated.logger = logging.getLogger()
    annotated.dataset = content
    annotated._create_index()
    evaluation = LVISEval(annotated, LVISResults(annotated, results), kind)
    evaluation.run()
    theirs = evaluation.get_results()
    names = {"AP": "ap", "AP50": "ap50", "AP75": "ap75", "APr": "ap_rare", "APc": "ap_common", "APf": "ap_frequent"}
    for their, our in names.items():
        assert ours[our] == pytest.approx(theirs[their], abs=1e-12), their


@pytest.mark.parametrize("seed", range(5))
def test_fusion(seed: int) -> None:
    """ensemble-boxes computes in float32 where boxes are averaged."""
    from ensemble_boxes import non_maximum_weighted as their_nmw  # type: ignore[import-not-found]
    from ensemble_boxes import weighted_boxes_fusion as their_wbf

    random = np.random.default_rng(seed)
    views = []
    for _ in range(3):
        xywh = boxes(random, 30) / (WIDTH, HEIGHT, WIDTH, HEIGHT)
        corners = np.concatenate([xywh[:, :2], (xywh[:, :2] + xywh[:, 2:]).clip(max=1)], 1)
        views.append(Found(random.integers(3, size=30), random.permutation(1000)[:30] / 1000, corners))
    weights = [1.0, 2.0, 0.5]
    given = [[getattr(view, name).tolist() for view in views] for name in ("boxes", "scores", "labels")]
    for ours, theirs in (
        (weighted_boxes_fusion(views, weights, overlap=0.5), their_wbf(*given, weights=weights, iou_thr=0.5)),
        (non_maximum_weighted(views, weights, overlap=0.5), their_nmw(*given, weights=weights, iou_thr=0.5)),
    ):
        their_boxes, their_scores, their_labels = map(np.asarray, theirs)
        assert len(ours.scores) == len(their_scores) > 20
        own = sorted(zip(ours.labels.tolist(), ours.scores.tolist(), ours.boxes.tolist(), strict=True))
        other = sorted(zip(their_labels.tolist(), their_scores.tolist(), their_boxes.tolist(), strict=True))
        for one, its in zip(own, other, strict=True):
            assert one[0] == its[0]
            assert one[1] == pytest.approx(its[1], abs=1e-6)
            assert one[2] == pytest.approx(its[2], abs=1e-6)
