"""Labelled image files: folders of one class each, or a table of paths and labels."""

from __future__ import annotations

import csv
import random
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from internimage.errors import DataError
from internimage.images.reader import IMAGE_SUFFIXES

_VALIDATION_NAMES = ("val", "valid", "validation")


@dataclass(frozen=True)
class LabelledImages:
    """Image files with class numbers.

    Attributes:
        name: where they came from, for messages.
        classes: names of the classes; a label is an index into them.
        samples: (path, label) pairs.
    """

    name: str
    classes: tuple[str, ...]
    samples: tuple[tuple[Path, int], ...]

    def __len__(self) -> int:
        return len(self.samples)

    def counts(self) -> list[int]:
        """Images of each class."""
        counts = [0] * len(self.classes)
        for _, label in self.samples:
            counts[label] += 1
        return counts


@dataclass(frozen=True)
class Splits:
    """The parts of a data set; ``test`` is None where there is none."""

    train: LabelledImages
    val: LabelledImages
    test: LabelledImages | None


def read_splits(root: Path, *, val_fraction: float = 0.2, seed: int = 0) -> Splits:
    """Find training, validation and test images below ``root``.

    ``root`` is a folder with ``train`` and, if there are such, ``val`` and ``test`` (each with one folder a class), a
    folder with one folder a class, or one of these as ``train.csv``, ``val.csv``, ``test.csv``, or a single CSV file.
    Without validation images, ``val_fraction`` of each class is set aside, chosen by ``seed``.

    Raises:
        DataError: nothing of the kind is there, or the parts disagree in their classes.
    """
    parts = read_parts(root)
    train = parts.get("train") or parts["all"]
    val, test = parts.get("val"), parts.get("test")
    for part in (val, test):
        if part is not None and not set(part.classes) <= set(train.classes):
            extra = sorted(set(part.classes) - set(train.classes))
            raise DataError(f"{part.name} has classes that {train.name} has not: {', '.join(extra[:5])}")
    if val is None:
        train, val = set_aside(train, val_fraction, seed)
    return Splits(train, _relabel(val, train.classes), _relabel(test, train.classes) if test else None)


def read_parts(root: Path) -> dict[str, LabelledImages]:
    """The parts of a data set as they lie there: "train", "val", "test", or "all" if it is not divided."""
    root = root.expanduser()
    if root.is_file():
        return {"all": read_csv(root)}
    if not root.is_dir():
        raise DataError(f"{root} does not exist; expected a folder with one folder a class, or a CSV file")
    train = _part(root, ("train",))
    if train is None:
        return {"all": read_image_folder(root)}
    parts = {"train": train, "val": _part(root, _VALIDATION_NAMES), "test": _part(root, ("test",))}
    return {name: part for name, part in parts.items() if part is not None}


def read_image_folder(root: Path) -> LabelledImages:
    """One folder a class below ``root``, at any depth below that; classes in alphabetical order, hidden ones left out.

    Empty classes are kept: they are a finding of :func:`internimage.data.check.check_images`.
    """
    classes = tuple(sorted(p.name for p in root.iterdir() if p.is_dir() and not p.name.startswith(".")))
    if not classes:
        raise DataError(f"{root} holds no class folders; expected {root}/CLASS/IMAGE.jpg")
    samples = tuple(
        (path, label)
        for label, name in enumerate(classes)
        for path in sorted((root / name).rglob("*"))
        if path.suffix.lower() in IMAGE_SUFFIXES and path.is_file() and not path.name.startswith(".")
    )
    if not samples:
        raise DataError(f"{root} holds no images; expected {root}/CLASS/IMAGE ({' '.join(IMAGE_SUFFIXES)})")
    return LabelledImages(str(root), classes, samples)


def read_csv(path: Path) -> LabelledImages:
    """A table with the columns ``path`` and ``label``; paths are relative to the table's folder, labels are names."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            if not {"path", "label"} <= set(reader.fieldnames or ()):
                raise DataError(f"{path} has the columns {reader.fieldnames}; expected path and label")
            rows = [(row["path"], row["label"]) for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path} is not a readable CSV file: {error}") from error
    incomplete = next((number for number, row in enumerate(rows, 2) if not all(row)), None)
    if incomplete or not rows:
        raise DataError(f"{path} line {incomplete or 2} has no path or no label")
    classes = tuple(sorted({label for _, label in rows}))
    index = {name: number for number, name in enumerate(classes)}
    return LabelledImages(str(path), classes, tuple((path.parent / p, index[label]) for p, label in rows))


def set_aside(data: LabelledImages, fraction: float, seed: int) -> tuple[LabelledImages, LabelledImages]:
    """Split each class: the same ``fraction`` of every class, at least one image of those with two or more."""
    if not 0 < fraction < 1:
        raise DataError(f"the validation fraction is {fraction}; expected a number between 0 and 1")
    by_class: dict[int, list[tuple[Path, int]]] = defaultdict(list)
    for sample in data.samples:
        by_class[sample[1]].append(sample)
    kept: list[tuple[Path, int]] = []
    taken: list[tuple[Path, int]] = []
    for label in sorted(by_class):
        samples = by_class[label]
        random.Random(f"{seed}:{data.classes[label]}").shuffle(samples)
        count = max(1, round(len(samples) * fraction)) if len(samples) > 1 else 0
        taken += samples[:count]
        kept += samples[count:]
    if not taken:
        raise DataError(f"{data.name} has one image a class at most; too few to set some aside for validation")
    return (
        LabelledImages(data.name, data.classes, tuple(sorted(kept))),
        LabelledImages(f"{data.name} (set aside)", data.classes, tuple(sorted(taken))),
    )


def _part(root: Path, names: Sequence[str]) -> LabelledImages | None:
    for name in names:
        if (root / name).is_dir():
            return read_image_folder(root / name)
        if (root / f"{name}.csv").is_file():
            return read_csv(root / f"{name}.csv")
    return None


def _relabel(data: LabelledImages, classes: tuple[str, ...]) -> LabelledImages:
    index = {name: number for number, name in enumerate(classes)}
    samples = tuple((path, index[data.classes[label]]) for path, label in data.samples)
    return LabelledImages(data.name, classes, samples)
