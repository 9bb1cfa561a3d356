"""Settings of reading a data set."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Boxes = Literal["sizes", "corners", "shares", "share-corners", "yolo"]
FormatName = Literal[
    "coco",
    "yolo",
    "voc",
    "labelme",
    "via",
    "cvat",
    "labelstudio",
    "supervisely",
    "masks",
    "class-folders",
    "csv",
    "imagefolder",
]
Pictures = Literal["copy", "link", "none"]


@dataclass(frozen=True)
class DataOptions:
    """How annotations are read, in training and in evaluation alike.

    Attributes:
        crowds: what to do with objects that are marked as crowds (``iscrowd``): "ignore" as COCO does, so that they
            are neither learnt nor missed, or "learn" them as single objects, for tools that mark every mask so.
        bad_entries: "error" stops and lists the entries that cannot be used, "drop" leaves them out and counts them.
        allow_left_out: go on where more than 5 % of the objects or pictures are left out.
        boxes: how the boxes of a JSON like COCO's are meant: "sizes" are x, y, width and height in pixels, as COCO has
            them; "corners" x1, y1, x2, y2; "shares" and "share-corners" the same in shares of the picture; "yolo" the
            middle, width and height in shares.
        reading: which one, by its name, where a benchmark set can be read in several ways, such as "coarse" for
            Cityscapes or "v2.0" for Mapillary Vistas; a name that a folder does not offer ends in a list of those that
            it does. None is the most usual one; `internimage data check` says which.
    """

    crowds: Literal["ignore", "learn"] = "ignore"
    bad_entries: Literal["error", "drop"] = "error"
    allow_left_out: bool = False
    boxes: Boxes = "sizes"
    reading: str | None = None


@dataclass(frozen=True)
class SplitOptions:
    """How images are set aside to validate on where there is no validation part.

    Attributes:
        fraction: share of the images of each class.
        seed: of the choice.
        rule: 2 keeps twins together and every class in training; 1 is the choice that older runs were started with.
        chosen: names of the images, relative to the data, that an earlier choice set aside; None to choose.
    """

    fraction: float = 0.2
    seed: int = 0
    rule: int = 2
    chosen: tuple[str, ...] | None = None
