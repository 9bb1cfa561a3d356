"""Looking at pictures with words."""

from __future__ import annotations

from PIL import Image

from internimage.drawing.canvas import INK
from internimage.drawing.charts import contact_sheet
from internimage.errors import ImageReadError
from internimage.images import show_image
from internimage.multimodal.data.pairs import Described, Pairs

_PICTURES = 24
_LONGEST = 34  # letters of a line


def words_sheet(part: Pairs) -> Image.Image:
    """Pictures from all over a part, each with a caption and a question with its answer.

    Raises:
        ImageReadError: none of them can be read.
    """
    step = max(1, len(part) // _PICTURES)
    pictures = []
    for entry in part.entries[::step][:_PICTURES]:
        try:
            pictures.append((show_image(entry.file), [(line, INK) for line in _lines(entry)]))
        except ImageReadError:
            continue
    if not pictures:
        raise ImageReadError(f"{part.name}: none of the pictures for a sheet can be read")
    return contact_sheet(pictures, title=f"{part.name}: {part.summary()}", cell=230, columns=5)


def _lines(entry: Described) -> list[str]:
    lines = [_short(one) for one in entry.captions[:2]]
    for question in entry.questions[:1]:
        lines += [_short(question.text), _short(f"  {question.answers[0] if question.answers else '?'}")]
    return lines


def _short(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."
