"""Reading masks: pictures whose pixels are numbers of classes, or colours that stand for them."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from internimage.errors import ImageReadError
from internimage.images.decoding import identify, refuse_too_large
from internimage.images.matlab import MatlabArray
from internimage.images.members import ArchiveMember, Member

UNKNOWN = -1
"""In a label map: a pixel that teaches nothing and is not measured."""

_NUMBERS = ("L", "P", "1")


def read_mask(path: Path | Member) -> np.ndarray[Any, Any]:
    """Pixels as the file stores them: numbers (H, W) int32, or colours (H, W, 3) uint8.

    Of palette images the numbers, not their colours; of 16-bit images all 16 bits; of images of one bit 0 and 1; of
    images of one colour whose transparency varies the opacity.  EXIF is not looked at: who draws masks draws them
    upright.

    Raises:
        ImageReadError: the file is missing, broken, too large, a JPEG, or has pixels of another kind.
        MissingExtraError: a MATLAB file needs a package that is not installed.
    """
    if isinstance(path, MatlabArray):
        return _read_numbers(path)
    try:
        with io.BytesIO(path.read_bytes()) if isinstance(path, ArchiveMember) else path.open("rb") as file:
            image = identify(file)
            refuse_too_large(*image.size)
            if image.format in ("JPEG", "MPO"):
                raise ImageReadError("a JPEG, which blurs the numbers of classes; masks are stored as PNG")
            image.load()
    except ImageReadError as error:
        raise ImageReadError(f"{path}: {error}") from error.__cause__
    except FileNotFoundError:
        raise ImageReadError(f"{path}: no such file") from None
    except Image.DecompressionBombError as error:
        raise ImageReadError(f"{path}: too large, {error}") from error
    except Exception as error:  # on broken files Pillow raises about any type there is
        raise ImageReadError(f"{path}: cannot be read, {error or type(error).__name__}") from error
    if image.mode in _NUMBERS or image.mode.startswith("I"):
        return np.asarray(image).astype(np.int32)
    if image.mode not in ("RGB", "RGBA", "LA"):
        raise ImageReadError(f"{path}: pixels of mode {image.mode}; expected numbers of classes or colours")
    colours = np.asarray(image.convert("RGB"))
    if image.mode in ("RGBA", "LA") and (colours == colours[:1, :1]).all():
        opacity = np.asarray(image.getchannel("A"))
        if (opacity != opacity[0, 0]).any():  # the shape is drawn in alpha alone
            return opacity.astype(np.int32)
    return colours


def _read_numbers(array: MatlabArray) -> np.ndarray[Any, Any]:
    try:
        numbers = array.read()
    except ImageReadError as error:
        raise ImageReadError(f"{array}: {error}") from error.__cause__
    if numbers.ndim != 2 or not numbers.size:
        raise ImageReadError(f"{array}: numbers of shape {numbers.shape}; expected height and width")
    return numbers.astype(np.int32)


def grey_numbers(colours: np.ndarray[Any, Any]) -> np.ndarray[Any, Any] | None:
    """Numbers (H, W) int32 of a mask (H, W, 3) that is grey and stored as RGB; None if it has colours."""
    first = colours[..., :1]
    return first[..., 0].astype(np.int32) if (colours == first).all() else None
