"""Images with objects: boxes, masks, and bitmaps of the masks."""

from internimage.data.objects.annotations import (
    ObjectAnnotation,
    ObjectImage,
    Verified,
    bitmap,
    bounds,
    decompress,
    mask_bounds,
    wrong_size,
)
from internimage.data.objects.images import Metric, ObjectImages, Rule
from internimage.data.objects.table import ObjectTable

__all__ = [
    "Metric",
    "ObjectAnnotation",
    "ObjectImage",
    "ObjectImages",
    "ObjectTable",
    "Rule",
    "Verified",
    "bitmap",
    "bounds",
    "decompress",
    "mask_bounds",
    "wrong_size",
]
