"""YOLO's text files as Ultralytics reads them: ``data.yaml``, ``images/PART`` and ``labels/PART``."""

from __future__ import annotations

import json
from array import array
from collections.abc import Mapping, Sequence
from pathlib import Path

from internimage.data.converting.outlines import outline_of
from internimage.data.converting.target import Target, below, count_lost_masks, size_of
from internimage.data.objects import ObjectAnnotation, ObjectImage, ObjectImages


def write(parts: Mapping[str, ObjectImages], target: Target) -> None:
    """Polygons where all objects of the data set have masks, boxes otherwise: a file may not mix them."""
    outlined = all(part.has_masks for part in parts.values())
    if not outlined:
        count_lost_masks(target, parts)
    for name, part in parts.items():
        for image in part.images:
            file = target.picture(image.file, below(name, "images"))
            lines = [_object(one, image, target, outlined) for one in image.objects]
            text = "".join(f"{line}\n" for line in lines)
            target.write(f"{below(name, 'labels')}/{Path(file).stem}.txt", text)
    classes = next(iter(parts.values())).classes
    places = {part: below(part, "images") for part in parts}
    train = places.get("train") or places.get("all") or next(iter(places.values()))
    rows = [f"train: {train}", f"val: {places.get('val', '')}".rstrip()]
    rows += [f"test: {places['test']}"] if "test" in places else []
    names = [f"  {number}: {json.dumps(name, ensure_ascii=False)}" for number, name in enumerate(classes)]
    target.write("data.yaml", "\n".join([*rows, "names:", *names, ""]))


def _object(one: ObjectAnnotation, image: ObjectImage, target: Target, outlined: bool) -> str:
    width, height = size_of(image)
    if not outlined:
        x1, y1, x2, y2 = one.box
        cut = [min(max(x1, 0.0), width), min(max(y1, 0.0), height), min(max(x2, 0.0), width), min(max(y2, 0.0), height)]
        target.lost["boxes that reached out of their picture: they are cut"] += cut != list(one.box)
        x1, y1, x2, y2 = cut
        middle = [(x1 + x2) / 2 / width, (y1 + y2) / 2 / height, (x2 - x1) / width, (y2 - y1) / height]
        return _line(one.label, middle)
    polygon = outline_of(one, image.size)
    if polygon is None:  # a box among masks
        x1, y1, x2, y2 = one.box
        polygon = array("d", [x1, y1, x2, y1, x2, y2, x1, y2])
    return _line(one.label, _shares(polygon, width, height))


def _shares(polygon: Sequence[float], width: int, height: int) -> list[float]:
    return [min(max(edge / (height if place % 2 else width), 0.0), 1.0) for place, edge in enumerate(polygon)]


def _line(label: int, shares: Sequence[float]) -> str:
    return " ".join([str(label), *(f"{share:.7g}" for share in shares)])
