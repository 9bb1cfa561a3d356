"""CVAT's XML for images 1.1, ``annotations.xml`` and ``images``; parts are subsets."""

from __future__ import annotations

from collections.abc import Mapping
from xml.etree import ElementTree

import numpy as np
from numpy.typing import NDArray

from internimage.data.converting.target import Target, below, rounded, size_of
from internimage.data.objects import ObjectAnnotation, ObjectImages, bitmap

_SUBSETS = {"train": "Train", "val": "Validation", "test": "Test"}


def write(parts: Mapping[str, ObjectImages], target: Target) -> None:
    """Boxes, polygons and masks; of several polygons of one object a mask."""
    root = ElementTree.Element("annotations")
    ElementTree.SubElement(root, "version").text = "1.1"
    task = ElementTree.SubElement(ElementTree.SubElement(root, "meta"), "task")
    labels = ElementTree.SubElement(task, "labels")
    for name in next(iter(parts.values())).classes:
        ElementTree.SubElement(ElementTree.SubElement(labels, "label"), "name").text = name
    number = 0
    for name, part in parts.items():
        for image in part.images:
            file = target.picture(image.file, below(name, "images"))
            width, height = size_of(image)
            values = {"id": str(number), "name": file, "width": str(width), "height": str(height)}
            values |= {"subset": _SUBSETS[name]} if name in _SUBSETS else {}
            element = ElementTree.SubElement(root, "image", values)
            number += 1
            for one in image.objects:
                tag, drawn = _drawn(one, image.size)
                common = {"label": part.classes[one.label], "source": "manual", "occluded": "0"}
                ElementTree.SubElement(element, tag, {**common, **drawn, "z_order": "0"})
    ElementTree.indent(root)
    declaration = '<?xml version="1.0" encoding="utf-8"?>\n'
    target.write("annotations.xml", declaration + ElementTree.tostring(root, encoding="unicode") + "\n")


def _drawn(one: ObjectAnnotation, size: tuple[int, int]) -> tuple[str, dict[str, str]]:
    if one.segmentation is None or one.outlined:
        x1, y1, x2, y2 = (str(rounded(edge)) for edge in one.box)
        return "box", {"xtl": x1, "ytl": y1, "xbr": x2, "ybr": y2}
    if isinstance(one.segmentation, list) and len(one.segmentation) == 1:
        edges = [rounded(edge) for edge in one.segmentation[0]]
        points = ";".join(f"{x},{y}" for x, y in zip(edges[::2], edges[1::2], strict=True))
        return "polygon", {"points": points}
    mask = bitmap(one, size)
    rows, columns = np.nonzero(mask)
    if not len(rows):
        return "box", {"xtl": "0", "ytl": "0", "xbr": "0", "ybr": "0"}
    left, top = int(columns.min()), int(rows.min())
    patch = mask[top : int(rows.max()) + 1, left : int(columns.max()) + 1]
    values = {"left": left, "top": top, "width": patch.shape[1], "height": patch.shape[0]}
    return "mask", {"rle": ", ".join(map(str, _runs(patch))), **{key: str(value) for key, value in values.items()}}


def _runs(patch: NDArray[np.bool_]) -> list[int]:
    """Run lengths along the rows, zeros first."""
    flat = patch.reshape(-1)
    edges = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    counts = np.diff(np.concatenate(([0], edges, [flat.size]))).tolist()
    return [0, *counts] if flat[0] else counts
