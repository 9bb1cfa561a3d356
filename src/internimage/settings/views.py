"""Settings of prediction: windows and tiles, test-time augmentation, and how much of a result is shown."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from internimage.errors import ConfigError
from internimage.settings.depth import Depth

LEAST_TILE = 32
"""Least side of a tile in pixels: what the coarsest map of a network has one pixel for."""

Merge = Literal["nms", "soft-nms", "wbf"]
"""How boxes of a class that overlap become one: the best stays (NMS), the others' scores are lowered (soft-NMS,
https://arxiv.org/abs/1704.04503), or they are averaged by score (weighted box fusion, https://arxiv.org/abs/1910.13302)."""


@dataclass(frozen=True)
class Window:
    """Sliding windows over an image.

    Attributes:
        size: (height, width) of a window in pixels; a smaller image is one window.
        stride: (down, across) from one window to the next.
    """

    size: tuple[int, int]
    stride: tuple[int, int]

    def __post_init__(self) -> None:
        if min(*self.size, *self.stride) < 1 or any(s > e for s, e in zip(self.stride, self.size, strict=True)):
            raise ConfigError(f"a window of {self.size} with stride {self.stride}; expected 1 <= stride <= size")

    def parts(self, height: int, width: int) -> list[tuple[int, int, int, int]]:
        """Top, left, bottom, right of every part of a picture; the last ones are moved back inside."""
        tops, lefts = (
            [max(0, min(step * stride, extent - size)) for step in range(max(0, -(-(extent - size) // stride)) + 1)]
            for extent, size, stride in zip((height, width), self.size, self.stride, strict=True)
        )
        return [
            (top, left, min(top + self.size[0], height), min(left + self.size[1], width))
            for top in tops
            for left in lefts
        ]


@dataclass(frozen=True)
class Tiles:
    """Tiles in which a detector sees a picture, each as a picture of its own; objects are united across their seams.

    A picture that is no larger than a tile is predicted as without tiles.

    Attributes:
        size: side of a tile in pixels of the picture, at least 32; about that of the pictures that the model learnt
            from keeps the objects' sizes.
        overlap: share of its side that the next one repeats, 0 to less than 1.  An object that is smaller than that is
            whole in one of them.
        whole: also see the picture as a whole, for objects that are larger than a tile.
        merge: "seams" unites what a seam cuts, and of objects that two tiles show keeps the better box; "greedy"
            unites all boxes of a class that share half of the smaller one's area, as other tools do, which may also
            unite neighbours.
    """

    size: int
    overlap: float = 0.2
    whole: bool = True
    merge: Literal["seams", "greedy"] = "seams"

    def __post_init__(self) -> None:
        if self.size < LEAST_TILE:
            raise ConfigError(f"a tile of {self.size} pixels; expected at least {LEAST_TILE}")
        if not 0 <= self.overlap < 1:
            raise ConfigError(f"tiles overlap by {self.overlap}; expected 0 or more and less than 1, such as 0.2")
        if self.merge not in ("seams", "greedy"):
            raise ConfigError(f"tiles are merged by {self.merge!r}; expected seams or greedy")


@dataclass(frozen=True)
class TestTimeAugmentation:
    """Test-time augmentation of a detector or segmenter: several views of each image, whose results are merged.

    Attributes:
        short_sides: shorter sides in pixels, one view each; the longer side is limited in the same ratio as in the
            model's preprocessing.  Empty: the model's own size.
        flip: also mirror each view.
        merge: of detectors, what becomes of boxes of several views that overlap.  A segmenter's probabilities are
            averaged.
    """

    __test__ = False  # not a test

    short_sides: tuple[int, ...] = ()
    flip: bool = True
    merge: Merge = "nms"

    def __post_init__(self) -> None:
        if self.merge not in get_args(Merge):
            raise ConfigError(f"views are merged by {self.merge!r}; expected one of {', '.join(get_args(Merge))}")
        if any(side < 1 for side in self.short_sides):
            raise ConfigError(f"short sides are {self.short_sides}; expected at least 1 pixel")


@dataclass(frozen=True)
class PredictionOptions:
    """How a model predicts.

    Attributes:
        augmentation: test-time augmentation, for detectors and segmenters.
        window: for segmenters: predict in sliding windows; "model" does what the model was trained for, None predicts
            the whole image.
        keep_scores: for segmenters: keep the probabilities of all classes in the results, which may take gigabytes.
        max_objects: for detectors: greatest number of objects of an image, or of each tile; None for the model's own.
        depth: how deep pixels are read; None as the model was trained.
        tiles: for detectors: see large pictures in tiles; None sees them as a whole.
        soft_nms: for R-CNNs: lower the scores of boxes that overlap a better one of their class instead of dropping
            them, in each view.
    """

    augmentation: TestTimeAugmentation | None = None
    window: Window | Literal["model"] | None = "model"
    keep_scores: bool = False
    max_objects: int | None = None
    depth: Depth | None = None
    tiles: Tiles | None = None
    soft_nms: bool = False

    def __post_init__(self) -> None:
        if not isinstance(self.window, Window | None) and self.window != "model":
            raise ConfigError(
                f"window is {self.window!r}; expected a Window((height, width), (row step, column step)) or None"
            )


@dataclass(frozen=True)
class ReportOptions:
    """How results are measured.

    Attributes:
        score_threshold: for detectors: minimum score of the objects that count as found or false, 0 to 1; None for the
            one with the best F1.  Average precision needs none.
    """

    score_threshold: float | None = None

    def __post_init__(self) -> None:
        if self.score_threshold is not None and not 0 <= self.score_threshold <= 1:
            raise ConfigError(f"--score-threshold is {self.score_threshold}; expected 0 to 1")


def refuse_for_detectors(options: PredictionOptions, instead: str) -> None:
    """Raise :class:`ConfigError` for options of detectors; ``instead`` says what others do with large pictures."""
    if options.max_objects is not None:
        raise ConfigError("a greatest number of objects is for detectors; leave it out")
    if options.soft_nms:
        raise ConfigError("soft-NMS is for detectors; leave it out")
    if options.augmentation is not None and options.augmentation.merge != "nms":
        raise ConfigError(f"{options.augmentation.merge} merges boxes, of detectors; leave it out")
    if options.tiles is not None:
        raise ConfigError(f"tiles are for detectors; {instead}; leave them out")


def refuse_score_threshold(options: ReportOptions) -> None:
    """Raise :class:`ConfigError` if one is given where nothing has a score to compare."""
    if options.score_threshold is not None:
        raise ConfigError("--score-threshold (in Python score_threshold) is for detectors; leave it out")


@dataclass(frozen=True)
class DisplayOptions:
    """How much of a result is printed and drawn.

    Attributes:
        topk: number of classes per image.
        score_threshold: minimum score of an object.
        legend: whether names of classes stand beside a segmented picture, which makes it wider.
    """

    topk: int = 5
    score_threshold: float = 0.3
    legend: bool = True

    def __post_init__(self) -> None:
        if self.topk < 1:
            raise ConfigError(f"--topk is {self.topk}; expected at least 1")
        if not 0 <= self.score_threshold <= 1:
            raise ConfigError(f"--score-threshold is {self.score_threshold}; expected 0 to 1")
