"""Looking over pictures with masks before hours are spent on them.  Reads only."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from PIL import Image

from internimage.data.checking import extent, kind_lines
from internimage.data.formats.sets.class_order import ClassOrder
from internimage.data.masks import SegmentedImage, SegmentedImages, wrong_mask_size
from internimage.drawing.canvas import INK, Colour, fit
from internimage.drawing.charts import contact_sheet
from internimage.drawing.objects import class_colour
from internimage.drawing.regions import draw_regions
from internimage.errors import ImageReadError
from internimage.images import show_image
from internimage.images.masks import UNKNOWN
from internimage.writing import counted

_CELL = 360  # pixels of a picture on the sheet


@dataclass
class SegmentationFindings:
    """What is wrong or odd about a data set of masks.

    Attributes:
        pixels: share of the known pixels that each class has, by name.
        images: how many there are.
        corrupt: pictures that cannot be read, with the reason.
        masks: masks that cannot be read or have numbers that stand for no class, with the reason.
        wrong_sizes: pictures whose mask has another size, with both.
        unknown: pictures of which every pixel is unknown.
        unknown_share: share of all pixels that is unknown.
        sizes: smallest and largest (width, height) seen; None without readable images.
        order: that the numbers of a benchmark set's masks stand for other classes, where that is certain.
    """

    pixels: dict[str, float]
    images: int
    corrupt: dict[str, str] = field(default_factory=dict)
    masks: dict[str, str] = field(default_factory=dict)
    wrong_sizes: dict[str, str] = field(default_factory=dict)
    unknown: list[str] = field(default_factory=list)
    unknown_share: float = 0.0
    sizes: tuple[tuple[int, int], tuple[int, int]] | None = None
    order: str | None = None

    @property
    def empty_classes(self) -> list[str]:
        """No error: lists of classes are often longer than what a set shows."""
        return [name for name, share in self.pixels.items() if not share]

    @property
    def errors(self) -> bool:
        """Whether training would stumble, or learn nothing or other classes."""
        nothing = 0 < self.images == len(self.unknown)
        return bool(self.corrupt or self.masks or self.wrong_sizes or self.order or nothing)

    def lines(self, name: str) -> list[str]:
        """The findings as text, for a part of this name."""
        lines = [f"{name}: {counted(self.images, 'image')}, {counted(len(self.pixels), 'class')}{extent(self.sizes)}"]
        width = max(len(label) for label in self.pixels)
        lines += [f"  {label:<{width}}  {share:.1%} of pixels" for label, share in self.pixels.items()]
        if self.unknown_share:
            lines.append(f"  {'unknown':<{width}}  {self.unknown_share:.1%} of all")
        kinds = {
            "cannot be read": [f"{path}: {reason}" for path, reason in self.corrupt.items()],
            "mask": list(self.masks.values()),
            "wrong size": [f"{path}: {reason}" for path, reason in self.wrong_sizes.items()],
            "other classes": [self.order] if self.order else [],
            "all unknown": self.unknown,
            "empty class": self.empty_classes,
        }
        return lines + kind_lines(kinds)


def check_masks(
    data: SegmentedImages, progress: Callable[[Iterable[SegmentedImage]], Iterable[SegmentedImage]] = iter
) -> SegmentationFindings:
    """Read every picture and its mask once."""
    findings = SegmentationFindings(dict.fromkeys(data.classes, 0.0), len(data))
    counts, sizes = np.zeros(len(data.classes) + 1, np.int64), []
    order = ClassOrder(data)

    def look(image: SegmentedImage) -> tuple[Image.Image | ImageReadError, np.ndarray[Any, Any] | ImageReadError]:
        return _read(image), _truth(data, image)

    with ThreadPoolExecutor() as pool:
        for image, (picture, truth) in zip(progress(data.images), pool.map(look, data.images), strict=True):
            path = str(image.file)
            if isinstance(picture, ImageReadError):
                findings.corrupt[path] = str(picture).removeprefix(f"{path}: ")
            else:
                sizes.append(picture.size)
            if isinstance(truth, ImageReadError):
                findings.masks[path] = str(truth)
                continue
            size = (truth.shape[0], truth.shape[1])
            if isinstance(picture, Image.Image) and (wrong := wrong_mask_size(image, picture.size, size)):
                findings.wrong_sizes[path] = wrong
            seen = np.bincount(truth.ravel() + 1, minlength=len(counts))
            counts += seen
            order.add(truth)
            if not seen[1:].any():
                findings.unknown.append(path)
    findings.order = order.doubt()
    known = max(1, counts[1:].sum())
    findings.pixels = {name: float(counts[1 + i] / known) for i, name in enumerate(data.classes)}
    findings.unknown_share = float(counts[0] / max(1, counts.sum()))
    if sizes:
        by_area = sorted(sizes, key=lambda size: size[0] * size[1])
        findings.sizes = by_area[0], by_area[-1]
    return findings


def mask_sheet(data: SegmentedImages, count: int = 12) -> Image.Image:
    """A contact sheet of at most ``count`` readable pictures with their masks over them, spread over the set."""
    pictures: list[tuple[Image.Image, list[tuple[str, Colour]]]] = []
    step = max(1, len(data) // count)
    for image in (*data.images[::step], *data.images):
        if len(pictures) == min(count, len(data)):
            break
        picture, truth = _read(image), _truth(data, image)
        if isinstance(picture, ImageReadError) or isinstance(truth, ImageReadError):
            continue
        if not wrong_mask_size(image, picture.size, (truth.shape[0], truth.shape[1])):
            pictures.append((_drawn(picture, truth, data), _captions(truth, data)))
    title = f"{data.name}: {counted(len(data), 'image')}, {counted(len(data.classes), 'class')}"
    return contact_sheet(pictures, title=title, columns=4, cell=_CELL)


def _read(image: SegmentedImage) -> Image.Image | ImageReadError:
    try:
        return show_image(image.file)
    except ImageReadError as error:
        return error


def _truth(data: SegmentedImages, image: SegmentedImage) -> np.ndarray[Any, Any] | ImageReadError:
    try:
        return data.truth(image)
    except ImageReadError as error:
        return error


def _drawn(picture: Image.Image, truth: np.ndarray[Any, Any], data: SegmentedImages) -> Image.Image:
    """Unknown pixels stay as they are in the picture, under grey."""
    small = fit(picture, _CELL, _CELL)
    rows = np.arange(small.height) * truth.shape[0] // small.height
    columns = np.arange(small.width) * truth.shape[1] // small.width
    colours = np.array([(128, 128, 128), *(_colour(data, i) for i in range(len(data.classes)))], np.uint8)
    return draw_regions(small, truth[rows][:, columns] - UNKNOWN, colours, (), 0.6)


def _captions(truth: np.ndarray[Any, Any], data: SegmentedImages) -> list[tuple[str, Colour]]:
    counts = np.bincount(truth.ravel() + 1, minlength=len(data.classes) + 1)
    names = ("unknown", *data.classes)
    largest = [int(i) for i in np.argsort(-counts, kind="stable")[:3] if counts[i]]
    return [(f"{names[i]} {counts[i] / counts.sum():.0%}", INK) for i in largest]


def _colour(data: SegmentedImages, index: int) -> Colour:
    return data.palette[index] if data.palette is not None else class_colour(index)
