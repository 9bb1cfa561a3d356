"""Scenes of the world of shapes as a folder: pictures, and what is said of them in JSON lines."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from PIL import Image

from internimage.data.formats.shapes import run_lengths
from internimage.errors import ConfigError, DataError, FileWriteError
from internimage.multimodal.world.scene import Scene, scene
from internimage.multimodal.world.words import PAIRS, SHAPES, Kind, Signs, Split
from internimage.writing import counted, json_text

Classes = Literal["shapes", "pairs"]
"""What boxes are called: the six shapes, or the 48 pairs of colour and shape."""

_PARTS: tuple[tuple[str, Split], ...] = (("train", "train"), ("val", "seen"), ("test", "held_out"))
_MOST = 1_000_000
_README = """A small drawn world of pictures and words
=========================================

Everything here was drawn by a program: coloured shapes, signs, traffic lights, each with one sentence
that describes it and questions that have one answer.

It proves that the parts fit together.  It stands for no benchmark: a number that was measured here says
nothing about photographs, and is not to be compared with any number that was measured on real data.

* {summary}.
* train.jsonl is to learn from.  val.jsonl has other pictures of the same kind.  In test.jsonl every picture
  of shapes holds one of twelve pairs of colour and shape that the others never show or name.
* Each line is one picture: its file, captions, and questions with answers and kind.
* Drawn from seed {seed}: the same seed is the same pictures everywhere.
"""


@dataclass(frozen=True)
class ShapesSummary:
    """What :func:`write_shapes` wrote; as text one line.

    Attributes:
        folder: where.
        pictures: of each part.
        questions: all of them.
        size: side of the pictures in pixels.
    """

    folder: Path
    pictures: dict[str, int]
    questions: int
    size: int

    def __str__(self) -> str:
        parts = ", ".join(f"{number} {part}" for part, number in self.pictures.items())
        return (
            f"{self.folder}: {counted(sum(self.pictures.values()), 'drawn picture')} of {self.size}x{self.size} "
            f"({parts}), {counted(self.questions, 'question')}"
        )


def write_shapes(
    folder: Path,
    *,
    pictures: int = 30_000,
    val_pictures: int = 1_000,
    test_pictures: int = 1_000,
    size: int = 64,
    seed: int = 0,
    without: Collection[Kind] = (),
    signs: Signs = "places",
    boxes: Classes | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> ShapesSummary:
    """Draw pictures into a new or empty folder; where the work is interrupted, it stays empty.

    Args:
        folder: gets ``pictures``, ``train.jsonl``, ``val.jsonl``, ``test.jsonl`` and ``README.txt``.
        pictures: to learn from.
        val_pictures, test_pictures: to measure with, of the splits "seen" and "held_out" of the next seed.
        size, seed, without, signs: see :func:`internimage.multimodal.world.scene.scene`.
        boxes: also write boxes and masks of the shapes in COCO's format, ``boxes_train.json`` and so on.
        progress: is told how many pictures of how many are done.

    Returns:
        What was written.

    Raises:
        ConfigError: numbers that do not fit.
        DataError: the folder holds something.
        FileWriteError: the disk is full or not writable.
    """
    numbers = {"train": pictures, "val": val_pictures, "test": test_pictures}
    for part, number in numbers.items():
        if not 1 <= number <= _MOST:
            raise ConfigError(f"{number} pictures of {part}: expected 1 to {_MOST}")
    if boxes not in (None, *get_args(Classes)):
        raise ConfigError(f"boxes {boxes!r}: expected {', '.join(get_args(Classes))}")
    scene(seed, 0, size, without=without, signs=signs)  # refuses what does not fit before there is a folder
    drawing = _Drawing(Path(folder), boxes)
    done = 0
    with _filled_at_once(drawing.folder) as aside:
        for part, split in _PARTS:
            for index in range(numbers[part]):
                one = scene(seed + (split != "train"), index, size, split, without=without, signs=signs)
                done += 1
                drawing.add(aside, part, done, one)
                if progress is not None:
                    progress(done, sum(numbers.values()))
        summary = ShapesSummary(drawing.folder, numbers, drawing.questions, size)
        drawing.write(aside, _README.format(summary=str(summary).removeprefix(f"{summary.folder}: "), seed=seed))
    return summary


@contextmanager
def _filled_at_once(folder: Path) -> Iterator[Path]:
    """A place for what moves into a new or empty folder if the block succeeds, and vanishes if not."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if (held := next(folder.iterdir(), None)) is not None:
            raise DataError(f"{folder} is not empty, it holds {held.name}; expected a new or an empty folder")
        with tempfile.TemporaryDirectory(dir=folder, prefix=".internimage-") as place:
            yield Path(place)
            for entry in sorted(Path(place).iterdir(), key=lambda entry: entry.suffix == ".jsonl"):
                entry.replace(folder / entry.name)
    except OSError as error:
        reason = error.strerror or error
        raise FileWriteError(f"cannot write into {folder}: {reason}; nothing was left half-written") from error


class _Drawing:
    """What is written of the scenes, part by part."""

    def __init__(self, folder: Path, boxes: Classes | None) -> None:
        self.folder, self.questions = folder, 0
        self._lines = {part: list[str]() for part, _ in _PARTS}
        self._boxes = {part: _Boxes(boxes) for part, _ in _PARTS} if boxes is not None else {}

    def add(self, aside: Path, part: str, number: int, one: Scene) -> None:
        file = f"pictures/{number:06d}.png"
        (aside / file).parent.mkdir(exist_ok=True)
        Image.fromarray(one.picture).save(aside / file, compress_level=1)
        self._lines[part].append(_line(file, one))
        self.questions += len(one.questions)
        if part in self._boxes:
            self._boxes[part].add(number, file, one)

    def write(self, aside: Path, readme: str) -> None:
        texts = {"README.txt": readme}
        texts |= {f"{part}.jsonl": "".join(lines) for part, lines in self._lines.items()}
        texts |= {f"boxes_{part}.json": json_text(boxes.content) for part, boxes in self._boxes.items()}
        for name, text in texts.items():
            (aside / name).write_text(text, encoding="utf-8")


def _line(file: str, one: Scene) -> str:
    questions = [{"question": asked.text, "answers": asked.answers, "kind": asked.kind} for asked in one.questions]
    return json_text({"file": file, "captions": [one.caption], "questions": questions}) + "\n"


class _Boxes:
    """COCO's annotations of a part."""

    def __init__(self, classes: Classes) -> None:
        self._pairs = classes == "pairs"
        names = [" ".join(pair) for pair in PAIRS] if self._pairs else SHAPES
        self._numbers = {name: number for number, name in enumerate(names, start=1)}
        categories = [{"id": number, "name": name} for name, number in self._numbers.items()]
        self.content: dict[str, list[Any]] = {"images": [], "annotations": [], "categories": categories}

    def add(self, number: int, file: str, one: Scene) -> None:
        height, width = one.picture.shape[:2]
        self.content["images"].append({"id": number, "file_name": file, "width": width, "height": height})
        for thing in one.objects:
            x1, y1, x2, y2 = thing.box
            name = f"{thing.colour} {thing.shape}" if self._pairs else thing.shape
            self.content["annotations"].append(
                {
                    "id": len(self.content["annotations"]) + 1,
                    "image_id": number,
                    "category_id": self._numbers[name],
                    "bbox": [x1, y1, x2 - x1, y2 - y1],
                    "area": int(thing.mask.sum()),
                    "iscrowd": 0,
                    "segmentation": run_lengths(thing.mask),
                }
            )
