"""Lanes of a frame on one sheet: the front camera, and the lanes from above."""

from __future__ import annotations

from collections.abc import Sequence

from PIL import Image, ImageDraw

from internimage.drawing.canvas import INK, PAPER, clip_text, font
from internimage.driving.data.frames import Frame
from internimage.driving.drawing.lanes import draw_elements, draw_lanes_above
from internimage.driving.geometry.lane_graph import LaneGraph
from internimage.errors import DataError, ImageReadError
from internimage.images import show_image


def draw_lane_frame(
    frame: Frame,
    graph: LaneGraph,
    names: Sequence[str],
    front: str,
    *,
    truth: LaneGraph | None = None,
    height: int = 800,
) -> Image.Image:
    """The front camera's picture with traffic elements beside the lanes from above; with a truth, that beside them.

    Args:
        frame: whose picture is shown.
        graph: predicted, or what is true if nothing else is shown; all of it is drawn.
        names: of what traffic elements may say.
        front: the camera whose pixels the elements are in; without it, lanes alone.
        truth: what is true.
        height: of the pictures.
    """
    gap, head = 10, 40
    shown = [("predicted" if truth is not None else "", graph), *([("true", truth)] if truth is not None else [])]
    tiles: list[tuple[str, Image.Image]] = []
    camera = next((one for one in frame.cameras if one.channel == front), None)
    for name, one in shown:
        try:
            if camera is not None:
                picture = draw_elements(show_image(camera.file), one, names, least=0.0)
                wide = round(picture.width * height / picture.height)
                tiles.append((name, picture.resize((wide, height), Image.Resampling.LANCZOS)))
        except (ImageReadError, DataError):
            pass  # the lanes are shown all the same
        tiles.append((name, draw_lanes_above(one, names, height=height, least=0.0)))
    sheet = Image.new("RGB", (sum(tile.width + gap for _, tile in tiles) + gap, height + head + gap), PAPER)
    draw = ImageDraw.Draw(sheet)
    draw.text((gap, head / 2), clip_text(frame.token, sheet.width - gap, 18), INK, font(18), anchor="lm")
    left = gap
    for name, tile in tiles:
        sheet.paste(tile, (left, head))
        draw.text((left + tile.width - gap, head / 2), name, INK, font(15), anchor="rm")
        left += tile.width + gap
    return sheet
