"""How frames are shown to a BEVFormer v2, and what is drawn at random in training.  No torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from internimage.errors import ConfigError

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True)
class Framing:
    """Which part of a picture is shown, and how large.

    Attributes:
        crop: left, top, right and bottom in pixels of the picture as it is on disk.
        scale: pixels shown for each of the part.
    """

    crop: tuple[int, int, int, int]
    scale: float = 1.0

    def __post_init__(self) -> None:
        left, top, right, bottom = self.crop
        if not (0 <= left < right and 0 <= top < bottom) or not self.scale > 0:
            raise ConfigError(
                f"crop {self.crop} at scale {self.scale}; expected left, top, right, bottom with 0 <= left < right and "
                "0 <= top < bottom, and a scale above 0"
            )

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) in pixels of what is shown."""
        left, top, right, bottom = self.crop
        return max(1, round((bottom - top) * self.scale)), max(1, round((right - left) * self.scale))


@dataclass(frozen=True)
class GroundVariation:
    """How the ground is turned, with all that stands on it: first turned, then scaled, then mirrored.

    Attributes:
        degrees: counter-clockwise seen from above.
        scale: of places, sizes and velocities.
        mirror_x, mirror_y: whether x, or y, becomes its negative.
    """

    degrees: float = 0.0
    scale: float = 1.0
    mirror_x: bool = False
    mirror_y: bool = False

    def __post_init__(self) -> None:
        if not self.scale > 0:
            raise ConfigError(f"scale is {self.scale}; expected a number above 0")


@dataclass(frozen=True)
class Shown:
    """How a frame is shown, all its cameras and its history alike.

    Attributes:
        framing: of each picture.
        mirrored: whether the network sees mirrored pictures and mirrors its maps back; calibrations stay.
        ground: how the ground is turned.
    """

    framing: Framing
    mirrored: bool = False
    ground: GroundVariation = GroundVariation()


@dataclass(frozen=True)
class SceneAugmentation:
    """How frames are shown: always the same part of a picture, in training in random sizes and ways.

    Attributes:
        crop: of each picture, see :class:`Framing`; without the sky.
        height: of what is shown in prediction, pixels.
        heights: from which one is drawn in training; () for none but ``height``.
        mirrored: chance of mirrored pictures.
        degrees: up to which the ground is turned either way.
        scales: least and greatest of the ground.
        flipped: chance of the ground being mirrored along x, and along y.
    """

    crop: tuple[int, int, int, int] = (0, 260, 1600, 900)
    height: int = 640
    heights: tuple[int, ...] = tuple(range(512, 769, 32))
    mirrored: float = 0.5
    degrees: float = 22.5
    scales: tuple[float, float] = (0.95, 1.05)
    flipped: float = 0.5

    def __post_init__(self) -> None:
        _ = self.framing
        if min(self.height, *self.heights) < 1:
            raise ConfigError(f"height is {self.height}, heights {self.heights}; expected 1 pixel or more")
        for name in ("mirrored", "flipped"):
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigError(f"{name} is {getattr(self, name)}; expected a chance from 0 to 1")
        if self.degrees < 0 or not 0 < self.scales[0] <= self.scales[1]:
            raise ConfigError(
                f"degrees are {self.degrees}, scales {self.scales}; expected degrees of 0 or more and scales above 0, "
                "the least first"
            )

    @property
    def framing(self) -> Framing:
        """That of prediction."""
        return self._framing(self.height)

    def drawn(self, generator: np.random.Generator) -> Shown:
        """One of the ways in which a frame is shown in training."""
        height = int(generator.choice(self.heights)) if self.heights else self.height
        mirrored = generator.random() < self.mirrored
        ground = GroundVariation(
            float(generator.uniform(-self.degrees, self.degrees)),
            float(generator.uniform(*self.scales)),
            bool(generator.random() < self.flipped),
            bool(generator.random() < self.flipped),
        )
        return Shown(self._framing(height), bool(mirrored), ground)

    def _framing(self, height: int) -> Framing:
        return Framing(self.crop, height / max(1, self.crop[3] - self.crop[1]))
