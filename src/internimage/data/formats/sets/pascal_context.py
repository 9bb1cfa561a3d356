"""Pascal Context: the pictures of VOC 2010 with 59 classes, as MATLAB files of 459 or as PNGs of the 59.

The 59 have two orders: that of the alphabet, which the usual script writes and the released models have, and that of
the set's own site, VOC's 20 first.  Masks of one read as the other look like masks and are of other classes.
Detail's ``trainval_merged.json`` is not read.

Format: https://cs.stanford.edu/~roozbeh/pascal-context/.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from internimage.data.formats.mask_folders import by_name
from internimage.data.formats.mask_numbers import Classes, grouped
from internimage.data.formats.sets.pairs import Named, has_own_classes, listed, parts_of
from internimage.data.masks import VOID, Coding, MaskFile, SegmentedImages
from internimage.errors import DataError, ImageReadError, MissingExtraError
from internimage.images import MatlabArray
from internimage.images.masks import read_mask
from internimage.labels import load_labels, load_palette
from internimage.settings.data import DataOptions

_NAME = "Pascal Context"
_ORIGINAL_IDS = (
    *(2, 9, 18, 19, 22, 23, 25, 31, 33, 34, 44, 45, 46, 59, 65, 68, 72, 80, 85, 98, 104, 105, 113, 115, 144),
    *(158, 159, 162, 187, 189, 207, 220, 232, 258, 259, 260, 284, 295, 296, 308, 324, 326, 347, 349, 354, 355),
    *(360, 366, 368, 397, 415, 416, 420, 424, 427, 440, 445, 454, 458),
)
_LAST_ORIGINAL = 459
_VOC_FIRST = (  # places in the order of the alphabet
    *(0, 5, 6, 7, 9, 11, 13, 14, 16, 19, 49, 22, 30, 33, 36, 39, 42, 48, 51, 54, 1, 2, 4, 8, 10, 12, 15, 17),
    *(18, 20, 23, 24, 25, 26, 27, 28, 29, 31, 32, 34, 35, 21, 38, 45, 37, 40, 41, 43, 44, 46, 47, 3, 50, 52),
    *(53, 55, 56, 57, 58),
)
_VOC_CLASSES = 20
_PNG, _MATLAB, _JSON = "SegmentationClassContext", "trainval", "trainval_merged.json"
_PICTURES = "JPEGImages"
_VARIABLE = "LabelMap"
_TWENTY = "SegmentationClass"  # VOC's own masks
_LISTS = "ImageSets/SegmentationContext"
_COMPARED = 20  # pictures
_CERTAIN = 10  # times as many pixels for one order as for the other

_UNSURE = (
    f"the 59 classes of {_PNG} are taken in the order of the alphabet (2 is bag, 6 bicycle); the set's own site has "
    "VOC's 20 first (2 is bicycle), --reading png-voc-first: nothing here tells, so look at names on a sheet (data "
    "check --sheet)"
)

Order = Literal["alphabet", "voc first"]
_FOUND: Mapping[Order, str] = {
    "alphabet": f"the 59 classes of {_PNG} have the order of the alphabet, as other masks of the same pictures show",
    "voc first": f"the 59 classes of {_PNG} have VOC's 20 first, as other masks of the same pictures show",
}
_ORDERS: Mapping[Order, tuple[int, ...]] = {"alphabet": tuple(range(len(_VOC_FIRST))), "voc first": _VOC_FIRST}


def recognise(root: Path) -> bool:
    """Whether the masks lie at ``root`` with the pictures of VOC 2010; or Detail's JSON, to refuse it."""
    return not has_own_classes(root) and (bool(readings(root)) or _is_detail(root))


def readings(root: Path) -> dict[str, str]:
    """PNGs of the 59, in two orders, and the original MATLAB files, as far as they are there."""
    voc, matlab = _voc(root), _matlab(root)
    png = {"png": _PNG, "png-voc-first": f"{_PNG}, if it has VOC's 20 classes first"}
    found = png if (voc / _PNG).is_dir() and (voc == root or matlab) else {}
    return found | ({"mat": f"the 459 ids of {_MATLAB}/*.mat"} if matlab else {})


def estimate(root: Path, most: int) -> int:
    """How many images there are to train on."""
    names = _names(root, next(iter(readings(root)), "mat"))
    return min(most, len(names.get("train") or names.get("all") or ()))


def read_parts(root: Path, wanted: str | None = None, options: DataOptions | None = None) -> dict[str, SegmentedImages]:
    """Training and validation by the lists of ``ImageSets/SegmentationContext``; "all" without them.

    PNGs, or with ``options.reading`` "mat" the original files, of whose 459 ids all others are unknown.  The order of
    the PNGs is told by the original files or by VOC's own ``SegmentationClass`` where either is there; where not it is
    the alphabet's unless ``options.reading`` is "png-voc-first", and a note says so.

    Raises:
        DataError: the picture of a mask is not there, or there is Detail's JSON alone.
        MissingExtraError: SciPy is not installed, which reads the original files.
    """
    if not readings(root):
        raise DataError(
            f"{root}: Detail's {_JSON} is not read; expected the original {_MATLAB}/*.mat of {_NAME} beside VOC2010, "
            f"or {_PNG}/*.png in it, as the usual script writes them from that file"
        )
    reading = (options and options.reading) or next(iter(readings(root)))
    names, voc, matlab = _names(root, reading), _voc(root), _matlab(root) or root / _MATLAB
    pictures = by_name(voc / _PICTURES, "")
    drawn = {} if reading == "mat" else by_name(voc / _PNG, "")

    def mask(name: str) -> MaskFile:
        return _original(matlab, name) if reading == "mat" else drawn.get(name, voc / _PNG / f"{name}.png")

    named: dict[str, list[Named]] = {
        part: [(name, pictures.get(name, voc / _PICTURES / f"{name}.jpg"), mask(name)) for name in found]
        for part, found in names.items()
    }
    notes = [] if "all" not in names else [f"no {_LISTS}/train.txt or val.txt, which say what is for training"]
    if reading == "mat":
        return parts_of(root, f"{_NAME}, original ids", _original_classes(), named, wanted, options, notes)
    found = _order(matlab, voc, [one for entries in named.values() for one in entries])
    taken: Order = "voc first" if reading == "png-voc-first" else found or "alphabet"
    if found is None and reading == "png":
        notes.append(_UNSURE)
    elif found is not None and (found, taken) != ("alphabet", "alphabet"):
        notes.append(_FOUND[found])
    return parts_of(root, _NAME, _classes(taken), named, wanted, options, notes)


