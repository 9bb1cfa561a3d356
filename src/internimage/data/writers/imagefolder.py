"""Objects as Hugging Face's ``imagefolder``: ``PART/metadata.jsonl`` beside the pictures."""

from __future__ import annotations

import json
from collections.abc import Mapping

from internimage.data.converting.target import Target, below, count_lost_masks, rounded
from internimage.data.objects import ObjectImages


def write(parts: Mapping[str, ObjectImages], target: Target) -> None:
    """Boxes as x, y, width and height, classes by their names."""
    count_lost_masks(target, parts)
    for name, part in parts.items():
        rows = []
        for image in part.images:
            boxes = [one.box for one in image.objects]
            objects = {
                "bbox": [[rounded(x1), rounded(y1), rounded(x2 - x1), rounded(y2 - y1)] for x1, y1, x2, y2 in boxes],
                "categories": [part.classes[one.label] for one in image.objects],
            }
            rows.append(json.dumps({"file_name": target.picture(image.file, below(name) or "."), "objects": objects}))
        target.write("metadata.jsonl" if name == "all" else f"{name}/metadata.jsonl", "\n".join([*rows, ""]))
