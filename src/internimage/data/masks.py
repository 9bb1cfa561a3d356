"""Images with a class for every pixel, and what the masks' numbers mean."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from internimage.data.formats.mask_folders import Colour
from internimage.data.left_out import LeftOut, shortened
from internimage.data.objects import ObjectImage, ObjectImages, bitmap
from internimage.data.samples import ImageFile, Measured, Part, renumbered
from internimage.errors import DataError, ImageReadError
from internimage.images import ArchiveMember
from internimage.images.masks import UNKNOWN, grey_numbers, read_mask
from internimage.writing import counted

_STRANGE = -2
_FEW = 2_000  # masks that are read to know what they show

BACKGROUND = "background"
VOID = 255  # what most tools write where a pixel belongs to no class


MaskFile: TypeAlias = ImageFile


class SegmentedImage(NamedTuple):
    """A picture and where its classes are: a mask in a file, or objects that are painted over a background."""

    file: ImageFile
    mask: MaskFile | ObjectImage


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
            unknown = f", or {listed(sorted(self.unknown))} for unknown" if self.unknown else ""
            raise ImageReadError(
                f"{name}: the numbers {listed(strange)} stand for no class; expected {listed(flat_ids(self.ids))}"
                + unknown
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
class SegmentedImages(Part):
    """Pictures with classes of pixels.

    Attributes:
        name, classes, format, left_out, notes: see :class:`internimage.data.samples.Part`.
        palette: a colour of each; None for colours that are made up.
        coding: what the masks' numbers mean.
        images: sorted by file.
    """

    name: str
    classes: tuple[str, ...]
    palette: tuple[Colour, ...] | None
    coding: Coding
    images: tuple[SegmentedImage, ...]
    format: str = "masks"
    left_out: tuple[LeftOut, ...] = ()
    notes: tuple[str, ...] = ()

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
        return [image for image in self.images if not isinstance(image.mask, ObjectImage) and not _exists(image.mask)]

    def truth(self, image: SegmentedImage) -> np.ndarray[Any, Any]:
        """Class numbers (H, W) int32 of one picture, -1 where unknown.

        Raises:
            ImageReadError: the mask cannot be read, or has numbers that stand for no class.
        """
        if not isinstance(image.mask, ObjectImage):
            return self.coding.decode(read_mask(image.mask), str(image.mask))
        painted = np.zeros(image.mask.size, np.int32)
        for one in sorted(image.mask.objects, key=lambda one: -one.area):  # small ones lie on large ones
            painted[bitmap(one, image.mask.size)] = one.label
        return painted

    def with_entries(self, entries: Sequence[Any], name: str) -> SegmentedImages:
        return replace(self, images=tuple(entries), name=name)

    def with_classes(self, classes: tuple[str, ...]) -> SegmentedImages:
        if classes == self.classes:
            return self
        number = renumbered(self, classes)
        place = {new: old for old, new in number.items()}
        ids = tuple(self.coding.ids[place[new]] if new in place else () for new in range(len(classes)))
        colours, palette = (
            tuple(given[place[new]] for new in range(len(classes))) if given and len(place) == len(classes) else None
            for given in (self.coding.colours, self.palette)
        )
        images = tuple(
            image._replace(mask=_renumbered(image.mask, number)) if isinstance(image.mask, ObjectImage) else image
            for image in self.images
        )
        coding = replace(self.coding, ids=ids, colours=colours)
        return replace(self, classes=classes, palette=palette, coding=coding, images=images)

    def labels_of(self, entry: SegmentedImage) -> frozenset[int]:
        """Of masks in files only where they are few, for each has to be read."""
        if isinstance(entry.mask, ObjectImage):
            return frozenset(one.label for one in entry.mask.objects)
        try:
            return frozenset(np.unique(self.truth(entry)).tolist()) - {UNKNOWN} if len(self) <= _FEW else frozenset()
        except ImageReadError:
            return frozenset()

    def used(self) -> frozenset[int] | None:
        """Known of objects that are painted; the background always is."""
        if not all(isinstance(image.mask, ObjectImage) for image in self.images):
            return None
        return frozenset({0}).union(*(self.labels_of(image) for image in self.images))

    def summary(self) -> str:
        return ", ".join([counted(len(self), "picture"), counted(len(self.classes), "class"), *shortened(self.classes)])


def paint(part: ObjectImages) -> SegmentedImages:
    """Objects as classes of pixels, over a background; a category of that name is the background.

    Raises:
        DataError: an object has no mask.
    """
    bare = sum(one.segmentation is None for image in part.images for one in image.objects)
    if bare:
        raise DataError(f"{part.name}: {bare} objects have no mask; a segmenter needs one of every object")
    classes = (BACKGROUND, *(name for name in part.classes if name.strip().lower() != BACKGROUND))
    number = {index: classes.index(name) if name in classes[1:] else 0 for index, name in enumerate(part.classes)}
    images = tuple(SegmentedImage(image.file, _renumbered(image, number)) for image in part.images)
    coding = Coding(tuple((number,) for number in range(len(classes))))
    return SegmentedImages(
        part.name, classes, None, coding, images, f"{part.format}, painted", part.left_out, part.notes
    )


def _exists(mask: MaskFile) -> bool:
    return (mask if isinstance(mask, Path) else mask.archive if isinstance(mask, ArchiveMember) else mask.file).exists()


def _renumbered(image: ObjectImage, number: Mapping[int, int]) -> ObjectImage:
    return image._replace(objects=tuple(one._replace(label=number[one.label]) for one in image.objects))


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
    where = "the annotations" if isinstance(entry.mask, ObjectImage) else str(entry.mask)
    text = f"the picture is {size[0]}x{size[1]}, {where} {width}x{height}"
    if size != (height, width):
        return f"{text}; expected one size"
    return f"{text}: drawn on the picture before the rotation that its EXIF data ask for; store both upright"
