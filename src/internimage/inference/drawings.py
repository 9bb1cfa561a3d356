"""Results drawn into a folder: a picture for each picture, a video for each video."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any

from PIL import Image

from internimage.contracts import TaskSpec
from internimage.errors import MissingExtraError
from internimage.images import ImageSource
from internimage.images.inputs.video import is_video, library
from internimage.inference.writing import frame_ending, free_name, has_own_name
from internimage.settings.views import DisplayOptions
from internimage.writing import counted, save_picture, written_aside

_CODEC = "libx264"
_TICKS = 90_000  # at least, a second
_USUAL_RATE = Fraction(25)


class Drawings:
    """Draws results as they come; to be used in ``with``.

    The frames of a video become ``NAME.predicted.mp4``: H.264 without sound, with the times of the frames and as large
    as they are drawn, an odd side with one black line more.  It is there when its last frame is: where the work is
    interrupted, there is none.

    Args:
        folder: is made if it is not there.
        spec: of the task.
        shown: how much of a result.

    Attributes:
        notes: what was written, of videos.
    """

    def __init__(self, folder: Path, spec: TaskSpec, shown: DisplayOptions) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.spec, self.shown = folder, spec, shown
        self.notes: list[str] = []
        self._names: set[str] = set()
        self._file: ImageSource | None = None
        self._video: DrawnVideo | None = None
        self._target = folder
        self._open = ExitStack()

    def __enter__(self) -> Drawings:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self._end_video()
        else:
            self._open.__exit__(kind, error, trace)

    def add(self, source: ImageSource, result: Any) -> None:
        """Draw the result of one picture, or of the next frame.

        Raises:
            FileWriteError: the disk is full or not writable.
        """
        frame = source.frame
        if self._file is not None and (frame is None or frame.file is not self._file):
            self._end_video()
        if frame is None or not is_video(frame.file):
            of = source if frame is None else frame.file
            name = Path(of.name).name if has_own_name(of) else Path(of.name).stem
            stem = free_name(name + frame_ending(source), self._names)
            for end, drawn in self.spec.pictures(result, self.shown).items():
                save_picture(drawn, self.folder / f"{stem}{end}")
            return
        # of pictures without a legend, which would change its size; numbers of classes do not outlive compression
        drawn = next(iter(self.spec.pictures(result, replace(self.shown, legend=False)).values()))
        if self._video is None:
            target = self.folder / f"{free_name(Path(frame.file.name).stem, self._names)}.predicted.mp4"
            self._video = self._open.enter_context(drawn_video(target, drawn.size, frame.rate))
            self._file, self._target = frame.file, target
        self._video.add(drawn, frame.time)

    def _end_video(self) -> None:
        video, self._file, self._video = self._video, None, None
        self._open.close()
        if video is not None:
            self.notes.append(f"{self._target}: {counted(video.frames, 'frame')}, without sound")


class DrawnVideo:
    """Frames on their way into a file; see :func:`drawn_video`.

    Attributes:
        frames: how many there are.
    """

    def __init__(self, container: Any, size: tuple[int, int], rate: Fraction) -> None:
        self.frames = 0
        self._size = (size[0] + size[0] % 2, size[1] + size[1] % 2)
        self._rate = rate
        # of such a length that a frame's is a whole number of it
        self._tick = 1 / (rate.numerator * Fraction(-(-_TICKS // rate.numerator)))
        self._last = -1
        self._container = container
        self._stream = container.add_stream(_CODEC, rate=rate)
        self._stream.width, self._stream.height = self._size
        self._stream.pix_fmt = "yuv420p"
        self._stream.codec_context.time_base = self._tick

    def add(self, picture: Image.Image, time: float | None) -> None:
        """Append a frame (RGB), which is shown at a time in seconds."""
        if picture.size != self._size:
            picture = picture.crop((0, 0, *self._size))  # black where there is nothing
        frame = library().VideoFrame.from_image(picture)
        second = self.frames / self._rate if time is None else Fraction(time)
        self._last = max(round(second / self._tick), self._last + 1)
        frame.pts, frame.time_base, frame.duration = self._last, self._tick, round(1 / self._rate / self._tick)
        self._container.mux(self._stream.encode(frame))
        self.frames += 1

    def finish(self) -> None:
        """Write what the encoder has kept."""
        self._container.mux(self._stream.encode(None))


@contextmanager
def drawn_video(target: Path, size: tuple[int, int], rate: Fraction | None) -> Iterator[DrawnVideo]:
    """An H.264 video without sound that is there when the block ends well, and else is not.

    Args:
        target: ends in ``.mp4``.
        size: (width, height) of the frames; odd ones get a black line more, frames of another size are cut or have
            black beside them.
        rate: frames a second; None for 25.

    Raises:
        FileWriteError: the disk is full or not writable.
        MissingExtraError: PyAV is not installed, or has no encoder.
    """
    av = library()
    if _CODEC not in av.codecs_available:
        raise MissingExtraError(f"this PyAV has no {_CODEC}; that of pip install 'internimage[video]' has")
    # through a file of Python's, whose errors are the system's
    with written_aside(target) as aside, aside.open("wb") as file, av.open(file, "w", format="mp4") as container:
        video = DrawnVideo(container, size, (rate or _USUAL_RATE).limit_denominator(_TICKS))
        yield video
        video.finish()
