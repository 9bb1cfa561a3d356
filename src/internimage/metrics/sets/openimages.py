"""OpenImages' mean average precision: hierarchy of classes, verified classes of images, groups of objects."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np

from internimage.data.objects import Verified
from internimage.metrics.found import (
    ClassPrecision,
    Truth,
    area_under_curve,
    best,
    class_precision,
    first_of_each,
    numbered,
)
from internimage.structures.boxes import Found, insides, joined, overlaps

OVERLAP = 0.5
Rule = Literal["challenge", "v2", "mmdet"]


def class_kinds(ancestors: Sequence[Iterable[int]]) -> np.ndarray[Any, Any]:
    """(C, C) bool, whether the class of a row is a kind of the class of a column: of itself, and of its ancestors.

    Args:
        ancestors: of each of the C classes the wider ones, see :class:`internimage.data.objects.Rule`.
    """
    kinds = np.eye(len(ancestors), dtype=bool)
    for label, wider in enumerate(ancestors):
        kinds[label, list(wider)] = True
    return kinds


def truth_of_kinds(truth: Truth, kinds: np.ndarray[Any, Any]) -> Truth:
    """Each object once for each class that it is a kind of (C, C)."""
    rows, labels = np.nonzero(kinds[truth.labels])
    return Truth(truth.size, labels, truth.boxes[rows], truth.ignored[rows])


def found_of_kinds(found: Found, kinds: np.ndarray[Any, Any], classes: np.ndarray[Any, Any] | None = None) -> Found:
    """Each detection once for each class that it is a kind of (C, C); for a model that tells only the narrowest.

    ``classes`` (N,) are those that count, all without.
    """
    places = np.arange(len(kinds)) if classes is None else classes
    rows, columns = np.nonzero(kinds[found.labels[:, None], places])
    return Found(places[columns], found.scores[rows], found.boxes[rows])


def verified_of_kinds(verified: Verified, kinds: np.ndarray[Any, Any]) -> Verified:
    """With a class all that it is a kind of (C, C) are present; with a class all its kinds are absent."""
    present, absent = kinds[sorted(verified.present)].any(0), kinds[:, sorted(verified.absent)].any(1)
    return Verified(*(frozenset(np.flatnonzero(one).tolist()) for one in (present, absent)))


def open_images_precision(
    truths: Sequence[Truth],
    founds: Sequence[Found],
    verified: Sequence[Verified],
    kinds: np.ndarray[Any, Any],
    rule: Rule = "challenge",
) -> ClassPrecision:
    """Average precision of each class, objects taken for their classes' ancestors too.

    A detection counts in an image if its class has objects or is verified there.  It belongs to the single object of
    its class of highest IoU, from 0.5 on, and the one with the highest score finds it.  Of those that find none, all
    that lie by half of their area in one group count as one detection, that finds the group.

    Args:
        truths: images, ``ignored`` are groups (IsGroupOf); as annotated, see :func:`truth_of_kinds`.
        founds: their detections, in the same order and unit.
        verified: their verified classes, as annotated.
        kinds: (C, C), see :func:`class_kinds`.
        rule: "challenge", of 2018 and 2019, which expects detections of ancestors too (:func:`found_of_kinds`);
            "v2", the older one, in which groups are neither found nor missed and all detections count; "mmdet", the
            challenge's as mmdet computes it: detections are taken for ancestors too, verified classes are not.
    """
    matched = [_matched(*image, kinds, rule) for image in zip(truths, founds, verified, strict=True)]
    return _gathered(matched, len(kinds), rule)


class _Matched(NamedTuple):
    """One image, (K,) detections that count.

    Attributes:
        labels, scores: (K,).
        objects, groups: (K,) places of the object that a detection belongs to and the group it lies in, -1 for none.
        truth: with ancestors.
    """

    labels: np.ndarray[Any, Any]
    scores: np.ndarray[Any, Any]
    objects: np.ndarray[Any, Any]
    groups: np.ndarray[Any, Any]
    truth: Truth


def _matched(truth: Truth, found: Found, verified: Verified, kinds: np.ndarray[Any, Any], rule: Rule) -> _Matched:
    truth = truth_of_kinds(truth, kinds)
    found = found.part(np.all(found.boxes[:, 2:] > found.boxes[:, :2], axis=1))
    if rule != "mmdet":
        verified = verified_of_kinds(verified, kinds)
    counted = np.array(sorted({*truth.labels.tolist(), *verified.present, *verified.absent}), int)
    if rule == "mmdet":
        found = found_of_kinds(found, kinds, counted)
    elif rule == "challenge":
        found = found.part(np.isin(found.labels, counted))
    own = found.labels[:, None] == truth.labels
    objects = _near(overlaps(found.boxes, truth.boxes) * (own & ~truth.ignored))
    groups = _near(insides(found.boxes, truth.boxes) * (own & truth.ignored))
    return _Matched(found.labels, found.scores, objects, groups, truth)


def _near(shares: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Column (K,) of the greatest overlap (K, M), -1 where it is too small."""
    places, share = best(shares)
    return np.where(share >= OVERLAP, places, -1)


def _gathered(images: Sequence[_Matched], classes: int, rule: Rule) -> ClassPrecision:
    truths = [image.truth for image in images]
    objects = numbered([image.objects for image in images], truths)
    groups = numbered([image.groups for image in images], truths)
    labels = joined((image.labels for image in images), int)
    scores = joined((image.scores for image in images), float)
    true = joined((truth.labels for truth in truths), int)
    ignored = joined((truth.ignored for truth in truths), bool)
    right = first_of_each(objects, scores)
    grouped = ~right & (groups >= 0)
    counted = ~grouped
    if rule != "v2":  # of all in a group the best one counts, and finds it
        finders = first_of_each(np.where(grouped, groups, -1), scores)
        right |= finders
        counted |= finders
    counts = np.bincount(true[~ignored] if rule == "v2" else true, minlength=classes)
    return class_precision(labels[counted], scores[counted], right[counted], counts, area_under_curve)
