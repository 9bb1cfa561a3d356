"""Data sets in other formats: read by whatever format they are in, written by the one that is asked for."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import Any

from internimage.data.converting.areas import areas_as_objects
from internimage.data.converting.box_masks import MasksOf, with_masks
from internimage.data.converting.target import Target, new_folder
from internimage.data.left_out import LeftOut, refuse_much
from internimage.data.masks import SegmentedImages, paint
from internimage.data.objects import ObjectImages
from internimage.data.recognition import Kind, find_format, unrecognised
from internimage.data.samples import Part
from internimage.data.splits import Follow, describe, left_out_lines, unseen
from internimage.errors import DataError
from internimage.settings.data import DataOptions, FormatName, Pictures

NOUNS: Mapping[Kind, str] = {"objects": "detector", "masks": "segmenter", "labels": "classifier"}
_WRITERS: Mapping[Kind, tuple[str, ...]] = {
    "objects": ("coco", "yolo", "voc", "labelme", "via", "cvat", "labelstudio", "supervisely", "masks", "imagefolder"),
    "masks": ("masks", "coco"),
    "labels": ("class-folders", "csv", "imagefolder"),
}

_WITH_CROWDS = ("coco", "voc", "masks")


@dataclass(frozen=True)
class Written:
    """A data set that was written.

    Attributes:
        folder: where.
        pictures: how many.
        lines: what was read, what was left out, and what is not as it was, for people.
    """

    folder: Path
    pictures: int
    lines: tuple[str, ...]


def convert_data(
    source: str | os.PathLike[str],
    target: str | os.PathLike[str],
    to: FormatName,
    *,
    pictures: Pictures = "copy",
    areas: bool = False,
    reading: DataOptions | None = None,
    masks_of: MasksOf | None = None,
    follow: Follow = unseen,
) -> Written:
    """Write a data set in another format, as ``internimage data convert`` does.

    Nothing is written into ``source``; ``target`` is written aside and moved when it is whole.  Parts stay parts, of
    which all have one list of classes.

    Args:
        source: a data set in any format that is read.
        target: a folder that is free or empty.
        to: the format.  Objects: coco, yolo, voc, labelme, via, cvat, labelstudio, supervisely, imagefolder, and
            painted, masks; masks: masks, and with ``areas`` coco; classes: class-folders, csv, imagefolder.
        pictures: "copy" them, "link" to them (hard, or symbolic on another disk), or "none".
        areas: of masks, take each connected area of a class as an object; touching objects become one.
        reading: how annotations are read, such as ``DataOptions(boxes="corners")``.
        masks_of: gives objects without masks one each, see :mod:`internimage.data.converting.box_masks`.
        follow: shows the progress of that.

    Raises:
        DataError: the source is in no format that is read or contradicts it, too much of it would be left out, the
            target is not free, or the format cannot hold such data.
    """
    source, target, reading = Path(source).expanduser(), Path(target).expanduser(), reading or DataOptions()
    kind, parts = read_whole(source, reading)
    if to not in _WRITERS[kind]:
        expected = ", ".join(_WRITERS[kind])
        raise DataError(f"{source} is data for a {NOUNS[kind]}, which {to} does not hold; expected {expected}")
    said = [*describe(NOUNS[kind], parts), *left_out_lines(parts)]
    parts = with_one_list(parts)
    if masks_of is not None:
        if kind != "objects":
            raise DataError(f"{source} is data for a {NOUNS[kind]}, without boxes to make masks of")
        masked, told = with_masks(parts, masks_of, follow)
        parts, said = dict(masked), [*said, *told]
    if kind == "objects" and to not in _WITH_CROWDS:
        parts = {name: _without_crowds(part, to, reading) for name, part in parts.items()}
        said += [line for line in left_out_lines(parts) if line not in said]
    if kind == "masks" and to == "coco":
        parts, more = _areas(source, parts, areas)
        said += more
    elif kind == "objects" and to == "masks":
        parts = {name: paint(part.usable(replace(reading, crowds="learn"))) for name, part in parts.items()}
        said.append("objects are painted over a background, small ones last: objects of a class are one area")
    with new_folder(target, source) as folder:
        written = Target(folder, pictures)
        writer_of(to, kind)(parts, written)
    said += [f"not as it was: {count} {what}" for what, count in written.lost.items() if count]
    return Written(target, sum(map(len, parts.values())), tuple(said))


def read_whole(source: Path, reading: DataOptions) -> tuple[Kind, dict[str, Any]]:
    """The kind of a data set and its parts, of which not too much is left out.

    Raises:
        DataError: it is in no format that is read, contradicts it, or too much is left out and nobody asked.
    """
    found = find_format(source)
    if found is None:
        raise DataError(unrecognised(source))
    parts = dict(found.read_parts(source, None, reading))
    for part in parts.values():
        refuse_much(part.name, part.left_out, reading.allow_left_out)
        if reading.crowds == "learn" and isinstance(part, ObjectImages):
            parts = {name: single(one) for name, one in parts.items()}
    return found.kind, parts


def single(part: ObjectImages) -> ObjectImages:
    """Crowds as single objects."""
    images = [
        image._replace(objects=tuple(one._replace(crowd=False) for one in image.objects)) for image in part.images
    ]
    return part.with_entries(images, part.name)


def with_one_list(parts: Mapping[str, Any]) -> dict[str, Any]:
    """The parts with the classes of all, those of the first part first."""
    classes = tuple(dict.fromkeys(name for part in parts.values() for name in part.classes))
    if any(set(part.classes) != set(classes) for part in parts.values() if isinstance(part, SegmentedImages)):
        return dict(parts)
    return {name: part.with_classes(classes) for name, part in parts.items()}


def writer_of(to: str, kind: Kind) -> Callable[[Mapping[str, Part], Target], None]:
    """The function that writes a format."""
    if kind == "labels":
        module = import_module("internimage.data.writers.labels")
        writer: Callable[..., None] = getattr(module, f"write_{to.replace('-', '_')}")
    else:
        writer = import_module(f"internimage.data.writers.{to}").write
    return writer


def _without_crowds(part: ObjectImages, to: str, reading: DataOptions) -> ObjectImages:
    """A part for a format that knows no crowds; too many of them are refused."""
    marked = [(image.file.name, one) for image in part.images for one in image.objects if one.crowd]
    crowds = [f"{name} annotation {one.identity}" for name, one in marked]
    if not crowds:
        return part
    total = sum(len(image.objects) for image in part.images)
    learn = "--crowds learn takes them for single objects (in Python DataOptions(crowds='learn'))"
    found = LeftOut(f"crowds, which {to} does not know", "objects", tuple(crowds), len(crowds), total, learn)
    refuse_much(part.name, (found,), reading.allow_left_out)
    images = [image._replace(objects=tuple(one for one in image.objects if not one.crowd)) for image in part.images]
    return replace(part.with_entries(images, part.name), left_out=(*part.left_out, found))


def _areas(source: Path, parts: Mapping[str, SegmentedImages], wanted: bool) -> tuple[dict[str, Any], Sequence[str]]:
    if not wanted:
        raise DataError(
            f"{source} has a class for each pixel and no objects; --areas takes each connected area as one (in Python "
            "areas=True)"
        )
    return areas_as_objects(parts)
