"""What a segmenter says about one image."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from PIL import Image

from internimage.drawing.canvas import Colour
from internimage.drawing.objects import class_colour
from internimage.drawing.regions import draw_regions
from internimage.errors import ConfigError
from internimage.images import ImageSource
from internimage.results.output import Shape
from internimage.results.pasting import ObjectMask


@dataclass(frozen=True)
class Region:
    """All pixels of one class.

    Attributes:
        index, label: of the class.
        pixels: how many.
        share: of the image, 0 to 1.
        confidence: mean probability of the class over these pixels.
    """

    index: int
    label: str
    pixels: int
    share: float
    confidence: float


@dataclass(frozen=True)
class Segmentation:
    """A class for every pixel of one image.

    Attributes:
        label_map: (H, W) numbers of classes, uint8 (int32 for more than 256 classes), in pixels of the original image.
        confidence: (H, W) float32, probability of that class, 0 to 1.
        names: of all classes; "class 7" where the model has no names.
        source: the image, by name; it is read again when it is drawn, so that results stay small.
        palette: a colour of each class; None for colours that are made up.
        scores: (K, H, W) float32 probabilities of all classes if they were asked for, else None.
    """

    label_map: np.ndarray[Any, Any]
    confidence: np.ndarray[Any, Any]
    names: tuple[str, ...]
    source: ImageSource
    palette: tuple[Colour, ...] | None = None
    scores: np.ndarray[Any, Any] | None = None

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of the original image."""
        height, width = self.label_map.shape
        return height, width

    def regions(self) -> list[Region]:
        """The classes that there are, largest first."""
        flat = self.label_map.ravel()
        counts = np.bincount(flat, minlength=len(self.names))
        sums = np.bincount(flat, weights=self.confidence.ravel(), minlength=len(self.names))
        return [
            Region(int(i), self.names[i], int(counts[i]), float(counts[i] / flat.size), float(sums[i] / counts[i]))
            for i in np.argsort(-counts, kind="stable")
            if counts[i]
        ]

    def shapes(self, least: float = 0.0) -> Iterator[Shape]:
        """All pixels of each class that there is, as writers of files take them, whatever their confidence."""
        for one in self.regions():
            mask = self.label_map == one.index
            (y1, y2), (x1, x2) = (np.flatnonzero(mask.any(axis))[[0, -1]].tolist() for axis in (1, 0))
            yield Shape(one.index, (x1, y1, x2 + 1.0, y2 + 1.0), one.confidence, ObjectMask.of(mask))

    def mask(self, name: str) -> np.ndarray[Any, Any]:
        """The pixels (H, W) bool of the class of this name.

        Raises:
            KeyError: the model knows no such class.
        """
        if name not in self.names:
            raise KeyError(f"no class is called {name}; there are {', '.join(self.names[:8])} ...")
        return self.label_map == self.names.index(name)

    def colour(self, index: int) -> Colour:
        """The colour of a class."""
        known = self.palette is not None and index < len(self.palette)
        return self.palette[index] if known and self.palette is not None else class_colour(index)

    def draw(self, opacity: float = 0.55, *, legend: bool = True) -> Image.Image:
        """The picture with the classes as colours over it, and a legend beside it; ``opacity`` from 0 to 1."""
        if not 0 <= opacity <= 1:
            raise ConfigError(f"opacity is {opacity}; expected 0 to 1")
        regions = self.regions()
        lines = [(one.label, f"{one.share:.1%}", self.colour(one.index)) for one in regions]
        table = np.zeros((max(len(self.names), int(self.label_map.max()) + 1), 3), np.uint8)
        for one in regions:
            table[one.index] = self.colour(one.index)
        return draw_regions(self.source.show(), self.label_map, table, lines if legend else (), opacity)

    def to_png(self) -> Image.Image:
        """The class numbers as a picture with a palette, which other tools read as numbers and people see in colour.

        With more than 256 classes, 16-bit grey without a palette.
        """
        if self.label_map.dtype != np.uint8:
            return Image.fromarray(self.label_map.astype(np.uint16))
        picture = Image.fromarray(self.label_map, mode="P")
        picture.putpalette([part for index in range(len(self.names)) for part in self.colour(index)])
        return picture

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON: the classes that there are, largest first."""
        height, width = self.size
        regions = [asdict(one) for one in self.regions()]
        return {"image": self.source.name, "height": height, "width": width, "regions": regions}

    def __repr__(self) -> str:
        largest = ", ".join(f"{one.label} {one.share:.0%}" for one in self.regions()[:3])
        return f"Segmentation({self.source.name}: {largest})"
