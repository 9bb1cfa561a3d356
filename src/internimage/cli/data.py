"""internimage data"""

from __future__ import annotations

import sys
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import FlagCreatePairsOff, Positional, arg, subcommand

from internimage.cli.common import MaxPixels, print_json, progress
from internimage.cli.masks import masks_of
from internimage.cli.world import World
from internimage.settings.data import Boxes, DataOptions, FormatName, Pictures

ReadingName = Annotated[str | None, arg(metavar="NAME", help_behavior_hint="(default: the most usual one)")]
_SHEETS = (".png", ".jpg", ".jpeg", ".webp")
_DATA = (
    "One folder per class, or train, val, test as folders, .csv, .zip, .tar shards; COCO's .json, or the export of a "
    "labelling tool; images/ and masks/; nuScenes' tables of drives."
)


@dataclass(frozen=True)
class Check:
    """Check data before training: corrupt, duplicate and tiny images, empty classes, images in both train and val,
    misplaced objects, masks with unknown numbers.

    $ internimage data check photos/ --sheet photos.png

    $ internimage data check photos/ --fix photos-mended/

    Nothing is written into the data. The exit status is 1 if something would harm training. --fix writes a copy without
    bad entries, unreadable pictures and exact twins, with upright pictures and sharp masks, and says what it did.
    """

    data: Annotated[Positional[Path], arg(metavar="FOLDER", help=_DATA)]
    sheet: Annotated[Path | None, arg(metavar="FILE", help_behavior_hint="")] = None
    """Write a contact sheet: examples of each class, with boxes and masks drawn."""
    json: FlagCreatePairsOff[bool] = False
    """Print the findings as one JSON object."""
    fix: Annotated[Path | None, arg(metavar="TARGET", help_behavior_hint="")] = None
    """Write a mended copy into a new folder, instead of findings."""
    boxes_as_stored: FlagCreatePairsOff[bool] = False
    """With --fix: boxes and masks were drawn on the pictures before the turn that EXIF asks for; turn them too."""
    link: FlagCreatePairsOff[bool] = False
    """With --fix: link to the pictures instead of copying them."""
    reading: ReadingName = None
    """Which one, where a benchmark set can be read in several ways."""
    task: Annotated[str | None, arg(metavar="NAME", help_behavior_hint="(default: what the data are for)")] = None
    """What to look for where data have more than one kind of labels, such as occupancy."""
    max_pixels: MaxPixels = None

    def run(self) -> int:
        from internimage.data.formats.pictures import refuse_inside
        from internimage.errors import ConfigError

        if self.sheet is not None:
            refuse_inside("--sheet", self.sheet, self.data)
        if self.sheet is not None and self.sheet.suffix.lower() not in _SHEETS:
            raise ConfigError(f"{self.sheet} is no picture's name; expected one that ends in {' or '.join(_SHEETS)}")
        if self.fix is None and (self.boxes_as_stored or self.link):
            raise ConfigError("--boxes-as-stored and --link belong to --fix TARGET")
        if self.fix is not None and (self.json or self.sheet):
            raise ConfigError("--fix writes a copy and no findings; check the copy then: leave out --json and --sheet")
        return self._findings() if self.fix is None else self._mended(self.fix)

    def _mended(self, target: Path) -> int:
        from internimage.data.converting.mend import mend_data

        _refuse_moments(self.data)
        pictures: Literal["copy", "link"] = "link" if self.link else "copy"
        written = mend_data(
            self.data,
            target,
            boxes_as_stored=self.boxes_as_stored,
            pictures=pictures,
            reading=DataOptions(reading=self.reading),
            follow=lambda entries: progress(entries, total=len(entries), what="reading"),
        )
        print("\n".join(written.lines))
        print(f"written: {written.folder}, {written.pictures} pictures", file=sys.stderr)
        return 0

    def _findings(self) -> int:
        from internimage.data.checking import look_over
        from internimage.data.splits import describe
        from internimage.inference.evaluation import recognise
        from internimage.writing import save_picture

        spec = recognise(self.data, self.task)
        options = DataOptions(bad_entries="drop", allow_left_out=True, reading=self.reading)
        parts = spec.read_parts(self.data, None, options)

        findings = {
            name: spec.check(part, partial(progress, total=len(part), what="reading")) for name, part in parts.items()
        }
        pictures = sum(map(len, parts.values()))
        common, leaks = look_over(parts, DataOptions(), partial(progress, total=pictures, what="comparing"))
        if self.json:
            every = {name: asdict(found) | asdict(common[name]) for name, found in findings.items()}
            print_json({**every, "leakage": leaks})
        else:
            print("\n".join(describe(spec.model_noun, parts)))
            for name, found in findings.items():
                print("\n".join([*found.lines(name), *common[name].lines()]))
            for name, pairs in leaks.items():
                for one, other in pairs[:10]:
                    print(f"leakage: {other} ({name}) is {one} (train)")
        if self.sheet is not None:
            save_picture(spec.sheet(next(iter(parts.values()))), self.sheet)
            print(f"written: {self.sheet}", file=sys.stderr)
        errors = [found.errors or common[name].errors for name, found in findings.items()]
        return int(any(errors) or any(leaks.values()))


