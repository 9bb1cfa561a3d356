"""Settings of the head that finds boxes in single pictures.  No torch."""

from __future__ import annotations

from dataclasses import dataclass, field

from internimage.errors import ConfigError

# width, length and height in metres of nuScenes' classes, in the order of the released outputs: barrier, bicycle, bus,
# car, construction_vehicle, motorcycle, pedestrian, traffic_cone, trailer, truck
_SIZES = (
    (2.3524184, 0.5062202, 1.0413622),
    (0.61416006, 1.7016163, 1.3054738),
    (2.9139307, 10.725025, 3.2832346),
    (1.9751819, 4.641267, 1.74352),
    (2.772134, 6.565072, 3.2474296),
    (0.7800532, 2.138673, 1.4437162),
    (0.6667362, 0.7181772, 1.7616143),
    (0.40246472, 0.4027083, 1.0084083),
    (3.0059454, 12.8197, 4.1213827),
    (2.4986045, 6.9310856, 2.8382742),
)


@dataclass(frozen=True)
class ViewSelection:
    """Which boxes of a picture are looked at further.

    Attributes:
        score_threshold: least chance of a class times that of being in the middle of an object, itself left out.
        candidates: pairs of a cell and a class on each level, those of the highest chances.
        overlap: largest of two boxes of a class in the picture.
        keep: boxes of each picture.
        ground_overlap: largest of two boxes of a class, seen from above, among those of all cameras.
    """

    score_threshold: float = 0.05
    candidates: int = 1000
    overlap: float = 0.75
    keep: int = 100
    ground_overlap: float = 0.3

    def __post_init__(self) -> None:
        for name in ("candidates", "keep"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} is {getattr(self, name)}; expected 1 or more")
        for name in ("score_threshold", "overlap", "ground_overlap"):
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigError(f"{name} is {getattr(self, name)}; expected 0 to 1")


@dataclass(frozen=True)
class PerspectiveConfig:
    """Architecture of the head.

    Attributes:
        convolutions: of each of its three towers.
        strides: of the maps, fine to coarse.
        reaches: pixels from a cell to the farthest side of its box, up to which each level but the last learns it; the
            level before has those below.
        mean_depths, depth_spreads: of each level, mean and standard deviation in metres of what it learns, before a
            camera's focal length counts.
        sizes: width, length and height of each class in metres, which the head scales.
        focal_length: in pixels, of a camera whose depths are those that the head gives.
        nearest, farthest: metres in which depths end.
        detections: what becomes of the boxes.
    """

    convolutions: int = 4
    strides: tuple[int, ...] = (8, 16, 32, 64, 128)
    reaches: tuple[float, ...] = (64.0, 128.0, 256.0, 512.0)
    mean_depths: tuple[float, ...] = (44.921, 20.252, 11.712, 7.166, 8.548)
    depth_spreads: tuple[float, ...] = (24.331, 9.833, 6.223, 4.611, 8.275)
    sizes: tuple[tuple[float, float, float], ...] = _SIZES
    focal_length: float = 500.0
    nearest: float = 0.1
    farthest: float = 80.0
    detections: ViewSelection = field(default_factory=ViewSelection)

    def __post_init__(self) -> None:
        levels = len(self.strides)
        if self.convolutions < 1 or not levels or min(self.strides) < 1:
            raise ConfigError(
                f"a head of {self.convolutions} convolutions on maps of strides {self.strides}; expected 1 or "
                "more, and strides of 1 or more"
            )
        for name, count in (("reaches", levels - 1), ("mean_depths", levels), ("depth_spreads", levels)):
            if len(getattr(self, name)) != count:
                raise ConfigError(f"{name} are {getattr(self, name)}; expected {count} for {levels} strides")
        if list(self.reaches) != sorted(set(self.reaches)) or min((*self.reaches, *self.depth_spreads)) <= 0:
            raise ConfigError(
                f"reaches are {self.reaches} and depth_spreads {self.depth_spreads}; expected numbers above 0, the "
                "reaches ascending"
            )
        if not self.sizes or not all(len(size) == 3 and all(side > 0 for side in size) for size in self.sizes):
            raise ConfigError(f"sizes are {self.sizes}; expected width, length and height above 0 of each class")
        if not 0 < self.nearest < self.farthest or self.focal_length <= 0:
            raise ConfigError(
                f"depths from {self.nearest} to {self.farthest} at a focal length of {self.focal_length}; expected "
                "0 < nearest < farthest and a focal length above 0"
            )
