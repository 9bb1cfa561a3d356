"""VGG Image Annotator's JSON beside the pictures; the class is the region attribute ``class``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from internimage.data.converting.outlines import outline_of
from internimage.data.converting.target import Target, below, rounded
from internimage.data.objects import ObjectAnnotation, ObjectImages


def write(parts: Mapping[str, ObjectImages], target: Target) -> None:
    """A project of VIA 2 for each part: boxes and polygons."""
    for name, part in parts.items():
        metadata = {}
        for image in part.images:
            file = target.picture(image.file, below(name) or ".")
            there = target.folder / below(name) / file
            size = there.stat().st_size if there.is_file() else -1
            regions = [
                {
                    "shape_attributes": _shape(one, image.size),
                    "region_attributes": {"class": part.classes[one.label]},
                }
                for one in image.objects
            ]
            metadata[f"{file}{size}"] = {"filename": file, "size": size, "regions": regions, "file_attributes": {}}
        options = dict.fromkeys(part.classes, "")
        attributes = {"region": {"class": {"type": "dropdown", "description": "", "options": options}}, "file": {}}
        content = {"_via_settings": {}, "_via_img_metadata": metadata, "_via_attributes": attributes}
        target.write_json(str(Path(below(name)) / "via_project.json"), content)


def _shape(one: ObjectAnnotation, size: tuple[int, int]) -> dict[str, Any]:
    polygon = outline_of(one, size)
    if polygon is None:
        x1, y1, x2, y2 = map(rounded, one.box)
        return {"name": "rect", "x": x1, "y": y1, "width": rounded(x2 - x1), "height": rounded(y2 - y1)}
    edges = [rounded(edge) for edge in polygon]
    return {"name": "polygon", "all_points_x": edges[::2], "all_points_y": edges[1::2]}
