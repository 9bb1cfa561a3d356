"""A part of each picture in another size, and calibrations that know of it.  No torch."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np

from internimage.driving.augmentation.settings import Framing
from internimage.driving.geometry.poses import Array
from internimage.errors import DataError

Bytes: TypeAlias = "np.ndarray[Any, np.dtype[np.uint8]]"


def to_shown(framing: Framing) -> Array:
    """(3, 3) float64: pixels (u, v, 1) of a picture to those of what is shown of it."""
    left, top, _, _ = framing.crop
    scale = framing.scale
    return np.array([[scale, 0.0, -left * scale], [0.0, scale, -top * scale], [0.0, 0.0, 1.0]])


def shown_intrinsic(intrinsic: Array, framing: Framing) -> Array:
    """(3, 3) camera to pixels of what is shown, of ``intrinsic``, camera to pixels of the picture."""
    moved: Array = to_shown(framing) @ intrinsic
    return moved


def shown_projection(lidar_to_pixels: Array, framing: Framing) -> Array:
    """(..., 4, 4) lidar points to (u d, v d, d, 1) in pixels of what is shown, of the same for the picture."""
    whole = np.eye(4)
    whole[:3, :3] = to_shown(framing)
    moved: Array = whole @ lidar_to_pixels
    return moved


def shown_picture(pixels: Bytes, framing: Framing) -> Bytes:
    """What is shown of a picture (H, W, 3) uint8, scaled bilinearly: (h, w, 3).

    Raises:
        DataError: the part does not lie in the picture.
    """
    from PIL import Image

    left, top, right, bottom = framing.crop
    height, width = pixels.shape[:2]
    if right > width or bottom > height:
        raise DataError(
            f"a picture of {width}x{height} pixels; the part {framing.crop} that is shown ends outside of it: give "
            "a crop (left, top, right, bottom) that fits the pictures"
        )
    part = Image.fromarray(pixels[top:bottom, left:right])
    rows, columns = framing.size
    return np.asarray(part.resize((columns, rows), Image.Resampling.BILINEAR))
