"""Numbers as pictures: confusion matrices, captioned contact sheets."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from internimage.drawing.canvas import BAD, GOOD, INK, MUTED, PAPER, Colour, clip_text, fit, font


def confusion_matrix(matrix: np.ndarray[Any, Any], labels: Sequence[str], title: str = "") -> Image.Image:
    """Rows are true classes, columns predictions; shade is the share of the row, numbers are counts.

    Args:
        matrix: (K, K) counts.
        labels: K names.  With many classes cells shrink and numbers are left out.
        title: printed above.
    """
    count = len(labels)
    cell = max(6, min(46, 1400 // max(1, count)))
    size = max(9, min(15, cell - 4))
    face = font(size)
    label_width = min(190, 12 + max(int(face.getlength(label)) for label in labels))
    top, margin = label_width + (40 if title else 12), 16
    canvas = Image.new("RGB", (margin + label_width + count * cell + margin, top + count * cell + 40), PAPER)
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
    draw.text((left, top + count * cell + 10), "rows: truth   columns: prediction", fill=MUTED, font=font(13))
    return canvas


def contact_sheet(
    pictures: Sequence[tuple[Image.Image, Sequence[tuple[str, Colour]]]],
    *,
    headings: Sequence[str] = (),
    title: str = "",
    footer: str = "",
    columns: int = 6,
    cell: int = 190,
) -> Image.Image:
    """Pictures in rows, lines of coloured text below each, a heading over each column, a title and a footer."""
    lines = max((len(captions) for _, captions in pictures), default=0)
    gap, margin, line = 14, 20, 19
    columns = max(1, min(columns, len(pictures)))
    rows = -(-len(pictures) // columns)
    top = margin + (40 if title else 0) + (26 if headings else 0)
    step = cell + lines * line + gap
    width = 2 * margin + columns * cell + (columns - 1) * gap
    bottom = top + rows * step - gap
    canvas = Image.new("RGB", (width, bottom + (34 if footer else 0) + margin), PAPER)
    draw = ImageDraw.Draw(canvas)
    if title:
        draw.text((margin, margin - 4), clip_text(title, width - 2 * margin, 20), fill=INK, font=font(20))
    for column, heading in enumerate(headings[:columns]):
        x = margin + column * (cell + gap)
        draw.text((x, top - 24), clip_text(heading, cell, 14), fill=MUTED, font=font(14))
    if footer:
        draw.text((margin, bottom + 14), clip_text(footer, width - 2 * margin, 14), fill=MUTED, font=font(14))
    for index, (image, captions) in enumerate(pictures):
        x, y = margin + index % columns * (cell + gap), top + index // columns * step
        picture = fit(image, cell, cell)
        canvas.paste(picture, (x + (cell - picture.width) // 2, y + (cell - picture.height) // 2))
        for number, (text, colour) in enumerate(captions):
            draw.text((x, y + cell + 4 + number * line), clip_text(text, cell, 14), fill=colour, font=font(14))
    return canvas
