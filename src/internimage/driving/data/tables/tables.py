"""nuScenes' tables: the fields of their records that are needed, read in pieces, and what contradicts the format.

Format: https://www.nuscenes.org/nuscenes#data-format (schema of v1.0).  Every table is a JSON list of records with a
``token``; other records name that token.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from internimage.data.formats.json_lists import read_list
from internimage.data.left_out import Unit
from internimage.errors import DataError

Numbers3 = tuple[float, float, float]
Numbers4 = tuple[float, float, float, float]
_KEPT_UP = 60  # characters of a record's token or value in a message


class Scene(msgspec.Struct, gc=False):
    """A drive."""

    token: str
    name: str


class Sample(msgspec.Struct, gc=False):
    """A moment of it that is annotated."""

    token: str
    timestamp: int
    scene_token: str
    prev: str = ""


class SampleData(msgspec.Struct, gc=False):
    """What one sensor saw."""

    token: str
    sample_token: str
    ego_pose_token: str
    calibrated_sensor_token: str
    timestamp: int
    is_key_frame: bool
    filename: str
    height: int | None = 0
    width: int | None = 0


class CalibratedSensor(msgspec.Struct, gc=False):
    """A sensor on a vehicle: sensor to ego."""

    token: str
    sensor_token: str
    translation: Numbers3
    rotation: Numbers4
    camera_intrinsic: list[list[float]] = []


class Sensor(msgspec.Struct, gc=False):
    """Its name and whether it is a camera."""

    token: str
    channel: str
    modality: str


class EgoPose(msgspec.Struct, gc=False):
    """Where the vehicle was: ego to global."""

    token: str
    translation: Numbers3
    rotation: Numbers4


class SampleAnnotation(msgspec.Struct, gc=False):
    """A box of one thing at one moment, global."""

    token: str
    sample_token: str
    instance_token: str
    translation: Numbers3
    size: Numbers3
    rotation: Numbers4
    attribute_tokens: list[str] = []
    prev: str = ""
    next: str = ""
    num_lidar_pts: int = -1
    num_radar_pts: int = 0


class Instance(msgspec.Struct, gc=False):
    """A thing."""

    token: str
    category_token: str


class Named(msgspec.Struct, gc=False):
    """A category or an attribute."""

    token: str
    name: str


Record = TypeVar("Record", bound=msgspec.Struct)

TABLES: Mapping[str, type[Any]] = {
    "scene": Scene,
    "sample": Sample,
    "sample_data": SampleData,
    "calibrated_sensor": CalibratedSensor,
    "ego_pose": EgoPose,
    "sensor": Sensor,
    "sample_annotation": SampleAnnotation,
    "instance": Instance,
    "category": Named,
    "attribute": Named,
}
"""All that are read, by their files' names."""

NEEDED = ("scene", "sample", "sample_data", "calibrated_sensor", "ego_pose", "sensor")
"""Without the others, nobody annotated boxes."""


@dataclass(frozen=True)
class Problem:
    """A record that contradicts the format.

    Attributes:
        text: names the table, the record and what was expected.
        unit: what cannot be used for it; of "frames", ``frames`` says which.
        scene: row of the scene; -1 where it may be of any.
    """

    text: str
    unit: Unit = "frames"
    scene: int = -1


class Tables:
    """The tables of one version.

    Args:
        folder: of the version, such as ``v1.0-mini``.

    Attributes:
        problems: those found so far.

    Raises:
        DataError: a needed table is missing.
    """

    LOST = -2
    """In place of a record's row: it is there and cannot be used, which was said; -1 is for one that is not there."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.problems: list[Problem] = []
        self._dangling: set[tuple[str, str, str]] = set()
        self._lost: dict[str, list[str]] = {}  # tokens of records that cannot be used, by table
        if missing := [name for name in NEEDED if not self.path(name).is_file()]:
            raise DataError(
                f"{folder} has no {', '.join(f'{name}.json' for name in missing)}; expected all tables of nuScenes"
            )

    def path(self, table: str) -> Path:
        """Of a table's file."""
        return self._folder / f"{table}.json"

    def files(self) -> list[Path]:
        """Of all tables that are there."""
        return [path for path in map(self.path, TABLES) if path.is_file()]

    def read(self, kind: type[Record], table: str) -> Iterator[list[Record]]:
        """The records of a table in pieces, but for those that cannot be used; nothing where there is no such file.

        Raises:
            DataError: it is no JSON list.
        """
        if self.path(table).is_file():
            decode = partial(self._decode, table, kind, msgspec.json.Decoder(list[kind]))  # type: ignore[valid-type]
            for piece in read_list(self.path(table), decode):
                yield piece.content

    def read_all(self, kind: type[Record], table: str) -> list[Record]:
        """The same at once."""
        return [record for piece in self.read(kind, table) for record in piece]

    def rows(self, records: Iterable[Any], table: str) -> dict[str, int]:
        """The place of each record by its token; the first of several with one token, which is a problem.

        Those of the table that could not be read are :attr:`LOST`.
        """
        rows: dict[str, int] = {}
        for number, record in enumerate(records):
            if rows.setdefault(record.token, number) != number:
                self.add(table, record.token, "its token is that of another record")
        return rows | dict.fromkeys(self._lost.get(table, ()), self.LOST)

    def add(self, table: str, token: str, text: str, unit: Unit = "frames", scene: int = -1) -> None:
        """Note what is wrong about a record."""
        where = f"{self.path(table)}: record {token[:_KEPT_UP]!r}"
        self.problems.append(Problem(f"{where}: {text}", unit, scene))

    def dangling(self, table: str, record: Any, key: str, target: str, unit: Unit = "frames", scene: int = -1) -> None:
        """Note that a record names another one that is not there; of several that name it, the first."""
        token = str(getattr(record, key))
        if (table, key, token) in self._dangling:
            return
        self._dangling.add((table, key, token))
        token = token[:_KEPT_UP]
        self.add(table, record.token, f"{key} {token!r} is no record of {target}.json", unit, scene)

    def _decode(self, table: str, kind: type[Record], decoder: msgspec.json.Decoder[Any], text: bytes) -> list[Record]:
        try:
            records: list[Record] = decoder.decode(text)
        except msgspec.DecodeError:  # NaN, or a record that is not as it should be
            records = []
            for one in json.loads(text):
                try:
                    records.append(msgspec.convert(one, kind))
                except msgspec.ValidationError as error:
                    token = one.get("token") if isinstance(one, dict) else None
                    unit: Unit = "objects" if table in ("sample_annotation", "instance") else "frames"
                    self.add(table, str(token), str(error), unit)
                    self._lost.setdefault(table, []).append(str(token))
        return records
