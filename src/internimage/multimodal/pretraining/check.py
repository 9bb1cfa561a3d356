"""Looking at pictures before hours are spent on them, whatever is known of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from PIL import Image

from internimage.drawing.canvas import INK
from internimage.drawing.charts import contact_sheet
from internimage.errors import ImageReadError
from internimage.images import show_image
from internimage.multimodal.data.checking import PairFindings, check_pairs
from internimage.multimodal.data.pairs import Described, Pairs
from internimage.multimodal.pretraining.pictures import Sights

_PICTURES = 24
_LONGEST = 34  # letters of a line


def check_sights(part: Sights, progress: Callable[[Iterable[Any]], Iterable[Any]]) -> PairFindings:
    """The files and texts of a part; classes are for ``data check --task classification``."""
    described = tuple(Described(one.file, one.texts) for one in part.entries)
    return check_pairs(Pairs(part.name, described, part.format), progress)


def sights_sheet(part: Sights) -> Image.Image:
    """Pictures from all over a part, each with what is known of it.

    Raises:
        ImageReadError: none of them can be read.
    """
    step = max(1, len(part) // _PICTURES)
    pictures = []
    for entry in part.entries[::step][:_PICTURES]:
        lines = [part.classes[entry.label]] if entry.label is not None and part.classes else []
        try:
            said = [(line[:_LONGEST], INK) for line in (*lines, *entry.texts[:1])]
            pictures.append((show_image(entry.file), said))
        except ImageReadError:
            continue
    if not pictures:
        raise ImageReadError(f"{part.name}: none of the pictures for a sheet can be read")
    return contact_sheet(pictures, title=f"{part.name}: {part.summary()}", cell=230, columns=5)
