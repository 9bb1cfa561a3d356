"""COCO's JSON: ``annotations/instances_PART.json`` and ``images/PART``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from internimage.data.converting.target import Target, below, rounded, size_of
from internimage.data.objects import ObjectImages


def write(parts: Mapping[str, ObjectImages], target: Target) -> None:
    """Boxes, polygons, run lengths and crowds as they are; ids are counted anew from 1."""
    for name, part in parts.items():
        images, annotations = [], list[dict[str, Any]]()
        for number, image in enumerate(part.images, 1):
            width, height = size_of(image)
            file = target.picture(image.file, below(name, "images"))
            images.append({"id": number, "file_name": file, "width": width, "height": height})
            for one in image.objects:
                x1, y1, x2, y2 = one.box
                entry: dict[str, Any] = {
                    "id": len(annotations) + 1,
                    "image_id": number,
                    "category_id": one.label + 1,
                    "bbox": [rounded(x1), rounded(y1), rounded(x2 - x1), rounded(y2 - y1)],
                    "area": rounded(one.area),
                    "iscrowd": int(one.crowd),
                }
                if isinstance(one.segmentation, list):
                    entry["segmentation"] = [[rounded(edge) for edge in polygon] for polygon in one.segmentation]
                elif one.segmentation is not None:
                    entry["segmentation"] = one.segmentation
                annotations.append(entry)
        categories = [{"id": number, "name": name_of} for number, name_of in enumerate(part.classes, 1)]
        file = "instances" if name == "all" else f"instances_{name}"
        content = {"images": images, "annotations": annotations, "categories": categories}
        target.write_json(f"annotations/{file}.json", content)
