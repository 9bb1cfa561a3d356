"""Objects as COCO's files: results to be measured, annotations to be corrected or learnt from.

Formats: https://cocodataset.org/#format-results and https://cocodataset.org/#format-data
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

import numpy as np

from internimage.data.formats.coco_results import Identity, read_numbers
from internimage.errors import DataError
from internimage.images.outlines import simplified
from internimage.labels import COCO_CATEGORY_IDS, load_labels
from internimage.results.output import Output, Picture, Shape, Shapes
from internimage.results.pairing import pair


class CocoWriter:
    """Writes ``results.json``, the list that evaluations take, and ``annotations.json``, a data set of what is shown.

    ``annotations.json`` has the images, with the ids that ``results.json`` refers to, and the categories, so that
    pycocotools reads the two together.  Its masks are polygons, or run lengths where they have holes.  Ids of images
    and categories are those of ``output.annotations`` if that is given; else images are counted from 1, and categories
    have ``output.category_ids``, else COCO's own ids if the classes are COCO's, else 1, 2, ...

    Args:
        output: see there.
        shapes: the objects of a result.

    Attributes:
        notes: which numbers are used.

    Raises:
        DataError: a picture is not in ``output.annotations``, or none of the classes is.
    """

    def __init__(self, output: Output, shapes: Shapes) -> None:
        self.output, self.shapes = output, shapes
        self.categories, said = _categories(output)
        self.image_ids: dict[str, Identity] = {
            picture.stem: number for number, picture in enumerate(output.pictures, 1)
        }
        self.notes: tuple[str, ...] = (f"category ids are {said}",)
        if output.annotations is not None:
            self.image_ids = _image_ids(output, output.annotations)
        # what is written stands aside until it is whole
        self._results, self._annotations = (TemporaryFile("w+", encoding="utf-8") for _ in range(2))  # noqa: SIM115
        self._images: list[dict[str, Any]] = []
        self._counts = [0, 0]

    def add(self, picture: Picture, result: Any) -> None:
        """Write the objects of one picture."""
        # frames of videos are not known before
        identity = self.image_ids.setdefault(picture.stem, len(self.image_ids) + 1)
        height, width = result.size
        self._images.append({"id": identity, "file_name": picture.name, "height": height, "width": width})
        for shape in self.shapes(result, self.output.least):
            category = self.categories.get(self.output.classes[shape.label])
            if category is None:
                continue
            entry = self._entry(identity, category, shape)
            self._append(0, self._results, entry)
            if shape.score >= self.output.shown.score_threshold:
                self._append(1, self._annotations, self._annotation(entry, shape))

    def close(self) -> list[Path]:
        """Write the files; their paths."""
        results, annotations = (self.output.place(name) for name in ("results.json", "annotations.json"))
        categories = [{"id": number, "name": name} for name, number in self.categories.items()]
        tail = f'],\n"images": {json.dumps(self._images)},\n"categories": {json.dumps(categories)}}}\n'
        whole = ((results, self._results, "[", "]\n"), (annotations, self._annotations, '{"annotations": [', tail))
        for path, aside, head, end in whole:
            aside.seek(0)
            with path.open("w", encoding="utf-8") as file:
                file.write(head)
                shutil.copyfileobj(aside, file)
                file.write(end)
            aside.close()
        return [results, annotations]

    def _entry(self, image: Identity, category: Identity, shape: Shape) -> dict[str, Any]:
        x1, y1, x2, y2 = shape.box
        box = [x1, y1, x2 - x1, y2 - y1]
        entry: dict[str, Any] = {"image_id": image, "category_id": category, "bbox": box, "score": shape.score}
        if shape.mask is not None:
            entry["segmentation"] = {"size": list(shape.mask.size), "counts": compress(shape.mask.run_lengths())}
        return entry

    def _annotation(self, entry: dict[str, Any], shape: Shape) -> dict[str, Any]:
        number = self._counts[1] + 1
        annotation = {"id": number, **entry, "iscrowd": 0, "area": entry["bbox"][2] * entry["bbox"][3]}
        if shape.mask is not None:
            annotation["area"] = shape.mask.area
            parts = shape.mask.outlines()
            if parts and not any(part.holes for part in parts):
                annotation["segmentation"] = [simplified(part.outline).reshape(-1).tolist() for part in parts]
        return annotation

    def _append(self, kind: int, file: Any, entry: dict[str, Any]) -> None:
        file.write(f"{',' if self._counts[kind] else ''}\n{json.dumps(entry)}")
        self._counts[kind] += 1


def compress(runs: Sequence[int]) -> str:
    """Run lengths as COCO's text; see :func:`internimage.data.objects.decompress`."""
    values = np.array(runs, np.int64)
    values[3:] -= np.array(runs, np.int64)[1:-2]  # a view would be changed on the way
    letters = []
    for value in values.tolist():
        more = True
        while more:
            letter, value = value & 31, value >> 5
            more = value != (-1 if letter & 16 else 0)
            letters.append(letter | 32 if more else letter)
    return bytes(letter + 48 for letter in letters).decode("ascii")


def _categories(output: Output) -> tuple[dict[str, Identity], str]:
    """The number of each class by its name, and whose numbers they are."""
    names = output.classes
    if output.annotations is not None:
        known = read_numbers(output.annotations)[1]
        found = {name: known[name] for name in names if name in known}
        if not found:
            raise DataError(
                f"{output.annotations} has none of the model's classes; it has {', '.join(list(known)[:5])}, the model "
                f"{', '.join(names[:5])}"
            )
        left = len(names) - len(found)
        more = f"; objects of {left} classes that it lacks are left out" if left else ""
        return found, f"those of {output.annotations}{more}"
    if output.category_ids is not None:
        return dict(zip(names, output.category_ids, strict=True)), "those of the data that the model learnt from"
    if names == load_labels("coco"):
        return dict(zip(names, COCO_CATEGORY_IDS, strict=True)), "COCO's own"
    return {name: number for number, name in enumerate(names, 1)}, "1, 2, ... in the order of the model's classes"


def _image_ids(output: Output, annotations: Path) -> dict[str, Identity]:
    """The file's number of each picture, by the picture's stem."""
    known = read_numbers(annotations)[0]
    found = pair([picture.name for picture in output.pictures], known, str(annotations))
    if missing := [picture.name for picture in output.pictures if picture.name not in found]:
        raise DataError(
            f"{annotations} does not know {len(missing)} of {len(output.pictures)} pictures, such as {missing[0]}; "
            "predict the pictures that it lists, or leave --annotations out"
        )
    return {picture.stem: known[found[picture.name]] for picture in output.pictures}
