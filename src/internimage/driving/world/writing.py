"""Scenes of the drawn world as a data set in the layout of nuScenes."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from PIL import Image

from internimage.driving.data.nuscenes_map import map_file
from internimage.driving.data.occ3d import VoxelGrid, label_file, space_bytes
from internimage.driving.world.maps import expansion_of
from internimage.driving.world.painting import View
from internimage.driving.world.rig import NUSCENES_RIG
from internimage.driving.world.scene import FRAME_SECONDS, Scene, make_scene
from internimage.driving.world.space import SpaceOf
from internimage.driving.world.tables import LIDAR_CHANNEL, Tables, can_bus, location, scene_name, token
from internimage.driving.world.things import HORIZON
from internimage.errors import ConfigError, DataError, FileWriteError
from internimage.writing import counted, write_text, written_aside

VERSION = "v1.0-world"
"""The folder of the tables."""
DEFAULT_SCENES: Mapping[str, Sequence[int]] = {"train": range(32), "val": range(100, 108)}
"""Seeds of each part; those from 100 on are for numbers that are shown."""

_QUALITY = 92
_MOST = int(HORIZON / FRAME_SECONDS) + 1
_README = """A small drawn driving world
===========================

Everything here was drawn by a program: roads, cuboids that stand for vehicles and people, six cameras.
It is laid out as nuScenes is (tables in {version}, pictures in samples, motion in can_bus), with the labels of
voxels that Occ3D adds (gts) and its map expansion (maps), so that what reads, trains on and measures nuScenes can be
tried on it in minutes.

It proves that the parts fit together.  It stands for no benchmark: a number that was measured here says
nothing about real streets, and is not to be compared with any number that was measured on real data.

* {summary}.
* scene-0103 was drawn from seed 103: the same seed is the same scene everywhere.
* splits.json says which scenes belong to which part.
* The lidar files are empty.  num_lidar_pts grows with the pixels by which a thing is seen; 0 means
  that no camera sees it.
