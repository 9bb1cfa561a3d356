"""A mended copy of a data set: what a check finds and a machine can mend."""

from __future__ import annotations

import os
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

from internimage.data.checking import fingerprint
from internimage.data.converting.convert import NOUNS, Written, read_whole, single, with_one_list, writer_of
from internimage.data.converting.mend_masks import read_soft, stored_masks
from internimage.data.converting.target import Target, new_folder
from internimage.data.converting.turning import SIDEWAYS, turned_image
from internimage.data.masks import SegmentedImages
from internimage.data.objects import ObjectImage, ObjectImages, wrong_size
from internimage.data.recognition import Kind
from internimage.data.samples import ImageFile
from internimage.data.splits import describe, left_out_lines
from internimage.errors import DataError, ImageReadError
from internimage.images.reader import exif_turn
from internimage.settings.data import DataOptions, Pictures

_LENIENT = DataOptions(bad_entries="drop", allow_left_out=True)
_FORMAT: Mapping[Kind, str] = {"objects": "coco", "masks": "masks", "labels": "class-folders"}

Follow = Callable[[Sequence[Any]], Iterable[Any]]


def mend_data(
    source: str | os.PathLike[str],
    target: str | os.PathLike[str],
    *,
    boxes_as_stored: bool = False,
    pictures: Pictures = "copy",
    reading: DataOptions | None = None,
    follow: Follow = iter,
) -> Written:
    """Write a mended copy of a data set, as ``internimage data check --fix`` does; nothing is written into ``source``.

    Left out are entries that contradict the format, pictures that cannot be read, all but the first of pictures of
    equal pixels within a part, and boxes of which no pixel is in their picture; boxes that reach out are cut.  Where
    every object is marked as a crowd, all become single objects.  Pictures are stored upright.  Masks with soft edges
    get, at each pixel, the nearest of the numbers that have areas.  Objects are written as COCO's JSON, masks with
    ``classes.json``, classes as folders.

    Args:
        source: a data set in any format that is read.
        target: a folder that is free or empty.
        boxes_as_stored: boxes and masks were drawn on the pictures as they are stored, before the turn that their EXIF
            data ask for: they are turned too.  What is of the stored picture's size, where that differs from the
            upright one's, is turned in any case.
        pictures: "copy" or "link"; those that are turned are always written anew.
        reading: how annotations are read, such as ``DataOptions(boxes="corners")``.
        follow: wraps the entries of each part while they are looked at, such as ``tqdm``.

    Raises:
        DataError: the source is in no format that is read, or nothing of it can be used; the target is not free.
    """
    source, target = Path(source).expanduser(), Path(target).expanduser()
    reading = replace(reading or _LENIENT, bad_entries="drop", allow_left_out=True)
    with tempfile.TemporaryDirectory() as aside, new_folder(target, source) as folder:
        kind, parts, said = _read(source, reading, Path(aside))
        done: Counter[str] = Counter()
        said += [*describe(NOUNS[kind], parts), *left_out_lines(parts)]
        upright: set[ImageFile] = set()
        mended = {
            name: _mended(part, boxes_as_stored, upright, done, Path(aside), follow) for name, part in parts.items()
        }
        mended = _single_if_all(with_one_list(mended), done)
        written = Target(folder, pictures, upright)
        writer_of(_FORMAT[kind], kind)(mended, written)
        done["pictures are stored upright, as JPEG of quality 95 where they were JPEG"] += len(upright)
    said += [f"mended: {count} {what}" for what, count in done.items() if count]
    said += [f"not as it was: {count} {what}" for what, count in written.lost.items() if count]
    return Written(target, sum(map(len, mended.values())), tuple(said))


def _read(source: Path, reading: DataOptions, aside: Path) -> tuple[Kind, dict[str, Any], list[str]]:
    try:
        kind, parts = read_whole(source, reading)
    except DataError as error:
        soft = read_soft(source, aside)
        if soft is None:
            raise error
        return "masks", *soft
    return kind, parts, []


def _mended(
    part: Any, as_stored: bool, upright: set[ImageFile], done: Counter[str], aside: Path, follow: Follow
) -> Any:
    """A part without what cannot be used, its annotations in the upright frame."""
    with ThreadPoolExecutor() as pool:
        reading = pool.map(lambda entry: fingerprint(entry.file), part.entries)
        looks = [look for _, look in zip(follow(part.entries), reading, strict=True)]
    kept, seen = [], set[str]()
    for entry, look in zip(part.entries, looks, strict=True):
        if isinstance(look, ImageReadError):
            done["pictures that cannot be read are left out"] += 1
        elif look[0] in seen:
            done["pictures are there a second time in their part: the first stays, with its annotations"] += 1
        else:
            seen.add(look[0])
            kept.append((entry, look[1]))
    if not kept:
        raise DataError(f"{part.name}: none of {len(part)} pictures can be read")
    turns = {entry.file: _turn(entry.file) for entry, _ in kept}
    upright |= {file for file, turn in turns.items() if turn != 1}
    entries = [entry for entry, _ in kept]
    if isinstance(part, ObjectImages):
        entries = [_mended_objects(entry, size, turns[entry.file], as_stored, done) for entry, size in kept]
        entries = [entry for entry in entries if entry is not None]
    if isinstance(part, SegmentedImages):
        entries = stored_masks(part, kept, turns, as_stored, aside, done)
        return replace(part.with_entries(entries, part.name), left_out=())
    return part.with_entries(entries, part.name)


def _mended_objects(
    image: ObjectImage, size: tuple[int, int], turn: int, as_stored: bool, done: Counter[str]
) -> ObjectImage | None:
    """A picture of ``size`` (width, height), upright, with its objects in that frame; None if they do not fit."""
    fits, stored = image.size == size[::-1], image.size == (size if turn in SIDEWAYS else size[::-1])
    if turn != 1 and stored and (as_stored or not fits):
        image = turned_image(image, turn)
        done["objects are turned as their pictures are"] += len(image.objects)
    if wrong_size(image, size):
        done["pictures are of another size than their annotations: they are left out"] += 1
        return None
    objects = []
    for one in image.objects:
        x1, y1, x2, y2 = one.box
        cut = (max(x1, 0.0), max(y1, 0.0), min(x2, float(size[0])), min(y2, float(size[1])))
        if cut[2] - cut[0] < 1 or cut[3] - cut[1] < 1:
            done["boxes without a pixel in their picture are left out"] += 1
            continue
        done["boxes that reached out of their picture are cut"] += cut != one.box
        objects.append(one._replace(box=cut))
    return image._replace(objects=tuple(objects))


def _single_if_all(parts: dict[str, Any], done: Counter[str]) -> dict[str, Any]:
    """Crowds as single objects where everything is marked as one."""
    images = [image for part in parts.values() if isinstance(part, ObjectImages) for image in part.images]
    objects = [one for image in images for one in image.objects]
    if not objects or not all(one.crowd for one in objects):
        return parts
    done["objects were all marked as crowds: they are single objects now"] += len(objects)
    return {name: single(part) for name, part in parts.items()}


def _turn(file: ImageFile) -> int:
    try:
        return exif_turn(file) if isinstance(file, Path) else 1
    except ImageReadError:
        return 1
