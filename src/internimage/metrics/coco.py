"""COCO average precision of boxes and masks, computed by faster-coco-eval."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from internimage.errors import DataError, MissingExtraError

Kind = Literal["bbox", "segm"]
COUNTED = 100
"""Objects an image that COCO's average precision counts."""

_SIZES = ("", "_small", "_medium", "_large")  # by area: up to 32² pixels, up to 96², above


@dataclass(frozen=True)
class PrecisionRecall:
    """What an evaluation of boxes or masks accumulates; -1 where there are no objects.

    Attributes:
        precision: (10, 101, K, 4, M) at IoU 0.5 to 0.95, recall 0 to 1, by category, size (all, small, medium, large)
            and greatest number of detections an image.
        recall: (10, K, 4, M).
        categories: K category ids, ascending.
        max_detections: M numbers, ascending.
    """

    precision: np.ndarray[Any, Any]
    recall: np.ndarray[Any, Any]
    categories: tuple[int, ...]
    max_detections: tuple[int, ...]

    def numbers(self) -> dict[str, float]:
        """COCO's twelve numbers, those without objects left out: ap, ap50, ap75, ap_small ..., ar1 ..., ar_small ...

        As in pycocotools "ap" is at 100 detections whenever 100 is among the numbers, all else at the greatest.
        """
        at = self.max_detections.index(100) if 100 in self.max_detections else -1
        found = {"ap": _mean(self.precision[..., 0, at])}
        found |= {f"ap{name}": _mean(self.precision[row, ..., 0, -1]) for name, row in (("50", 0), ("75", 5))}
        found |= {f"ap{size}": _mean(self.precision[..., area, -1]) for area, size in enumerate(_SIZES) if size}
        found |= {f"ar{most}": _mean(self.recall[..., 0, i]) for i, most in enumerate(self.max_detections)}
        found |= {f"ar{size}": _mean(self.recall[..., area, -1]) for area, size in enumerate(_SIZES) if size}
        return {name: value for name, value in found.items() if value is not None}

    def of_category(self, category: int) -> dict[str, float]:
        """ap and ap50 of one category id; empty if it has no objects."""
        precision = self.precision[:, :, self.categories.index(category), 0, -1]
        found = {"ap": _mean(precision), "ap50": _mean(precision[0])}
        return {name: value for name, value in found.items() if value is not None}


def _mean(values: np.ndarray[Any, Any]) -> float | None:
    counted = values[values > -1]
    return float(counted.mean()) if counted.size else None


def average_precision(
    truth: dict[str, Any],
    entries: Sequence[dict[str, Any]],
    kind: Kind,
    max_detections: tuple[int, ...] = (1, 10, COUNTED),
    federated: bool = False,
) -> PrecisionRecall:
    """Evaluate boxes or masks; the arguments are not changed.

    Args:
        truth: the content of a COCO annotation file; all its images count.
        entries: the content of a COCO result file; boxes are ignored for "segm", so that an area is its mask's.
        kind: "bbox" or "segm".
        max_detections: greatest numbers of detections an image and category, ascending.
        federated: whether ``truth`` says which classes were looked for, see
            :func:`internimage.metrics.sets.lvis.lvis_average_precision`.

    Raises:
        DataError: an entry belongs to no image of ``truth``.
        MissingExtraError: faster-coco-eval is not installed.
    """
    functions = library()
    check_images(truth, entries)
    # the library writes into what it is given, and takes annotation 0 for none
    objects = [{**one, "id": number} for number, one in enumerate(truth["annotations"], start=1)]
    shape = "bbox" if kind == "bbox" else "segmentation"
    results = [{key: entry[key] for key in ("image_id", "category_id", "score", shape)} for entry in entries]
    for result in results if kind == "segm" else ():
        if isinstance(result[shape]["counts"], list):
            result[shape] = functions.mask.frPyObjects(result[shape], *result[shape]["size"])
    annotated = functions.COCO({**truth, "annotations": objects}, print_function=_silent)
    evaluation = functions.COCOeval_faster(
        annotated, annotated.loadRes(results), kind, print_function=_silent, lvis_style=federated
    )
    evaluation.params.maxDets = list(max_detections)
    evaluation.evaluate()
    evaluation.accumulate()
    return PrecisionRecall(
        np.asarray(evaluation.eval["precision"]),
        np.asarray(evaluation.eval["recall"]),
        tuple(int(category) for category in evaluation.params.catIds),
        max_detections,
    )


def check_images(truth: dict[str, Any], entries: Sequence[dict[str, Any]]) -> None:
    """Refuse results of other images than those of the annotation file."""
    known = {image["id"] for image in truth["images"]}
    foreign = sorted({entry["image_id"] for entry in entries} - known)
    if foreign:
        raise DataError(
            f"there are detections in image {foreign[0]}, which is not among the {len(known)} annotated ones"
        )


def _silent(*_: object) -> None: ...


def library() -> Any:
    """faster-coco-eval.

    Raises:
        MissingExtraError: it is not installed.
    """
    try:
        import faster_coco_eval  # type: ignore[import-untyped]
    except ImportError as error:
        raise MissingExtraError(
            "evaluating detectors needs faster-coco-eval: pip install 'internimage[train]'"
        ) from error
    return faster_coco_eval
