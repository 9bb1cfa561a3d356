"""labelme's JSON beside the pictures."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from internimage.data.converting.target import Target, below, rounded, size_of
from internimage.data.objects import ObjectAnnotation, ObjectImages, bitmap


def write(parts: Mapping[str, ObjectImages], target: Target) -> None:
    """Boxes as rectangles, polygons with a group for those of one object, run lengths as masks."""
    for name, part in parts.items():
        for image in part.images:
            file = target.picture(image.file, below(name) or ".")
            width, height = size_of(image)
            shapes = [
                {"label": part.classes[one.label], "group_id": None, "flags": {}, "description": "", **shape}
                for number, one in enumerate(image.objects, 1)
                for shape in _shapes(one, image.size, number)
            ]
            content: dict[str, Any] = {
                "version": "5.5.0",
                "flags": {},
                "shapes": shapes,
                "imagePath": file,
                "imageData": None,
                "imageHeight": height,
                "imageWidth": width,
            }
            target.write_json(str(Path(below(name)) / f"{Path(file).stem}.json"), content)


def _shapes(one: ObjectAnnotation, size: tuple[int, int], number: int) -> list[dict[str, Any]]:
    if one.segmentation is None or one.outlined:
        x1, y1, x2, y2 = map(rounded, one.box)
        return [{"points": [[x1, y1], [x2, y2]], "shape_type": "rectangle"}]
    if isinstance(one.segmentation, list):
        group = {"group_id": number} if len(one.segmentation) > 1 else {}
        polygons = [[rounded(edge) for edge in polygon] for polygon in one.segmentation]
        points = [[list(point) for point in zip(edges[::2], edges[1::2], strict=True)] for edges in polygons]
        return [{"points": one_of, "shape_type": "polygon", **group} for one_of in points]
    mask = bitmap(one, size)
    rows, columns = np.nonzero(mask)
    if not len(rows):
        return []
    x1, y1, x2, y2 = (int(edge) for edge in (columns.min(), rows.min(), columns.max(), rows.max()))
    buffer = io.BytesIO()
    Image.fromarray(mask[y1 : y2 + 1, x1 : x2 + 1].astype(np.uint8)).save(buffer, "PNG")
    text = base64.b64encode(buffer.getvalue()).decode()
    return [{"points": [[x1, y1], [x2, y2]], "shape_type": "mask", "mask": text}]
