"""A frame's cameras beside its map."""

from __future__ import annotations

from collections.abc import Sequence

from PIL import Image, ImageDraw

from internimage.drawing.canvas import INK, PAPER, clip_text, font
from internimage.driving.data.frames import Frame
from internimage.driving.drawing.maps import draw_map
from internimage.driving.drawing.scene import camera_rows
from internimage.driving.geometry.vector_map import VectorMap


def draw_map_frame(
    frame: Frame, found: VectorMap, classes: Sequence[str], *, truth: VectorMap | None = None, width: int = 1500
) -> Image.Image:
    """The cameras beside the map from above, all lines drawn; see :func:`internimage.driving.drawing.maps.draw_map`.

    Args:
        frame: whose pictures are shown.
        found: in the vehicle's frame.
        classes: names.
        truth: true lines, dashed.
        width: of the sheet in pixels.
    """
    gap, head = 10, 40
    cameras = camera_rows(frame, round(width * 0.68), gap)
    above = draw_map(found, classes, truth=truth, height=max(cameras.height, 480), least=0.0)
    high = max(cameras.height, above.height)
    sheet = Image.new("RGB", (cameras.width + above.width + 3 * gap, high + head + gap), PAPER)
    draw = ImageDraw.Draw(sheet)
    draw.text((gap, head / 2), clip_text(f"{frame.scene} {frame.token}", width, 18), INK, font(18), anchor="lm")
    sheet.paste(cameras, (gap, head + (high - cameras.height) // 2))
    sheet.paste(above, (cameras.width + 2 * gap, head))
    return sheet
