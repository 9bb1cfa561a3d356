"""Numbers as pictures: confusion matrices, captioned contact sheets."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from internimage.drawing.canvas import BAD, GOOD, INK, MUTED, PAPER, Colour, clip_text, fit, font

_FEW = 40  # classes


def confusion_matrix(
    matrix: np.ndarray[Any, Any], labels: Sequence[str], title: str = "", note: str = ""
) -> Image.Image:
    """Rows are true classes, columns predictions; shade is the share of the row, numbers are counts.

    Args:
        matrix: (K, K) counts.
        labels: K names.  With many classes cells shrink and numbers are left out.
        title: printed above.
        note: printed below, after what rows and columns are.
    """
    count, note = len(labels), f"rows: truth   columns: prediction   {note}".strip()
    cell = max(6, min(46, 1400 // max(1, count)))
    size = max(9, min(15, cell - 4))
    face = font(size)
    label_width = min(190, 12 + max(int(face.getlength(label)) for label in labels))
    top, margin = label_width + (40 if title else 12), 16
    texts = max(font(16).getlength(title), font(13).getlength(note)) if count <= _FEW else 0  # else there is room
    width = max(label_width + count * cell, min(round(texts) + 2, 700)) + 2 * margin
    canvas = Image.new("RGB", (width, top + count * cell + 40), PAPER)
    draw = ImageDraw.Draw(canvas)
    if title:
        draw.text((margin, 10), clip_text(title, canvas.width - 2 * margin, 16), fill=INK, font=font(16))
    left = margin + label_width
    share = matrix / np.maximum(matrix.sum(1, keepdims=True), 1)
    for row in range(count):
        y = top + row * cell
        label = clip_text(labels[row], label_width - 8, size)
        if cell >= 10:
            draw.text((left - 8, y + cell / 2), label, fill=INK, font=face, anchor="rm")
            name = Image.new("RGB", (label_width, cell), PAPER)
            ImageDraw.Draw(name).text((4, cell / 2), label, fill=INK, font=face, anchor="lm")
            canvas.paste(name.rotate(90, expand=True), (left + row * cell, top - label_width))
        for column in range(count):
            x, value = left + column * cell, float(share[row, column])
            colour = GOOD if row == column else BAD
            shade = tuple(round(p + (c - p) * value**0.6) for p, c in zip(PAPER, colour, strict=True))
            draw.rectangle((x, y, x + cell - 2, y + cell - 2), fill=shade)
            if matrix[row, column] and cell >= 20:
                ink = PAPER if value > 0.45 else INK
                text = str(int(matrix[row, column]))
                draw.text((x + cell / 2 - 1, y + cell / 2 - 1), text, fill=ink, font=face, anchor="mm")
    draw.text((margin, top + count * cell + 10), clip_text(note, width - 2 * margin, 13), fill=MUTED, font=font(13))
    return canvas


def contact_sheet(
    pictures: Sequence[tuple[Image.Image, Sequence[tuple[str, Colour]]]],
    *,
    headings: Sequence[str] = (),
    title: str = "",
    footer: str = "",
    legend: Sequence[tuple[str, Colour]] = (),
    columns: int = 6,
    cell: int = 190,
) -> Image.Image:
    """Pictures in rows, lines of coloured text below each, a heading over each column, a title and a footer.

    ``legend`` says under the title what colours mean.
    """
    lines = max((len(captions) for _, captions in pictures), default=0)
    gap, margin, line = 14, 20, 19
    columns = max(1, min(columns, len(pictures)))
    fitted = [fit(image, cell, cell) for image, _ in pictures]
    heights = [max(one.height for one in fitted[i : i + columns]) for i in range(0, len(fitted), columns)]
    width = 2 * margin + columns * cell + (columns - 1) * gap
    marks, marked = _legend(legend, width - 2 * margin)
    top = margin + (40 if title else 0) + marked + (26 if headings else 0)
    below = lines * line + gap  # a row's pictures
    bottom = top + sum(heights) + len(heights) * below - gap
    canvas = Image.new("RGB", (width, bottom + (34 if footer else 0) + margin), PAPER)
    draw = ImageDraw.Draw(canvas)
    if title:
        draw.text((margin, margin - 4), clip_text(title, width - 2 * margin, 20), fill=INK, font=font(20))
    for x, y, text, colour in marks:
        y += margin + (40 if title else 0)
        draw.rectangle((margin + x, y, margin + x + 13, y + 13), fill=colour)
        draw.text((margin + x + 20, y + 7), text, fill=INK, font=font(14), anchor="lm")
    for column, heading in enumerate(headings[:columns]):
        x = margin + column * (cell + gap)
        draw.text((x, top - 24), clip_text(heading, cell, 14), fill=MUTED, font=font(14))
    if footer:
        draw.text((margin, bottom + 14), clip_text(footer, width - 2 * margin, 14), fill=MUTED, font=font(14))
    for index, (picture, (_, captions)) in enumerate(zip(fitted, pictures, strict=True)):
        row = index // columns
        x, y, height = margin + index % columns * (cell + gap), top + sum(heights[:row]) + row * below, heights[row]
        canvas.paste(picture, (x + (cell - picture.width) // 2, y + (height - picture.height) // 2))
        for number, (text, colour) in enumerate(captions):
            draw.text((x, y + height + 4 + number * line), clip_text(text, cell, 14), fill=colour, font=font(14))
    return canvas


def _legend(entries: Sequence[tuple[str, Colour]], width: int) -> tuple[list[tuple[int, int, str, Colour]], int]:
    """Places (x, y) of coloured marks in lines that are at most so wide, with their texts, and the height of all."""
    marks: list[tuple[int, int, str, Colour]] = []
    x = y = 0
    for name, colour in entries:
        text = clip_text(name, width - 20, 14)
        needed = 20 + round(font(14).getlength(text)) + 24
        if x and x + needed - 24 > width:
            x, y = 0, y + 22
        marks.append((x, y, text, colour))
        x += needed
    return marks, y + 30 if marks else 0