@dataclass(frozen=True)
class Convert:
    """Write data in another format; for checkpoints there is `internimage convert`.

    $ internimage data convert cells/ cells-yolo/ --to yolo

    $ internimage data convert annotations.json mended/ --to coco --boxes corners

    $ internimage data convert cells/ cells-masks/ --to coco --boxes-to-masks sam2

    Boxes, polygons, masks and parts are carried over as far as the format knows them; what it does not is counted and
    said. Pictures are copied. TARGET is a new folder; nothing is written into SOURCE.
    """

    source: Annotated[Positional[Path], arg(metavar="SOURCE", help=_DATA)]
    target: Annotated[Positional[Path], arg(metavar="TARGET", help="A folder that is not there yet, or empty.")]
    to: Annotated[FormatName, arg(metavar="FORMAT")]
    """Objects: coco, yolo, voc, labelme, via, cvat, labelstudio, supervisely, imagefolder, masks. Masks: masks, coco.
    Classes: class-folders, csv, imagefolder."""
    link: FlagCreatePairsOff[bool] = False
    """Link to the pictures (hard, or symbolic on another disk) instead of copying them."""
    no_pictures: FlagCreatePairsOff[bool] = False
    """Write annotations alone."""
    areas: FlagCreatePairsOff[bool] = False
    """Masks to coco: each connected area of a class is an object; touching objects become one."""
    boxes_to_masks: Annotated[str | None, arg(metavar="NAME", help_behavior_hint="")] = None
    """Give objects without masks one each: sam, sam2, another Segment Anything of transformers, by name or folder."""
    boxes: Boxes = "sizes"
    """What a JSON like COCO's has as bbox: x, y, width, height (sizes), x1, y1, x2, y2 (corners), the same in shares of
    the picture (shares, share-corners), or middle and size in shares (yolo)."""
    crowds: Literal["ignore", "learn"] = "ignore"
    """Crowds stay crowds, or become single objects (learn)."""
    bad_entries: Literal["error", "drop"] = "error"
    """Stop at entries that contradict the format, or leave them out."""
    allow_left_out: FlagCreatePairsOff[bool] = False
    """Go on where more than 5 % of the objects or pictures are left out."""
    reading: ReadingName = None
    """Which one, where a benchmark set can be read in several ways."""
    max_pixels: MaxPixels = None

    def run(self) -> int:
        from internimage.data.converting.convert import convert_data
        from internimage.errors import ConfigError

        if self.link and self.no_pictures:
            raise ConfigError("--link and --no-pictures contradict each other; leave one out")
        _refuse_moments(self.source)
        pictures: Pictures = "link" if self.link else "none" if self.no_pictures else "copy"
        reading = DataOptions(self.crowds, self.bad_entries, self.allow_left_out, self.boxes, self.reading)
        written = convert_data(
            self.source,
            self.target,
            self.to,
            pictures=pictures,
            areas=self.areas,
            reading=reading,
            masks_of=None if self.boxes_to_masks is None else masks_of(self.boxes_to_masks),
            follow=progress,
        )
        print("\n".join(written.lines))
        print(f"written: {written.folder}, {written.pictures} pictures", file=sys.stderr)
        return 0


def _refuse_moments(data: Path) -> None:
    """Raise :class:`DataError` for data that are more than pictures with labels, which alone are written."""
    from internimage.data.recognition import has_kind
    from internimage.errors import DataError
    from internimage.inference.evaluation import recognise

    if data.exists() and (spec := recognise(data)).inputs is not None and not has_kind(data, "objects", "masks"):
        raise DataError(f"{data} has {spec.data_noun}; pictures with classes, boxes or masks are copied and converted")


@dataclass(frozen=True)
class Data:
    """Check data before training, mend them, write them in another format; draw a small world.

    $ internimage data check photos/

    $ internimage data convert cells/ cells-yolo/ --to yolo
    """

    action: (
        Annotated[Check, subcommand("check")]
        | Annotated[Convert, subcommand("convert")]
        | Annotated[World, subcommand("world")]
    )

    def run(self) -> int:
        return self.action.run()
