"""Supervisely's project folder: ``meta.json``, ``PART/ann`` and ``PART/img``."""

from __future__ import annotations

import base64
import io
import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np
from PIL import Image

from internimage.data.converting.target import Target, rounded, size_of
from internimage.data.objects import ObjectAnnotation, ObjectImages, bitmap
from internimage.drawing.objects import class_colour


def write(parts: Mapping[str, ObjectImages], target: Target) -> None:
    """Rectangles, whose corners are pixels, both in the box; polygons; bitmaps of several polygons and run lengths."""
    classes = next(iter(parts.values())).classes
    titles = [
        {"title": name, "shape": "any", "color": "#{:02X}{:02X}{:02X}".format(*class_colour(number))}
        for number, name in enumerate(classes)
    ]
    target.write_json("meta.json", {"classes": titles, "tags": [], "projectType": "images"})
    for name, part in parts.items():
        folder = "ds0" if name == "all" else name
        for image in part.images:
            file = target.picture(image.file, f"{folder}/img")
            width, height = size_of(image)
            objects = [
                {"classTitle": classes[one.label], "description": "", "tags": [], **_drawn(one, image.size, target)}
                for one in image.objects
            ]
            size = {"height": height, "width": width}
            content = {"description": "", "tags": [], "size": size, "objects": objects}
            target.write_json(f"{folder}/ann/{file}.json", content)


def _drawn(one: ObjectAnnotation, size: tuple[int, int], target: Target) -> dict[str, Any]:
    if one.segmentation is None or one.outlined:
        x1, y1, x2, y2 = (round(edge) for edge in one.box)
        target.lost["boxes that were rounded to whole pixels"] += (x1, y1, x2, y2) != one.box
        corners = [[x1, y1], [max(x1, x2 - 1), max(y1, y2 - 1)]]
        return {"geometryType": "rectangle", "points": {"exterior": corners, "interior": []}}
    if isinstance(one.segmentation, list) and len(one.segmentation) == 1:
        edges = [rounded(edge) for edge in one.segmentation[0]]
        points = [list(point) for point in zip(edges[::2], edges[1::2], strict=True)]
        return {"geometryType": "polygon", "points": {"exterior": points, "interior": []}}
    mask = bitmap(one, size)
    rows, columns = np.nonzero(mask)
    left, top = (int(columns.min()), int(rows.min())) if len(rows) else (0, 0)
    patch = mask[top : int(rows.max()) + 1, left : int(columns.max()) + 1] if len(rows) else mask[:1, :1]
    picture = Image.fromarray(patch.astype(np.uint8), "P")
    picture.putpalette([0, 0, 0, 255, 255, 255])
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", transparency=0)
    text = base64.b64encode(zlib.compress(buffer.getvalue())).decode()
    return {"geometryType": "bitmap", "bitmap": {"data": text, "origin": [left, top]}}
