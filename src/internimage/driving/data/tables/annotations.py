"""nuScenes' boxes: where each is, what it is of, and how it moves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any, NamedTuple

import numpy as np

from internimage.driving.data.tables.tables import Instance, Named, SampleAnnotation, Tables
from internimage.driving.geometry.poses import are_rotations

Array = np.ndarray[Any, np.dtype[Any]]
_APART = 1.5  # seconds between two annotations that tell a velocity
_NO_BOX = "expected finite numbers, and a rotation (w, x, y, z) of length 1"


class Annotations(NamedTuple):
    """The columns of boxes of :class:`internimage.driving.data.tables.drives.Drives`."""

    box_starts: Array
    centres: Array
    sizes: Array
    rotations: Array
    velocities: Array
    box_categories: Array
    box_attributes: Array
    points: Array
    categories: tuple[str, ...]
    attributes: tuple[str, ...]


def read_annotations(tables: Tables, frames: Mapping[str, int], scene_of: Array, times: Array) -> Annotations:
    """The boxes of frames; those that cannot be used are left out.

    Args:
        tables: of a version; notes what contradicts the format.
        frames: row of each by its token.
        scene_of, times: (F,) row of the scene; microseconds.
    """
    categories = tables.read_all(Named, "category")
    attributes = tables.read_all(Named, "attribute")
    of_instance = _categories_of_instances(tables, categories)
    rows = _Rows(tables, frames, scene_of, of_instance, tables.rows(attributes, "attribute"))
    for piece in tables.read(SampleAnnotation, "sample_annotation"):
        rows.add(piece)
    frame, category, attribute, points = rows.whole_numbers()
    values = rows.values()
    velocities = rows.velocities(frame, values[:, :2], times)
    good = (frame >= 0) & (category >= 0)
    order = np.flatnonzero(good)
    order = order[np.argsort(frame[order], kind="stable")]
    return Annotations(
        np.searchsorted(frame[order], np.arange(len(times) + 1)),
        values[order, :3],
        values[order, 3:6],
        values[order, 6:],
        velocities[order],
        category[order],
        attribute[order],
        points[order],
        tuple(one.name for one in categories),
        tuple(one.name for one in attributes),
    )


def _categories_of_instances(tables: Tables, categories: Sequence[Named]) -> dict[str, int]:
    """Row of the category of each thing."""
    rows = tables.rows(categories, "category")
    instances = tables.read_all(Instance, "instance")
    found = {}
    for token, number in tables.rows(instances, "instance").items():
        found[token] = Tables.LOST if number < 0 else rows.get(instances[number].category_token, -1)
        if found[token] == -1:
            found[token] = Tables.LOST
            tables.dangling("instance", instances[number], "category_token", "category", "objects")
    return found


class _Rows:
    """Annotations in pieces: their numbers in arrays, and their tokens until it is known who follows whom."""

    def __init__(
        self,
        tables: Tables,
        frames: Mapping[str, int],
        scene_of: Array,
        of_instance: Mapping[str, int],
        attributes: Mapping[str, int],
    ) -> None:
        self._tables = tables
        self._frames = frames
        self._scene_of = scene_of
        self._of_instance = of_instance
        self._attributes = attributes
        self._values: list[Array] = []
        self._numbers: list[Array] = []
        self._tokens: list[str] = []
        self._before: list[str] = []
        self._after: list[str] = []

    def add(self, piece: Sequence[SampleAnnotation]) -> None:
        """Some that follow in the table."""
        flat = chain.from_iterable((*one.translation, *one.size, *one.rotation) for one in piece)
        values = np.fromiter(flat, np.float64, 10 * len(piece)).reshape(-1, 10)
        numbers = np.array([self._numbers_of(one) for one in piece], np.int32).reshape(-1, 4)
        good = are_rotations(values[:, 6:]) & np.isfinite(values).all(axis=1)
        for row in np.flatnonzero(~good & (numbers[:, 0] >= 0)).tolist():
            one = piece[row]
            box = f"translation {one.translation}, size {one.size}, rotation {one.rotation}; {_NO_BOX}"
            scene = int(self._scene_of[numbers[row, 0]])
            self._tables.add("sample_annotation", one.token, box, "objects", scene)
        numbers[~good, 0] = -1
        self._values.append(values)
        self._numbers.append(numbers)
        self._tokens += [one.token for one in piece]
        self._before += [one.prev for one in piece]
        self._after += [one.next for one in piece]

    def whole_numbers(self) -> tuple[Array, Array, Array, Array]:
        """Row of the frame and of the category, -1 for one that cannot be used; of the attribute; points."""
        numbers = np.concatenate([np.zeros((0, 4), np.int32), *self._numbers])
        return numbers[:, 0], numbers[:, 1], numbers[:, 2], numbers[:, 3]

    def values(self) -> Array:
        """(N, 10) centre, size, rotation."""
        return np.concatenate([np.zeros((0, 10)), *self._values])

    def velocities(self, frame: Array, places: Array, times: Array) -> Array:
        """(N, 2), NaN where unknown, from the annotations of the same thing before and after."""
        row = {token: number for number, token in enumerate(self._tokens)}
        here = np.arange(len(self._tokens))
        ends = []
        for tokens in (self._before, self._after):
            found = np.array([row.get(token, -1) for token in tokens], np.int64)
            for number in np.flatnonzero((found < 0) & np.array([bool(token) for token in tokens], bool)).tolist():
                text = f"it names {tokens[number]!r} as the one before or after it, which is no record of the table"
                self._tables.add("sample_annotation", self._tokens[number], text, "objects")
            ends.append(np.where((found >= 0) & (frame[found] >= 0), found, here))
        first, last = ends
        moments = times[frame]
        apart = (moments[last] - moments[first]) / 1e6
        most = np.where((first != here) & (last != here), 2 * _APART, _APART)
        known = (apart > 0) & (apart <= most) & (frame >= 0)
        apart[~known] = np.nan
        velocities: Array = (places[last] - places[first]) / apart[:, None]
        return velocities

    def _numbers_of(self, one: SampleAnnotation) -> tuple[int, int, int, int]:
        frame = self._frames.get(one.sample_token, -1)
        category = self._of_instance.get(one.instance_token, -1)
        attribute = -1
        scene = -1 if frame < 0 else int(self._scene_of[frame])
        if frame == -1:
            self._tables.dangling("sample_annotation", one, "sample_token", "sample", "objects")
        if category == -1:
            self._tables.dangling("sample_annotation", one, "instance_token", "instance", "objects", scene)
        if one.attribute_tokens:
            attribute = self._attributes.get(one.attribute_tokens[0], -1)
            if attribute == -1:
                text = f"attribute_tokens {one.attribute_tokens[:3]}: the first is no record of attribute.json"
                self._tables.add("sample_annotation", one.token, text, "objects", scene)
        points = -1 if one.num_lidar_pts < 0 else one.num_lidar_pts + max(0, one.num_radar_pts)
        return frame, category, max(attribute, -1), points
