"""The pictures that a segmenter does worst, kept small, and drawn."""

from __future__ import annotations

import heapq
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import Any

import numpy as np
from PIL import Image

from internimage.drawing.canvas import BAD, INK, MUTED, Colour, fit
from internimage.drawing.charts import contact_sheet
from internimage.drawing.objects import class_colour
from internimage.drawing.regions import draw_regions
from internimage.errors import ImageReadError
from internimage.images import Member, show_image
from internimage.images.masks import UNKNOWN

MOST = 8
_CELL = 300  # pixels of a picture on the sheet
_UNKNOWN: Colour = (90, 90, 90)
_NAMED = 12  # classes in the legend
_OPACITY = 0.7


@dataclass
class WorstPictures:
    """The pictures with the lowest mean IoU of the classes that are there, at most ``MOST``.

    Label maps are kept compressed, tens of kilobytes each.
    """

    classes: int
    _kept: list[tuple[float, Path | Member, tuple[int, int], bytes, bytes]] = field(default_factory=list)

    def add(self, file: Path | Member, label_map: np.ndarray[Any, Any], truth: np.ndarray[Any, Any]) -> None:
        """One picture: predicted and true class numbers (H, W), -1 where the truth is unknown."""
        known = truth != UNKNOWN
        if not known.any():
            return
        count, true, found = self.classes + 1, truth[known], label_map[known]
        hits = np.bincount(true[true == found], minlength=count)
        there = np.bincount(true, minlength=count)
        union = there + np.bincount(found, minlength=count) - hits
        iou = float((hits[there > 0] / union[there > 0]).mean())
        if len(self._kept) < MOST or -iou > self._kept[0][0]:
            size = truth.shape[0], truth.shape[1]
            packed = [zlib.compress(each.astype(np.int16).tobytes()) for each in (truth, label_map)]
            heapq.heappush(self._kept, (-iou, file, size, packed[0], packed[1]))
            if len(self._kept) > MOST:
                heapq.heappop(self._kept)

    def state(self) -> Any:
        return self._kept

    def merge(self, states: Sequence[Any]) -> None:
        self._kept = heapq.nlargest(MOST, (entry for state in states for entry in state))
        heapq.heapify(self._kept)

    def listed(self) -> list[dict[str, Any]]:
        """ "image" and its "iou", the worst first."""
        return [{"image": str(entry[1]), "iou": -entry[0]} for entry in sorted(self._kept, reverse=True)]

    def sheet(self, classes: tuple[str, ...], palette: tuple[Colour, ...] | None) -> Image.Image | None:
        """Picture, truth, prediction and where they differ; None without pictures."""
        colours = [class_colour(index) if palette is None else palette[index] for index in range(len(classes))]
        table = np.array([*colours, (255, 255, 255), _UNKNOWN], np.uint8)  # another class; -1 is unknown
        pictures: list[tuple[Image.Image, list[tuple[str, Colour]]]] = []
        seen: set[int] = set()
        for negative, file, size, *packed in sorted(self._kept, reverse=True):
            truth, found = (np.frombuffer(zlib.decompress(one), np.int16).reshape(size) for one in packed)
            try:
                picture = show_image(file)
            except ImageReadError:  # results of others may be measured where there are no pictures
                continue
            wrong = float((truth != found)[truth != UNKNOWN].mean())
            seen |= set(np.unique(np.stack([truth, found])).tolist())
            captions = [
                (PurePath(str(file)).name, INK),
                ("", INK),
                (f"IoU {-negative:.1%}", INK),
                (f"{wrong:.1%} wrong", BAD),
            ]
            panels = _panels(picture, truth, found, table)
            pictures += [(panel, [caption]) for panel, caption in zip(panels, captions, strict=True)]
        if not pictures:
            return None
        shown = [index for index in sorted(seen) if 0 <= index < len(classes)]
        legend = [(classes[index], colours[index]) for index in shown[:_NAMED]]
        legend += [(f"and {len(shown) - _NAMED} classes more", MUTED)] if len(shown) > _NAMED else []
        legend += [("wrong", BAD), ("unknown, not counted", _UNKNOWN)]
        headings = ("picture", "truth", "prediction", "difference")
        title = "Lowest IoU, mean over the classes in a picture"
        return contact_sheet(pictures, title=title, legend=legend, headings=headings, columns=4, cell=_CELL)


def _panels(
    picture: Image.Image, truth: np.ndarray[Any, Any], found: np.ndarray[Any, Any], table: np.ndarray[Any, Any]
) -> list[Image.Image]:
    """Picture, truth, prediction, difference, at the size of the sheet's cell."""
    small = fit(picture, _CELL, _CELL)
    truth, found = (np.asarray(Image.fromarray(one.astype(np.int32)).resize(small.size, 0)) for one in (truth, found))
    maps = [draw_regions(small, each, table, (), _OPACITY) for each in (truth, found)]
    pale = np.asarray(small.convert("L").convert("RGB"), np.float32) * 0.4 + 140
    pale[truth == UNKNOWN] = _UNKNOWN
    pale[(truth != found) & (truth != UNKNOWN)] = BAD
    return [small, *maps, Image.fromarray(pale.clip(0, 255).astype(np.uint8))]
