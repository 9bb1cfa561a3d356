"""Answers as a picture."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from internimage.drawing.canvas import INK, MUTED
from internimage.drawing.charts import contact_sheet
from internimage.drawing.objects import Object, class_colour, draw_objects
from internimage.errors import ImageReadError
from internimage.images import ImageSource, read_video
from internimage.multimodal.search.entries import Entry, Stamp
from internimage.multimodal.search.querying import Hit, describe

_COLUMNS = 5
_MISSING = (200, 202, 204)
_NEAR = 0.002  # seconds are rounded to thousandths


def draw_hits(hits: Sequence[Hit], title: str = "") -> Image.Image:
    """A contact sheet: each answer with its rank, cosine, file, time, box, and how many are like it.

    A file that is gone or has changed since it was indexed is said so under a grey square or under what is there now.
    """
    tiles = []
    for rank, hit in enumerate(hits, 1):
        entry = hit.entry
        picture, fault = _picture(entry)
        more = f"and {len(hit.others)} more" if hit.others else ""
        lines = [(f"{rank}  {hit.score:.3f}  {Path(entry.path).name}", INK)]
        lines += [(line, MUTED) for line in ("  ".join(describe(entry)), "  ".join(filter(None, (more, fault))))]
        tiles.append((picture, lines))
    return contact_sheet(tiles, title=title, columns=_COLUMNS, footer="" if hits else "nothing was found")


def _picture(entry: Entry) -> tuple[Image.Image, str]:
    """What an entry shows, its box drawn, and what is wrong with it."""
    fault = ""
    try:
        picture = _frame(entry) if entry.second is not None else ImageSource(entry.path, Path(entry.path)).read()
        with contextlib.suppress(OSError):
            fault = "" if Stamp.of(entry.path) == entry.stamp else "the file has changed"
    except ImageReadError:
        return Image.new("RGB", (entry.width, entry.height), _MISSING), "cannot be read any more"
    if entry.box is not None and picture.size == (entry.width, entry.height):
        picture = draw_objects(picture, [Object(entry.box, entry.label or "", class_colour(0))])
    return picture, fault


def _frame(entry: Entry) -> Image.Image:
    """A frame of a video by its time."""
    assert entry.second is not None
    for source in read_video(entry.path):
        if source.frame is None or source.frame.time is None or source.frame.time >= entry.second - _NEAR:
            return source.read()
    raise ImageReadError(f"{entry.path}: the video ends before {entry.second} s")