"""


@dataclass(frozen=True)
class WorldSummary:
    """What :func:`write_world` wrote; as text one line.

    Attributes:
        folder: where.
        scenes: of each part.
        frames: all of them.
        boxes: all of them.
        cameras: of each frame.
        size: (width, height) of the pictures.
    """

    folder: Path
    scenes: Mapping[str, int]
    frames: int
    boxes: int
    cameras: int
    size: tuple[int, int]

    def __str__(self) -> str:
        parts = ", ".join(f"{number} {part}" for part, number in self.scenes.items())
        return (
            f"{self.folder}: {counted(sum(self.scenes.values()), 'drawn scene')} ({parts}), "
            f"{counted(self.frames, 'frame')} with {counted(self.cameras, 'camera')} of "
            f"{self.size[0]}x{self.size[1]}, {self.boxes} boxes"
        )


def write_world(
    root: Path,
    scenes: Mapping[str, Sequence[int]] = DEFAULT_SCENES,
    *,
    frames: int = 4,
    width: int = 400,
    cameras: int = 6,
    focal: float = 1.0,
    progress: Callable[[int, int], None] | None = None,
) -> WorldSummary:
    """Draw scenes into a new or empty folder, tables last: where the work is interrupted, there is no data set.

    Args:
        root: the folder.
        scenes: seeds (0 to 9999) by name of the part; no seed twice.
        frames: of each scene, every half second, at most 21.
        width: of the pictures in pixels; the height is 9/16 of it.
        cameras: how many of the six, in the order of the released models.
        focal: of the usual focal lengths of all cameras.
        progress: is told how many scenes of how many are done.

    Returns:
        What was written.

    Raises:
        ConfigError: numbers that do not fit.
        DataError: the folder holds something.
        FileWriteError: the disk is full or not writable.
    """
    check_wishes(scenes, frames, width, cameras)
    root = empty_folder(root)
    if not focal > 0:
        raise ConfigError(f"focal is {focal}; expected more than 0")
    rig = [replace(camera, focal=camera.focal * focal) for camera in NUSCENES_RIG[:cameras]]
    views = [View(camera, width / camera.size[0]) for camera in rig]
    tables, space = Tables(), SpaceOf(views, VoxelGrid())
    tables.begin(views)
    seeds = [seed for part in scenes.values() for seed in part]
    for done, seed in enumerate(seeds, start=1):
        _write_scene(root, make_scene(seed), frames, views, tables, space)
        if progress is not None:
            progress(done, len(seeds))
    height, _ = views[0].size
    numbers = {part: len(of) for part, of in scenes.items()}
    boxes = len(tables.rows["sample_annotation"])
    summary = WorldSummary(root, numbers, frames * len(seeds), boxes, cameras, (width, height))
    about = str(summary).removeprefix(f"{root}: ")
    write_text(root / "README.txt", _README.format(version=VERSION, summary=about))
    _write_json(root / "splits.json", {part: [scene_name(seed) for seed in of] for part, of in scenes.items()})
    for name, rows in tables.rows.items():
        _write_json(root / VERSION / f"{name}.json", rows)
    return summary


def empty_folder(root: Path) -> Path:
    """The folder, made if it is not there.

    Raises:
        DataError: it holds something.
        FileWriteError: it cannot be made.
    """
    root = Path(root)
    try:
        root.mkdir(parents=True, exist_ok=True)
        held = next(root.iterdir(), None)
    except OSError as error:
        raise FileWriteError(f"cannot write into {root}: {error.strerror}") from error
    if held is not None:
        raise DataError(f"{root} is not empty, it holds {held.name}; expected a new or an empty folder")
    return root


def check_wishes(scenes: Mapping[str, Sequence[int]], frames: int, width: int, cameras: int = 1) -> None:
    """Raise :class:`ConfigError` for numbers that cannot be drawn."""
    seeds = [seed for part in scenes.values() for seed in part]
    if not seeds:
        raise ConfigError("no seeds; expected at least one scene")
    wrong = [seed for seed in seeds if not 0 <= seed <= 9999]
    if wrong or len(set(seeds)) < len(seeds):
        twice = wrong or [seed for seed in seeds if seeds.count(seed) > 1]
        raise ConfigError(f"seed {twice[0]}: expected numbers from 0 to 9999, each in one part only")
    for name, value, least, most in (
        ("frames", frames, 1, _MOST),
        ("width", width, 16, 4096),
        ("cameras", cameras, 1, len(NUSCENES_RIG)),
    ):
        if not least <= value <= most:
            raise ConfigError(f"{name} {value}: expected {least} to {most}")


def _write_scene(root: Path, scene: Scene, frames: int, views: Sequence[View], tables: Tables, space: SpaceOf) -> None:
    tables.add_scene(scene, frames)
    name = scene_name(scene.seed)
    for number in range(frames):
        paintings = [view.painted(scene, number * FRAME_SECONDS) for view in views]
        lidar = f"samples/{LIDAR_CHANNEL}/{name}_{number:02d}.pcd.bin"
        files = {LIDAR_CHANNEL: (lidar, (0, 0))}
        write_file(root / lidar, b"")
        for view, painting in zip(views, paintings, strict=True):
            channel = view.camera.channel
            path = f"samples/{channel}/{name}_{number:02d}.jpg"
            files[channel] = (path, view.size)
            content = io.BytesIO()
            Image.fromarray(painting.pixels).save(content, "JPEG", quality=_QUALITY)
            write_file(root / path, content.getvalue())
        around = space(scene, number * FRAME_SECONDS, paintings)
        write_file(label_file(root, name, token(name, "sample", number)), space_bytes(around))
        tables.add_frame(scene, number, frames, files)
        tables.add_boxes(scene, number, frames, paintings)
    _write_json(root / "can_bus" / f"{name}_pose.json", can_bus(scene, frames))
    _write_json(map_file(root, location(scene.seed)), expansion_of(scene))


def write_file(path: Path, content: bytes) -> None:
    """A file that is there when it is whole; folders on the way are made."""
    with written_aside(path) as aside:
        aside.write_bytes(content)


def _write_json(path: Path, content: Any) -> None:
    write_text(path, json.dumps(content))
