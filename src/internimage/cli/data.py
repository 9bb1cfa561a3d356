"""internimage data"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar

from tyro.conf import FlagCreatePairsOff, Positional, arg

from internimage.cli.common import progress

if TYPE_CHECKING:
    from PIL.Image import Image

    from internimage.data.check import Findings
    from internimage.data.labelled import LabelledImages
    from internimage.data.object_check import ObjectFindings
    from internimage.data.region_check import RegionFindings
    from internimage.data.samples import HasFile

Part = TypeVar("Part")

_SHEETS = (".png", ".jpg", ".jpeg", ".webp")


@dataclass(frozen=True)
class Data:
    """Look over images before training: corrupt, duplicate and tiny files, empty classes, leakage, misplaced objects,
    masks with strange numbers.

    $ internimage data check photos/ --sheet photos.png

    Nothing is ever written into the data. The exit status is 1 if something would disturb training.
    """

    action: Annotated[Positional[Literal["check"]], arg(metavar="check", help="What to do.")]
    data: Annotated[
        Positional[Path],
        arg(
            metavar="FOLDER",
            help="One folder a class, or train, val, test as folders, .csv, .zip, .tar shards, or iNaturalist's .json; "
            "for objects, COCO's .json in annotations/ or beside the images; for regions, images/ and masks/.",
        ),
    ]
    sheet: Annotated[Path | None, arg(metavar="FILE", help_behavior_hint="")] = None
    """Write a contact sheet with examples of each class, boxes and masks drawn on them."""
    json: FlagCreatePairsOff[bool] = False
    """Print the findings as one JSON object."""

    def run(self) -> int:
        from internimage.data.coco import is_object_data
        from internimage.data.regions import is_region_data
        from internimage.errors import ConfigError

        if self.sheet is not None and self.sheet.resolve().is_relative_to(self.data.resolve()):
            raise ConfigError(f"{self.sheet} is inside the data; choose another place for the sheet")
        if self.sheet is not None and self.sheet.suffix.lower() not in _SHEETS:
            raise ConfigError(f"{self.sheet} is no picture's name; expected one that ends in {' or '.join(_SHEETS)}")
        if is_object_data(self.data):
            return self._check_objects()
        return self._check_regions() if is_region_data(self.data) else self._check_images()

    def _check_images(self) -> int:
        from internimage.data.check import check_images, examples
        from internimage.data.labelled import read_parts
        from internimage.drawing.canvas import INK
        from internimage.drawing.charts import sheet

        def image_sheet(part: LabelledImages) -> Image:
            pictures = [(image, [(label, INK)]) for image, label in examples(part, 3)]
            return sheet(pictures, title=f"{part.name}: {len(part)} images, {len(part.classes)} classes")

        images = read_parts(self.data)
        files = {name: part.samples for name, part in images.items()}
        return self._check(images, files, check_images, _print, image_sheet)

    def _check_objects(self) -> int:
        from internimage.data.coco import read_object_parts
        from internimage.data.object_check import check_objects, object_sheet

        objects = read_object_parts(self.data)
        files = {name: part.images for name, part in objects.items()}
        return self._check(objects, files, check_objects, _print_objects, object_sheet)

    def _check_regions(self) -> int:
        from internimage.data.region_check import check_regions, region_sheet
        from internimage.data.regions import read_region_parts

        regions = read_region_parts(self.data)
        files = {name: part.images for name, part in regions.items()}
        return self._check(regions, files, check_regions, _print_regions, region_sheet)

    def _check(
        self,
        parts: dict[str, Part],
        files: Mapping[str, Sequence[HasFile]],
        check: Callable[[Part, Any], Any],
        show: Callable[[str, Any], None],
        draw: Callable[[Part], Image],
    ) -> int:
        """Findings of each part, and pictures of the training part that others have too."""
        from internimage.data.check import overlap

        findings = {
            name: check(part, partial(progress, total=len(files[name]), what="reading")) for name, part in parts.items()
        }
        others = [name for name in parts if "train" in parts and name != "train"]
        leaks = {name: overlap(files["train"], files[name]) for name in others}
        if self.json:
            print(json.dumps({**{name: asdict(found) for name, found in findings.items()}, "leakage": leaks}))
        else:
            for name, found in findings.items():
                show(name, found)
            for name, pairs in leaks.items():
                for one, other in pairs[:10]:
                    print(f"leakage: {other} ({name}) is {one} (train)")
        if self.sheet is not None:
            _save(draw(next(iter(parts.values()))), self.sheet)
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
    _print_kinds(kinds)
    if found.without_objects:
        print(f"  images without objects: {found.without_objects}")
    if found.crowd_only:
        print(f"  images with crowds only: {found.crowd_only}")


def _print_regions(name: str, found: RegionFindings) -> None:
    print(f"{name}: {found.images} images, {len(found.pixels)} classes{_extent(found)}")
    width = max(len(label) for label in found.pixels)
    for label, share in found.pixels.items():
        print(f"  {label:<{width}}  {share:.1%} of pixels")
    if found.unknown_share:
        print(f"  {'unknown':<{width}}  {found.unknown_share:.1%} of all")
    _print_kinds(
        {
            "corrupt": [f"{path}: {reason}" for path, reason in found.corrupt.items()],
            "mask": list(found.masks.values()),
            "wrong size": [f"{path}: {reason}" for path, reason in found.wrong_sizes.items()],
            "turned by EXIF (is its mask?)": found.turned,
            "all unknown": found.unknown,
            "empty class": found.empty_classes,
        }
    )


def _print_kinds(kinds: dict[str, list[str]]) -> None:
    for kind, entries in kinds.items():
        for entry in entries[:10]:
            print(f"  {kind}: {entry}")
        if len(entries) > 10:
            print(f"  {kind}: and {len(entries) - 10} more (all of them with --json)")


def _extent(found: Findings | ObjectFindings | RegionFindings) -> str:
    if not found.sizes:
        return ""
    (width, height), (most_width, most_height) = found.sizes
    return f", {width}x{height} to {most_width}x{most_height}"


def _print_counts(counts: dict[str, int]) -> None:
    width = max(len(label) for label in counts)
    for label, count in counts.items():
        print(f"  {label:<{width}}  {count}")
