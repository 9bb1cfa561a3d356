"""A detector's results on images with known objects: kept, merged over processes, measured by the set's own rule."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from internimage.errors import DataError
from internimage.metrics.coco import COUNTED, Kind, PrecisionRecall, average_precision, library
from internimage.metrics.mistakes import Mistakes, find_mistakes
from internimage.metrics.sets.lvis import by_frequency, lvis_average_precision
from internimage.metrics.sets.rules import own_numbers
from internimage.results.detections import Detections
from internimage.structures.boxes import Found

if TYPE_CHECKING:
    from internimage.data.formats.coco_results import ResultEntry
    from internimage.data.objects import ObjectImages

_PREFIX: dict[Kind, str] = {"bbox": "box", "segm": "mask"}
RECALL = np.linspace(0.0, 1.0, 101)


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
    mask = result.object_mask(index)
    assert mask is not None, "masks are evaluated, but the results have none"
    runs = {"size": list(mask.size), "counts": mask.run_lengths()}
    counts: bytes = library().mask.frPyObjects(runs, *mask.size)["counts"]
    return counts


def _compressed(segmentation: Any, size: tuple[int, int]) -> Any:
    """Polygons or run lengths as compressed run lengths."""
    functions = library().mask
    if isinstance(segmentation, list):
        return functions.merge(functions.frPyObjects(segmentation, *size))
    if segmentation is None or not isinstance(segmentation["counts"], str):
        return segmentation and functions.frPyObjects(segmentation, *size)
    return {**segmentation, "counts": segmentation["counts"].encode()}


def _bounds(run: Any) -> tuple[float, float, float, float]:
    """x1, y1, x2, y2 around compressed run lengths."""
    x, y, width, height = library().mask.toBbox(run).tolist()
    return x, y, x + width, y + height


class AveragePrecision:
    """COCO average precision and recall over the images that were predicted.

    Numbers of classes in the results are places in ``truth.classes``.  Masks are kept as run lengths, about 100 bytes
    each, so that those of 5,000 images fit in memory.

    Args:
        truth: images with their objects.
        masks: whether masks are evaluated beside boxes.
        limit: greatest number of objects an image that a model reports, more if a result has more (of tiles); where it
            and an image's objects are more than COCO counts, average precision is computed at this number too.

    Raises:
        DataError: masks are asked for and an object has none.
        MissingExtraError: faster-coco-eval is not installed; said before the first image and not after an epoch.
    """

    def __init__(self, truth: ObjectImages, masks: bool, limit: int = COUNTED) -> None:
        library()
        self.limit = limit
        self.truth = truth
        self.kinds: tuple[Kind, ...] = ("bbox", "segm") if masks else ("bbox",)
        self._images = {image.identity: image for image in truth.images}
        self._found: dict[int | str, _Found] = {}
        self._evaluated: dict[tuple[Kind, tuple[int, ...]], PrecisionRecall] = {}
        self._own: dict[str, float] | None = None
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
        self.limit = max(self.limit, len(result))
        self._changed()

    def add_entries(self, entries: Sequence[ResultEntry], identity: int | str) -> None:
        """Add what a result file says of the image with this number; boxes that it lacks are those of the masks."""
        runs = [_compressed(entry.segmentation, self._images[identity].size) for entry in entries]
        boxes = np.array(
            [_bounds(run) if one.box is None else one.box for one, run in zip(entries, runs, strict=True)], np.float64
        ).reshape(-1, 4)
        labels, scores = (np.array([getattr(one, name) for one in entries]) for name in ("label", "score"))
        masks = tuple(run["counts"] for run in runs if run is not None) if "segm" in self.kinds else ()
        self._found[identity] = _Found(labels.astype(int), scores.astype(float), boxes, masks)
        self._changed()

    def state(self) -> dict[int | str, _Found]:
        return self._found

    def merge(self, states: Sequence[dict[int | str, _Found]]) -> None:
        self._found = {identity: found for state in states for identity, found in state.items()}
        self._changed()

    def mistakes(self, threshold: float | None = None) -> Mistakes:
        """What is found, missed and false at a score threshold, see :func:`find_mistakes`."""
        found = ((self._images[identity], *self._found[identity].without_nan()) for identity in self._identities())
        return find_mistakes(found, len(self.truth.classes), threshold)

    def compute(self) -> dict[str, float]:
        """box_ap, box_ap50, ..., mask_ap, ..., each in [0, 1], those without objects left out; and "images".

        They are COCO's, of LVIS its own.  Other sets' rules have theirs beside them, see
        :func:`internimage.metrics.sets.rules.own_numbers`.  Where images have more objects than COCO counts, also
        box_ap_at_300 and the like, at the model's limit.
        """
        numbers = dict(self._own_numbers())
        for kind in self.kinds:
            found = self._evaluate(kind).numbers()
            if self._federated:
                found |= by_frequency(self._evaluate(kind), self.truth.rule.frequency)
            numbers |= {f"{_PREFIX[kind]}_{name}": value for name, value in found.items()}
        if self.limit > COUNTED and not self._federated and self.crowded():
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

    def _changed(self) -> None:
        self._evaluated.clear()
        self._own = None

    def _identities(self) -> list[int | str]:
        """The predicted images in the order of their ids; the library gets their places, for it takes no large ids."""
        return sorted(self._found, key=lambda identity: (isinstance(identity, str), identity))

    @property
    def _federated(self) -> bool:
        return self.truth.rule.metric == "lvis"

    def _own_numbers(self) -> dict[str, float]:
        if self._own is None:
            identities = self._identities()
            images = [self._images[identity] for identity in identities]
            founds = [Found(*self._found[identity].without_nan()) for identity in identities]
            self._own = own_numbers(self.truth.rule, images, founds, len(self.truth.classes))
        return self._own

    def _evaluate(self, kind: Kind, most: tuple[int, ...] = (1, 10, COUNTED)) -> PrecisionRecall:
        if (kind, most) not in self._evaluated:
            truth, entries = self._annotations(kind), self._entries(kind)
            self._evaluated[kind, most] = (
                lvis_average_precision(truth, entries, kind).evaluated
                if self._federated
                else average_precision(truth, entries, kind, most)
            )
        return self._evaluated[kind, most]

    def _annotations(self, kind: Kind) -> dict[str, Any]:
        """The annotation file of the predicted images."""
        images, annotations = [], []
        for number, identity in enumerate(self._identities(), 1):
            image = self._images[identity]
            entry: dict[str, Any] = {"id": number, "height": image.size[0], "width": image.size[1]}
            if image.verified is not None:
                entry["neg_category_ids"] = [label + 1 for label in image.verified.absent]
                entry["not_exhaustive_category_ids"] = [label + 1 for label in image.verified.partly]
            images.append(entry)
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
        frequency = self.truth.rule.frequency or ("",) * len(self.truth.classes)
        categories = [{"id": number, "frequency": letter} for number, letter in enumerate(frequency, 1)]
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
