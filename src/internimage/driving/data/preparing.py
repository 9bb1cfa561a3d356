"""From frames to what a network sees: pictures with their projections, queues of moments, boxes to learn.

As released with BEVFormer (Li et al., ECCV 2022), but for the colours: those are varied before normalisation in all of
our models.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, TypeAlias

import numpy as np
from PIL import Image

from internimage.driving.augmentation.pictures import shown_picture, shown_projection
from internimage.driving.augmentation.settings import Framing
from internimage.driving.data.frames import Camera, Frame
from internimage.driving.geometry.boxes import Boxes
from internimage.driving.geometry.poses import Array
from internimage.errors import ImageReadError
from internimage.images import FitPreprocessing, ImageSource
from internimage.images.scaling import scale_bilinear

Pixels: TypeAlias = "np.ndarray[Any, np.dtype[np.float32]]"
_BRIGHTNESS = 32.0
_FACTOR = (0.5, 1.5)  # of contrast and saturation
_HUE = 18.0  # degrees


def read_cameras(
    frame: Frame,
    channels: Sequence[str],
    preprocessing: FitPreprocessing,
    colours: np.random.Generator | None = None,
    framing: Callable[[Camera], Framing] | None = None,
) -> tuple[list[Pixels | None], list[Array]]:
    """The pictures of a frame, normalised, and how lidar points come into their pixels.

    A picture that stands upright among others that lie is stretched to the size of these, as OpenLane-V2's baseline
    does with the front camera of Argoverse.

    Args:
        frame: read from disk.
        channels: names of the cameras in the network's order.
        preprocessing: scales and normalises each picture.
        colours: draws how the colours of each picture are varied, for training.
        framing: the part of each picture that is shown, in which size; None for all of it, as ``preprocessing`` says.

    Returns:
        For each channel (3, h, w), or None where the frame has no such camera; and (4, 4) float64, lidar points to
        (u d, v d, d, 1) in pixels of the scaled picture, zeros where there is no such camera.

    Raises:
        ImageReadError: a picture cannot be read, or has another size than the data say.
    """
    cameras = {camera.channel: camera for camera in frame.cameras}
    lying = next((camera.size for camera in frame.cameras if camera.size[1] >= camera.size[0]), None)
    pictures: list[Pixels | None] = []
    projections: list[Array] = []
    for channel in channels:
        camera = cameras.get(channel)
        projection = np.zeros((4, 4))
        shown = None if camera is None or framing is None else framing(camera)
        pictures.append(None if camera is None else _read(camera, preprocessing, colours, lying, shown))
        if camera is not None and shown is not None:
            projection = shown_projection(camera.lidar_to_pixels, shown)
        elif camera is not None and (picture := pictures[-1]) is not None:
            height, width = camera.size
            projection = camera.lidar_to_pixels.copy()
            projection[0] *= picture.shape[2] / width
            projection[1] *= picture.shape[1] / height
        projections.append(projection)
    return pictures, projections


def _read(
    camera: Camera,
    preprocessing: FitPreprocessing,
    colours: np.random.Generator | None,
    lying: tuple[int, int] | None,
    framing: Framing | None,
) -> Pixels:
    source = ImageSource(str(camera.file), camera.file)
    picture = preprocessing.read(source)
    if (picture.height, picture.width) != camera.size:
        expected = f"{camera.size[1]}x{camera.size[0]}"
        raise ImageReadError(f"{camera.file} has {picture.width}x{picture.height} pixels; the data say {expected}")
    if framing is not None:
        picture = Image.fromarray(shown_picture(np.asarray(picture), framing))
        preprocessing = replace(preprocessing, short=min(picture.size), long=max(picture.size))
    elif lying is not None and camera.size[0] > camera.size[1]:
        picture = Image.fromarray(scale_bilinear(np.asarray(picture), *lying))
    if colours is None:
        return preprocessing.array(picture)
    values = replace(preprocessing, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0)).array(picture)
    varied = vary_colours(values, colours)
    varied -= np.array(preprocessing.mean, np.float32)[:, None, None]
    varied *= (1 / np.array(preprocessing.std)).astype(np.float32)[:, None, None]
    return varied


def queue(index: int, length: int, generator: np.random.Generator | None) -> list[int]:
    """Places in the list of frames of what is learnt from together: the history and then the frame itself.

    Before the first frame comes the first frame.  Frames of another scene are no history: a network forgets where the
    scene changes, see :func:`befores`.

    Args:
        index: of the frame that is learnt.
        length: of the queue, at least 1.
        generator: draws one of the ``length`` frames before it that is left out; None for those right before it.
    """
    before = np.delete(np.arange(index - length, index), 0 if generator is None else generator.integers(length))
    return [*np.maximum(before, 0).tolist(), index]


def befores(frames: Sequence[Frame]) -> list[Frame | None]:
    """For each frame of a queue the one before it in the queue, if that is of the same scene."""
    pairs = zip([None, *frames], frames, strict=False)
    return [before if before is not None and before.scene == one.scene else None for before, one in pairs]


def training_boxes(frame: Frame, extent: Sequence[float]) -> Boxes:
    """The true boxes that are learnt: of known classes, seen by lidar or radar as far as known, within the extent.

    Velocities that are unknown stay NaN.

    Args:
        frame: of the data.
        extent: x0, y0, x1, y1 in metres of the lidar frame; centres on its edge are out.
    """
    if frame.truth is None:
        return Boxes.empty()
    boxes = frame.truth.chosen((frame.truth.labels >= 0) & (frame.truth.points != 0)).upright(frame.lidar_to_global)
    places, (x0, y0, x1, y1) = boxes.centres[:, :2], extent
    return boxes.chosen(((places > (x0, y0)) & (places < (x1, y1))).all(axis=1))


def grid_mask(height: int, width: int, random: np.random.RandomState) -> Pixels | None:
    """GridMask (Chen et al., arXiv:2001.04086) as BEVFormer uses it: one for all pictures of a step.

    Args:
        height, width: of the pictures as the network sees them.
        random: draws whether there is one and where, in the released order.

    Returns:
        (height, width) of zeros and ones to multiply pictures with; None in three of ten cases.
    """
    if random.rand() > 0.7:
        return None
    period = random.randint(2, height)
    length = min(max(int(period * 0.5 + 0.5), 1), period - 1)
    stripes = []
    for side in (height, width):
        large = int(1.5 * side)
        places = np.arange(large) - random.randint(period)
        stripe = (places >= 0) & (places % period < length) & (places < large // period * period)
        start = (large - side) // 2
        stripes.append(stripe[start : start + side])
    random.randint(1)  # a rotation, of nothing
    rows, columns = stripes
    return (rows[:, None] | columns[None]).astype(np.float32)


def vary_colours(pixels: Pixels, generator: np.random.Generator) -> Pixels:
    """A picture with other brightness, contrast, saturation, hue and order of channels, each in half of the cases.

    As SSD (Liu et al., ECCV 2016) does it, on the values of pixels.

    Args:
        pixels: (3, h, w) float32 RGB in [0, 255].
        generator: draws what is done.

    Returns:
        A new array; values may leave the range, as in the released code.
    """
    varied = pixels.copy()
    if _half(generator):
        varied += np.float32(generator.uniform(-_BRIGHTNESS, _BRIGHTNESS))
    contrast_last = _half(generator)
    contrast = np.float32(generator.uniform(*_FACTOR)) if _half(generator) else None
    if contrast is not None and not contrast_last:
        varied *= contrast
    if _half(generator):
        varied = with_saturation(varied, generator.uniform(*_FACTOR))
    if _half(generator):
        varied = with_hue(varied, generator.uniform(-_HUE, _HUE))
    if contrast is not None and contrast_last:
        varied *= contrast
    if _half(generator):
        varied = varied[generator.permutation(3)]
    return varied


def with_saturation(pixels: Pixels, factor: float) -> Pixels:
    """The saturation in HSV times a factor: every channel (3, h, w) away from the largest, which stays."""
    largest = pixels.max(axis=0)
    return largest - (largest - pixels) * np.float32(factor)


def with_hue(pixels: Pixels, degrees: float) -> Pixels:
    """The hue in HSV turned by some degrees; (3, h, w) RGB of any range."""
    red, green, blue = pixels
    largest, smallest = pixels.max(axis=0), pixels.min(axis=0)
    chroma = largest - smallest
    safe = np.where(chroma > 0, chroma, np.float32(1))
    sixth = np.where(  # of the circle, from red
        largest == red,
        (green - blue) / safe,
        np.where(largest == green, (blue - red) / safe + np.float32(2), (red - green) / safe + np.float32(4)),
    )
    sixth += np.float32(degrees / 60)
    turned = np.empty_like(pixels)
    for channel, place in enumerate((5, 3, 1)):
        away = (sixth + np.float32(place)) % np.float32(6)
        turned[channel] = largest - chroma * np.clip(np.minimum(away, 4 - away), 0, 1)
    return turned


def _half(generator: np.random.Generator) -> bool:
    return bool(generator.random() < 0.5)
