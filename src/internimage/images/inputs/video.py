"""Frames of videos, decoded one after the other by FFmpeg's libraries (PyAV)."""

from __future__ import annotations

import contextlib
import io
import os
import struct
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any, BinaryIO

from PIL import Image

from internimage.errors import ConfigError, ImageReadError, MissingExtraError
from internimage.images.decoding import refuse_too_large
from internimage.images.lazy import BinaryFile, Frame, LazyPicture, Unreadable, read_whole
from internimage.images.reader import VIDEO_SUFFIXES, Encoded, ImageInput, ImageSource, open_file
from internimage.writing import counted

# Others, playlists above all, would name further files and addresses.
_FORMATS = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpeg,mpegts,mpegvideo,m4v"
_ENDS_EARLY = 0.9  # share of the frames, or of the seconds, that a file says it has

# The upper left of the display matrix, by the signs of its numbers: phones store how they were held.
_TURNS = {
    (-1, 0, 0, -1): Image.Transpose.ROTATE_180,
    (0, 1, -1, 0): Image.Transpose.ROTATE_270,
    (0, -1, 1, 0): Image.Transpose.ROTATE_90,
    (-1, 0, 0, 1): Image.Transpose.FLIP_LEFT_RIGHT,
    (1, 0, 0, -1): Image.Transpose.FLIP_TOP_BOTTOM,
    (0, 1, 1, 0): Image.Transpose.TRANSPOSE,
    (0, -1, -1, 0): Image.Transpose.TRANSVERSE,
}


def read_video(path: str | os.PathLike[str] | Encoded | ImageSource, every: int = 1) -> Iterator[ImageSource]:
    """The frames of a video in order, each decoded when it is asked for.

    A frame is called ``"clip.mp4#000012"`` and knows its number, counted from 0, and its time in seconds
    (:attr:`ImageSource.frame`).  It is upright as the file's display matrix says, 8-bit RGB and as large as it is
    stored; sound is left out.  Nothing but the file itself is opened, whatever it refers to.  A frame that is kept,
    as a result keeps its source, stays in memory.

    Where a video breaks off or is damaged, the frames before are given, then one whose reading is the error; so
    :meth:`internimage.Predictor.stream` reports it as it does any picture.

    Args:
        path: ``.mp4``, ``.mov``, ``.avi``, ``.mkv``, ``.webm``, ``.m4v``, ``.mpg`` or ``.mpeg``; or the bytes of one,
            or a binary file object (at most 1 GB), which is read from its current position to its end when the first
            frame is asked for, and stays open.
        every: give each ``every``-th frame, from the first one on.

    Raises:
        ConfigError: ``every`` is less than 1.
        MissingExtraError: PyAV is not installed.
    """
    if every < 1:
        raise ConfigError(f"every is {every}; expected 1 or more")
    library()
    if isinstance(path, ImageSource):
        return _frames(path, every)
    if isinstance(path, str | os.PathLike):
        return _frames(ImageSource(str(path), Path(path)), every)
    return _frames(ImageSource(f"video from {type(path).__name__}", path), every)


def is_video(source: ImageSource) -> bool:
    """Whether this is the name of a video that lies here."""
    named = isinstance(source.value, str | Path) and Path(source.value).suffix.lower() in VIDEO_SUFFIXES
    return named and "://" not in source.name


