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
    from PIL.Image import Image

    from internimage.data.check import Findings
    from internimage.data.object_check import ObjectFindings


@dataclass(frozen=True)
class Data:
    """Look over images before training: corrupt, duplicate and tiny files, empty classes, leakage, misplaced objects.

    $ internimage data check photos/ --sheet photos.png

    Nothing is ever written into the data. The exit status is 1 if something would disturb training.
    """

    action: Annotated[Positional[Literal["check"]], arg(metavar="check", help="What to do.")]
    data: Annotated[
        Positional[Path],
        arg(
            metavar="FOLDER",
            help="One folder a class, or train, val, test as folders, .csv, .zip, .tar shards, or iNaturalist's .json; "
            "for objects, COCO's .json in annotations/ or beside the images.",
        ),
    ]
    sheet: Annotated[Path | None, arg(metavar="FILE", help_behavior_hint="")] = None
    """Write a contact sheet with examples of each class, boxes and masks drawn on them."""
    json: FlagCreatePairsOff[bool] = False
    """Print the findings as one JSON object."""

    def run(self) -> int:
        from internimage.data.coco import is_object_data
        from internimage.errors import ConfigError

        if self.sheet is not None and self.sheet.resolve().is_relative_to(self.data.resolve()):
            raise ConfigError(f"{self.sheet} is inside the data; choose another place for the sheet")
        if is_object_data(self.data):
            return self._check_objects()
        return self._check_images()

    def _check_images(self) -> int:
        from internimage.data.check import check_images, examples, overlap
        from internimage.data.labelled import read_parts
        from internimage.drawing.canvas import INK
        from internimage.drawing.charts import sheet

        parts = read_parts(self.data)
        findings = {
            name: check_images(part, partial(progress, total=len(part), what="reading")) for name, part in parts.items()
        }
        leaks = {
            name: overlap(parts["train"].samples, part.samples)
            for name, part in parts.items()
            if "train" in parts and name != "train"
        }
        if self.json:
            print(json.dumps({**{name: asdict(f) for name, f in findings.items()}, "leakage": leaks}))
        else:
            for name, found in findings.items():
                _print(name, found)
            _print_leaks(leaks)
        if self.sheet is not None:
            first = next(iter(parts.values()))
            pictures = [(image, [(label, INK)]) for image, label in examples(first, 3)]
            title = f"{first.name}: {len(first)} images, {len(first.classes)} classes"
            _save(sheet(pictures, title=title), self.sheet)
        return int(any(found.errors for found in findings.values()) or any(leaks.values()))

    def _check_objects(self) -> int:
        from internimage.data.check import overlap
        from internimage.data.coco import read_object_parts
        from internimage.data.object_check import check_objects, object_sheet

        parts = read_object_parts(self.data)
        findings = {
            name: check_objects(part, partial(progress, total=len(part), what="reading"))
            for name, part in parts.items()
        }
        leaks = {
            name: overlap(parts["train"].images, part.images)
            for name, part in parts.items()
            if "train" in parts and name != "train"
        }
        if self.json:
            print(json.dumps({**{name: asdict(found) for name, found in findings.items()}, "leakage": leaks}))
        else:
            for name, found in findings.items():
                _print_objects(name, found)
            _print_leaks(leaks)
        if self.sheet is not None:
            _save(object_sheet(next(iter(parts.values()))), self.sheet)
        return int(any(found.errors for found in findings.values()) or any(leaks.values()))


def _save(picture: Image, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    picture.save(path)
    print(f"written: {path}", file=sys.stderr)


def _print(name: str, found: Findings) -> None:
    print(f"{name}: {sum(found.counts.values())} images, {len(found.counts)} classes{_extent(found)}")
    _print_counts(found.counts)
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


def _print_leaks(leaks: dict[str, list[tuple[str, str]]]) -> None:
    for name, pairs in leaks.items():
        for one, other in pairs[:10]:
            print(f"leakage: {other} ({name}) is {one} (train)")


def _print_objects(name: str, found: ObjectFindings) -> None:
    objects = sum(found.counts.values())
    print(f"{name}: {found.images} images, {objects} objects, {len(found.counts)} classes{_extent(found)}")
    _print_counts(found.counts)
    kinds = {
        "missing": found.missing,
        "corrupt": [f"{path}: {reason}" for path, reason in found.corrupt.items()],
        "wrong size": [f"{path}: {reason}" for path, reason in found.wrong_sizes.items()],
        "outside the image": found.outside,
        "mask": found.masks,
        "smaller than a pixel": found.degenerate,
        "twice": found.duplicates,
        "empty class": found.empty_classes,
    }
    for kind, entries in kinds.items():
        for entry in entries[:10]:
            print(f"  {kind}: {entry}")
        if len(entries) > 10:
            print(f"  {kind}: and {len(entries) - 10} more (all of them with --json)")
    if found.without_objects:
        print(f"  images without objects: {found.without_objects}")
    if found.crowd_only:
        print(f"  images with crowds only: {found.crowd_only}")


def _extent(found: Findings | ObjectFindings) -> str:
    if not found.sizes:
        return ""
    (width, height), (most_width, most_height) = found.sizes
    return f", {width}x{height} to {most_width}x{most_height}"


def _print_counts(counts: dict[str, int]) -> None:
    width = max(len(label) for label in counts)
    for label, count in counts.items():
        print(f"  {label:<{width}}  {count}")
