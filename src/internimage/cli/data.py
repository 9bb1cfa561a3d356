"""internimage data"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from tyro.conf import FlagCreatePairsOff, Positional, arg

from internimage.cli.common import progress

if TYPE_CHECKING:
    from internimage.data.check import Findings


@dataclass(frozen=True)
class Data:
    """Look over labelled images before training: corrupt, duplicate and tiny files, empty classes, leakage.

    $ internimage data check photos/ --sheet photos.png

    Nothing is ever written into the data. The exit status is 1 if something would disturb training.
    """

    action: Annotated[Positional[Literal["check"]], arg(metavar="check", help="What to do.")]
    data: Annotated[
        Positional[Path],
        arg(
            metavar="FOLDER",
            help="One folder a class, or train, val, test as folders, .csv, .zip, .tar shards, or iNaturalist's .json.",
        ),
    ]
    sheet: Annotated[Path | None, arg(metavar="FILE", help_behavior_hint="")] = None
    """Write a contact sheet with examples of each class."""
    json: FlagCreatePairsOff[bool] = False
    """Print the findings as one JSON object."""

    def run(self) -> int:
        from internimage.data.check import check_images, examples, overlap
        from internimage.data.labelled import read_parts
        from internimage.drawing.canvas import INK
        from internimage.drawing.charts import sheet
        from internimage.errors import ConfigError

        parts = read_parts(self.data)
        if self.sheet is not None and self.sheet.resolve().is_relative_to(self.data.resolve()):
            raise ConfigError(f"{self.sheet} is inside the data; choose another place for the sheet")
        findings = {
            name: check_images(part, partial(progress, total=len(part), what="reading")) for name, part in parts.items()
        }
        leaks = {
            name: overlap(parts["train"], part) for name, part in parts.items() if "train" in parts and name != "train"
        }
        if self.json:
            print(json.dumps({**{name: asdict(f) for name, f in findings.items()}, "leakage": leaks}))
        else:
            for name, found in findings.items():
                _print(name, found)
            for name, pairs in leaks.items():
                for one, other in pairs[:10]:
                    print(f"leakage: {other} ({name}) is {one} (train)")
        if self.sheet is not None:
            first = next(iter(parts.values()))
            pictures = [(image, [(label, INK)]) for image, label in examples(first, 3)]
            self.sheet.parent.mkdir(parents=True, exist_ok=True)
            sheet(pictures, title=f"{first.name}: {len(first)} images, {len(first.classes)} classes").save(self.sheet)
            print(f"written: {self.sheet}", file=sys.stderr)
        return int(any(found.errors for found in findings.values()) or any(leaks.values()))


def _print(name: str, found: Findings) -> None:
    size = (
        f", {found.sizes[0][0]}x{found.sizes[0][1]} to {found.sizes[1][0]}x{found.sizes[1][1]}" if found.sizes else ""
    )
    print(f"{name}: {sum(found.counts.values())} images, {len(found.counts)} classes{size}")
    width = max(len(label) for label in found.counts)
    for label, count in found.counts.items():
        print(f"  {label:<{width}}  {count}")
    for path, reason in found.corrupt.items():
        print(f"  corrupt: {path}: {reason}")
    for label in found.empty_classes:
        print(f"  empty class: {label}")
    for group in found.conflicts:
        print(f"  same picture, different labels: {', '.join(group)}")
    for group in found.duplicates:
        if group not in found.conflicts:
            print(f"  same picture: {', '.join(group)}")
    for path in found.small:
        print(f"  side under 32 pixels: {path}")
