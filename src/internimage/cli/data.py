"""internimage data"""

from __future__ import annotations

import sys
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import FlagCreatePairsOff, Positional, arg

from internimage.cli.common import print_json, progress

_SHEETS = (".png", ".jpg", ".jpeg", ".webp")


@dataclass(frozen=True)
class Data:
    """Check data before training: corrupt, duplicate and tiny images, empty classes, images in both train and val,
    misplaced objects, masks with unknown numbers.

    $ internimage data check photos/ --sheet photos.png

    Nothing is written into the data. The exit status is 1 if something would harm training.
    """

    action: Annotated[Positional[Literal["check"]], arg(metavar="check", help="What to do.")]
    data: Annotated[
        Positional[Path],
        arg(
            metavar="FOLDER",
            help="One folder per class, or train, val, test as folders, .csv, .zip, .tar shards or iNaturalist's "
            ".json; for detection, COCO's .json in annotations/ or beside the images; for segmentation, images/ and "
            "masks/.",
        ),
    ]
    sheet: Annotated[Path | None, arg(metavar="FILE", help_behavior_hint="")] = None
    """Write a contact sheet: examples of each class, with boxes and masks drawn."""
    json: FlagCreatePairsOff[bool] = False
    """Print the findings as one JSON object."""

    def run(self) -> int:
        from internimage.data.checking import look_over
        from internimage.data.splits import describe
        from internimage.errors import ConfigError
        from internimage.inference.evaluation import recognise
        from internimage.settings.data import DataOptions
        from internimage.writing import save_picture

        if self.sheet is not None and self.sheet.resolve().is_relative_to(self.data.resolve()):
            raise ConfigError(f"{self.sheet} is inside the data; choose another place for the sheet")
        if self.sheet is not None and self.sheet.suffix.lower() not in _SHEETS:
            raise ConfigError(f"{self.sheet} is no picture's name; expected one that ends in {' or '.join(_SHEETS)}")
        spec = recognise(self.data)
        parts = spec.read_parts(self.data, None, DataOptions(bad_entries="drop", allow_left_out=True))

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
