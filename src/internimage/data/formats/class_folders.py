"""Finding labelled images: folders of one class each, tables of paths and labels, archives, iNaturalist's JSON."""

from __future__ import annotations

import csv
import random
from collections import defaultdict
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from internimage.data.formats.archives import find_shards, read_shards, read_zip
from internimage.data.formats.inaturalist import read_inaturalist
from internimage.data.formats.mask_folders import IMAGE_FOLDERS, MASK_FOLDERS
from internimage.data.samples import LabelledImage, LabelledImages
from internimage.data.splits import Splits
from internimage.errors import DataError
from internimage.images.reader import IMAGE_SUFFIXES

_VALIDATION_NAMES = ("val", "valid", "validation")


def read_class_folder_splits(root: Path, *, val_fraction: float = 0.2, seed: int = 0) -> Splits[LabelledImages]:
    """Find training, validation and test images below ``root``.

    ``root`` is a folder with ``train`` and, if there are such, ``val`` and ``test``, each of them

    - a folder, with one folder a class or with WebDataset shards (``*.tar``);
    - a table, ``train.csv``;
    - a zip archive, ``train.zip``, with ``train_map.txt`` or with one folder a class in it;
    - iNaturalist's ``train2018.json`` (and ``val2018.json``; its test images have no labels);
    - WebDataset shards, ``train*.tar``.

    The first kind that is there counts.  Or ``root`` is itself one of these, without parts.  Without validation images,
    ``val_fraction`` of each class is set aside, chosen by ``seed``.

    Raises:
        DataError: nothing of the kind is there, or the parts disagree in their classes.
    """
    parts = read_class_folder_parts(root)
    train = parts.get("train") or parts["all"]
    val, test = parts.get("val"), parts.get("test")
    for part in (val, test):
        if part is not None and not set(part.classes) <= set(train.classes):
            extra = sorted(set(part.classes) - set(train.classes))
            raise DataError(f"{part.name} has classes that {train.name} has not: {', '.join(extra[:5])}")
    alone = val is None
    if val is None:
        train, val = set_aside(train, val_fraction, seed)
    return Splits(train, _relabel(val, train.classes), _relabel(test, train.classes) if test else None, alone)


def estimate_images(root: Path, most: int = 100_000) -> int:
    """About how many images a data set has, counted up to ``most`` and without looking into all of its files.

    0 if there is nothing of the kind; what is wrong with it is for :func:`read_class_folder_splits` to say.
    """
    root = root.expanduser()
    try:
        tables = [root] if root.is_file() else [root / name for name in ("train.csv", "train_map.txt")]
        for table in tables:
            if table.suffix in (".csv", ".txt") and table.is_file():
                with table.open("rb") as file:
                    return sum(1 for _ in islice(file, most))
        train = root / "train" if (root / "train").is_dir() else root
        if shards := [root] if root.suffix == ".tar" else find_shards(train, "train") or find_shards(train):
            return min(most, len(read_shards(str(root), shards[:1])) * len(shards))
        if root.is_dir() and not any(root.glob("train*.*")):
            return sum(1 for _ in islice((p for p in train.rglob("*") if p.suffix.lower() in IMAGE_SUFFIXES), most))
        parts = read_class_folder_parts(root)
        return min(most, len(parts.get("train") or parts["all"]))
    except (OSError, DataError, KeyError):
        return 0


def read_class_folder_parts(root: Path) -> dict[str, LabelledImages]:
    """The parts of a data set as they lie there: "train", "val", "test", or "all" if it is not divided."""
    root = root.expanduser()
    if root.is_file():
        readers = {".zip": read_zip, ".json": read_inaturalist, ".tar": lambda shard: read_shards(str(shard), [shard])}
        return {"all": readers.get(root.suffix.lower(), read_csv)(root)}
    if not root.is_dir():
        raise DataError(f"{root} does not exist; expected a folder of images or archives, or a CSV file")
    train = _part(root, ("train",))
    if train is None:
        return {"all": _read_folder(root)}
    parts = {"train": train, "val": _part(root, _VALIDATION_NAMES), "test": _part(root, ("test",))}
    return {name: part for name, part in parts.items() if part is not None}


def read_image_folder(root: Path) -> LabelledImages:
    """One folder a class below ``root``, at any depth below that; classes in alphabetical order, hidden ones left out.

    Empty classes are kept: they are a finding of :func:`internimage.tasks.classification.check.check_images`.
    """
    classes = tuple(sorted(p.name for p in root.iterdir() if p.is_dir() and not p.name.startswith(".")))
    if not classes:
        raise DataError(f"{root} holds no class folders; expected {root}/CLASS/IMAGE.jpg, or train.csv, .zip or .tar")
    if any(name.lower() in IMAGE_FOLDERS for name in classes) and any(name.lower() in MASK_FOLDERS for name in classes):
        raise DataError(
            f"{root} holds {', '.join(classes[:4])}: pictures and masks, not one folder a class; a segmenter learns "
            "from images/ and masks/, see docs/segmentation.md"
        )
    samples = tuple(
        LabelledImage(path, label)
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
    return LabelledImages(str(path), classes, tuple(LabelledImage(path.parent / p, index[label]) for p, label in rows))


def set_aside(data: LabelledImages, fraction: float, seed: int) -> tuple[LabelledImages, LabelledImages]:
    """Split each class: the same ``fraction`` of every class, at least one image of those with two or more."""
    if not 0 < fraction < 1:
        raise DataError(f"the validation fraction is {fraction}; expected a number between 0 and 1")
    by_class: dict[int, list[LabelledImage]] = defaultdict(list)
    for sample in data.samples:
        by_class[sample.label].append(sample)
    kept: list[LabelledImage] = []
    taken: list[LabelledImage] = []
    for label in sorted(by_class):
        samples = by_class[label]
        random.Random(f"{seed}:{data.classes[label]}").shuffle(samples)
        count = max(1, round(len(samples) * fraction)) if len(samples) > 1 else 0
        taken += samples[:count]
        kept += samples[count:]
    if not taken:
        raise DataError(f"{data.name} has one image a class at most; too few to set some aside for validation")
    return (
        LabelledImages(data.name, data.classes, tuple(sorted(kept, key=_place))),
        LabelledImages(f"{data.name} (set aside)", data.classes, tuple(sorted(taken, key=_place))),
    )


def _part(root: Path, names: Sequence[str]) -> LabelledImages | None:
    for name in names:
        if (root / name).is_dir():
            return _read_folder(root / name)
        if (root / f"{name}.csv").is_file():
            return read_csv(root / f"{name}.csv")
        if (root / f"{name}.zip").is_file():
            return read_zip(root / f"{name}.zip")
        if name != "test" and (root / f"{name}2018.json").is_file():
            return read_inaturalist(root / f"{name}2018.json")
        if shards := find_shards(root, name):
            return read_shards(f"{root}/{name}*.tar", shards)
    return None


def _read_folder(root: Path) -> LabelledImages:
    """Class folders, or shards where there is no folder."""
    folders = any(path.is_dir() and not path.name.startswith(".") for path in root.iterdir())
    shards = [] if folders else find_shards(root)
    return read_shards(str(root), shards) if shards else read_image_folder(root)


def _place(sample: LabelledImage) -> tuple[Any, int]:
    return sample.file, sample.label


def _relabel(data: LabelledImages, classes: tuple[str, ...]) -> LabelledImages:
    index = {name: number for number, name in enumerate(classes)}
    samples = tuple(sample._replace(label=index[data.classes[sample.label]]) for sample in data.samples)
    return LabelledImages(data.name, classes, samples)
