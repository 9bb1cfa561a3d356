"""The frames with the most mistakes, drawn."""

from __future__ import annotations

from PIL import Image

from internimage.drawing.canvas import BAD, INK, MUTED, Colour
from internimage.drawing.charts import contact_sheet
from internimage.driving.data.frames import Frames
from internimage.driving.metrics.mistakes import Mistakes
from internimage.driving.metrics.nuscenes import DetectionScore

MOST = 6
_WIDTH = 1400  # pixels of a frame


def worst_sheet(score: DetectionScore, mistakes: Mistakes, data: Frames) -> Image.Image | None:
    """A sheet of frames with their true boxes and those that are found; None without mistakes."""
    from internimage.driving.drawing.scene import draw_frame

    tokens = score.tokens
    places = {tokens[place]: place for place in mistakes.worst(MOST)}
    frames = {}
    for frame in data.frames:  # they may be made when they are asked for: no more than are needed
        if frame.token in places:
            frames[frame.token] = frame
        if len(frames) == len(places):
            break
    pictures: list[tuple[Image.Image, list[tuple[str, Colour]]]] = []
    for token, place in places.items():
        if token not in frames:
            continue
        frame, sample = frames[token], score.sample(token)
        found = sample.found.chosen(sample.found.scores >= mistakes.threshold).upright(frame.lidar_to_global)
        truth = sample.truth.upright(frame.lidar_to_global)
        picture = draw_frame(frame, found, score.classes, truth=truth, width=_WIDTH)
        missed, false = int(mistakes.missed_in[place]), int(mistakes.false_in[place])
        captions = [
            (f"{frame.scene} {token}", INK),
            (f"{missed} of {len(sample.truth)} missed, {false} false", BAD if missed + false else MUTED),
        ]
        pictures.append((picture, captions))
    if not pictures:
        return None
    distance = score.rules.error_distance
    title = f"Most mistakes at score {mistakes.threshold:g}, centres within {distance:g} m: truth and predictions"
    return contact_sheet(pictures, title=title, columns=1, cell=_WIDTH)
