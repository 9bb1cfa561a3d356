"""Occ3D's labels on nuScenes: ``gts/SCENE/SAMPLE/labels.npz`` beside the tables of the drives.

Format: Tian et al., Occ3D, NeurIPS 2023, https://arxiv.org/abs/2304.14365; https://github.com/Tsinghua-MARS-Lab/Occ3D.
"""

from __future__ import annotations

import io
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from internimage.driving.geometry.boxes import Numbers
from internimage.driving.geometry.poses import Array
from internimage.errors import DataError

CLASSES = (
    "others",
    "barrier",
    "bicycle",
    "bus",
    "car",
    "construction_vehicle",
    "motorcycle",
    "pedestrian",
    "traffic_cone",
    "trailer",
    "truck",
    "driveable_surface",
    "other_flat",
    "sidewalk",
    "terrain",
    "manmade",
    "vegetation",
    "free",
)
"""In the order of their numbers."""

UNKNOWN = 255
"""A voxel of which nobody knows what it is."""

Voxels = np.ndarray[Any, np.dtype[np.uint8]]
Mask = np.ndarray[Any, np.dtype[np.bool_]]

FOLDER = "gts"
"""Of the labels, beside the tables."""
"""Below the root of nuScenes'."""
_FILE = "labels.npz"
_NAMES = ("semantics", "mask_lidar", "mask_camera")


@dataclass(frozen=True)
class VoxelGrid:
    """Where voxels are.

    Attributes:
        shape: voxels along x, y and z.
        start: (x0, y0, z0) metres, the corner of the first in the vehicle's frame (x forward, y left, z up).
        side: metres of each.
    """

    shape: tuple[int, int, int] = (200, 200, 16)
    start: tuple[float, float, float] = (-40.0, -40.0, -1.0)
    side: float = 0.4

    @property
    def extent(self) -> tuple[float, float, float, float, float, float]:
        """(x0, y0, z0, x1, y1, z1) in metres."""
        x1, y1, z1 = (round(low + count * self.side, 9) for low, count in zip(self.start, self.shape, strict=True))
        return (*self.start, x1, y1, z1)

    def centres(self) -> tuple[Array, Array, Array]:
        """Metres along x, y and z of the voxels' centres."""
        return self._along(0), self._along(1), self._along(2)

    def _along(self, axis: int) -> Array:
        places: Array = self.start[axis] + (np.arange(self.shape[axis], dtype=np.float64) + 0.5) * self.side
        return places

    def voxel_of(self, points: Array) -> Numbers:
        """(N, 3) numbers of the voxels that points (N, 3) lie in, also of points outside."""
        numbers: Numbers = np.floor((points - np.array(self.start)) / self.side).astype(np.int64)
        return numbers


@dataclass(frozen=True, eq=False)
class Space:
    """What fills the space around the vehicle.

    Attributes:
        labels: (X, Y, Z) uint8, numbers of ``CLASSES``.
        lidar: (X, Y, Z) voxels that the lidar saw.
        camera: (X, Y, Z) voxels that a camera saw; the challenge measures these.
    """

    labels: Voxels
    lidar: Mask
    camera: Mask


def recognise(root: Path) -> bool:
    """Whether labels lie below ``root``."""
    return (root / FOLDER).is_dir()


def label_file(root: Path, scene: str, token: str) -> Path:
    """The labels of a frame."""
    return root / FOLDER / scene / token / _FILE


def read_space(file: Path, shape: tuple[int, int, int] = (200, 200, 16)) -> Space:
    """The labels of a frame.

    Raises:
        DataError: the file is not there, is none, or has something else in it.
    """
    stored = _arrays(file)
    arrays = {name: stored[name] for name in _NAMES if name in stored}
    if lacking := [name for name in _NAMES if name not in arrays]:
        raise DataError(f"{file} has no {lacking[0]}; expected {', '.join(_NAMES)}")
    for name, values in arrays.items():
        if values.shape != shape or values.dtype.kind not in "bu":
            raise DataError(f"{file}: {name} is {values.dtype} of {values.shape}; expected uint8 of {shape}")
    labels = arrays["semantics"].astype(np.uint8)
    known = labels[labels != UNKNOWN]
    if known.size and known.max() >= len(CLASSES):
        raise DataError(f"{file}: semantics has {known.max()}; expected 0 to {len(CLASSES) - 1}, or 255 for unknown")
    return Space(labels, arrays["mask_lidar"].astype(bool), arrays["mask_camera"].astype(bool))


def space_bytes(space: Space) -> bytes:
    """The file of a frame's labels."""
    content = io.BytesIO()
    arrays: dict[str, Any] = {
        "semantics": space.labels,
        "mask_lidar": space.lidar.astype(np.uint8),
        "mask_camera": space.camera.astype(np.uint8),
    }
    np.savez_compressed(content, **arrays)
    return content.getvalue()


def read_submission(file: Path, shape: tuple[int, int, int] = (200, 200, 16)) -> Voxels:
    """The labels of a frame as the challenge takes them: one array, whatever its name.

    Raises:
        DataError: the file is not there, is none, or has something else in it.
    """
    stored = _arrays(file)
    if len(stored) != 1:
        raise DataError(f"{file} has {len(stored)} arrays; expected one")
    (values,) = stored.values()
    if values.shape != shape or values.dtype.kind not in "bu" or (values.size and values.max() >= len(CLASSES)):
        raise DataError(
            f"{file} has {values.dtype} of {values.shape}; expected uint8 of {shape} from 0 to {len(CLASSES) - 1}"
        )
    return values.astype(np.uint8)


def _arrays(file: Path) -> dict[str, Any]:
    """What a file of NumPy's has in it, by name."""
    try:
        with np.load(io.BytesIO(file.read_bytes()), allow_pickle=False) as stored:
            return {name: stored[name] for name in stored.files}
    except FileNotFoundError as error:
        raise DataError(f"{file} is not there; expected the labels of a frame") from error
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, AttributeError) as error:
        raise DataError(f"{file} cannot be read as labels of voxels: {error}") from error


def submission_bytes(labels: Voxels) -> bytes:
    """A file of the challenge's submission: one array of uint8."""
    content = io.BytesIO()
    np.savez_compressed(content, labels.astype(np.uint8))
    return content.getvalue()
