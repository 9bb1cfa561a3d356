"""Horizontal bars in groups, for quantities that are compared within a group."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw

from internimage.drawing.canvas import ACCENT, INK, MUTED, PAPER, Colour, clip_text, font

_OTHERS: Colour = (186, 190, 196)


@dataclass(frozen=True)
class Bar:
    """A bar: its length, the range of a whisker on it in the same unit, and the text after it, unit included."""

    label: str
    value: float
    spread: tuple[float, float]
    text: str
    highlight: bool = False


def bar_chart(
    groups: Sequence[tuple[str, Sequence[Bar]]], *, title: str = "", footer: str = "", width: int = 1000
) -> Image.Image:
    """Groups of bars under headings.  Each group has a scale of its own, set by its longest bar or whisker.

    So a group of 0.2 ms stays as readable as one of 1000 ms; lengths of different groups are not comparable, and the
    picture says so.
    """
    margin, line, heading, size = 20, 24, 32, 15
    face = font(size)
    bars = [bar for _, group in groups for bar in group]
    label_width = min(300, 12 + max((int(face.getlength(bar.label)) for bar in bars), default=0))
    text_width = min(400, 12 + max((int(face.getlength(bar.text)) for bar in bars), default=0))
    left, room = margin + label_width, width - 2 * margin - label_width - text_width
    top = margin + (34 if title else 0)
    footers = [text for text in (footer, "bars are to scale within each group" if len(groups) > 1 else "") if text]
    height = top + sum(heading + line * len(group) for _, group in groups) + 14 + 20 * len(footers) + margin // 2
    canvas = Image.new("RGB", (width, height), PAPER)
    draw = ImageDraw.Draw(canvas)
    if title:
        draw.text((margin, margin - 6), clip_text(title, width - 2 * margin, 20), fill=INK, font=font(20))
    y = top
    for name, group in groups:
        draw.text((margin, y + 9), clip_text(name, width - 2 * margin, 14), fill=MUTED, font=font(14))
        y += heading
        scale = room / max((max(bar.value, bar.spread[1]) for bar in group if bar.value), default=1.0)
        for bar in group:
            label = clip_text(bar.label, label_width - 12, size)
            draw.text((left - 12, y + line / 2), label, fill=INK, font=face, anchor="rm")
            end = left + round(bar.value * scale)
            if bar.value:
                colour = ACCENT if bar.highlight else _OTHERS
                draw.rectangle((left, y + 4, max(end, left + 1), y + line - 5), fill=colour)
                low, high = (left + round(value * scale) for value in bar.spread)
                draw.line((low, y + line / 2 - 1, high, y + line / 2 - 1), fill=INK)
            text = clip_text(bar.text, text_width, size)
            draw.text((max(end, left + round(bar.spread[1] * scale)) + 10, y + line / 2), text, INK, face, anchor="lm")
            y += line
    for index, text in enumerate(footers):
        draw.text((margin, y + 14 + 20 * index), clip_text(text, width - 2 * margin, 13), fill=MUTED, font=font(13))
    return canvas
