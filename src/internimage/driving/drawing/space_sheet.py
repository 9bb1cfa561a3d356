"""Sheets of filled space: with the cameras, and layer by layer."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw

from internimage.drawing.canvas import INK, MUTED, PAPER, clip_text, font
from internimage.driving.data.frames import Frame
from internimage.driving.data.occ3d import CLASSES, Mask, VoxelGrid, Voxels
from internimage.driving.drawing.scene import camera_rows
from internimage.driving.drawing.space import COLOURS, draw_space, draw_space_above

_FREE = len(CLASSES) - 1
_COLUMNS = 4  # of layers
_UNSEEN = 0.45  # how dark what no camera sees is


def draw_space_frame(
    frame: Frame,
    labels: Voxels,
    grid: VoxelGrid,
    *,
    truth: Voxels | None = None,
    seen: Mask | None = None,
    width: int = 1600,
) -> Image.Image:
    """The cameras above, below them the space from behind and from above; with a truth, that below the prediction.

    Args:
        frame: whose pictures are shown.
        labels: (X, Y, Z) predicted, or the true ones if nothing else is shown.
        grid: where the voxels are.
        truth: true labels.
        seen: voxels that a camera sees; what is not seen is left out of both.
        width: of the sheet in pixels.
    """
    unit = max(0.5, width / 1600)
    gap, head, foot = round(8 * unit), round(44 * unit), round(44 * unit)
    cameras = camera_rows(frame, width - 2 * gap, gap)
    rows = [("predicted", labels), ("true", truth)] if truth is not None else [("", labels)]
    high = round((width - 3 * gap) / (16 / 9 + 1))
    sheet = Image.new("RGB", (width, head + cameras.height + (high + gap) * len(rows) + gap + foot), PAPER)
    sheet.paste(cameras, (gap, head))
    draw = ImageDraw.Draw(sheet)
    size = max(10, round(20 * unit))
    draw.text((gap, head / 2), clip_text(frame.scene, width // 2, size), INK, font(size), anchor="lm")
    top = head + cameras.height + gap
    for name, one in rows:
        shown = one if seen is None else np.where(seen, one, _FREE)
        sheet.paste(draw_space(shown, grid, (width - 3 * gap - high, high)), (gap, top))
        sheet.paste(draw_space_above(shown, grid, high), (width - gap - high, top))
        draw.text((2 * gap, top + 2 * gap), name, INK, font(size))
        top += high + gap
    drawn = labels if truth is None else np.concatenate([labels, truth])
    _legend(draw, (gap, sheet.height - foot / 2), width, drawn, unit)
    return sheet


def draw_layers(labels: Voxels, grid: VoxelGrid, *, seen: Mask | None = None, cell: int = 280) -> Image.Image:
    """Each layer from above, ahead is up, the lowest first; what no camera sees is darker.

    Args:
        labels: (X, Y, Z).
        grid: where the voxels are.
        seen: voxels that a camera sees.
        cell: width of a layer in pixels.
    """
    gap, caption = 8, 26
    high = round(cell * labels.shape[0] / labels.shape[1])
    rows = -(-labels.shape[2] // _COLUMNS)
    sheet = Image.new("RGB", (_COLUMNS * (cell + gap) + gap, rows * (high + caption + gap) + gap + 30), PAPER)
    draw = ImageDraw.Draw(sheet)
    for layer in range(labels.shape[2]):
        pixels = COLOURS[np.minimum(labels[:, :, layer], _FREE)].astype(float)
        if seen is not None:
            pixels[~seen[:, :, layer]] *= _UNSEEN
        tile = Image.fromarray(pixels.astype(np.uint8)[::-1, ::-1]).resize((cell, high), Image.Resampling.NEAREST)
        left, top = gap + layer % _COLUMNS * (cell + gap), gap + layer // _COLUMNS * (high + caption + gap)
        sheet.paste(tile, (left, top + caption))
        draw.rectangle((left, top + caption, left + cell - 1, top + caption + high - 1), outline=MUTED)
        low = grid.start[2] + layer * grid.side
        draw.text((left, top + caption / 2), f"{low:.1f} to {low + grid.side:.1f} m", INK, font(15), anchor="lm")
    _legend(draw, (gap, sheet.height - 18), sheet.width, labels, 1.0)
    return sheet


def _legend(draw: ImageDraw.ImageDraw, start: tuple[float, float], width: int, labels: Voxels, unit: float) -> None:
    """The classes that there are, as many as fit."""
    letters = max(9, round(14 * unit))
    x, y = start
    for label in np.unique(labels).tolist():
        if label >= _FREE:
            continue
        text = CLASSES[label].replace("_", " ")
        needed = letters * 2.9 + font(letters).getlength(text)
        if x + needed > width:
            draw.text((x, y), "…", INK, font(letters), anchor="lm")
            return
        colour = tuple(int(one) for one in COLOURS[label])
        draw.rounded_rectangle((x, y - letters / 2, x + letters, y + letters / 2), 2, fill=colour)
        draw.text((x + letters * 1.4, y), text, INK, font(letters), anchor="lm")
        x += needed
