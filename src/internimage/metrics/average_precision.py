"""COCO average precision of boxes and masks, computed by faster-coco-eval."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np

from internimage.errors import DataError, MissingExtraError
from internimage.metrics.mistakes import Mistakes, find_mistakes
from internimage.results.detections import Detections

if TYPE_CHECKING:
    from internimage.data.formats.coco_results import ResultEntry
    from internimage.data.objects import ObjectImages

Kind = Literal["bbox", "segm"]
_PREFIX: dict[Kind, str] = {"bbox": "box", "segm": "mask"}
COUNTED = 100
"""Objects an image that COCO's average precision counts."""

_SIZES = ("", "_small", "_medium", "_large")  # by area: up to 32² pixels, up to 96², above
RECALL = np.linspace(0.0, 1.0, 101)


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
            :func:`internimage.metrics.lvis.lvis_average_precision`.

    Raises:
        DataError: an entry belongs to no image of ``truth``.
        MissingExtraError: faster-coco-eval is not installed.
    """
    library = _library()
    check_images(truth, entries)
    # the library writes into what it is given, and takes annotation 0 for none
    objects = [{**one, "id": number} for number, one in enumerate(truth["annotations"], start=1)]
    shape = "bbox" if kind == "bbox" else "segmentation"
    results = [{key: entry[key] for key in ("image_id", "category_id", "score", shape)} for entry in entries]
    for result in results if kind == "segm" else ():
        if isinstance(result[shape]["counts"], list):
            result[shape] = library.mask.frPyObjects(result[shape], *result[shape]["size"])
    annotated = library.COCO({**truth, "annotations": objects}, print_function=_silent)
    evaluation = library.COCOeval_faster(
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


def _library() -> Any:
    try:
        import faster_coco_eval  # type: ignore[import-untyped]
    except ImportError as error:
        raise MissingExtraError(
            "evaluating detectors needs faster-coco-eval: pip install 'internimage[train]'"
        ) from error
    return faster_coco_eval


class _Found(NamedTuple):
    """The detections of one image: labels (K,), scores (K,), boxes (K, 4), K masks as compressed run lengths."""

    labels: np.ndarray[Any, Any]
    scores: np.ndarray[Any, Any]
    boxes: np.ndarray[Any, Any]
    masks: tuple[bytes, ...]

    def without_nan(self) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any], np.ndarray[Any, Any]]:
        """Labels, scores and boxes of the detections that have a score."""
        known = ~np.isnan(self.scores)
        return self.labels[known], self.scores[known], self.boxes[known]


def _run_lengths(result: Detections, index: int) -> bytes:
    """The mask of one object, compressed."""
    mask = result.mask(index)
    assert mask is not None, "masks are evaluated, but the results have none"
    counts: bytes = _library().mask.encode(np.asfortranarray(mask, np.uint8))["counts"]
    return counts


def _compressed(segmentation: Any, size: tuple[int, int]) -> Any:
    """Polygons or run lengths as compressed run lengths."""
    functions = _library().mask
    if isinstance(segmentation, list):
        return functions.merge(functions.frPyObjects(segmentation, *size))
    if segmentation is None or not isinstance(segmentation["counts"], str):
        return segmentation and functions.frPyObjects(segmentation, *size)
    return {**segmentation, "counts": segmentation["counts"].encode()}


class AveragePrecision:
    """COCO average precision and recall over the images that were predicted.

    Numbers of classes in the results are places in ``truth.classes``.  Masks are kept as run lengths, about 100 bytes
    each, so that those of 5,000 images fit in memory.

    Args:
        truth: images with their objects.
        masks: whether masks are evaluated beside boxes.
        limit: greatest number of objects an image that a model reports; where it and an image's objects are more than
            COCO counts, average precision is computed at this number too.

    Raises:
        DataError: masks are asked for and an object has none.
        MissingExtraError: faster-coco-eval is not installed; said before the first image and not after an epoch.
    """

    def __init__(self, truth: ObjectImages, masks: bool, limit: int = COUNTED) -> None:
        _library()
        self.limit = limit
        self.truth = truth
        self.kinds: tuple[Kind, ...] = ("bbox", "segm") if masks else ("bbox",)
        self._images = {image.identity: image for image in truth.images}
        self._found: dict[int | str, _Found] = {}
        self._evaluated: dict[tuple[Kind, tuple[int, ...]], PrecisionRecall] = {}
        bare = [x.file for x in truth.images if not all(one.segmentation or one.crowd for one in x.objects)]
        if masks and bare:
            raise DataError(f"{len(bare)} images have objects without masks, {bare[0]} for one; evaluate boxes only")

    def add(self, result: Detections, identity: int | str) -> None:
        """Add the result of the image with this number; one that is there already is replaced.

        Raises:
            DataError: no image has this number, or the annotations say another size.
        """
        image = self._images.get(identity)
        if image is None:
            raise DataError(f"{result.source.name}: {self.truth.name} has no image {identity}")
        if tuple(image.size) != result.size:  # turned or scaled after it was annotated: nothing could match
            (height, width), (rows, columns) = result.size, image.size
            raise DataError(f"{image.file} is {width}x{height}, its annotations are for {columns}x{rows}")
        masks = tuple(_run_lengths(result, index) for index in range(len(result))) if "segm" in self.kinds else ()
        self._found[identity] = _Found(result.labels, result.scores, result.boxes, masks)
        self._evaluated.clear()

    def add_entries(self, entries: Sequence[ResultEntry], identity: int | str) -> None:
        """Add what a result file says of the image with this number; boxes that it lacks are those of the masks."""
        functions, size = _library().mask, self._images[identity].size
        runs = [_compressed(entry.segmentation, size) for entry in entries]
        boxes = np.array(
            [functions.toBbox(run) if one.box is None else one.box for one, run in zip(entries, runs, strict=True)],
            np.float64,
        ).reshape(-1, 4)
        boxes[:, 2:] += boxes[:, :2]
        labels, scores = (np.array([getattr(one, name) for one in entries]) for name in ("label", "score"))
        masks = tuple(run["counts"] for run in runs if run is not None) if "segm" in self.kinds else ()
        self._found[identity] = _Found(labels.astype(int), scores.astype(float), boxes, masks)
        self._evaluated.clear()

    def state(self) -> dict[int | str, _Found]:
        return self._found

    def merge(self, states: Sequence[dict[int | str, _Found]]) -> None:
        self._found = {identity: found for state in states for identity, found in state.items()}
        self._evaluated.clear()

    def mistakes(self, threshold: float | None = None) -> Mistakes:
        """What is found, missed and false at a score threshold, see :func:`find_mistakes`."""
        found = ((self._images[identity], *self._found[identity].without_nan()) for identity in self._identities())
        return find_mistakes(found, len(self.truth.classes), threshold)

    def compute(self) -> dict[str, float]:
        """box_ap, box_ap50, ..., mask_ap, ..., each in [0, 1], those without objects left out; and "images".

        Where images have more objects than COCO counts, also box_ap_at_300 and the like, at the model's limit.
        """
        numbers = {
            f"{_PREFIX[kind]}_{name}": value
            for kind in self.kinds
            for name, value in self._evaluate(kind).numbers().items()
        }
        if self.limit > COUNTED and self.crowded():
            for kind in self.kinds:
                if "ap" in (found := self._evaluate(kind, (self.limit,)).numbers()):
                    numbers[f"{_PREFIX[kind]}_ap_at_{self.limit}"] = found["ap"]
        return {**numbers, "images": float(len(self._found))}

    def crowded(self) -> int:
        """Images that were predicted and have more objects than COCO's average precision counts."""
        objects = (self._images[identity].objects for identity in self._found)
        return sum(sum(not one.crowd for one in found) > COUNTED for found in objects)

    def per_class(self) -> dict[str, dict[str, float]]:
        """objects, box_ap, box_ap50, mask_ap, mask_ap50 of each class that has objects; crowds are not counted."""
        rows: dict[str, dict[str, float]] = {}
        objects = [one.label for identity in self._found for one in self._images[identity].objects if not one.crowd]
        counts = np.bincount(np.array(objects, int), minlength=len(self.truth.classes))
        for category, (name, count) in enumerate(zip(self.truth.classes, counts.tolist(), strict=True), 1):
            if count:
                rows[name] = {"objects": float(count)}
                for kind in self.kinds:
                    numbers = self._evaluate(kind).of_category(category)
                    rows[name] |= {f"{_PREFIX[kind]}_{key}": value for key, value in numbers.items()}
        return rows

    def precision_recall(self, kind: Kind) -> tuple[np.ndarray[Any, Any], dict[str, np.ndarray[Any, Any]]]:
        """Recall (101,) and, of each class with objects and of "all", their mean, precision (101,) at IoU 0.5."""
        evaluated = self._evaluate(kind)
        curves = {}
        for category, name in enumerate(self.truth.classes, 1):
            curve = evaluated.precision[0, :, evaluated.categories.index(category), 0, -1]
            if curve[0] > -1:
                curves[name] = curve
        return RECALL, {**curves, "all": np.mean(list(curves.values()), axis=0)} if curves else {}

    def _identities(self) -> list[int | str]:
        """The predicted images in the order of their ids; the library gets their places, for it takes no large ids."""
        return sorted(self._found, key=lambda identity: (isinstance(identity, str), identity))

    def _evaluate(self, kind: Kind, most: tuple[int, ...] = (1, 10, COUNTED)) -> PrecisionRecall:
        if (kind, most) not in self._evaluated:
            found = average_precision(self._annotations(kind), self._entries(kind), kind, most)
            self._evaluated[kind, most] = found
        return self._evaluated[kind, most]

    def _annotations(self, kind: Kind) -> dict[str, Any]:
        """The annotation file of the predicted images."""
        images, annotations = [], []
        for number, identity in enumerate(self._identities(), 1):
            image = self._images[identity]
            images.append({"id": number, "height": image.size[0], "width": image.size[1]})
            for one in image.objects:
                x1, y1, x2, y2 = one.box
                shape: Any = one.segmentation
                if shape is None:  # a crowd may lack a mask: its box is taken
                    shape = [[x1, y1, x2, y1, x2, y2, x1, y2]]
                elif isinstance(shape, list):
                    shape = [list(polygon) for polygon in shape]
                annotation = {
                    "image_id": number,
                    "category_id": one.label + 1,
                    "bbox": [x1, y1, x2 - x1, y2 - y1],
                    "area": one.area,
                    "iscrowd": int(one.crowd),
                }
                annotations.append(annotation | ({"segmentation": shape} if kind == "segm" else {}))
        categories = [{"id": number} for number in range(1, len(self.truth.classes) + 1)]
        return {"images": images, "annotations": annotations, "categories": categories}

    def _entries(self, kind: Kind) -> list[dict[str, Any]]:
        """The result file of the predicted images."""
        entries = []
        for number, identity in enumerate(self._identities(), 1):
            labels, scores, boxes, masks = self._found[identity]
            size = list(self._images[identity].size)
            for index in np.flatnonzero(~np.isnan(scores)).tolist():  # the library refuses NaN
                category, score = int(labels[index]) + 1, float(scores[index])
                entry: dict[str, Any] = {"image_id": number, "category_id": category, "score": score}
                if kind == "bbox":
                    x1, y1, x2, y2 = boxes[index].tolist()
                    entry["bbox"] = [x1, y1, x2 - x1, y2 - y1]
                else:
                    entry["segmentation"] = {"size": size, "counts": masks[index]}
                entries.append(entry)
        return entries
