"""Looking over a labelled data set before hours are spent on it.  Reads only."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from PIL import Image

from internimage.data.checking import count_lines, extent, fingerprint
from internimage.data.formats.sets.known import usual
from internimage.data.samples import LabelledImage, LabelledImages
from internimage.drawing.canvas import INK
from internimage.drawing.charts import contact_sheet
from internimage.errors import ImageReadError
from internimage.images import show_image
from internimage.writing import counted

_SMALL_SIDE = 32


@dataclass
class ClassificationFindings:
    """What is wrong or odd about a data set.

    Attributes:
        counts: images of each class, by name.
        corrupt: files that cannot be read, with the reason.
        duplicates: groups of files with the same pixels.
        conflicts: those groups whose files have different labels.
        small: files with a side under 32 pixels.
        sizes: smallest and largest (width, height) seen; None without readable images.
        listed: whether a benchmark set lists its classes, so that one without images is no error.
    """

    counts: dict[str, int]
    corrupt: dict[str, str] = field(default_factory=dict)
    duplicates: list[list[str]] = field(default_factory=list)
    conflicts: list[list[str]] = field(default_factory=list)
    small: list[str] = field(default_factory=list)
    sizes: tuple[tuple[int, int], tuple[int, int]] | None = None
    listed: bool = False

    @property
    def empty_classes(self) -> list[str]:
        return [name for name, count in self.counts.items() if not count]

    @property
    def errors(self) -> bool:
        """Whether training would stumble or learn contradictions."""
        return bool(self.corrupt or self.conflicts or (self.empty_classes and not self.listed))

    def lines(self, name: str) -> list[str]:
        """The findings as text, for a part of this name."""
        images, classes = counted(sum(self.counts.values()), "image"), counted(len(self.counts), "class")
        head = f"{name}: {images}, {classes}{extent(self.sizes)}"
        same = [group for group in self.duplicates if group not in self.conflicts]
        return [
            head,
            *count_lines(self.counts),
            *(f"  cannot be read: {path}: {reason}" for path, reason in self.corrupt.items()),
            *(f"  empty class: {label}" for label in self.empty_classes),
            *(f"  same picture, different labels: {', '.join(group)}" for group in self.conflicts),
            *(f"  same picture: {', '.join(group)}" for group in same),
            *(f"  side under {_SMALL_SIDE} pixels: {path}" for path in self.small),
        ]


def check_images(
    data: LabelledImages, progress: Callable[[Iterable[LabelledImage]], Iterable[LabelledImage]] = iter
) -> ClassificationFindings:
    """Read every image once and look for corrupt, duplicate, conflicting and tiny ones, and for empty classes."""
    listed = usual(data, "empty_classes") is not None
    findings = ClassificationFindings(dict(zip(data.classes, data.counts(), strict=True)), listed=listed)
    same: dict[str, list[tuple[str, int]]] = defaultdict(list)
    sizes: list[tuple[int, int]] = []
    with ThreadPoolExecutor() as pool:
        for sample, outcome in zip(
            progress(data.samples), pool.map(lambda sample: fingerprint(sample.file), data.samples), strict=True
        ):
            path = str(sample.file)
            if isinstance(outcome, ImageReadError):
                findings.corrupt[path] = str(outcome).removeprefix(f"{path}: ")
                continue
            digest, size = outcome
            same[digest].append((path, sample.label))
            sizes.append(size)
            if min(size) < _SMALL_SIDE:
                findings.small.append(path)
    groups = [group for group in same.values() if len(group) > 1]
    findings.duplicates = [[path for path, _ in group] for group in groups]
    findings.conflicts = [[path for path, _ in group] for group in groups if len({label for _, label in group}) > 1]
    if sizes:
        by_area = sorted(sizes, key=lambda size: size[0] * size[1])
        findings.sizes = by_area[0], by_area[-1]
    return findings


def image_sheet(data: LabelledImages) -> Image.Image:
    """A contact sheet of a few images of each class."""
    pictures = [(image, [(label, INK)]) for image, label in examples(data, 3)]
    return contact_sheet(
        pictures, title=f"{data.name}: {counted(len(data), 'image')}, {counted(len(data.classes), 'class')}"
    )


def examples(data: LabelledImages, per_class: int) -> list[tuple[Image.Image, str]]:
    """The first readable images of each class with its name, for a contact sheet."""
    found: dict[int, int] = defaultdict(int)
    pictures = []
    for sample in data.samples:
        if found[sample.label] < per_class:
            try:
                pictures.append((show_image(sample.file), data.classes[sample.label]))
            except ImageReadError:
                continue
            found[sample.label] += 1
    return pictures
