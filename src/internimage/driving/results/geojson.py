"""Vector maps as GeoJSON (RFC 7946), which map editors and geographic libraries open.

Places are metres, not degrees; the member ``frame`` says whose: the vehicle's (x forward, y left) or, where its pose is
given, the world's.  They are rounded to a millimetre and scores to a millionth; order, directions and classes stay.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import msgspec
import numpy as np

from internimage.data.formats.documents import read_json
from internimage.driving.geometry.poses import Array, Pose
from internimage.driving.geometry.vector_map import VectorMap
from internimage.errors import DataError
from internimage.writing import json_text, write_text

_DIGITS, _SCORE_DIGITS = 3, 6


class _Geometry(msgspec.Struct):
    type: Literal["LineString"]
    coordinates: list[tuple[float, float]]


class _Properties(msgspec.Struct):
    name: str = msgspec.field(name="class")
    score: float = 1.0


class _Feature(msgspec.Struct):
    type: Literal["Feature"]
    geometry: _Geometry
    properties: _Properties


class _Vehicle(msgspec.Struct):
    x: float
    y: float
    heading: float


class _Frame(msgspec.Struct):
    name: Literal["vehicle", "world"]
    unit: Literal["metre"]
    vehicle: _Vehicle | None = None


class _Collection(msgspec.Struct):
    type: Literal["FeatureCollection"]
    frame: _Frame
    features: list[_Feature]


def geojson_of(found: VectorMap, classes: Sequence[str], ego: Pose | None = None) -> dict[str, Any]:
    """A FeatureCollection with a LineString for each line; of a closed one the last place is the first again.

    Args:
        found: in the vehicle's frame.
        classes: names.
        ego: ego to world; places are in the world then, seen from above.  Heights, pitch and roll are left out.

    Raises:
        DataError: see :meth:`VectorMap.checked`; or a line has a single point, which GeoJSON does not know.
    """
    found.checked("map", len(classes))
    for number, line in enumerate(found.lines):
        if len(line) < 2:
            raise DataError(f"line {number} of the map has {len(line)} points; GeoJSON needs 2 or more")
    frame: dict[str, Any] = {"name": "vehicle", "unit": "metre", "axes": "x forward, y left"}
    if ego is not None:
        x, y = ego.translation[:2].tolist()
        frame = {"name": "world", "unit": "metre", "vehicle": {"x": x, "y": y, "heading": ego.yaw}}
    features = [
        {
            "type": "Feature",
            "properties": {"class": classes[label], "score": round(score, _SCORE_DIGITS)},
            "geometry": {"type": "LineString", "coordinates": _placed(line, ego).round(_DIGITS).tolist()},
        }
        for line, label, score in zip(found.lines, found.labels.tolist(), found.scores.tolist(), strict=True)
    ]
    return {"type": "FeatureCollection", "frame": frame, "features": features}


def write_geojson(file: Path, found: VectorMap, classes: Sequence[str], ego: Pose | None = None) -> None:
    """Write :func:`geojson_of` as a file.

    Raises:
        DataError: see there.
        FileWriteError: the disk is full or not writable.
    """
    write_text(file, json_text(geojson_of(found, classes, ego)))


def read_geojson(file: Path, classes: Sequence[str]) -> VectorMap:
    """A map in the vehicle's frame, from a file of :func:`write_geojson`.

    Raises:
        DataError: it is no such file, or a class is none of ``classes``.
    """
    try:
        whole = msgspec.convert(read_json(file), _Collection)
    except msgspec.ValidationError as error:
        raise DataError(f"{file} is no vector map as GeoJSON: {error}") from error
    vehicle = whole.frame.vehicle
    if (vehicle is None) != (whole.frame.name == "vehicle"):
        raise DataError(f"{file}: frame: expected where the vehicle is if, and only if, places are the world's")
    lines, labels = [], []
    for number, feature in enumerate(whole.features):
        if feature.properties.name not in classes:
            raise DataError(
                f"{file}: features, {number}, class is {feature.properties.name!r}; expected {', '.join(classes)}"
            )
        points = np.array(feature.geometry.coordinates, np.float64).reshape(-1, 2)
        lines.append(points if vehicle is None else _back(points, vehicle))
        labels.append(list(classes).index(feature.properties.name))
    scores = np.array([feature.properties.score for feature in whole.features], np.float64)
    return VectorMap(lines, np.array(labels, np.int64), scores).checked(str(file), len(classes))


def _placed(line: Array, ego: Pose | None) -> Array:
    points = np.asarray(line, np.float64)
    return points if ego is None else points @ _turn(ego.yaw).T + ego.translation[:2]


def _back(points: Array, vehicle: _Vehicle) -> Array:
    moved: Array = (points - np.array([vehicle.x, vehicle.y])) @ _turn(vehicle.heading)
    return moved


def _turn(angle: float) -> Array:
    c, s = np.cos(angle), np.sin(angle)
    return np.array([[c, -s], [s, c]])
