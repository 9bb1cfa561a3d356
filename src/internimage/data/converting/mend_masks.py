"""Masks mended: soft edges snapped to the numbers of areas, and turned as their pictures are."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from internimage.data.converting.turning import SIDEWAYS, turned_pixels
from internimage.data.formats.mask_folders import find_pairs
from internimage.data.formats.mask_numbers import area_numbers, classes_of, inner
from internimage.data.masks import VOID, Coding, MaskFile, SegmentedImage, SegmentedImages, flat_ids
from internimage.data.objects import ObjectImage
from internimage.data.samples import ImageFile
from internimage.errors import DataError, ImageReadError
from internimage.images.masks import UNKNOWN, grey_numbers, read_mask


def read_soft(root: Path, aside: Path) -> tuple[dict[str, SegmentedImages], list[str]] | None:
    """Masks with soft edges as if they had been drawn sharply, kept in ``aside``; None if they are none."""
    try:
        pairs = find_pairs(root)
        numbers = area_numbers(pairs) if pairs else []
    except DataError:
        return None
    if len(numbers) < 2:
        return None
    classes = classes_of(numbers)
    parts, changed = {}, 0
    for name, found in pairs.items():
        images = []
        for picture, mask in sorted(found):
            pixels = _numbers(mask)
            if pixels is None:
                continue
            sharp = snapped(pixels, numbers)
            changed += int((sharp != pixels).sum())
            images.append(SegmentedImage(picture, _kept(sharp, aside)))
        called = f"{root} ({name})" if name != "all" else str(root)
        parts[name] = SegmentedImages(called, classes.names, classes.palette, classes.coding, tuple(images))
    if not changed:
        return None  # something else is wrong with them
    listed = ", ".join(map(str, numbers))
    return parts, [f"mended: {changed} pixels along soft edges have the nearest of {listed}, which have areas"]


def stored_masks(
    part: SegmentedImages,
    kept: Sequence[tuple[SegmentedImage, tuple[int, int]]],
    turns: Mapping[ImageFile, int],
    as_stored: bool,
    aside: Path,
    done: Counter[str],
) -> list[SegmentedImage]:
    """Entries whose masks are upright and sharp, those that had to change in ``aside``.

    Args:
        part: they are of.
        kept: entries and the (width, height) of their pictures, upright.
        turns: EXIF orientations of the pictures.
        as_stored: whether all masks were drawn before the turn.
        aside: a folder.
        done: what was done, counted.
    """
    found = []
    for entry, (width, height) in kept:
        turn = turns[entry.file]
        numbers = _truth(part, entry, done)
        if numbers is None:
            done["masks that cannot be read are left out, with their pictures"] += 1
            continue
        stored = numbers.shape == ((width, height) if turn in SIDEWAYS else (height, width))
        if turn != 1 and stored and (as_stored or numbers.shape != (height, width)):
            numbers = turned_pixels(numbers, turn)
            done["masks are turned as their pictures are"] += 1
        if numbers.shape != (height, width):
            done["masks are of another size than their pictures: they are left out, with them"] += 1
            continue
        first = (next(iter(group), VOID) for group in part.coding.ids)  # a class without numbers is nowhere
        coded = np.array([*first, _unknown(part.coding)], np.int32)[numbers]
        found.append(SegmentedImage(entry.file, _kept(coded, aside)))
    if not found:
        raise DataError(f"{part.name}: none of {len(part)} masks can be used")
    return found


def snapped(pixels: NDArray[np.int32], numbers: Sequence[int]) -> NDArray[np.int32]:
    """The nearest of ``numbers`` at each pixel, of two as near the smaller."""
    ordered = np.array(sorted(numbers), np.int32)
    middles = (ordered[1:] + ordered[:-1]) / 2
    found: NDArray[np.int32] = ordered[np.searchsorted(middles, pixels)]
    return found


def _truth(part: SegmentedImages, entry: SegmentedImage, done: Counter[str]) -> NDArray[np.int32] | None:
    """Class numbers of a picture; of a mask with numbers of no class, areas are unknown and edges have the nearest."""
    try:
        return part.truth(entry)
    except ImageReadError:
        numbers = None if isinstance(entry.mask, ObjectImage) else _numbers(entry.mask)
        known = [*flat_ids(part.coding.ids), *part.coding.unknown]
        if numbers is None:
            return None
        strange = np.isin(numbers, list(set(inner(numbers).tolist()) - set(known)))
        truth = part.coding.decode(snapped(numbers, known), str(entry.mask))
        done["masks had areas of numbers that stand for no class: they are unknown"] += bool(strange.any())
        done["masks had edges of numbers that stand for no class: they have the nearest that do"] += bool(
            (~np.isin(numbers, known) & ~strange).any()
        )
        return np.where(strange, UNKNOWN, truth)


def _unknown(coding: Coding) -> int:
    """A number that stands for unknown, of masks that are written anew: the usual one, if it may be."""
    may_be = [one for one in sorted(coding.unknown, key=lambda one: (one != VOID, one)) if one >= 0]
    return next((one for one in may_be if one not in flat_ids(coding.ids)), VOID)


def _numbers(mask: MaskFile) -> NDArray[np.int32] | None:
    try:
        pixels: Any = read_mask(mask)
    except ImageReadError:
        return None
    return grey_numbers(pixels) if pixels.ndim == 3 else pixels


def _kept(numbers: NDArray[np.int32], aside: Path) -> Path:
    path = aside / f"{sum(1 for _ in aside.iterdir())}.png"
    mode = np.uint8 if numbers.max(initial=0) < 256 else np.uint16
    Image.fromarray(numbers.astype(mode)).save(path)
    return path
