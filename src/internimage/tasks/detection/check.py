"""Looking over images with objects before hours are spent on them.  Reads only."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from math import sqrt
from pathlib import Path

import numpy as np
from PIL import Image

from internimage.data.checking import count_lines, extent, kind_lines
from internimage.data.formats.sets.known import Finding, usual
from internimage.data.objects import ObjectAnnotation, ObjectImage, ObjectImages, bitmap, mask_bounds, wrong_size
from internimage.drawing.canvas import INK, MUTED, Colour, fit
from internimage.drawing.charts import contact_sheet
from internimage.drawing.objects import Object, class_colour, draw_objects
from internimage.errors import ImageReadError
from internimage.images import show_image
from internimage.metrics.coco import COUNTED
from internimage.writing import counted

_OUTSIDE = 1.0  # pixels; annotators and rounding go this far beyond the edge
_AGREEMENT = 0.5
_CELL = 360  # pixels of a picture on the sheet
_NAMED = 6  # objects of a picture beyond which their names would hide them


@dataclass
class DetectionFindings:
    """What is wrong or odd about a data set of objects.

    Attributes:
        counts: objects of each class, by name, crowds left out.
        images: how many there are.
        missing: files that are not there.
        corrupt: files that cannot be read, with the reason.
        wrong_sizes: files of another size than the annotations say, with both.
        outside: boxes that reach more than a pixel out of their image.
        masks: masks that are empty, reach out of the image or lie elsewhere than their box.
        degenerate: boxes of less than a pixel, which training leaves out.
        duplicates: boxes that are there twice with the same class.
        without_objects: images of which nothing is annotated.
        crowd_only: images of which nothing but crowds is annotated.
        objects_a_picture: fewest, median and most.
        box_sides: shortest, median and longest side of a square of a box's area, in pixels.
        crowded: images with more than 100 objects, of which COCO's average precision counts 100.
        sizes: smallest and largest (width, height) seen; None without readable images.
        usual: of findings by their names why a benchmark set has them; no errors then.
    """

    counts: dict[str, int]
    images: int
    missing: list[str] = field(default_factory=list)
    corrupt: dict[str, str] = field(default_factory=dict)
    wrong_sizes: dict[str, str] = field(default_factory=dict)
    outside: list[str] = field(default_factory=list)
    masks: list[str] = field(default_factory=list)
    degenerate: list[str] = field(default_factory=list)
    duplicates: list[str] = field(default_factory=list)
    without_objects: int = 0
    crowd_only: int = 0
    objects_a_picture: tuple[float, float, float] | None = None
    box_sides: tuple[float, float, float] | None = None
    crowded: int = 0
    sizes: tuple[tuple[int, int], tuple[int, int]] | None = None
    usual: dict[str, str] = field(default_factory=dict)

    @property
    def empty_classes(self) -> list[str]:
        """No error: lists of categories are often longer than what a set shows."""
        return [name for name, count in self.counts.items() if not count]

    @property
    def errors(self) -> bool:
        """Whether training would stumble or learn what is not there."""
        outside = self.outside and "outside" not in self.usual
        return bool(self.missing or self.corrupt or self.wrong_sizes or outside or self.masks)

    def lines(self, name: str) -> list[str]:
        """The findings as text, for a part of this name."""
        objects = sum(self.counts.values())
        total = ", ".join(map(counted, (self.images, objects, len(self.counts)), ("image", "object", "class")))
        lines = [f"{name}: {total}{extent(self.sizes)}"]
        lines += count_lines(self.counts)
        if self.objects_a_picture:
            lines.append("  objects a picture: {0:g} to {2:g}, median {1:g}".format(*self.objects_a_picture))
        if self.box_sides:
            lines.append(
                "  boxes (square of their area): {0:.0f} to {2:.0f} pixels, median {1:.0f}".format(*self.box_sides)
            )
        kinds = {
            "missing": self.missing,
            "cannot be read": [f"{path}: {reason}" for path, reason in self.corrupt.items()],
            "wrong size": [f"{path}: {reason}" for path, reason in self.wrong_sizes.items()],
            "outside the image": self._unusual("outside"),
            "mask": self.masks,
            "smaller than a pixel": self.degenerate,
            "twice": self._unusual("duplicates"),
            "empty class": self._unusual("empty_classes"),
        }
        lines += kind_lines(kinds) + self._usual_lines()
        if self.without_objects:
            why = f", as usual: {self.usual['without_objects']}" if "without_objects" in self.usual else ""
            lines.append(f"  images without objects: {self.without_objects}{why}")
        if self.crowd_only:
            lines.append(f"  images with crowds only: {self.crowd_only}")
        if self.crowded:
            lines.append(
                f"  images with more than {COUNTED} objects: {self.crowded}; pass --max-objects, for models keep and "
                f"COCO's average precision counts {COUNTED}"
            )
        return lines

    def _unusual(self, finding: Finding) -> list[str]:
        found: list[str] = getattr(self, finding)
        return [] if finding in self.usual else found

    def _usual_lines(self) -> list[str]:
        """A line for each kind of finding that the set is known for, with how many there are and one of them."""
        kinds: dict[Finding, str] = {
            "outside": "outside the image",
            "duplicates": "twice",
            "empty_classes": "empty class",
        }
        found = {finding: getattr(self, finding) for finding in kinds if finding in self.usual}
        return [
            f"  {kinds[finding]}: {len(entries)}, such as {entries[0]}; as usual: {self.usual[finding]}"
            for finding, entries in found.items()
            if entries
        ]


def check_objects(
    data: ObjectImages, progress: Callable[[Iterable[ObjectImage]], Iterable[ObjectImage]] = iter
) -> DetectionFindings:
    """Read every image once and hold its objects against it."""
    findings = DetectionFindings(dict(zip(data.classes, data.counts(), strict=True)), len(data))
    kinds: tuple[Finding, ...] = ("outside", "duplicates", "empty_classes", "without_objects")
    findings.usual = {kind: reason for kind in kinds if (reason := usual(data, kind)) is not None}
    sizes: list[tuple[int, int]] = []
    with ThreadPoolExecutor() as pool:
        for image, outcome in zip(progress(data.images), pool.map(_read, data.images), strict=True):
            path = str(image.file)
            if isinstance(outcome, Image.Image):
                sizes.append(outcome.size)
                if wrong := wrong_size(image, outcome.size):
                    findings.wrong_sizes[path] = wrong
            elif outcome is None:
                findings.missing.append(path)
            else:
                findings.corrupt[path] = str(outcome).removeprefix(f"{path}: ")
            _check_annotations(findings, image, data.classes)
    if sizes:
        by_area = sorted(sizes, key=lambda size: size[0] * size[1])
        findings.sizes = by_area[0], by_area[-1]
    _describe(findings, data)
    return findings


def _describe(findings: DetectionFindings, data: ObjectImages) -> None:
    """How many objects a picture has, and how large they are."""
    table = data.table
    boxes = table.boxes[~table.crowds]
    numbers = np.bincount(table.image_of[~table.crowds], minlength=len(data))
    areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    findings.objects_a_picture = float(numbers.min()), float(np.median(numbers)), float(numbers.max())
    findings.crowded = int((numbers > COUNTED).sum())
    if len(areas):
        sides = [sqrt(max(0.0, area)) for area in (areas.min(), np.median(areas), areas.max())]
        findings.box_sides = sides[0], sides[1], sides[2]


def object_sheet(data: ObjectImages, count: int = 24) -> Image.Image:
    """A contact sheet of at most ``count`` readable images with their objects, taken from the classes in turn."""
    pictures: list[tuple[Image.Image, list[tuple[str, Colour]]]] = []
    for image in _spread(data):
        if len(pictures) == count:
            break
        picture = _read(image)
        if isinstance(picture, Image.Image) and not wrong_size(image, picture.size):
            pictures.append((_drawn(picture, image, data), _captions(image, data.classes)))
    total = (len(data), sum(data.counts()), len(data.classes))
    title = f"{data.name}: {', '.join(map(counted, total, ('image', 'object', 'class')))}"
    return contact_sheet(pictures, title=title, columns=4, cell=_CELL)


def _read(image: ObjectImage) -> Image.Image | ImageReadError | None:
    try:
        return show_image(image.file)
    except ImageReadError as error:
        return None if isinstance(image.file, Path) and not image.file.exists() else error


def _check_annotations(findings: DetectionFindings, image: ObjectImage, classes: tuple[str, ...]) -> None:
    objects = [one for one in image.objects if not one.crowd]
    findings.without_objects += not image.objects
    findings.crowd_only += bool(image.objects) and not objects
    twice = Counter((one.label, one.box) for one in objects)
    for one in objects:
        name = f"{image.file} annotation {one.identity} ({classes[one.label]})"
        x1, y1, x2, y2 = (round(edge, 2) for edge in one.box)
        box = f"box {x1:g}, {y1:g} to {x2:g}, {y2:g}"
        if one.degenerate:
            findings.degenerate.append(f"{name}: {box}")
        if _reaches_out(one.box, image.size):
            findings.outside.append(f"{name}: {box} in {image.size[1]}x{image.size[0]} pixels")
        if twice.get((one.label, one.box), 0) > 1:
            twice[one.label, one.box] = 0  # named once
            findings.duplicates.append(f"{name}: {box}")
        if wrong := _wrong_mask(one, image.size):
            findings.masks.append(f"{name}: {wrong}")


def _wrong_mask(one: ObjectAnnotation, size: tuple[int, int]) -> str | None:
    if one.segmentation is None or one.outlined:
        return None
    if isinstance(one.segmentation, list):
        x = [edge for polygon in one.segmentation for edge in polygon[::2]]
        y = [edge for polygon in one.segmentation for edge in polygon[1::2]]
        if _reaches_out((min(x), min(y), max(x), max(y)), size):
            return f"the mask reaches from {min(x):g}, {min(y):g} to {max(x):g}, {max(y):g}, out of the image"
    bounds = mask_bounds(one, size)
    if bounds is None:
        return None if one.degenerate else "the mask is empty"
    if not one.degenerate and _overlap(bounds, one.box) < _AGREEMENT:
        return "the mask reaches from {:g}, {:g} to {:g}, {:g}, elsewhere than its box".format(*bounds)
    return None


def _reaches_out(box: tuple[float, float, float, float], size: tuple[int, int]) -> bool:
    return min(box) < -_OUTSIDE or max(box[0::2]) > size[1] + _OUTSIDE or max(box[1::2]) > size[0] + _OUTSIDE


def _overlap(one: tuple[float, ...], other: tuple[float, ...]) -> float:
    """Intersection over union of two boxes."""
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    common = max(0.0, width) * max(0.0, height)
    areas = sum((box[2] - box[0]) * (box[3] - box[1]) for box in (one, other))
    return common / (areas - common)


def _spread(data: ObjectImages) -> Iterator[ObjectImage]:
    """Every image once, each time the next one with the class that was shown least; "no objects" counts as a class."""
    waiting: dict[int, list[ObjectImage]] = {}
    for image in reversed(data.images):
        for label in _labels(image):
            waiting.setdefault(label, []).append(image)
    shown: Counter[int] = Counter()
    seen: set[int | str] = set()
    while waiting:
        label = min(waiting, key=lambda label: (shown[label], label))
        image = waiting[label].pop()
        if not waiting[label]:
            del waiting[label]
        if image.identity not in seen:
            seen.add(image.identity)
            shown.update(_labels(image))
            yield image


def _labels(image: ObjectImage) -> set[int]:
    return {one.label for one in image.objects} or {-1}


def _drawn(picture: Image.Image, image: ObjectImage, data: ObjectImages) -> Image.Image:
    """The picture at the size of the sheet's cell with its objects; drawn large, lines and names would vanish."""
    small = fit(picture, _CELL, _CELL)
    x, y = small.width / picture.width, small.height / picture.height
    named = len(image.objects) <= _NAMED

    def objects() -> Iterator[Object]:
        for number, one in enumerate(image.objects):
            x1, y1, x2, y2 = one.box
            # where all objects are of one class, colours tell neighbours apart
            colour = class_colour(one.label if len(data.classes) > 1 else number)
            mask = None
            if one.segmentation is not None and not one.outlined:
                pixels = Image.fromarray(bitmap(one, image.size)).resize(small.size, Image.Resampling.NEAREST)
                mask = np.asarray(pixels)
            name = f"{data.classes[one.label]}{' (crowd)' if one.crowd else ''}" if named else ""
            yield Object((x1 * x, y1 * y, max(x1, x2) * x, max(y1, y2) * y), name, colour, mask)

    return draw_objects(small, objects())


def _captions(image: ObjectImage, classes: tuple[str, ...]) -> list[tuple[str, Colour]]:
    counts = Counter(one.label for one in image.objects)
    lines = [
        (f"{count} {classes[label]}", _dark(class_colour(label)) if len(classes) > 1 else INK)
        for label, count in counts.most_common(3)
    ]
    if len(counts) > len(lines):
        lines[-1] = (f"and {len(counts) - 2} classes more", MUTED)
    return lines or [("no objects", MUTED)]


def _dark(colour: Colour) -> Colour:
    """The colour, dark enough to be read on paper."""
    red, green, blue = colour
    share = min(1.0, 110 / (0.299 * red + 0.587 * green + 0.114 * blue))
    return round(red * share), round(green * share), round(blue * share)
