"""Pictures from plain data: captions, bars.  Knows nothing of results or models."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

from PIL import Image, ImageDraw, ImageFont

Colour = tuple[int, int, int]

PAPER: Colour = (250, 250, 248)
INK: Colour = (28, 30, 34)
MUTED: Colour = (120, 124, 130)
ACCENT: Colour = (38, 110, 190)
GOOD: Colour = (34, 130, 74)
BAD: Colour = (196, 52, 44)
_TRACK: Colour = (226, 228, 230)


@cache
def font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """Pillow's own font; no font files of the system are needed."""
    return ImageFont.load_default(size)


def fit(image: Image.Image, width: int, height: int) -> Image.Image:
    """Scale a picture to fit into ``width`` x ``height``, keeping its shape; tiny pictures grow."""
    scale = min(width / image.width, height / image.height)
    size = max(1, round(image.width * scale)), max(1, round(image.height * scale))
    return image.resize(size, Image.Resampling.LANCZOS if scale < 1 else Image.Resampling.NEAREST)


def clip_text(text: str, width: int, size: int) -> str:
    """Shorten ``text`` with an ellipsis until it is at most ``width`` pixels wide."""
    face = font(size)
    if face.getlength(text) <= width:
        return text
    while text and face.getlength(text + "…") > width:
        text = text[:-1]
    return text + "…"


def clip_middle(text: str, width: int, size: int) -> str:
    """As :func:`clip_text`, but in the middle: ends tell names of one kind apart."""
    face, kept = font(size), len(text)
    short = text
    while kept and face.getlength(short) > width:
        kept -= 1
        short = f"{text[: kept - kept // 2]}…{text[len(text) - kept // 2 :]}"
    return short


def with_bars(image: Image.Image, title: str, bars: Sequence[tuple[str, float]], *, width: int = 480) -> Image.Image:
    """The picture with a list of labelled bars below it; each bar's value is in [0, 1] and printed as a percentage."""
    picture = fit(image, width, width)
    margin, line, size = 14, 30, 16
    title_height = 30 if title else 0
    canvas = Image.new("RGB", (width, picture.height + title_height + margin + line * len(bars) + margin), PAPER)
    canvas.paste(picture, ((width - picture.width) // 2, 0))
    draw = ImageDraw.Draw(canvas)
    y = picture.height + margin // 2
    if title:
        draw.text((margin, y), clip_text(title, width - 2 * margin, 13), fill=MUTED, font=font(13))
        y += title_height - margin // 2
    track, percent_width = 150, 62
    label_width = width - track - percent_width - 3 * margin
    for label, value in bars:
        draw.text((margin, y + 4), clip_text(label, label_width, size), fill=INK, font=font(size))
        left = margin + label_width + margin
        draw.rounded_rectangle((left, y + 8, left + track, y + 20), 3, fill=_TRACK)
        filled = round(track * min(max(value, 0.0), 1.0))
        if filled > 2:
            draw.rounded_rectangle((left, y + 8, left + filled, y + 20), 3, fill=ACCENT)
        draw.text((width - margin, y + 4), f"{value:.1%}", fill=INK, font=font(size), anchor="ra")
        y += line
    return canvas
