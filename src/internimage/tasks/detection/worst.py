"""The pictures with the most mistakes of a detector, drawn."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import PurePath

from PIL import Image

from internimage.drawing.canvas import INK, MUTED, Colour, fit
from internimage.drawing.charts import contact_sheet
from internimage.drawing.objects import Object, draw_objects
from internimage.errors import ImageReadError
from internimage.images import show_image
from internimage.metrics.mistakes import Matched, Mistakes

MOST = 12
_CELL = 400  # pixels of a picture on the sheet
FOUND: Colour = (0, 158, 115)  # the three differ for colour-blind people too (Okabe and Ito)
MISSED: Colour = (214, 40, 120)
WRONG: Colour = (230, 130, 0)
_CROWD: Colour = (150, 150, 150)


def worst_sheet(mistakes: Mistakes, classes: tuple[str, ...]) -> Image.Image | None:
    """A contact sheet: truth at the left, prediction at the right; None without mistakes, or without pictures."""
    pictures: list[tuple[Image.Image, list[tuple[str, Colour]]]] = []
    for one in mistakes.worst(MOST):
        try:
            small, scale = _small(one)
        except ImageReadError:  # results of others may be measured where there are no pictures
            continue
        missed, false = one.missed(mistakes.threshold), one.false(mistakes.threshold)
        objects = sum(not each.crowd for each in one.image.objects)
        several = len(classes) > 1
        truth = draw_objects(small, _truth(one, set(missed), scale, classes if several else None))
        found = draw_objects(small, _found(one, mistakes.threshold, scale, classes if several else None))
        name = PurePath(one.image.file.name).name
        pictures.append((truth, [(name, INK), (f"{len(missed)} of {objects} missed", MISSED if missed else MUTED)]))
        pictures.append((found, [("", INK), (f"{len(false)} false", WRONG if false else MUTED)]))
    if not pictures:
        return None
    legend = [("found", FOUND), ("missed", MISSED), ("false, with its score", WRONG), ("crowd, not counted", _CROWD)]
    columns = min(4, len(pictures))
    title = f"Most mistakes at score {mistakes.threshold:g}, boxes at IoU 0.5"
    headings = ["truth", "prediction"] * (columns // 2)
    return contact_sheet(pictures, title=title, legend=legend, headings=headings, columns=columns, cell=_CELL)


def _small(one: Matched) -> tuple[Image.Image, float]:
    """The picture at the size of the sheet's cell: drawn large, lines and names would vanish; and its scale."""
    picture = show_image(one.image.file)
    small = fit(picture, _CELL, _CELL)
    return small, small.width / picture.width


def _truth(one: Matched, missed: set[int], scale: float, classes: tuple[str, ...] | None) -> Iterator[Object]:
    """Missed objects on top."""
    objects = one.image.objects
    for place in sorted(range(len(objects)), key=lambda place: (place in missed, -objects[place].area)):
        each = objects[place]
        colour = _CROWD if each.crowd else MISSED if place in missed else FOUND
        name = classes[each.label] if classes else ""
        yield Object(_scaled(each.box, scale), f"{name} (crowd)".strip() if each.crowd else name, colour)


def _found(one: Matched, threshold: float, scale: float, classes: tuple[str, ...] | None) -> Iterator[Object]:
    """False detections on top, the best of them last."""
    false = set(one.false(threshold))
    for place in sorted(one.shown(threshold).tolist(), key=lambda place: (place in false, one.scores[place])):
        name = classes[one.labels[place]] if classes else ""
        text = f"{name} {one.scores[place]:.2f}".strip()
        yield Object(_scaled(tuple(one.boxes[place].tolist()), scale), text, WRONG if place in false else FOUND)


def _scaled(box: tuple[float, ...], scale: float) -> tuple[float, float, float, float]:
    x1, y1, x2, y2 = (edge * scale for edge in box)
    return x1, y1, max(x1, x2), max(y1, y2)
