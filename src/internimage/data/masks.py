"""Images with a class for every pixel, and what the masks' numbers mean."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from internimage.data.formats.mask_folders import Colour
from internimage.data.objects import ObjectImage, bitmap
from internimage.data.samples import Measured
from internimage.errors import ImageReadError
from internimage.images.masks import UNKNOWN, grey_numbers, read_mask

_STRANGE = -2


VOID = 255  # what most tools write where a pixel belongs to no class


class SegmentedImage(NamedTuple):
    """A picture and where its classes are: a mask file, or objects that are painted over a background."""

    file: Path
    mask: Path | ObjectImage


@dataclass(frozen=True)
class Coding:
    """What the pixels of masks mean.

    Attributes:
        ids: the numbers that stand for each class.
        unknown: numbers of pixels that teach nothing and are not measured.
        colours: the colour that stands for each class, in masks of colours; others are unknown if listed so.
        unknown_colours: as ``unknown``.
    """

    ids: tuple[tuple[int, ...], ...]
    unknown: frozenset[int] = frozenset({VOID})
    colours: tuple[Colour, ...] | None = None
    unknown_colours: frozenset[Colour] = frozenset({(0, 0, 0)})

    def decode(self, pixels: np.ndarray[Any, Any], name: str) -> np.ndarray[Any, Any]:
        """Class numbers (H, W) int32, -1 where unknown, of pixels as :func:`read_mask` gives them.

        Raises:
            ImageReadError: a number or colour stands for no class.
        """
        if pixels.ndim == 3:
            numbers = grey_numbers(pixels)
            if numbers is None or self._knows(pixels):
                return self._decode_colours(pixels, name)
            pixels = numbers  # grey stored as RGB
        table = np.full(int(pixels.max()) + 1, _STRANGE, np.int32)
        meanings = dict.fromkeys(self.unknown, UNKNOWN)
        meanings |= {value: number for number, values in enumerate(self.ids) for value in values}
        for value, number in meanings.items():
            if 0 <= value < len(table):
                table[value] = number
        decoded: np.ndarray[Any, Any] = table[pixels.clip(0)]
        decoded[pixels < 0] = _STRANGE
        if (decoded == _STRANGE).any():
            strange = np.unique(pixels[decoded == _STRANGE]).tolist()
            raise ImageReadError(
                f"{name}: the numbers {listed(strange)} stand for no class; expected {listed(flat_ids(self.ids))}, or "
                f"{listed(sorted(self.unknown))} for unknown"
            )
        return decoded

    def _knows(self, pixels: np.ndarray[Any, Any]) -> bool:
        """Whether all colours of a mask stand for something."""
        known = [_packed(colour) for colour in (*self.unknown_colours, *(self.colours or ()))]
        return self.colours is not None and bool(np.isin(_pack(pixels), known).all())

    def _decode_colours(self, pixels: np.ndarray[Any, Any], name: str) -> np.ndarray[Any, Any]:
        if self.colours is None:
            raise ImageReadError(f"{name}: a mask of colours; expected numbers, or a classes.json with a palette")
        packed = _pack(pixels)
        meanings = {_packed(colour): UNKNOWN for colour in self.unknown_colours}
        meanings |= {_packed(colour): number for number, colour in enumerate(self.colours)}
        values = np.array(sorted(meanings), np.int32)
        place = np.searchsorted(values, packed).clip(0, len(values) - 1)
        if (strange := values[place] != packed).any():
            colours = listed([_unpacked(value) for value in np.unique(packed[strange]).tolist()])
            raise ImageReadError(f"{name}: the colours {colours} stand for no class; expected {listed(self.colours)}")
        decoded: np.ndarray[Any, Any] = np.array([meanings[value] for value in values.tolist()], np.int32)[place]
        return decoded


@dataclass(frozen=True)
class SegmentedImages:
    """Pictures with classes of pixels.

    Attributes:
        name: where they came from, for messages.
        classes: names of the classes.
        palette: a colour of each; None for colours that are made up.
        coding: what the masks' numbers mean.
        images: sorted by file.
    """

    name: str
    classes: tuple[str, ...]
    palette: tuple[Colour, ...] | None
    coding: Coding
    images: tuple[SegmentedImage, ...]

    def __len__(self) -> int:
        return len(self.images)

    @property
    def entries(self) -> tuple[SegmentedImage, ...]:
        """The images; what every data set calls them."""
        return self.images

    def measured(self, entry: SegmentedImage, size: tuple[int, int]) -> Measured:
        """Class numbers (H, W) int32, see :meth:`truth`."""
        truth = self.truth(entry)
        if wrong := wrong_mask_size(entry, size, (truth.shape[0], truth.shape[1])):
            raise ImageReadError(f"{entry.file}: {wrong}")
        return Measured(truth)

    def missing(self) -> list[SegmentedImage]:
        """Pictures without a mask."""
        return [image for image in self.images if isinstance(image.mask, Path) and not image.mask.exists()]

    def truth(self, image: SegmentedImage) -> np.ndarray[Any, Any]:
        """Class numbers (H, W) int32 of one picture, -1 where unknown.

        Raises:
            ImageReadError: the mask cannot be read, or has numbers that stand for no class.
        """
        if isinstance(image.mask, Path):
            return self.coding.decode(read_mask(image.mask), str(image.mask))
        painted = np.zeros(image.mask.size, np.int32)
        for one in sorted(image.mask.objects, key=lambda one: -one.area):  # small ones lie on large ones
            painted[bitmap(one, image.mask.size)] = one.label + 1
        return painted


def flat_ids(ids: Iterable[tuple[int, ...]]) -> list[int]:
    return [one for group in ids for one in group]


def _pack(pixels: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """A number (H, W) for each colour (H, W, 3)."""
    packed: np.ndarray[Any, Any] = pixels.astype(np.int32) @ np.array([1 << 16, 1 << 8, 1], np.int32)
    return packed


def _packed(colour: Colour) -> int:
    return colour[0] << 16 | colour[1] << 8 | colour[2]


def _unpacked(value: int) -> Colour:
    return value >> 16, value >> 8 & 255, value & 255


def listed(values: Any) -> str:
    if not isinstance(values, list | tuple):
        return repr(values)
    return ", ".join(map(str, values[:8])) + (", ..." if len(values) > 8 else "")


def wrong_mask_size(entry: SegmentedImage, size: tuple[int, int], mask: tuple[int, int]) -> str | None:
    """What is wrong with a mask (height, width) of a picture of ``size`` (width, height); None if they agree."""
    height, width = mask
    if size == (width, height):
        return None
    where = str(entry.mask) if isinstance(entry.mask, Path) else "the annotations"
    text = f"the picture is {size[0]}x{size[1]}, {where} {width}x{height}"
    if size != (height, width):
        return f"{text}; expected one size"
    return f"{text}: drawn on the picture before the rotation that its EXIF data ask for; store both upright"
