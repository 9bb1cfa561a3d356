"""Class names of the public data sets, as data files beside this one.

``imagenet1k.csv`` is taken from timm (Apache-2.0, see ``LICENSE.timm-Apache-2.0``); the 22K tables are facts of the
released InternImage code (MIT).
"""

from __future__ import annotations

import csv
from collections import Counter
from functools import cache
from importlib.resources import files

from internimage.errors import ConfigError

# COCO's files number the 80 kinds of objects among the 90 that were once planned
COCO_CATEGORY_IDS = tuple(sorted({*range(1, 91)} - {12, 26, 29, 30, 45, 66, 68, 69, 71, 83}))
_PALETTES = ("ade20k", "cityscapes", "coco_stuff", "mapillary66", "mapillary124", "pascal_context", "nyu40")
_LISTS = (
    *(
        "coco",
        "voc",
        "bdd100k",
        "nuscenes",
        "nuscenes_boxes3d",
        "bevformer_v2",
        "occ3d",
        "openlane_v2",
        "openimages",
        "lvis",
    ),
    *("lvis", "objects365", "places365", "vector_map"),
)
LABEL_SETS = ("imagenet1k", "imagenet22k", "crowdhuman", *_LISTS, *_PALETTES)


def class_names(labels: tuple[str, ...] | None, count: int) -> tuple[str, ...]:
    """The labels of ``count`` classes, made up if there are none."""
    return labels or tuple(f"class {index}" for index in range(count))


@cache
def load_labels(name: str) -> tuple[str, ...]:
    """Names of a label set, in the order of the released models' outputs.

    "imagenet1k" has 1,000 names; "imagenet22k" 21,841, of which those outside ImageNet-1K are WordNet ids; "coco" the
    80 kinds of objects of COCO, "voc" the 20 of Pascal VOC; "crowdhuman" one; "bdd100k" 10, "nuscenes" the 10 of its
    detection, and "nuscenes_boxes3d" the same in the order of BEVFormer, "bevformer_v2" in its own; "occ3d" 18, the
    last one free space; "openlane_v2" 13, what traffic elements say; "openimages" 601, "lvis" 1,203, "objects365" and
    "places365" 365; "vector_map" 3, of lines on the ground; "ade20k" 150, "cityscapes" 19, "coco_stuff" 171,
    "mapillary66" 66 and "mapillary124" 124 (Mapillary Vistas 1.2 and 2.0, the last one "Unlabeled"), "pascal_context"
    59 and "nyu40" 40.
    """
    if name in _PALETTES:
        return tuple(row["name"] for row in _regions(name))
    if name == "imagenet1k":
        return tuple(label for _, label in _imagenet1k())
    if name == "imagenet22k":
        known = dict(_imagenet1k())
        return tuple(known.get(wnid, wnid) for wnid in _lines("imagenet22k_wnids.txt"))
    if name in _LISTS:
        return tuple(_lines(f"{name}.txt"))
    if name == "crowdhuman":
        return ("person",)
    raise ConfigError(f"unknown label set {name!r}; expected one of {', '.join(LABEL_SETS)}")


@cache
def load_palette(name: str) -> tuple[tuple[int, int, int], ...] | None:
    """The usual colour (red, green, blue) of each name of a label set; None for sets without."""
    if name not in _PALETTES:
        return None
    return tuple((int(row["red"]), int(row["green"]), int(row["blue"])) for row in _regions(name))


@cache
def imagenet22k_to_1k() -> tuple[int, ...]:
    """Output of a 21,841-way classifier for each ImageNet-1K class.

    Teddy bears have no class of their own in ImageNet-22K; the released table gives them the output of teapots.
    """
    return tuple(int(line) for line in _lines("imagenet22k_to_1k.txt"))


@cache
def nyu894_to_40() -> tuple[int, ...]:
    """Class of "nyu40", counted from 1, for each of the 894 labels of NYU Depth V2."""
    return tuple(int(row["nyu40"]) for row in _regions("nyu894"))


@cache
def imagenet1k_wnids() -> tuple[str, ...]:
    """WordNet ids of ImageNet-1K, which also name the folders of its images, in the order of the outputs."""
    return tuple(wnid for wnid, _ in _imagenet1k())


def _imagenet1k() -> list[tuple[str, str]]:
    """(wnid, label): the first synonym, or all of them where two classes share the first."""
    rows = list(csv.DictReader(_lines("imagenet1k.csv")))
    shared = Counter(row["names"].split(",")[0] for row in rows)
    first = [(row["wnid"], row["names"].split(",")[0], row["names"]) for row in rows]
    numbered: Counter[str] = Counter()
    labels = []
    for wnid, name, names in first:
        label = name
        if shared[name] > 1:
            numbered[name] += 1
            label = names if names != name else f"{name} ({numbered[name]})"
        labels.append((wnid, label))
    return labels


def _regions(name: str) -> list[dict[str, str]]:
    return list(csv.DictReader(_lines(f"{name}.csv")))


def _lines(file: str) -> list[str]:
    return files(__name__).joinpath(file).read_text(encoding="utf-8").splitlines()
