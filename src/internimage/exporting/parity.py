"""Whether an exported file gives the results of its model, on real pictures of other sizes than the example's."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from PIL import Image

from internimage.images import ImageInputs, ImageSource, list_images

_PHOTOS = 6  # of the package's own, for classifiers, detectors and segmenters alike


@dataclass(frozen=True)
class Parity:
    """How far results of a file are from those of its model.

    Attributes:
        pictures: how many were compared.
        differences: the largest of each kind.
        limits: how large each may be.
        exempt: how many near ties of each kind changed places, which is no difference.
    """

    pictures: int
    differences: Mapping[str, float]
    limits: Mapping[str, float]
    exempt: Mapping[str, float]

    @property
    def agrees(self) -> bool:
        return all(self.differences[name] <= limit for name, limit in self.limits.items())  # NaN does not

    @property
    def refusal(self) -> str:
        return "its results differ from the model's"

    def table(self) -> str:
        """A line for each kind."""
        width = max(map(len, (*self.limits, *self.exempt)))
        lines = [
            f"{name:<{width}}  {self.differences[name]:<7.2g}  (at most {most:g})" for name, most in self.limits.items()
        ]
        lines += [f"{name:<{width}}  {count:<7g}  (exempt)" for name, count in self.exempt.items()]
        return "\n".join([f"compared with the model on {self.pictures} pictures:", *(f"  {line}" for line in lines)])


def check_parity(
    ours: Iterable[tuple[ImageSource, Any]],
    theirs: Iterable[tuple[ImageSource, Any]],
    differences: Callable[[Any, Any], Mapping[str, float]],
    limits: Mapping[str, float],
) -> Parity:
    """Compare results of the model and of the file.

    Raises:
        ImageReadError: a picture cannot be read.
    """
    worst, exempt, pictures = dict.fromkeys(limits, 0.0), dict[str, float](), 0
    for (_, one), (_, other) in zip(ours, theirs, strict=True):
        if isinstance(one, Exception):
            raise one
        pictures += 1
        for name, value in differences(one, other).items():
            if name not in limits:
                exempt[name] = exempt.get(name, 0) + value
            else:
                worst[name] = value if value != value else max(worst[name], value)
    return Parity(pictures, worst, limits, exempt)


def checked_pictures(more: ImageInputs | None = None) -> list[ImageSource]:
    """Photos of the package, an upright and a flat one, one that shows nothing, and those that are given."""
    folder = Path(str(files("internimage").joinpath("demo", "photos")))
    photos = list_images(folder)[:_PHOTOS]
    first = photos[0].read()
    narrow, flat = first.resize((150, 260)), first.resize((310, 130))
    nothing = Image.new("RGB", (97, 131), (127, 127, 127))
    made = [ImageSource(f"picture {number}", one) for number, one in enumerate((narrow, flat, nothing))]
    return [*photos, *made, *([] if more is None else list_images(more))]