def count_frames(source: ImageSource, every: int = 1) -> int | None:
    """About how many frames :func:`read_video` will give, by the header; None where it does not say."""
    try:
        with _opened(source) as (_, stream):
            seconds = _seconds(stream)
            count = stream.frames or (round(seconds * stream.average_rate) if seconds and stream.average_rate else 0)
    except ImageReadError:
        return 1
    return -(-count // every) or None


def library() -> Any:
    """PyAV.

    Raises:
        MissingExtraError: it is not installed.
    """
    try:
        import av
    except ImportError as error:
        raise MissingExtraError("videos need PyAV: pip install 'internimage[video]'") from error
    return av


class VideoFrame(LazyPicture):
    """A decoded frame, in the colour space that the file has."""

    def __init__(self, frame: Any) -> None:
        self.frame = frame

    def load(self) -> Image.Image:
        picture: Image.Image = self.frame.to_image()
        turn = _turn(self.frame)
        return picture if turn is None else picture.transpose(turn)


def _frames(file: ImageSource, every: int) -> Iterator[ImageSource]:
    number, first, time = 0, None, Fraction()
    try:
        with _opened(file) as (container, stream):
            rate = stream.average_rate
            for frame in _decoded(container, stream):
                if frame.pts is None:  # as if it followed the one before
                    time = number / rate if rate else Fraction()
                else:
                    first = frame.pts if first is None else first
                    time = (frame.pts - first) * (frame.time_base or stream.time_base)
                if number % every == 0:
                    place = Frame(file, number, float(time), rate and rate / every)
                    yield ImageSource(_name(file, number), VideoFrame(frame), place)
                number += 1
            _refuse_early_end(container, stream, number, time)
    except ImageReadError as error:
        name = _name(file, number) if number else file.name
        yield ImageSource(name, Unreadable(error), Frame(file, number, None))


def _name(file: ImageSource, number: int) -> str:
    return f"{file.name}#{number:06d}"


@contextlib.contextmanager
def _opened(source: ImageSource) -> Iterator[tuple[Any, Any]]:
    """The container and its first video stream; errors do not yet say the name."""
    av = library()
    with contextlib.ExitStack() as stack:
        try:
            file = stack.enter_context(_bytes_of(source.value))
            # As a Python file: FFmpeg opens nothing by itself.
            container = stack.enter_context(
                av.open(file, options={"format_whitelist": _FORMATS}, io_open=_refuse_others, metadata_errors="replace")
            )
        except av.FFmpegError as error:
            raise ImageReadError(f"no video that can be read ({' '.join(VIDEO_SUFFIXES)}), {error.strerror}") from error
        except OSError as error:
            raise ImageReadError(f"cannot be read, {error.strerror or error}") from error
        if not container.streams.video:
            raise ImageReadError("there is no video in this file, or it ends early")
        stream = container.streams.video[0]
        stream.thread_type = "AUTO"
        refuse_too_large(stream.width, stream.height)
        yield container, stream


def _bytes_of(value: ImageInput) -> BinaryIO:
    """A video as a file at its beginning; errors do not yet say the name."""
    if isinstance(value, str | Path):
        return open_file(Path(value), "a video")
    if isinstance(value, bytes | bytearray | memoryview):
        return io.BytesIO(value)
    if isinstance(value, BinaryFile):
        return io.BytesIO(read_whole(value))
    raise ImageReadError(f"expected the path of a video, bytes or a file object, got {type(value).__name__}")


def _decoded(container: Any, stream: Any) -> Iterator[Any]:
    """Frames up to the first fault, which is raised when those before it are given."""
    av = library()
    fault: ImageReadError | None = None
    try:
        for packet in container.demux(stream):
            if packet.is_corrupt:
                fault = ImageReadError("the video is damaged here, or ends early")
                break
            for frame in packet.decode():
                if frame.is_corrupt:
                    raise ImageReadError("the video is damaged here")
                yield frame
    except av.FFmpegError as error:
        fault = ImageReadError(f"the video is damaged here, {error.strerror}")
        fault.__cause__ = error
    if fault is not None:
        with contextlib.suppress(av.FFmpegError):
            yield from stream.decode(None)  # the decoder's threads still have some
        raise fault


def _refuse_early_end(container: Any, stream: Any, frames: int, time: Fraction) -> None:
    """Of files whose end is missing most decoders say nothing."""
    if not frames:
        raise ImageReadError("there are no frames in this video")
    if "mov" in container.format.name:  # its demultiplexer does, and edit lists leave frames out on purpose
        return
    seconds, rate = _seconds(stream), stream.average_rate
    last = float(time + (1 / rate if rate else 0))
    if frames < _ENDS_EARLY * stream.frames or (seconds is not None and last < _ENDS_EARLY * seconds):
        whole = counted(stream.frames, "frame") if stream.frames else f"{seconds:.1f} seconds"
        raise ImageReadError(
            f"the video ends early, after {counted(frames, 'frame')} and {last:.1f} seconds of {whole}"
        )


def _seconds(stream: Any) -> float | None:
    """Length of a stream as the file says it."""
    if stream.duration is not None:
        return float(stream.duration * stream.time_base)
    with contextlib.suppress(ValueError):  # Matroska writes 00:00:10.500000000
        hours, minutes, seconds = stream.metadata.get("DURATION", "").split(":")
        return int(hours) * 3600 + int(minutes) * 60 + float(seconds)
    return None


def _turn(frame: Any) -> Image.Transpose | None:
    matrix = frame.side_data.get("DISPLAYMATRIX")
    if matrix is None:
        return None
    a, b, _, c, d, *_ = struct.unpack("<9i", bytes(matrix))
    largest = max(map(abs, (a, b, c, d))) or 1
    return _TURNS.get(tuple(round(value / largest) for value in (a, b, c, d)))


def _refuse_others(url: str, flags: int, options: Any) -> Any:
    raise PermissionError("a video may not refer to other files")
