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
        zoom: of each picture's size in prediction.
        mirrored: whether the network sees mirrored pictures and mirrors its maps back; calibrations stay.
        ground: how the ground is turned.
    """

    zoom: float = 1.0
    mirrored: bool = False
    ground: GroundVariation = GroundVariation()


@dataclass(frozen=True)
class SceneAugmentation:
    """How frames are shown in training, in random sizes and ways; nothing of it unless it is asked for.

    Attributes:
        mirrored: chance of mirrored pictures.
        zooms: of the size in prediction, of which one is drawn.
        degrees: up to which the ground is turned either way.
        scales: least and greatest of the ground.
        flipped: chance of the ground being mirrored along x, and along y.
    """

    mirrored: float = 0.0
    zooms: tuple[float, ...] = (1.0,)
    degrees: float = 0.0
    scales: tuple[float, float] = (1.0, 1.0)
    flipped: float = 0.0

    def __post_init__(self) -> None:
        for name in ("mirrored", "flipped"):
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigError(f"{name} is {getattr(self, name)}; expected a chance from 0 to 1")
        if not self.zooms or min(self.zooms) <= 0:
            raise ConfigError(f"zooms are {self.zooms}; expected one or more numbers above 0")
        if self.degrees < 0 or not 0 < self.scales[0] <= self.scales[1]:
            raise ConfigError(
                f"degrees are {self.degrees}, scales {self.scales}; expected degrees of 0 or more and scales above 0, "
                "the least first"
            )

    def drawn(self, generator: np.random.Generator) -> Shown:
        """One of the ways in which a frame is shown in training."""
        zoom = float(generator.choice(self.zooms))
        mirrored = generator.random() < self.mirrored
        ground = GroundVariation(
            float(generator.uniform(-self.degrees, self.degrees)),
            float(generator.uniform(*self.scales)),
            bool(generator.random() < self.flipped),
            bool(generator.random() < self.flipped),
        )
        return Shown(zoom, bool(mirrored), ground)


PUBLISHED = SceneAugmentation(0.5, tuple(height / 640 for height in range(512, 769, 32)), 22.5, (0.95, 1.05), 0.5)
"""That of BEVFormer v2 (Yang et al., CVPR 2023)."""
