"""Which drives have maps, and how the lines around the vehicle are read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from functools import lru_cache
from pathlib import Path

from internimage.data.samples import Measured
from internimage.driving.data import nuscenes
from internimage.driving.data.frames import Frame, Frames, ListedFrames
from internimage.driving.data.nuscenes_map import EXPANSION, map_file, read_nuscenes_map
from internimage.driving.geometry.road_map import RoadMap
from internimage.driving.geometry.vector_map import CLASSES, VectorMap
from internimage.driving.sequences import reading
from internimage.errors import DataError
from internimage.settings.data import DataOptions
from internimage.writing import counted

EXPECTED = (
    "nuScenes' tables (v1.0-trainval/sample.json and others, with samples/) and its map expansion (maps/expansion/)"
)


@dataclass(frozen=True)
class MapFrames(ListedFrames):
    """Frames of drives in places whose maps are there; classes are those of lines.

    Attributes:
        root: of the data.
        locations: by scene, the place that it was driven in.
    """

    root: Path = Path()
    locations: Mapping[str, str] = field(default_factory=dict)

    def map_of(self, entry: Frame) -> VectorMap:
        """The lines around the vehicle.

        Raises:
            DataError: the map is none.
            MissingExtraError: shapely is not installed.
        """
        return _road_map(map_file(self.root, self.locations[entry.scene])).around(entry.ego)

    def measured(self, entry: Frame, size: tuple[int, int]) -> Measured:
        """Its lines."""
        return Measured(self.map_of(entry))

    def summary(self) -> str:
        """``32 scenes in 2 places, 128 frames``."""
        places = {self.locations[scene] for scene in self.scenes}
        return f"{counted(len(self.scenes), 'scene')} in {counted(len(places), 'place')}, {counted(len(self), 'frame')}"


@lru_cache(maxsize=8)
def _road_map(file: Path) -> RoadMap:
    return read_nuscenes_map(file)


def recognise(root: Path) -> bool:
    """Whether drives with maps lie at ``root``."""
    return (root / EXPANSION).is_dir() and nuscenes.recognise(root)


def read_parts(root: Path, wanted: str | None, options: DataOptions) -> Mapping[str, MapFrames]:
    """The parts by name, or the wanted one alone.

    Raises:
        DataError: there are none, they contradict their format, or a place has no map.
        ConfigError: ``options`` say something of another format.
    """
    parts = reading.read_parts(root, wanted, options)
    if not nuscenes.recognise(root):
        raise DataError(f"{root} has no maps; expected {EXPECTED}")
    locations = nuscenes.locations(root, options)
    return {name: _mapped(root, part, locations) for name, part in parts.items()}


def _mapped(root: Path, part: Frames, locations: Mapping[str, str]) -> MapFrames:
    own = {scene: locations[scene] for scene in part.scenes}
    for scene, place in own.items():
        if not place:
            raise DataError(f"{part.name}: no log names the place of {scene}; expected one in log.json")
        if not map_file(root, place).is_file():
            raise DataError(
                f"{map_file(root, place)} is not there; expected the map of {place}, where {scene} was driven"
            )
    values = {one.name: getattr(part, one.name) for one in fields(Frames)}
    values |= {"classes": CLASSES, "format": "nuScenes' maps", "listed": True}
    return MapFrames(**values, root=root, locations=own)
