"""What the faces of cuboids look like: shades, windows, lights, arrows.

Each function gives colours for places on the surface.  They are told which face a place is on, and where: q in
[-1, 1] along length (1 is the front), width (1 is the left) and height.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from internimage.driving.world.things import Colour, Cuboid

Pixels = np.ndarray[Any, np.dtype[np.float32]]
Faces = np.ndarray[Any, np.dtype[np.uint8]]
Mask = np.ndarray[Any, np.dtype[np.bool_]]

FRONT, REAR, LEFT, RIGHT, TOP, BOTTOM = range(6)
_SHADES = np.array([1.0, 0.74, 0.88, 0.82, 1.14, 0.4], np.float32)  # no two alike, so that a heading can be seen

_GLASS: Colour = (34, 44, 58)
_TYRE: Colour = (24, 24, 26)
_LAMP: Colour = (255, 244, 200)
_TAIL: Colour = (214, 20, 20)
_SKIN: Colour = (224, 172, 138)
_TROUSERS: Colour = (44, 48, 72)
_HAIR: Colour = (60, 42, 30)
_WHITE: Colour = (244, 244, 240)
_GLOW: dict[str, Colour] = {"red": (255, 40, 30), "yellow": (255, 200, 30), "green": (40, 230, 110)}
_ARROWS: dict[str, tuple[str, ...]] = {
    "straight": ("...##...", "..####..", ".######.", "...##...", "...##...", "...##...", "...##...", "...##..."),
    "left": ("...#....", "..##....", ".#######", "########", ".#######", "..##..##", "...#..##", "......##"),
}
_ARROWS["right"] = tuple(row[::-1] for row in _ARROWS["left"])


def colours_of(cuboid: Cuboid, faces: Faces, q: Pixels) -> Pixels:
    """(N, 3) colours, 0 to 255, of N places: ``faces`` (N,) and ``q`` (N, 3)."""
    colours = np.empty((len(faces), 3), np.float32)
    colours[:] = cuboid.colour
    kind, _, detail = cuboid.look.partition("_")
    painter = _PAINTERS.get(cuboid.look, _PAINTERS.get(kind))
    if painter is not None:
        painter(colours, faces, q, cuboid, detail)
    if kind in ("light", "sign"):
        return colours  # they shine by themselves
    colours *= _SHADES[faces][:, None]
    return colours


def _vehicle(colours: Pixels, faces: Faces, q: Pixels, cuboid: Cuboid, detail: str) -> None:
    along, across, up = q.T
    sides, ends = (faces == LEFT) | (faces == RIGHT), (faces == FRONT) | (faces == REAR)
    away = np.abs(across)
    colours[sides & (up > 0.12) & (up < 0.78) & (np.abs(along + 0.05) < 0.78) & (np.abs(along) > 0.03)] = _GLASS
    colours[(faces == FRONT) & (up > 0.08) & (up < 0.82) & (away < 0.86)] = _GLASS
    colours[(faces == REAR) & (up > 0.25) & (up < 0.78) & (away < 0.7)] = _GLASS
    _lamps(colours, faces, q)
    _wheels(colours, sides, q, cuboid, 0.34)
    colours[ends & (up < -0.78)] = _TYRE


def _truck(colours: Pixels, faces: Faces, q: Pixels, cuboid: Cuboid, detail: str) -> None:
    along, across, up = q.T
    sides = (faces == LEFT) | (faces == RIGHT)
    colours[(along > 0.52) & (faces != REAR)] = (58, 84, 128)  # the cab
    colours[(along > 0.46) & (along < 0.52) & (faces != FRONT)] = _TYRE
    colours[sides & (along > 0.64) & (along < 0.92) & (up > 0.0) & (up < 0.62)] = _GLASS
    colours[(faces == FRONT) & (up > -0.02) & (up < 0.66) & (np.abs(across) < 0.88)] = _GLASS
    colours[(faces == REAR) & (np.abs(across) < 0.02) & (up > -0.6)] = _TYRE
    _lamps(colours, faces, q)
    _wheels(colours, sides, q, cuboid, 0.5)


def _bus(colours: Pixels, faces: Faces, q: Pixels, cuboid: Cuboid, detail: str) -> None:
    along, across, up = q.T
    sides = (faces == LEFT) | (faces == RIGHT)
    colours[sides & (up > 0.0) & (up < 0.66) & (np.mod(along * 4, 1) > 0.09) & (np.abs(along) < 0.95)] = _GLASS
    colours[(faces == FRONT) & (up > -0.25) & (up < 0.7) & (np.abs(across) < 0.92)] = _GLASS
    colours[(faces == REAR) & (up > 0.2) & (up < 0.66) & (np.abs(across) < 0.75)] = _GLASS
    _lamps(colours, faces, q)
    _wheels(colours, sides, q, cuboid, 0.5)


def _lamps(colours: Pixels, faces: Faces, q: Pixels) -> None:
    away, up = np.abs(q[:, 1]), q[:, 2]
    lamps = (away > 0.58) & (away < 0.94) & (up > -0.5) & (up < -0.2)
    colours[lamps & (faces == FRONT)] = _LAMP
    colours[lamps & (faces == REAR)] = _TAIL


def _wheels(colours: Pixels, sides: Mask, q: Pixels, cuboid: Cuboid, radius: float) -> None:
    """Two discs that stand on the ground; ``radius`` in metres."""
    away = (np.abs(q[:, 0]) - 0.62) * cuboid.size[1] / 2
    above = (q[:, 2] + 1) * cuboid.size[2] / 2 - radius
    distance = away**2 + above**2
    colours[sides & (distance < radius**2)] = _TYRE
    colours[sides & (distance < (0.45 * radius) ** 2)] = (150, 152, 156)


def _pedestrian(colours: Pixels, faces: Faces, q: Pixels, cuboid: Cuboid, detail: str) -> None:
    across, up = q[:, 1], q[:, 2]
    colours[up < -0.15] = _TROUSERS
    colours[(up < -0.15) & (np.abs(across) < 0.08) & (faces != TOP)] = _TYRE
    colours[up > 0.68] = _HAIR
    colours[(up > 0.68) & (up < 0.94) & (faces == FRONT) & (np.abs(across) < 0.75)] = _SKIN


def _bicycle(colours: Pixels, faces: Faces, q: Pixels, cuboid: Cuboid, detail: str) -> None:
    sides, up = (faces == LEFT) | (faces == RIGHT), q[:, 2]
    away = (np.abs(q[:, 0]) - 0.6) * cuboid.size[1] / 2
    above = (up + 1) * cuboid.size[2] / 2 - 0.34
    distance = np.sqrt(away**2 + above**2)
    colours[sides & (up < -0.05)] = (96, 98, 102)
    colours[sides & (distance < 0.34)] = _TYRE
    colours[sides & (distance < 0.26)] = (150, 152, 156)
    colours[(faces == FRONT) & (np.abs(up) < 0.3)] = _LAMP
    colours[(faces == REAR) & (np.abs(up + 0.3) < 0.14)] = _TAIL
    colours[up > 0.72] = _HAIR


def _cone(colours: Pixels, faces: Faces, q: Pixels, cuboid: Cuboid, detail: str) -> None:
    up = q[:, 2]
    colours[((up > 0.22) & (up < 0.6)) | ((up > -0.5) & (up < -0.2))] = _WHITE
    colours[up < -0.84] = _TYRE


def _barrier(colours: Pixels, faces: Faces, q: Pixels, cuboid: Cuboid, detail: str) -> None:
    along, across, up = q.T
    colours[np.mod(across * 2.5 + up * 0.8 + along, 1) < 0.4] = _WHITE
    colours[up < -0.7] = (110, 110, 108)


def _light(colours: Pixels, faces: Faces, q: Pixels, cuboid: Cuboid, detail: str) -> None:
    """Three lamps one above the other on the rear face: it looks back at those who come."""
    for state, middle in (("red", 0.62), ("yellow", 0.0), ("green", -0.62)):
        lamp = (faces == REAR) & ((q[:, 2] - middle) ** 2 / 0.075 + q[:, 1] ** 2 / 0.55 < 1)
        colours[lamp] = _GLOW[state] if state == detail else tuple(channel // 5 for channel in _GLOW[state])


def _sign(colours: Pixels, faces: Faces, q: Pixels, cuboid: Cuboid, detail: str) -> None:
    arrow = np.array([[pixel == "#" for pixel in row] for row in _ARROWS[detail]])
    row, column = (((1 - part / 0.84) * 4).astype(int) for part in (q[:, 2], q[:, 1]))  # the left is where y is 1
    inside = (np.abs(q[:, 1:]) < 0.84).all(1) & (faces == REAR)
    colours[inside & arrow[np.clip(row, 0, 7), np.clip(column, 0, 7)]] = _WHITE
    colours[(faces == REAR) & (np.abs(q[:, 1:]) > 0.92).any(1)] = _WHITE


_PAINTERS: dict[str, Callable[[Pixels, Faces, Pixels, Cuboid, str], None]] = {
    "car": _vehicle,
    "truck": _truck,
    "bus": _bus,
    "pedestrian": _pedestrian,
    "bicycle": _bicycle,
    "traffic_cone": _cone,
    "barrier": _barrier,
    "light": _light,
    "sign": _sign,
}
