"""Pascal VOC's XML: ``Annotations``, ``JPEGImages`` and ``ImageSets/Main``.

Corners are pixels counted from 1, both in the box, so that they are whole: see
:mod:`internimage.data.formats.voc`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from xml.etree import ElementTree

from internimage.data.converting.target import Target, count_lost_masks, size_of
from internimage.data.objects import ObjectImage, ObjectImages


def write(parts: Mapping[str, ObjectImages], target: Target) -> None:
    """Boxes rounded to pixels; crowds become difficult objects, which VOC ignores likewise."""
    count_lost_masks(target, parts)
    for name, part in parts.items():
        stems = []
        for image in part.images:
            file = target.picture(image.file, "JPEGImages")
            stems.append(Path(file).stem)
            target.write(f"Annotations/{stems[-1]}.xml", _xml(image, file, part.classes, target))
        target.write(f"ImageSets/Main/{'default' if name == 'all' else name}.txt", "".join(f"{one}\n" for one in stems))


def _xml(image: ObjectImage, file: str, classes: tuple[str, ...], target: Target) -> str:
    width, height = size_of(image)
    root = ElementTree.Element("annotation")
    _add(root, folder="JPEGImages", filename=file)
    _add(ElementTree.SubElement(root, "size"), width=width, height=height, depth=3)
    _add(root, segmented=0)
    for one in image.objects:
        element = ElementTree.SubElement(root, "object")
        _add(element, name=classes[one.label], pose="Unspecified", truncated=0, difficult=int(one.crowd))
        x1, y1, x2, y2 = one.box
        edges = [max(round(x1), 0) + 1, max(round(y1), 0) + 1, min(round(x2), width), min(round(y2), height)]
        box = [edges[0], edges[1], max(edges[2], edges[0]), max(edges[3], edges[1])]
        target.lost["boxes that were rounded to whole pixels, or cut at the edge of their picture"] += [
            box[0] - 1,
            box[1] - 1,
            *box[2:],
        ] != list(one.box)
        _add(ElementTree.SubElement(element, "bndbox"), xmin=box[0], ymin=box[1], xmax=box[2], ymax=box[3])
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="unicode") + "\n"


def _add(element: ElementTree.Element, **values: str | int) -> None:
    for name, value in values.items():
        ElementTree.SubElement(element, name).text = str(value)