def _voc(root: Path) -> Path:
    places = (root, root / "VOC2010", root / "VOCdevkit" / "VOC2010")
    return next((one for one in places if (one / _PICTURES).is_dir()), root)


def _matlab(root: Path) -> Path | None:
    """The folder of the original files, beside VOC or in it."""
    places = (root / _MATLAB, _voc(root) / _MATLAB)
    return next((one for one in places if (_voc(root) / _PICTURES).is_dir() and any(one.glob("20*.mat"))), None)


def _is_detail(root: Path) -> bool:
    """Whether there is that file and no boxes of VOC, which are read as such."""
    if root.name == _JSON:
        return root.is_file()
    return any((place / _JSON).is_file() for place in {root, _voc(root)}) and not (_voc(root) / "Annotations").is_dir()


def _names(root: Path, reading: str) -> dict[str, list[str]]:
    """Names of the pictures of each part."""
    lists = {part: _voc(root) / _LISTS / f"{part}.txt" for part in ("train", "val")}
    found = {part: listed(file) for part, file in lists.items() if file.is_file()}
    if found:
        return found
    folder = _matlab(root) if reading == "mat" else None
    return {"all": sorted(by_name(folder, ".mat") if folder else by_name(_voc(root) / _PNG, ""))}


def _original(matlab: Path, name: str) -> MatlabArray:
    return MatlabArray(matlab / f"{name}.mat", _VARIABLE)


def _original_classes() -> Classes:
    unknown = frozenset(range(_LAST_ORIGINAL + 1)) - set(_ORIGINAL_IDS)
    return Classes(
        load_labels("pascal_context"), load_palette("pascal_context"), Coding(grouped(_ORIGINAL_IDS), unknown)
    )


def _classes(order: Order) -> Classes:
    ids, unknown = grouped(_numbers(order).tolist()), frozenset({0, VOID})
    return Classes(load_labels("pascal_context"), load_palette("pascal_context"), Coding(ids, unknown))


def other_order(coding: Coding) -> tuple[str, tuple[int, ...]] | None:
    """The reading in which the 59 have the other order, and the class that each class is of there; None for no PNGs."""
    ways: tuple[tuple[Order, Order, str], ...] = (
        ("alphabet", "voc first", "png-voc-first"),
        ("voc first", "alphabet", "png"),
    )
    for order, other, reading in ways:
        if coding.ids == grouped(_numbers(order).tolist()):
            return reading, tuple(_ORDERS[other][one - 1] for (one,) in coding.ids)
    return None


def _numbers(order: Order) -> NDArray[np.int32]:
    """What PNGs have for each class."""
    found = np.zeros(len(_VOC_FIRST), np.int32)
    found[list(_ORDERS[order])] = np.arange(len(found)) + 1
    return found


def _order(matlab: Path, voc: Path, entries: Sequence[Named]) -> Order | None:
    """The order of the PNGs by what else is known of the same pictures; None if that does not tell for certain."""
    numbers = {order: _numbers(order) for order in _ORDERS}
    differ = numbers["alphabet"] != numbers["voc first"]
    votes: Counter[Order] = Counter()
    others = {path.stem for folder in (matlab, voc / _TWENTY) for path in folder.glob("*.*")}
    compared = [(name, mask) for name, _, mask in entries if name in others]
    for name, mask in compared[:: -(-len(compared) // _COMPARED) or 1]:
        for truth in _known_otherwise(matlab, voc, name):
            try:
                pixels = read_mask(mask)
            except ImageReadError:
                continue
            if pixels.shape == truth.shape:
                known = (truth >= 0) & differ[truth]
                votes.update({order: int((pixels == given[truth])[known].sum()) for order, given in numbers.items()})
    if not votes:
        return None
    (first, most), (_, less) = votes.most_common()
    return first if most and most >= _CERTAIN * less else None


def _known_otherwise(matlab: Path, voc: Path, name: str) -> Iterator[NDArray[np.int32]]:
    """Classes (H, W) of a picture, -1 where they are not known: by the original file, and by VOC's 20 classes."""
    originals = np.full(_LAST_ORIGINAL + 1, -1, np.int32)
    originals[list(_ORIGINAL_IDS)] = np.arange(len(_ORIGINAL_IDS))
    twenty = np.full(VOID + 1, -1, np.int32)
    twenty[1 : _VOC_CLASSES + 1] = _VOC_FIRST[:_VOC_CLASSES]
    sources: tuple[tuple[MaskFile, NDArray[np.int32]], ...] = (
        (_original(matlab, name), originals),
        (voc / _TWENTY / f"{name}.png", twenty),
    )
    for source, table in sources:
        try:
            pixels = read_mask(source)
        except (ImageReadError, MissingExtraError):
            continue
        if pixels.ndim == 2 and pixels.max() < len(table):
            yield table[pixels]
