"""LVIS' average precision of boxes and masks: classes that nobody looked for in an image do not count there."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from internimage.metrics.coco import Kind, PrecisionRecall, average_precision, check_images

COUNTED = 300
"""Objects an image that LVIS' average precision counts, over all classes."""

FREQUENCIES = {"rare": "r", "common": "c", "frequent": "f"}
_AT_ONCE = 64  # categories: the library keeps a list for each of them and each image


@dataclass(frozen=True)
class LvisPrecision:
    """What an evaluation of boxes or masks accumulates.

    Attributes:
        evaluated: by category and size, see :class:`internimage.metrics.coco.PrecisionRecall`.
        frequencies: "r" (in at most 10 training images), "c" (100) or "f" of each of its categories.
    """

    evaluated: PrecisionRecall
    frequencies: tuple[str, ...]

    def numbers(self) -> dict[str, float]:
        """LVIS' numbers, those without objects left out: ap, ap50, ap_small ..., ar300 ... and ap_rare, ap_common,
        ap_frequent.
        """
        return {**self.evaluated.numbers(), **by_frequency(self.evaluated, self.frequencies)}


def by_frequency(evaluated: PrecisionRecall, frequencies: Sequence[str]) -> dict[str, float]:
    """ap_rare, ap_common and ap_frequent, those without objects left out, given the letter of each category."""
    found = {}
    for name, letter in FREQUENCIES.items():
        precision = evaluated.precision[:, :, np.array(frequencies) == letter, 0, -1]
        if (counted := precision[precision > -1]).size:
            found[f"ap_{name}"] = float(counted.mean())
    return found


def lvis_average_precision(
    truth: dict[str, Any], entries: Sequence[dict[str, Any]], kind: Kind, limit: int = COUNTED
) -> LvisPrecision:
    """Evaluate boxes or masks as LVIS' own tool does; the arguments are not changed.

    Of an image and class, detections count only if there are objects, or if the image's ``neg_category_ids`` has the
    class; if its ``not_exhaustive_category_ids`` has it, detections that find nothing are not false.

    Args:
        truth: the content of an LVIS annotation file; all its images count.
        entries: the content of a COCO result file; an image's best ones count, the first of equals.
        kind: "bbox" or "segm".
        limit: how many an image.

    Raises:
        DataError: an entry belongs to no image of ``truth``.
        MissingExtraError: faster-coco-eval is not installed.
    """
    check_images(truth, entries)
    objects = _by_category(truth["annotations"])
    looked_for = {(image["id"], category) for image in truth["images"] for category in image["neg_category_ids"]}
    looked_for |= {(one["image_id"], one["category_id"]) for one in truth["annotations"]}
    best = (entries[place] for place in _best(entries, limit).tolist())
    found = _by_category(entry for entry in best if (entry["image_id"], entry["category_id"]) in looked_for)
    categories = sorted(truth["categories"], key=lambda category: category["id"])
    evaluated = []
    for start in range(0, len(categories), _AT_ONCE):
        some = categories[start : start + _AT_ONCE]
        annotations, results = ([one for category in some for one in own[category["id"]]] for own in (objects, found))
        concerned = {one["image_id"] for one in (*annotations, *results)}
        images = [image for image in truth["images"] if image["id"] in concerned]
        part = {"images": images, "annotations": annotations, "categories": some}
        evaluated.append(average_precision(part, results, kind, (limit,), federated=True))
    whole = PrecisionRecall(
        np.concatenate([one.precision for one in evaluated], axis=2),
        np.concatenate([one.recall for one in evaluated], axis=1),
        tuple(category for one in evaluated for category in one.categories),
        (limit,),
    )
    return LvisPrecision(whole, tuple(category["frequency"] for category in categories))


def _best(entries: Sequence[dict[str, Any]], limit: int) -> np.ndarray[Any, Any]:
    """Places of the best entries of each image, in their order."""
    images = np.array([entry["image_id"] for entry in entries], int)
    scores = np.array([entry["score"] for entry in entries], float)
    order = np.lexsort((-scores, images))
    rank = np.arange(len(order)) - np.searchsorted(images[order], images[order])
    return np.sort(order[rank < limit])


def _by_category(entries: Iterable[dict[str, Any]]) -> defaultdict[int, list[dict[str, Any]]]:
    found: defaultdict[int, list[dict[str, Any]]] = defaultdict(list)
    for entry in entries:
        found[entry["category_id"]].append(entry)
    return found
