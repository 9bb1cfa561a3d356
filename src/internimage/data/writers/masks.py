"""A class for every pixel: ``PART/images``, ``PART/masks`` and ``classes.json``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from PIL import Image

from internimage.data.converting.target import Target
from internimage.data.masks import VOID, SegmentedImages
from internimage.errors import DataError


def write(parts: Mapping[str, SegmentedImages], target: Target) -> None:
    """Numbers of the classes as grey pictures, 255 where unknown.

    Raises:
        DataError: there are more classes than a grey picture has numbers.
    """
    first = next(iter(parts.values()))
    if len(first.classes) > VOID:
        raise DataError(f"{first.name} has {len(first.classes)} classes; masks of one byte hold {VOID}")
    for name, part in parts.items():
        top = "" if name == "all" else f"{name}/"
        (target.folder / f"{top}masks").mkdir(parents=True, exist_ok=True)
        for image in part.images:
            numbers = part.truth(image)
            file = target.picture(image.file, f"{top}images")
            pixels = np.where(numbers < 0, VOID, numbers).astype(np.uint8)
            Image.fromarray(pixels).save(target.folder / f"{top}masks" / f"{Path(file).stem}.png")
    content: dict[str, object] = {"classes": list(first.classes), "unknown": [VOID]}
    if first.palette is not None:
        content["palette"] = [list(colour) for colour in first.palette]
    target.write_json("classes.json", content)
