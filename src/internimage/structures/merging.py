"""Detections of several views of one picture made one: soft-NMS and box fusion."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import numpy as np

from internimage.structures.boxes import Found, joined, overlaps

FusedScore = Literal["avg", "max", "box_and_model_avg", "absent_model_aware_avg"]


class Merged(NamedTuple):
    """What is left of detections, highest score first.

    Attributes:
        labels, scores, boxes: (K,), (K,), (K, 4), see :class:`internimage.structures.boxes.Found`.
        members: of each the places (P,) of the detections that it is made of, the best one first; of several views they
            count on from view to view.
    """

    labels: np.ndarray[Any, Any]
    scores: np.ndarray[Any, Any]
    boxes: np.ndarray[Any, Any]
    members: tuple[np.ndarray[Any, Any], ...]


def soft_nms(
    found: Found,
    method: Literal["linear", "gaussian"] = "linear",
    overlap: float = 0.5,
    sigma: float = 0.5,
    minimum: float = 0.001,
    most: int | None = None,
) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Lower the scores of detections that overlap a better one of their class (Bodla et al., 2017).

    Args:
        found: detections of one image.
        method: "linear" multiplies a score by 1 - IoU where IoU is more than ``overlap``, "gaussian" by
            exp(-IoU² / sigma).
        overlap, sigma: see there.
        minimum: detections below this score are left out.
        most: greatest number of detections that are left; None for any.

    Returns:
        Places (N,) of the detections that are left, and their lowered scores (N,), highest first.
    """
    scores, waiting = found.scores.astype(np.float64), np.ones(len(found.scores), bool)
    order: list[int] = []
    while waiting.any() and len(order) != most:
        top = int(np.where(waiting, scores, -np.inf).argmax())
        if scores[top] < minimum:  # and so are all that wait
            break
        waiting[top] = False
        order.append(top)
        rivals = np.flatnonzero(waiting & (found.labels == found.labels[top]))
        shares = overlaps(found.boxes[top][None], found.boxes[rivals])[0]
        if method == "linear":
            scores[rivals] *= np.where(shares > overlap, 1 - shares, 1)
        else:
            scores[rivals] *= np.exp(-(shares**2) / sigma)
    places = np.array(order, int)
    return places, scores[places]


def weighted_boxes_fusion(
    views: Sequence[Found],
    weights: Sequence[float],
    overlap: float = 0.55,
    minimum: float = 0.0,
    score: FusedScore = "avg",
    overflow: bool = False,
) -> Merged:
    """Fuse the detections of several views of a picture, or of several models (Solovyev et al., 2021).

    From the highest score times weight on, each box joins the cluster of its class whose fused box it overlaps most,
    by more than ``overlap``, or starts one.  A fused box is the mean of its boxes, by score times weight.

    Args:
        views: detections of each, boxes inside the picture and in one unit; those without extent or score are left out.
        weights: of each view.
        overlap: least IoU.
        minimum: detections below this score are left out.
        score: of a fused box, from its boxes' scores times weights: "avg", their sum divided by all weights, as if no
            more boxes than views were in it; "max", the highest divided by the highest weight; "box_and_model_avg",
            the sum divided by the weights of the boxes, times the share of all weights that the views in it have;
            "absent_model_aware_avg", the sum divided by the weights of the boxes and of the views that have none in it.
        overflow: "avg" without the limit.

    Returns:
        Fused boxes, float64.
    """
    pool = _Pool(views, weights, minimum)
    clusters = pool.clusters(overlap, moving=True)
    scores = [pool.fused_score(members, score, overflow) for members in clusters]
    boxes = [np.average(pool.boxes[members], axis=0, weights=pool.weighted[members]) for members in clusters]
    return pool.fused(clusters, scores, boxes)


def non_maximum_weighted(
    views: Sequence[Found], weights: Sequence[float], overlap: float = 0.55, minimum: float = 0.0
) -> Merged:
    """Fuse detections as :func:`weighted_boxes_fusion` does, but around the best box of each cluster (Zhou, 2017).

    A box joins the cluster whose best box it overlaps most.  The fused box is the mean by score times weight times IoU
    with the best one, and the score is that one's times its weight, divided by the highest weight.
    """
    pool = _Pool(views, weights, minimum)
    clusters = pool.clusters(overlap, moving=False)
    scores = [pool.fused_score(members, "max", False) for members in clusters]
    boxes = []
    for members in clusters:
        own = pool.boxes[members]
        nearness = overlaps(own[:1], own)[0] * pool.weighted[members]
        boxes.append(np.average(own, axis=0, weights=nearness))
    return pool.fused(clusters, scores, boxes)


class _Pool:
    """The detections of all views, best first."""

    def __init__(self, views: Sequence[Found], weights: Sequence[float], minimum: float) -> None:
        self.view_weights = np.array(weights, np.float64)
        labels, scores = joined((view.labels for view in views), int), joined((view.scores for view in views), float)
        boxes = np.concatenate([np.zeros((0, 4)), *(view.boxes for view in views)])
        of_view = np.repeat(np.arange(len(views)), [len(view.labels) for view in views])
        weighted = scores * self.view_weights[of_view]
        sound = (weighted > 0) & (boxes[:, 2:] > boxes[:, :2]).all(1)
        kept = np.flatnonzero(sound & (scores >= minimum))
        order = kept[np.argsort(-weighted[kept], kind="stable")]
        self.places, self.labels, self.boxes = order, labels[order], boxes[order]
        self.views, self.weighted = of_view[order], weighted[order]

    def clusters(self, overlap: float, moving: bool) -> list[list[int]]:
        """Places of the boxes of each cluster; each has a centre that is its first box or, moving, the fused one."""
        members: list[list[int]] = []
        labels, centres = np.empty(len(self.labels), int), np.empty((len(self.labels), 4))
        for place, (label, box) in enumerate(zip(self.labels, self.boxes, strict=True)):
            same = np.flatnonzero(labels[: len(members)] == label)
            shares = overlaps(box[None], centres[same])[0]
            if len(same) and shares.max() > overlap:
                number = int(same[shares.argmax()])
                members[number].append(place)
                if moving:
                    own = members[number]
                    centres[number] = np.average(self.boxes[own], axis=0, weights=self.weighted[own])
            else:
                labels[len(members)], centres[len(members)] = label, box
                members.append([place])
        return members

    def fused_score(self, members: list[int], rule: FusedScore, overflow: bool) -> float:
        """The score of one cluster, see :func:`weighted_boxes_fusion`."""
        scores, views, total = self.weighted[members], self.views[members], self.view_weights.sum()
        present, own = self.view_weights[np.unique(views)].sum(), self.view_weights[views].sum()
        if rule == "max":
            return float(scores.max() / self.view_weights.max())
        if rule == "box_and_model_avg":
            return float(scores.sum() / own * present / total)
        if rule == "absent_model_aware_avg":
            return float(scores.sum() / (own + total - present))
        number = len(members) if overflow else min(len(members), len(self.view_weights))
        return float(scores.mean() * number / total)

    def fused(self, clusters: list[list[int]], scores: list[float], boxes: list[np.ndarray[Any, Any]]) -> Merged:
        """The clusters as detections, highest score first."""
        labels = self.labels[[members[0] for members in clusters]]
        order = np.argsort(-np.array(scores), kind="stable")
        members = tuple(self.places[clusters[number]] for number in order)
        return Merged(labels[order], np.array(scores)[order], np.reshape(boxes, (-1, 4))[order], members)
