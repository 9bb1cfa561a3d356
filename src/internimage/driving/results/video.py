"""Drives as videos: a sheet for each frame."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from fractions import Fraction
from pathlib import Path

from internimage.driving.data.frames import Frame
from internimage.driving.drawing.scene import draw_frame
from internimage.driving.geometry.boxes import Boxes
from internimage.errors import ConfigError, DataError
from internimage.inference.drawings import DrawnVideo, drawn_video


def write_drive(
    target: Path,
    frames: Iterable[tuple[Frame, Boxes]],
    names: Sequence[str],
    *,
    truth: Callable[[Frame], Boxes] | None = None,
    rate: float = 2.0,
    width: int = 1600,
) -> int:
    """Write frames as an H.264 video without sound, see :func:`internimage.driving.drawing.scene.draw_frame`.

    Args:
        target: the file.
        frames: in the order of time, each with its boxes in the lidar frame; used one at a time.
        names: of the classes.
        truth: gives a frame's true boxes, to be drawn dashed.
        rate: frames a second; key frames of nuScenes are half a second apart.
        width: of the video in pixels.

    Returns:
        How many frames were written.

    Raises:
        ConfigError: the name does not end in ``.mp4``.
        DataError: there are no frames.
        FileWriteError: the disk is full or not writable.
        MissingExtraError: PyAV is not installed.
    """
    if target.suffix != ".mp4":
        raise ConfigError(f"{target} is no video's name; expected one that ends in .mp4")
    sheets = (
        draw_frame(frame, boxes, names, truth=None if truth is None else truth(frame), width=width)
        for frame, boxes in frames
    )
    first = next(sheets, None)
    if first is None:
        raise DataError(f"no frames for {target}; expected at least one")
    video: DrawnVideo
    with drawn_video(target, first.size, Fraction(rate).limit_denominator(1000)) as video:
        video.add(first, None)
        for sheet in sheets:
            video.add(sheet, None)
    return video.frames
