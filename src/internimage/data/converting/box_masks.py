"""Masks for objects that have boxes alone, from whatever makes masks of boxes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
from PIL import Image

from internimage.data.objects import ObjectAnnotation, ObjectImage, ObjectImages
from internimage.data.splits import Follow, unseen
from internimage.errors import DataError
from internimage.images import show_image

MasksOf: TypeAlias = "Callable[[Image.Image, np.ndarray[Any, Any]], Sequence[list[int]]]"
"""Of a picture (RGB) and boxes (K, 4), x1, y1, x2, y2 in pixels, the run lengths of K masks, COCO's order."""


def with_masks(
    parts: Mapping[str, ObjectImages], masks_of: MasksOf, follow: Follow = unseen
) -> tuple[dict[str, ObjectImages], list[str]]:
    """The parts with a mask for each object that had none, and what is to be said.

    Masks that are there stay; crowds, and objects of which nothing was found, stay boxes.

    Raises:
        DataError: no object lacks a mask.
        ImageReadError: a picture cannot be read.
    """
    counts: Counter[str] = Counter()
    done = {}
    for name, part in parts.items():
        images = [_masked(image, masks_of, counts) for image in follow(part.images, len(part), "masks")]
        done[name] = part.with_entries(images, part.name)
    if not counts["boxes"]:
        raise DataError("every object has a mask already; leave --boxes-to-masks out")
    said = [f"{counts['boxes'] - counts['nothing']} of {counts['boxes']} boxes without masks got masks; others stay"]
    if counts["nothing"]:
        said.append(f"nothing was found in {counts['nothing']} boxes, which stay boxes")
    return done, said


def _masked(image: ObjectImage, masks_of: MasksOf, counts: Counter[str]) -> ObjectImage:
    bare = [place for place, one in enumerate(image.objects) if one.segmentation is None and not one.crowd]
    if not bare:
        return image
    counts["boxes"] += len(bare)
    picture = show_image(image.file)
    found = masks_of(picture, np.array([image.objects[place].box for place in bare], np.float32))
    objects: list[ObjectAnnotation] = list(image.objects)
    for place, runs in zip(bare, found, strict=True):
        if len(runs) == 1:
            counts["nothing"] += 1
            continue
        segmentation = {"size": [picture.height, picture.width], "counts": list(runs)}
        objects[place] = objects[place]._replace(segmentation=segmentation)
    return image._replace(objects=tuple(objects))
