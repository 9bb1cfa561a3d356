"""Writers of results whose files are a scene each: videos, and recordings for the rerun viewer."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from internimage.driving.results.boxes3d import FoundBoxes
from internimage.results.output import Output, Picture, folder_name

_Write = Callable[[Path, list[FoundBoxes]], object]


class SceneWriter:
    """See :class:`internimage.contracts.Writer`; a scene's file is there when its last frame is.

    Args:
        output: where.
        ending: of the files' names.
        write: a file of a scene's results, in the order of time.
    """

    notes: tuple[str, ...] = ()

    def __init__(self, output: Output, ending: str, write: _Write) -> None:
        self.output, self.ending, self.write = output, ending, write
        self._scene: list[FoundBoxes] = []
        self._written: list[Path] = []

    def add(self, picture: Picture, result: FoundBoxes) -> None:
        if self._scene and self._scene[0].frame.scene != result.frame.scene:
            self._end()
        self._scene.append(result.filter(self.output.shown.score_threshold))

    def close(self) -> list[Path]:
        self._end()
        return self._written

    def _end(self) -> None:
        scene, self._scene = self._scene, []
        if scene:
            target = self.output.place(f"{folder_name(scene[0].frame.scene)}{self.ending}")
            self.write(target, scene)
            self._written.append(target)


def videos(output: Output) -> SceneWriter:
    """``SCENE.mp4``: all cameras and the view from above."""
    return SceneWriter(output, ".mp4", _video)


def recordings(output: Output) -> SceneWriter:
    """``SCENE.rrd``, for the rerun viewer."""
    from internimage.driving.results.recording import library

    library()  # before the work, which would be lost
    return SceneWriter(output, ".rrd", _recording)


def _video(target: Path, results: list[FoundBoxes]) -> None:
    from internimage.driving.results.video import write_drive

    write_drive(target, [(one.frame, one.boxes) for one in results], results[0].names)


def _recording(target: Path, results: list[FoundBoxes]) -> None:
    from internimage.driving.results.recording import write_recording

    write_recording(target, [(one.frame, one.boxes) for one in results], results[0].names)
