"""Connected areas of masks as objects."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from internimage.data.formats.shapes import run_lengths
from internimage.data.left_out import LeftOut
from internimage.data.masks import BACKGROUND, SegmentedImage, SegmentedImages
from internimage.data.objects import ObjectAnnotation, ObjectImage, ObjectImages
from internimage.errors import DataError, MissingExtraError

_SPECK = 4  # pixels below which an area is none
_SPECKS = 0.5  # share of specks beyond which masks are noise


def areas_as_objects(parts: Mapping[str, SegmentedImages]) -> tuple[dict[str, ObjectImages], list[str]]:
    """Parts with an object for each connected area of a class (neighbours share a side), and what to say of it.

    Raises:
        DataError: most areas are specks of less than 4 pixels.
        MissingExtraError: SciPy is not installed.
    """
    found, said = {}, []
    for name, part in parts.items():
        classes = tuple(one for one in part.classes if one.strip().lower() != BACKGROUND)
        number = {index: classes.index(one) for index, one in enumerate(part.classes) if one in classes}
        images, specks, count = [], list[str](), 0
        for identity, image in enumerate(part.images, 1):
            objects, tiny = _objects(part, image, number, count)
            count += len(objects)
            specks += tiny
            size = part.truth(image).shape
            file: Any = image.file  # one inside of a file is written like one beside it
            images.append(ObjectImage(file, identity, (size[0], size[1]), tuple(objects)))
        if len(specks) > _SPECKS * (count + len(specks)):
            raise DataError(
                f"{part.name}: {len(specks)} of {count + len(specks)} areas have less than {_SPECK} pixels, as noise "
                "and soft edges do; mend the masks first (internimage data check --fix)"
            )
        small = LeftOut(f"areas of less than {_SPECK} pixels", "masks", tuple(specks), len(specks))
        left_out = (small,) if specks else ()
        ids = tuple(range(1, len(classes) + 1))
        found[name] = ObjectImages(part.name, classes, ids, tuple(images), "areas", left_out)
        said.append(f"{count} connected areas are objects; objects of a class that touch are one")
        said += [str(one) for one in left_out]
    return found, said


def _objects(
    part: SegmentedImages, image: SegmentedImage, number: Mapping[int, int], count: int
) -> tuple[list[ObjectAnnotation], list[str]]:
    """Objects of a picture, numbered on from ``count``, and names of specks."""
    truth = part.truth(image)
    objects: list[ObjectAnnotation] = []
    specks = []
    for index, label in number.items():
        areas, _ = _measurements().label(truth == index)
        for place, (rows, columns) in enumerate(_measurements().find_objects(areas), 1):
            mask = areas == place
            if mask[rows, columns].sum() < _SPECK:
                specks.append(f"{image.file.name} at {columns.start}, {rows.start}")
                continue
            box = (float(columns.start), float(rows.start), float(columns.stop), float(rows.stop))
            objects.append(ObjectAnnotation(box, label, run_lengths(mask), False, count + len(objects) + 1))
    return objects, specks


def _measurements() -> Any:
    try:
        from scipy import ndimage  # type: ignore[import-untyped]
    except ImportError as error:
        raise MissingExtraError("areas of masks need SciPy: pip install 'internimage[train]'") from error
    return ndimage
