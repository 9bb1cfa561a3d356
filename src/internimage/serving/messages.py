"""What the server and its workers tell each other through pipes: a length of four bytes, then MessagePack."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import BinaryIO, Literal, TypeAlias

import msgspec

Answer = Literal["json", "coco", "png", "classes", "row"]
"""A result as JSON, in COCO's format, drawn, as a picture of class numbers, or as JSON with the rows of a table."""

LENGTH = struct.Struct("<I")


class Job(msgspec.Struct, array_like=True):
    """A picture, the name its result has, and what is wanted of it."""

    id: int
    picture: bytes
    name: str
    answer: Answer
    topk: int
    score_threshold: float


class Load(msgspec.Struct, tag=True):
    """Load a model."""

    name: str
    place: str


class Drop(msgspec.Struct, tag=True):
    """Forget a model."""

    name: str


class Run(msgspec.Struct, tag=True):
    """Predict pictures together."""

    model: str
    jobs: list[Job]


class Cancel(msgspec.Struct, tag=True):
    """Nobody wants these any more."""

    ids: list[int]


class Ping(msgspec.Struct, tag=True):
    """Say that you live, once what came before is done."""


Order: TypeAlias = Load | Drop | Run | Cancel | Ping


class Facts(msgspec.Struct):
    """What is known of a model.

    Attributes:
        name: as requests call it.
        task, noun: such as "detection", "detector".
        labels: names of its classes.
        colours: (red, green, blue) of each, as it is drawn; of so many that nobody tells them apart, none.
        answers: what can be asked of it.
        columns: of the rows of its results, after rank, number, label and score.
        options: which of "topk" and "score_threshold" its answers heed.
        batch: pictures that it takes together.
        runtime: what runs it, and where.
    """

    name: str
    task: str
    noun: str
    labels: tuple[str, ...]
    colours: tuple[tuple[int, int, int], ...]
    answers: tuple[Answer, ...]
    columns: tuple[str, ...]
    options: tuple[str, ...]
    batch: int
    runtime: str


class Loaded(msgspec.Struct, tag=True):
    facts: Facts


class NotLoaded(msgspec.Struct, tag=True):
    name: str
    message: str


class Dropped(msgspec.Struct, tag=True):
    name: str


class Done(msgspec.Struct, tag=True):
    """A job's answer; the seconds are those of its batch in the model."""

    id: int
    content: bytes
    seconds: float


class Failed(msgspec.Struct, tag=True):
    """A job without an answer: because of its picture, of what was asked, of the model, or of this program."""

    id: int
    kind: Literal["picture", "request", "model", "internal"]
    message: str


class Pong(msgspec.Struct, tag=True):
    """The answer to :class:`Ping`."""


Report: TypeAlias = Loaded | NotLoaded | Dropped | Done | Failed | Pong

_encoder = msgspec.msgpack.Encoder()
_orders: msgspec.msgpack.Decoder[Order] = msgspec.msgpack.Decoder(Order)
_reports: msgspec.msgpack.Decoder[Report] = msgspec.msgpack.Decoder(Report)


def packed(message: Order | Report) -> bytes:
    """A message with its length in front."""
    content = _encoder.encode(message)
    return LENGTH.pack(len(content)) + content


def read_orders(pipe: BinaryIO) -> Iterator[Order]:
    """Orders until the pipe ends."""
    while len(head := pipe.read(LENGTH.size)) == LENGTH.size:
        yield _orders.decode(pipe.read(LENGTH.unpack(head)[0]))


def report_in(content: bytes) -> Report:
    """The report in a message without its length."""
    return _reports.decode(content)
