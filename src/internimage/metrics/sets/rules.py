"""Which numbers the authors of a set give beside COCO's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from internimage.data.objects import Verified
from internimage.metrics.found import Truth
from internimage.metrics.sets.crowdhuman import crowd_human_numbers
from internimage.metrics.sets.openimages import class_kinds, found_of_kinds, open_images_precision
from internimage.metrics.sets.voc import voc_precision
from internimage.structures.boxes import Found

if TYPE_CHECKING:
    from internimage.data.objects import ObjectImage, Rule

RULES = {
    "coco": "COCO's average precision",
    "bdd100k": "BDD100K's rule, which is COCO's average precision",
    "lvis": "LVIS' average precision: classes count where they were looked for",
    "openimages": "OpenImages' mean AP at IoU 0.5, by the challenge's rule of 2019",
    "voc-11-points": "Pascal VOC's mean AP at IoU 0.5, at 11 points",
    "voc-area": "Pascal VOC's mean AP at IoU 0.5, by the area under the curve",
    "crowdhuman": "CrowdHuman's AP, MR-2 (less is better) and JI",
}
"""What each rule measures, for people."""

MAIN = {
    "openimages": ("openimages_map50", "openimages_map50_as_given", "openimages_map50_mmdet"),
    "voc-11-points": ("voc_map50",),
    "voc-area": ("voc_map50",),
    "crowdhuman": ("crowdhuman_ap", "crowdhuman_mr2", "crowdhuman_ji"),
    "lvis": ("box_ap", "box_ap_rare", "box_ap_common", "box_ap_frequent"),
}
"""The numbers that a set is known by; of others COCO's."""


def own_numbers(rule: Rule, images: Sequence[ObjectImage], founds: Sequence[Found], classes: int) -> dict[str, float]:
    """The numbers of a rule that are not COCO's, each in [0, 1]; those that are not defined are left out.

    Of OpenImages "openimages_map50" takes detections for the wider classes too, "..._as_given" does not, and
    "..._mmdet" is the published models' number, which takes image labels as they are written.
    """
    truths = [_truth(image) for image in images]
    if rule.metric in ("voc-11-points", "voc-area"):
        points = voc_precision(truths, founds, classes, "area" if rule.metric == "voc-area" else "11 points")
        found = {"voc_map50": points.mean}
    elif rule.metric == "crowdhuman":
        crowd = crowd_human_numbers(truths, founds)
        found = {"crowdhuman_ap": crowd.ap, "crowdhuman_mr2": crowd.miss_rate, "crowdhuman_ji": crowd.jaccard}
    elif rule.metric == "openimages":
        found = _open_images(rule, images, truths, founds)
    else:
        found = {}
    return {name: value for name, value in found.items() if value == value}


def _open_images(
    rule: Rule, images: Sequence[ObjectImage], truths: Sequence[Truth], founds: Sequence[Found]
) -> dict[str, float]:
    kinds = class_kinds(rule.ancestors)
    verified = [image.verified or Verified() for image in images]
    widened = [found_of_kinds(found, kinds) for found in founds]
    return {
        "openimages_map50": open_images_precision(truths, widened, verified, kinds).mean,
        "openimages_map50_as_given": open_images_precision(truths, founds, verified, kinds).mean,
        "openimages_map50_mmdet": open_images_precision(truths, founds, verified, kinds, "mmdet").mean,
    }


def _truth(image: ObjectImage) -> Truth:
    return Truth(
        image.size,
        np.array([one.label for one in image.objects], int),
        np.array([one.box for one in image.objects], np.float64).reshape(-1, 4),
        np.array([one.crowd for one in image.objects], bool),
    )
