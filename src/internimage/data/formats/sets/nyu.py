"""NYU Depth V2: 1,449 labelled pictures of rooms inside one HDF5 file, as the 40 classes that are measured.

Format: https://cs.nyu.edu/~fergus/datasets/nyu_depth_v2.html.
"""

from __future__ import annotations

from math import prod
from pathlib import Path

import numpy as np

from internimage.data.formats.sets.pairs import has_own_classes
from internimage.data.masks import Coding, SegmentedImage, SegmentedImages
from internimage.errors import DataError, ImageReadError
from internimage.images import MatlabArray
from internimage.images.matlab import read_variable, variable_shape
from internimage.labels import load_labels, load_palette, nyu894_to_40
from internimage.settings.data import DataOptions

_NAME = "NYUv2"
_FILE, _SPLITS, _MAPPING = "nyu_depth_v2_labeled.mat", "splits.mat", "classMapping40.mat"
_PARTS = {"train": "trainNdxs", "val": "testNdxs"}
_CLASSES = 40


def recognise(root: Path) -> bool:
    """Whether the set's file lies at ``root``, or is ``root``."""
    return _file(root).is_file() and not has_own_classes(_file(root).parent)


def estimate(root: Path, most: int) -> int:
    """How many images there are to train on."""
    return min(most, len(_splits(_file(root), most)["train"]))


def read_parts(root: Path, wanted: str | None = None, options: DataOptions | None = None) -> dict[str, SegmentedImages]:
    """Training and validation, which ``splits.mat`` calls the test.

    The 894 labels become 40 classes by ``classMapping40.mat``, or without it by the published table; 0 is unknown.

    Raises:
        DataError: a file is missing or broken, has other variables, or names pictures or classes that there are not.
        MissingExtraError: h5py or SciPy is not installed.
    """
    file = _file(root)
    pictures, labels = (_shape(file, name, axes) for name, axes in (("images", 4), ("labels", 3)))
    count = pictures[-1]
    if (*pictures[:2], count) != labels or pictures[2] != 3:
        raise DataError(f"{file}: images are {pictures}, labels {labels}; expected one size and number, and 3 channels")
    mapping, notes = _mapping(file.parent)
    ids = tuple(tuple((np.flatnonzero(mapping == one) + 1).tolist()) for one in range(1, _CLASSES + 1))
    splits = _splits(file, count)
    chosen = {part: found for part, found in splits.items() if part == wanted} or splits
    return {
        part: SegmentedImages(
            f"{root} ({part})",
            load_labels("nyu40"),
            load_palette("nyu40"),
            Coding(ids, frozenset({0})),
            tuple(
                SegmentedImage(
                    MatlabArray(file, "images", number - 1, prod(pictures[:3])), MatlabArray(file, "labels", number - 1)
                )
                for number in sorted(found)
            ),
            _NAME,
            notes=notes,
        )
        for part, found in chosen.items()
    }


def _file(root: Path) -> Path:
    return root if root.name == _FILE else root / _FILE


def _shape(file: Path, variable: str, axes: int) -> tuple[int, ...]:
    try:
        shape = variable_shape(file, variable)
    except ImageReadError as error:
        raise DataError(f"{file}: {error}") from error
    if len(shape) != axes:
        raise DataError(f"{file}: {variable} is {shape}; expected {axes} axes, the pictures along the last")
    return shape


def _splits(file: Path, count: int) -> dict[str, list[int]]:
    """Numbers of the pictures of each part, from 1."""
    splits = file.with_name(_SPLITS)
    if not splits.exists():
        raise DataError(f"{splits} is not there, which says what is for training; it is downloaded beside {file.name}")
    found = {part: _numbers(splits, variable).tolist() for part, variable in _PARTS.items()}
    for part, numbers in found.items():
        if strange := sorted(one for one in numbers if not 1 <= one <= count):
            raise DataError(f"{splits}: {_PARTS[part]} has picture {strange[0]}; {file.name} has 1 to {count}")
    return found


def _mapping(folder: Path) -> tuple[np.ndarray[tuple[int], np.dtype[np.int64]], tuple[str, ...]]:
    """The class of each label, from 1, and what to say of it."""
    published = np.array(nyu894_to_40())
    file = folder / _MAPPING
    if not file.exists():
        return published, (f"no {_MAPPING}: labels become classes by the published table",)
    mapping = _numbers(file, "mapClass")
    if len(mapping) != len(published) or not 1 <= mapping.min() <= mapping.max() <= _CLASSES:
        raise DataError(f"{file}: mapClass has {len(mapping)} classes; expected 1 to {_CLASSES} for {len(published)}")
    differ = int((mapping != published).sum())
    told = (f"{_MAPPING} gives {differ} of {len(published)} labels another class than the published table; it is used",)
    return mapping, told if differ else ()


def _numbers(file: Path, variable: str) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    try:
        return read_variable(file, variable).astype(np.int64).ravel()
    except ImageReadError as error:
        raise DataError(f"{file}: {error}") from error
