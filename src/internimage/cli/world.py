"""internimage data world"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any, Literal

from tyro.conf import Positional, arg

from internimage.cli.common import Bar

_FIRST_VAL = 100  # seeds of the scenes to measure with; those to learn from have others
_MOST_VAL = 1_000
_FIRST_MORE = 5_000
_OF_ROADS = ("scenes", "val_scenes", "frames", "width")  # and of lanes

Count = Annotated[int | None, arg(metavar="N", help_behavior_hint="")]


@dataclass(frozen=True)
class World:
    """Draw a small world to try training and prediction on: roads with six cameras, laid out as nuScenes; the same with
    seven cameras and lanes, laid out as OpenLane-V2; or shapes, signs and traffic lights with captions and questions.

    $ internimage data world roads/

    $ internimage train --data roads/

    $ internimage data world shapes/ --of shapes

    It proves that parts fit together and stands for no benchmark.
    """

    folder: Annotated[Positional[Path], arg(metavar="FOLDER", help="A folder that is not there yet, or empty.")]
    of: Literal["roads", "lanes", "shapes"] = "roads"
    """What is drawn."""
    scenes: Count = None
    """Roads, lanes: scenes to learn from, 768 unless given; few are learnt by heart."""
    val_scenes: Count = None
    """Roads, lanes: scenes to measure with, 32 unless given."""
    frames: Count = None
    """Roads, lanes: frames of each scene, every half second, 4 unless given."""
    width: Annotated[int | None, arg(metavar="PIXELS", help_behavior_hint="")] = None
    """Roads, lanes: of the pictures, 224 unless given; the height is 9/16 of it."""
    pictures: Count = None
    """Shapes: pictures to learn from, 30,000 unless given."""
    val_pictures: Count = None
    """Shapes: pictures to measure with, 1,000 unless given."""
    test_pictures: Count = None
    """Shapes: pictures of colours and shapes that were never seen together, 1,000 unless given."""
    size: Annotated[int | None, arg(metavar="PIXELS", help_behavior_hint="")] = None
    """Shapes: side of the pictures, 64 unless given."""
    seed: Count = None
    """Shapes: other numbers draw other pictures; 0 unless given."""
    without: Annotated[
        tuple[Literal["one", "pair", "count", "light", "sign"], ...] | None,
        arg(metavar="KIND...", help_behavior_hint=""),
    ] = None
    """Shapes: leave out pictures of one shape, of a pair, of several, of a light, of a sign."""
    signs: Annotated[
        Literal["letter", "listed", "words", "places"] | None,
        arg(metavar="{letter,listed,words,places}", help_behavior_hint=""),
    ] = None
    """Shapes: signs say one letter, a word of a list of 20, random words in the middle of the picture, or random words
    anywhere (places, unless given)."""
    boxes: Annotated[Literal["shapes", "pairs"] | None, arg(metavar="{shapes,pairs}", help_behavior_hint="")] = None
    """Shapes: also write boxes and masks in COCO's format, classes by shape or by colour and shape."""

    def run(self) -> int:
        from internimage.errors import ConfigError
        from internimage.registry import WORLDS, resolve

        options = [one.name for one in fields(self) if one.name not in ("folder", "of")]
        given = {name: value for name in options if (value := getattr(self, name)) is not None}
        for name in given:
            owner = "roads" if name in _OF_ROADS else "shapes"
            if owner != self.of.replace("lanes", "roads"):
                raise ConfigError(f"--{name.replace('_', '-')} belongs to --of {owner}; leave it out")
        draw = resolve(WORLDS[self.of])
        print(self._roads(draw) if self.of != "shapes" else draw(self.folder, **given, progress=Bar("drawing")))
        return 0

    def _roads(self, draw: Callable[..., Any]) -> Any:
        scenes, val = (
            (768 if self.scenes is None else self.scenes),
            (32 if self.val_scenes is None else self.val_scenes),
        )
        frames, width = (4 if self.frames is None else self.frames), (224 if self.width is None else self.width)
        seeds = [*range(_FIRST_VAL), *range(_FIRST_MORE, _FIRST_MORE + scenes)][: max(0, scenes)]
        parts = {"train": seeds, "val": range(_FIRST_VAL, _FIRST_VAL + min(max(0, val), _MOST_VAL))}
        return draw(self.folder, parts, frames=frames, width=width, progress=Bar("drawing"))
