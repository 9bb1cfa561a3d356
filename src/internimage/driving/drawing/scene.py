"""A whole frame on one sheet: its cameras in their places, and the view from above."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

import numpy as np
from PIL import Image, ImageDraw

from internimage.drawing.canvas import INK, MUTED, PAPER, clip_text, font
from internimage.drawing.objects import class_colour
from internimage.driving.data.frames import Camera, Frame
from internimage.driving.drawing.above import draw_above
from internimage.driving.drawing.cameras import draw_boxes
from internimage.driving.geometry.boxes import Boxes
from internimage.driving.geometry.poses import Pose
from internimage.errors import DataError, ImageReadError
from internimage.images import show_image

_GREY = (186, 189, 192)


def draw_frame(
    frame: Frame, boxes: Boxes, names: Sequence[str], *, truth: Boxes | None = None, width: int = 1600
) -> Image.Image:
    """Cameras that look ahead above those that look back, each row from left to right, and the view from above.

    A camera whose picture cannot be read is a grey tile with its name.

    Args:
        frame: whose pictures are shown.
        boxes: predicted, or the true ones if nothing else is shown; lidar frame; solid.
        names: of the classes.
        truth: true boxes, drawn dashed and thin.
        width: of the sheet in pixels.
    """
    unit = max(0.5, width / 1600)
    gap, head, foot = round(8 * unit), round(44 * unit), round(40 * unit)
    rows = arranged(frame.cameras)
    widest = max((sum(_shape(one) for one in row) for row in rows), default=0.0)
    most = max((len(row) for row in rows), default=0)
    # the tiles' height, so that the widest row and a square as high as all rows fill the sheet
    high = int((width - gap * (most + len(rows) + 1)) / (widest + max(1, len(rows))))
    square = max(1, len(rows)) * high + gap * (max(1, len(rows)) - 1)
    sheet = Image.new("RGB", (width, head + square + foot), PAPER)
    wide = width - square - 3 * gap
    for number, row in enumerate(rows):
        tiles = [max(1, round(_shape(one) * high)) for one in row]
        left = gap + max(0, (wide - sum(tiles) - gap * (len(row) - 1)) // 2)
        for camera, tile in zip(row, tiles, strict=True):
            picture = _tile(camera, (tile, high), boxes, names, truth, frame.lidar_to_global, unit)
            sheet.paste(picture, (left, head + number * (high + gap)))
            left += tile + gap
    sheet.paste(draw_above(boxes, truth=truth, size=square), (width - gap - square, head))
    draw = ImageDraw.Draw(sheet)
    size = max(10, round(20 * unit))
    draw.text((gap, head / 2), clip_text(frame.scene, width // 2, size), INK, font(size), anchor="lm")
    when = f"{_moment(frame.time)}   {_counts(boxes, truth)}"
    draw.text((width - gap, head / 2), when, MUTED, font(max(9, round(15 * unit))), anchor="rm")
    _legend(draw, sheet.size, foot, gap, boxes, names, truth, unit)
    return sheet


def arranged(cameras: Sequence[Camera]) -> list[list[Camera]]:
    """Cameras that look ahead from left to right, then those that look back from left to right."""
    ahead, back = [], []
    for camera in cameras:
        axis = camera.pose.rotation[:, 2]  # where it looks; y is forward
        left = float(np.arctan2(-axis[0], axis[1]))  # from ahead, to the left
        if abs(left) <= np.radians(90):
            ahead.append((-left, camera))
        else:
            back.append((left % (2 * np.pi), camera))
    rows = [[camera for _, camera in sorted(row, key=lambda one: one[0])] for row in (ahead, back)]
    return [row for row in rows if row]


def camera_rows(frame: Frame, width: int, gap: int) -> Image.Image:
    """The cameras alone: those that look ahead above those that look back."""
    rows = arranged(frame.cameras)
    widest = max(sum(_shape(one) for one in row) for row in rows)
    most = max(len(row) for row in rows)
    high = int((width - gap * (most - 1)) / widest)
    sheet = Image.new("RGB", (width, len(rows) * (high + gap) - gap), PAPER)
    for number, row in enumerate(rows):
        tiles = [max(1, round(_shape(one) * high)) for one in row]
        left = max(0, (width - sum(tiles) - gap * (len(row) - 1)) // 2)
        for camera, tile in zip(row, tiles, strict=True):
            picture = _tile(camera, (tile, high), Boxes.empty(), (), None, frame.lidar_to_global, width / 1600)
            sheet.paste(picture, (left, number * (high + gap)))
            left += tile + gap
    return sheet


def _shape(camera: Camera) -> float:
    """Width over height."""
    return camera.size[1] / camera.size[0]


def _tile(
    camera: Camera,
    size: tuple[int, int],
    boxes: Boxes,
    names: Sequence[str],
    truth: Boxes | None,
    upright: Pose,
    unit: float,
) -> Image.Image:
    try:
        picture = show_image(camera.file)
    except (ImageReadError, DataError):
        tile, ink = Image.new("RGB", size, _GREY), INK
        note = clip_text("cannot be read", size[0], round(13 * unit))
        place = (size[0] / 2, size[1] / 2)
        ImageDraw.Draw(tile).text(place, note, INK, font(max(8, round(13 * unit))), anchor="mm")
    else:
        tile = picture.resize(size, Image.Resampling.LANCZOS if size[0] < picture.width else Image.Resampling.BICUBIC)
        tile, ink = draw_boxes(tile, camera, boxes, names, truth=truth, upright=upright), (255, 255, 255)
    draw = ImageDraw.Draw(tile, "RGBA")
    letters = max(8, round(12 * unit))
    text = clip_text(camera.channel.removeprefix("CAM_").replace("_", " ").lower(), size[0] - letters, letters)
    wide, high = font(letters).getlength(text) + letters, letters * 1.6
    draw.rectangle((0, size[1] - high, wide, size[1]), fill=(0, 0, 0, 130 if ink != INK else 0))
    draw.text((letters / 2, size[1] - high / 2), text, ink, font(letters), anchor="lm")
    return tile


def _moment(time: int) -> str:
    """A time stamp in microseconds as people read it, where it is one."""
    try:
        return datetime.fromtimestamp(time / 1e6, UTC).strftime("%Y-%m-%d %H:%M:%S.%f")[:-4]
    except (ValueError, OverflowError, OSError):
        return f"{time / 1e6:.2f} s"


def _counts(boxes: Boxes, truth: Boxes | None) -> str:
    return f"{len(boxes)} boxes" if truth is None else f"{len(boxes)} predicted (solid), {len(truth)} true (dashed)"


def _legend(
    draw: ImageDraw.ImageDraw,
    size: tuple[int, int],
    foot: int,
    gap: int,
    boxes: Boxes,
    names: Sequence[str],
    truth: Boxes | None,
    unit: float,
) -> None:
    """The classes that there are, as many as fit."""
    letters = max(9, round(14 * unit))
    shown = set(boxes.labels.tolist()) | set(() if truth is None else truth.labels.tolist())
    x, y = float(gap), size[1] - foot / 2
    for label in sorted(shown):
        text = names[label].replace("_", " ")
        needed = letters * 1.4 + font(letters).getlength(text) + letters * 1.5
        if x + needed > size[0]:
            draw.text((x, y), "…", INK, font(letters), anchor="lm")
            return
        draw.rounded_rectangle((x, y - letters / 2, x + letters, y + letters / 2), 2, fill=class_colour(label))
        draw.text((x + letters * 1.4, y), text, INK, font(letters), anchor="lm")
        x += needed
