"""internimage data world"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from internimage.cli.common import progress

_FIRST_VAL = 100  # seeds of the scenes to measure with; those to learn from have others
_MOST_VAL = 1_000
_FIRST_MORE = 5_000


@dataclass(frozen=True)
class World:
    """Draw a small world of roads with six cameras, laid out as nuScenes, to try training and prediction on.

    $ internimage data world roads/

    $ internimage train --data roads/

    It proves that parts fit together and stands for no benchmark.
    """

    folder: Annotated[Positional[Path], arg(metavar="FOLDER", help="A folder that is not there yet, or empty.")]
    scenes: Annotated[int, arg(metavar="N")] = 768
    """Scenes to learn from; few are learnt by heart."""
    val_scenes: Annotated[int, arg(metavar="N")] = 32
    """Scenes to measure with."""
    frames: Annotated[int, arg(metavar="N")] = 4
    """Frames of each scene, every half second."""
    width: Annotated[int, arg(metavar="PIXELS")] = 224
    """Of the pictures; the height is 9/16 of it."""

    def run(self) -> int:
        from internimage.registry import WORLDS, resolve

        train = [*range(_FIRST_VAL), *range(_FIRST_MORE, _FIRST_MORE + self.scenes)][: max(0, self.scenes)]
        val = range(_FIRST_VAL, _FIRST_VAL + min(max(0, self.val_scenes), _MOST_VAL))
        seeds = iter(progress(range(len(train) + len(val)), len(train) + len(val), "drawing"))

        def follow(done: int, total: int) -> None:
            next(seeds, None)

        draw = resolve(WORLDS["roads"])
        print(draw(self.folder, {"train": train, "val": val}, frames=self.frames, width=self.width, progress=follow))
        return 0
