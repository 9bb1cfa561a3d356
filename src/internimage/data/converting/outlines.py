"""Objects as one polygon each, for formats that know no masks."""

from __future__ import annotations

from array import array

import numpy as np

from internimage.data.objects import ObjectAnnotation, bitmap
from internimage.images.outlines import joined, outlines, ring_area


def outline_of(annotation: ObjectAnnotation, size: tuple[int, int]) -> array[float] | None:
    """One polygon around an object in a picture of ``size`` (height, width); None if it has only a box.

    Parts and holes are joined by bridges without width, there and back, so that the area is that of the mask.
    """
    if annotation.segmentation is None or annotation.outlined:
        return None
    if isinstance(annotation.segmentation, list):
        given = [np.array(one).reshape(-1, 2) for one in annotation.segmentation]
        rings = [ring if ring_area(ring) >= 0 else ring[::-1] for ring in given]
    else:
        rings = [ring for part in outlines(bitmap(annotation, size)) for ring in (part.outline, *part.holes)]
    return array("d", joined(rings).ravel().tolist()) if rings else None
