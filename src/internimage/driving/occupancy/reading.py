"""Which drives have labels of voxels, and how they are read."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path

from internimage.data.left_out import LeftOut
from internimage.data.samples import Measured
from internimage.driving.data.frames import Frame, Frames, ListedFrames
from internimage.driving.data.occ3d import CLASSES, FOLDER, Space, label_file, read_space
from internimage.driving.data.occ3d import recognise as has_labels
from internimage.driving.sequences import reading
from internimage.errors import DataError
from internimage.settings.data import DataOptions
from internimage.writing import counted

EXPECTED = "nuScenes' tables (v1.0-trainval/sample.json and others, with samples/) and Occ3D's labels of voxels (gts/)"


@dataclass(frozen=True)
class SpaceFrames(ListedFrames):
    """Frames of drives whose space is labelled; classes are Occ3D's.

    Attributes:
        root: of the data.
    """

    root: Path = Path()

    def space_of(self, entry: Frame) -> Space:
        """The labels of a frame.

        Raises:
            DataError: see :func:`internimage.driving.data.occ3d.read_space`.
        """
        return read_space(label_file(self.root, entry.scene, entry.token))

    def measured(self, entry: Frame, size: tuple[int, int]) -> Measured:
        """The labels of its voxels."""
        return Measured(self.space_of(entry))

    def summary(self) -> str:
        """``32 scenes, 128 frames with labels of voxels``."""
        return f"{counted(len(self.scenes), 'scene')}, {counted(len(self), 'frame')} with labels of voxels"


def recognise(root: Path) -> bool:
    """Whether drives with labels of voxels lie at ``root``."""
    return has_labels(root) and reading.recognise(root)


def read_parts(root: Path, wanted: str | None, options: DataOptions) -> Mapping[str, SpaceFrames]:
    """The parts that have labels by name, or the wanted one alone; frames without labels are left out.

    Raises:
        DataError: there are none, or they contradict their format.
        ConfigError: ``options`` say something of another format.
    """
    parts = {name: _labelled(root, part, name) for name, part in reading.read_parts(root, wanted, options).items()}
    there = {name: part for name, part in parts.items() if len(part)}
    if not there:
        of = f" of the part {wanted}" if wanted in parts else ""
        raise DataError(f"{root / FOLDER} has labels of no frame{of}; expected {FOLDER}/SCENE/SAMPLE/labels.npz")
    return there


def _labelled(root: Path, part: Frames, name: str) -> SpaceFrames:
    tokens = {scene: _folders(root / FOLDER / scene) for scene in part.scenes}
    chosen = [number for number, frame in enumerate(part.frames) if frame.token in tokens[frame.scene]]
    left_out = part.left_out
    if without := len(part) - len(chosen):
        left_out = (*left_out, LeftOut("no labels of voxels", "frames", (), without, len(part), meant=True))
    some = part if not without else part.chosen(chosen, part.name)
    values = {one.name: getattr(some, one.name) for one in fields(Frames)}
    values |= {"classes": CLASSES, "format": "Occ3D", "left_out": left_out, "listed": True}
    return SpaceFrames(**values, root=root)


def _folders(scene: Path) -> frozenset[str]:
    return frozenset(os.listdir(scene)) if scene.is_dir() else frozenset()  # noqa: PTH208
