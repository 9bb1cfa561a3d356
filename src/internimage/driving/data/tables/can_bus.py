"""What the vehicle felt: nuScenes' CAN bus expansion, one file of records at 50 Hz a scene.

Format: https://github.com/nutonomy/nuscenes-devkit/tree/master/python-sdk/nuscenes/can_bus, ``scene-NNNN_pose.json``.
"""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np

from internimage.data.formats.documents import read_json
from internimage.driving.data.tables.tables import Numbers3
from internimage.driving.geometry.poses import Array
from internimage.errors import DataError

FOLDER = "can_bus"


class _Record(msgspec.Struct, gc=False):
    """Acceleration in m/s^2, rotation rate in rad/s and velocity in m/s, of the ego frame; microseconds."""

    utime: int
    accel: Numbers3
    rotation_rate: Numbers3
    vel: Numbers3


def motion_file(root: Path, scene: str) -> Path:
    """Where a scene's records of motion are, if they are."""
    return root / FOLDER / f"{scene}_pose.json"


def read_motion(path: Path, times: np.ndarray[tuple[int], np.dtype[np.int64]]) -> tuple[Array, Array]:
    """Acceleration, rotation rate and velocity at some moments.

    Args:
        path: of a scene's file.
        times: (F,) microseconds.

    Returns:
        (F, 9) of the last record up to each moment, or of the first where all are later; and (F, 9) of the record
        after that one, which is the one that the released models were trained with: the first where all are later, the
        last where none is.

    Raises:
        DataError: the file is not as it should be.
    """
    try:
        content = path.read_bytes()
        records = _DECODER.decode(content)
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}") from error
    except msgspec.DecodeError:  # NaN, or something wrong
        try:
            records = msgspec.convert(read_json(path), list[_Record])
        except msgspec.ValidationError as error:
            raise DataError(f"{path}: {error}; expected records of utime, accel, rotation_rate and vel") from error
    values = np.array([(*one.accel, *one.rotation_rate, *one.vel) for one in records], np.float64).reshape(-1, 9)
    moments = np.array([one.utime for one in records], np.int64)
    if not len(records) or not np.isfinite(values).all() or (np.diff(moments) < 0).any():
        raise DataError(f"{path}: expected at least one record of finite numbers, sorted by their time (utime)")
    later = np.searchsorted(moments, times, side="right")
    return values[np.maximum(later - 1, 0)], values[np.minimum(later, len(records) - 1)]


_DECODER = msgspec.json.Decoder(list[_Record])
