"""Results as files a picture: YOLO's texts, VOC's XML, labelme's JSON, crops of objects, masks, sorted copies."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
from PIL import Image

from internimage.images.outlines import joined, simplified
from internimage.results.classification import Classification
from internimage.results.output import Output, Picture, Shape, Shapes, folder_name
from internimage.results.segmentation import Segmentation
from internimage.writing import json_text

_PADDING = 0.1  # of a crop, on each side, in shares of the box


class FileWriter:
    """One file, or several, for each picture.

    Args:
        output: see there; objects of at least ``output.shown.score_threshold`` are written.
        shapes: the objects of a result.
    """

    notes: tuple[str, ...] = ()

    def __init__(self, output: Output, shapes: Shapes) -> None:
        self.output = output
        self._shapes = shapes

    def shapes(self, result: Any) -> list[Shape]:
        """The objects that are written."""
        return list(self._shapes(result, self.output.shown.score_threshold))

    def add(self, picture: Picture, result: Any) -> None:
        raise NotImplementedError

    def close(self) -> list[Path]:
        """What was written; a folder stands for all in it."""
        return [self.output.folder]


class YoloWriter(FileWriter):
    """``labels/NAME.txt``, a line an object: number of the class, then the box (centre x, centre y, width, height) or,
    for masks, one polygon (x, y, x, y, ...), in shares of the picture's size; without scores, as training takes them.

    Parts and holes of a mask are joined into one polygon.  ``classes.txt`` and ``data.yaml`` name the classes.
    """

    def add(self, picture: Picture, result: Any) -> None:
        height, width = result.size
        lines = []
        for shape in self.shapes(result):
            x1, y1, x2, y2 = shape.box
            numbers = [(x1 + x2) / 2 / width, (y1 + y2) / 2 / height, (x2 - x1) / width, (y2 - y1) / height]
            if shape.mask is not None and shape.mask.area:
                rings = [simplified(ring) for part in shape.mask.outlines() for ring in (part.outline, *part.holes)]
                numbers = (joined(rings) / (width, height)).reshape(-1).tolist()
            lines.append(" ".join([str(shape.label), *(f"{number:.6g}" for number in numbers)]))
        text = "".join(f"{line}\n" for line in lines)
        self.output.place(f"labels/{picture.stem}.txt").write_text(text, encoding="utf-8")

    def close(self) -> list[Path]:
        names = "".join(f"  {number}: {json.dumps(name)}\n" for number, name in enumerate(self.output.classes))
        yaml = f"# put the pictures into images/, beside labels/\npath: .\ntrain: images\nval: images\nnames:\n{names}"
        self.output.place("data.yaml").write_text(yaml, encoding="utf-8")
        listed = "".join(f"{name}\n" for name in self.output.classes)
        self.output.place("classes.txt").write_text(listed, encoding="utf-8")
        return [self.output.folder / "data.yaml"]


class VocWriter(FileWriter):
    """``Annotations/NAME.xml`` as Pascal VOC has it; corners are whole pixels counted from 1, the last one included."""

    def add(self, picture: Picture, result: Any) -> None:
        height, width = result.size
        root = ElementTree.Element("annotation")
        name = Path(picture.name)
        for key, value in (("folder", name.parent.name), ("filename", name.name)):
            ElementTree.SubElement(root, key).text = value
        _numbers(ElementTree.SubElement(root, "size"), width=width, height=height, depth=3)
        for shape in self.shapes(result):
            one = ElementTree.SubElement(root, "object")
            ElementTree.SubElement(one, "name").text = self.output.classes[shape.label]
            ElementTree.SubElement(one, "pose").text = "Unspecified"
            _numbers(one, truncated=0, difficult=0)
            x1, y1, x2, y2 = (round(edge) for edge in shape.box)
            left, top = min(max(x1 + 1, 1), width), min(max(y1 + 1, 1), height)
            right, bottom = max(left, min(x2, width)), max(top, min(y2, height))
            _numbers(ElementTree.SubElement(one, "bndbox"), xmin=left, ymin=top, xmax=right, ymax=bottom)
        ElementTree.indent(root)
        ElementTree.ElementTree(root).write(self.output.place(f"Annotations/{picture.stem}.xml"), encoding="utf-8")


class LabelmeWriter(FileWriter):
    """``NAME.json`` as labelme has it: rectangles or, for masks, polygons; the parts of an object are a group."""

    def add(self, picture: Picture, result: Any) -> None:
        path = self.output.place(f"{picture.stem}.json")
        height, width = result.size
        file = result.source.value
        local = isinstance(file, str | Path) and Path(file).exists()
        where = os.path.relpath(file, path.parent) if local else picture.name
        entries: list[dict[str, Any]] = []
        for number, shape in enumerate(self.shapes(result), 1):
            x1, y1, x2, y2 = shape.box
            parts = [] if shape.mask is None else shape.mask.outlines()
            polygons = [joined([simplified(ring) for ring in (part.outline, *part.holes)]).tolist() for part in parts]
            common: dict[str, Any] = {"label": self.output.classes[shape.label], "flags": {}}
            entries += [
                {**common, "points": points, "group_id": number if len(parts) > 1 else None, "shape_type": "polygon"}
                for points in polygons
            ] or [{**common, "points": [[x1, y1], [x2, y2]], "group_id": None, "shape_type": "rectangle"}]
        content: dict[str, Any] = {
            "version": "5.0.0",
            "flags": {},
            "shapes": entries,
            "imagePath": Path(where).as_posix(),
        }
        content |= {"imageData": None, "imageHeight": height, "imageWidth": width}
        path.write_text(json.dumps(content, ensure_ascii=False) + "\n", encoding="utf-8")


class CropsWriter(FileWriter):
    """``CLASS/NAME.1.jpg`` ...: each object cut out, with a tenth of its box around it."""

    def add(self, picture: Picture, result: Any) -> None:
        shapes = self.shapes(result)
        if not shapes:
            return
        image = result.source.show()
        for number, shape in enumerate(shapes, 1):
            label = folder_name(self.output.classes[shape.label])
            cropped(image, shape.box).save(self.output.place(f"{label}/{picture.stem}.{number}.jpg"), quality=95)


class MaskWriter:
    """``masks/NAME.png``, whose pixels are numbers of classes, and ``classes.json`` with their names, of 0, 1, ..."""

    notes: tuple[str, ...] = ()

    def __init__(self, output: Output) -> None:
        self.output = output

    def add(self, picture: Picture, result: Segmentation) -> None:
        result.to_png().save(self.output.place(f"masks/{picture.stem}.png"))

    def close(self) -> list[Path]:
        names = self.output.place("classes.json")  # not a .txt, whose first name may be that of 0 or of 1
        names.write_text(json_text({"classes": list(self.output.classes)}) + "\n", encoding="utf-8")
        return [self.output.folder / "masks", names]


class SortedWriter:
    """``CLASS/NAME``: a copy of each picture in the folder of its most probable class."""

    notes: tuple[str, ...] = ()

    def __init__(self, output: Output) -> None:
        self.output = output

    def add(self, picture: Picture, result: Classification) -> None:
        file, label = result.source.value, folder_name(result.label)
        if isinstance(file, str | Path) and Path(file).is_file():
            shutil.copyfile(file, self.output.place(f"{label}/{picture.name}"))
        else:
            result.source.show().save(self.output.place(f"{label}/{picture.stem}.png"))

    def close(self) -> list[Path]:
        return [self.output.folder]


def cropped(image: Image.Image, box: tuple[float, float, float, float]) -> Image.Image:
    """The pixels of a box and a tenth of its width and height on each side, at least one pixel, not beyond the edge."""
    x1, y1, x2, y2 = box
    across, down = _PADDING * (x2 - x1), _PADDING * (y2 - y1)
    left, top = int(np.clip(x1 - across, 0, image.width - 1)), int(np.clip(y1 - down, 0, image.height - 1))
    right, bottom = (int(np.ceil(edge)) for edge in (min(x2 + across, image.width), min(y2 + down, image.height)))
    return image.crop((left, top, max(right, left + 1), max(bottom, top + 1)))


def _numbers(parent: ElementTree.Element, **values: int) -> None:
    for key, value in values.items():
        ElementTree.SubElement(parent, key).text = str(value)
