"""Results of many pictures in files: the formats that all tasks have, and those of a task."""

from __future__ import annotations

import csv
import os
import shutil
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from tempfile import TemporaryFile
from typing import Any, Literal, TextIO

from internimage.contracts import TaskSpec, Writer
from internimage.errors import ConfigError, ImageReadError
from internimage.images import ImageSource
from internimage.images.inputs.listing import unfold
from internimage.images.reader import ImageInputs
from internimage.inference.runner import Runner
from internimage.labels import class_names
from internimage.results.output import Output, Picture
from internimage.settings.views import DisplayOptions
from internimage.writing import json_text


class LinesWriter:
    """A result after the other in a stream: rows under a heading ("csv"), a JSON object a line, or text for people.

    Args:
        spec: of the task.
        shown: how much of a result.
        kind: which of the three.
        stream: takes the lines.
    """

    notes: tuple[str, ...] = ()

    def __init__(
        self, spec: TaskSpec, shown: DisplayOptions, kind: Literal["csv", "json", "text"], stream: TextIO
    ) -> None:
        self.spec, self.shown, self.kind, self.stream = spec, shown, kind, stream
        self._rows = csv.writer(stream)
        if kind == "csv":
            self._rows.writerow(("image", "rank", "index", "label", "score", *spec.columns))

    def add(self, picture: Picture, result: Any) -> None:
        if self.kind == "csv":
            self._rows.writerows((picture.name, *row) for row in self.spec.rows(result, self.shown))
        elif self.kind == "json":
            content = {**self.spec.to_dict(result, self.shown), "image": picture.name, **_frame(result.source)}
            print(json_text(content, encoding=self.stream.encoding or "utf-8"), file=self.stream)
        else:
            print(self.spec.text(result, self.shown), file=self.stream)

    def close(self) -> list[Path]:
        return []


class TableWriter(LinesWriter):
    """The same as a file: ``predictions.csv`` or ``predictions.jsonl``; it stands aside until it is whole."""

    def __init__(self, spec: TaskSpec, output: Output, kind: Literal["csv", "json"]) -> None:
        aside: Any = TemporaryFile("w+", encoding="utf-8", newline="")  # noqa: SIM115
        super().__init__(spec, output.shown, kind, aside)
        self.output = output

    def close(self) -> list[Path]:
        path = self.output.place("predictions.csv" if self.kind == "csv" else "predictions.jsonl")
        self.stream.seek(0)
        with path.open("w", encoding="utf-8", newline="") as file:
            shutil.copyfileobj(self.stream, file)
        self.stream.close()
        return [path]


def formats(spec: TaskSpec) -> list[str]:
    """Names of the formats in which results of a task can be written."""
    return [*spec.writers, "csv", "json"]


def write_results(
    predictor: Runner,
    images: ImageInputs,
    format: str,
    folder: str | os.PathLike[str],
    *,
    topk: int = 5,
    score_threshold: float | None = None,
    annotations: str | os.PathLike[str] | None = None,
    every: int = 1,
    pages: Literal["first", "all"] = "first",
) -> tuple[list[Path], list[ImageReadError]]:
    """Predict pictures and write the results into a folder, as ``internimage predict --format`` does.

    Args:
        predictor: the model.
        images: anything that :func:`internimage.images.list_images` takes; videos stand for their frames.
        every, pages: see :func:`internimage.images.inputs.listing.unfold`.
        format, folder, topk, score_threshold, annotations: see :func:`open_writer`.

    Returns:
        What was written, and the errors of pictures that cannot be read, which are left out.
    """
    sources, failures = predictor.listed(images), []
    writer, pictures = open_writer(
        predictor, sources, format, folder, topk=topk, score_threshold=score_threshold, annotations=annotations
    )
    names = Names(sources, pictures)
    for source, result in predictor.stream(unfold(sources, every, pages)):
        if isinstance(result, ImageReadError):
            failures.append(result)
        else:
            writer.add(names.of(source), result)
    return writer.close(), failures


def open_writer(
    predictor: Runner,
    sources: Sequence[ImageSource],
    format: str,
    folder: str | os.PathLike[str],
    *,
    topk: int = 5,
    score_threshold: float | None = None,
    annotations: str | os.PathLike[str] | None = None,
) -> tuple[Writer, tuple[Picture, ...]]:
    """What writes the results of pictures, and the names under which it takes them.

    Args:
        predictor: the model.
        sources: the pictures; videos and files of several pages as such, whose frames are named by :class:`Names`.
        format: detectors: "coco", "yolo", "voc", "labelme", "crops"; segmenters: "masks", "coco", "labelme";
            classifiers: "sorted"; all: "csv", "json".
        folder: for the results; is made if it is not there.
        topk: classes an image, of classifiers.
        score_threshold: minimum score of the objects that are written; None for 0.3, and none in COCO's results, which
            are measured.
        annotations: a file in COCO's format whose ids of images and categories "coco" takes.

    Raises:
        ConfigError: the task has no such format.
        DataError: ``annotations`` does not fit.
    """
    spec = predictor.spec
    if format not in formats(spec):
        raise ConfigError(f"results of a {spec.model_noun} are written as {', '.join(formats(spec))}, not {format!r}")
    if annotations is not None and format != "coco":
        raise ConfigError("--annotations (in Python annotations) gives the ids of --format coco; leave it out")
    pictures = name_pictures(sources)
    output = Output(
        Path(folder).expanduser(),
        pictures,
        class_names(predictor.labels, predictor.pipeline.classes),
        DisplayOptions(topk, DisplayOptions().score_threshold if score_threshold is None else score_threshold),
        score_threshold or 0.0,
        predictor.category_ids,
        None if annotations is None else Path(annotations).expanduser(),
    )
    if format in spec.writers:
        return spec.writers[format](output), pictures
    return TableWriter(spec, output, "csv" if format == "csv" else "json"), pictures


class Names:
    """The names of pictures, by :func:`name_pictures`, and of the frames and pages of the files among them."""

    def __init__(self, sources: Sequence[ImageSource], pictures: Sequence[Picture]) -> None:
        self._files = dict(zip(sources, pictures, strict=True))

    def of(self, source: ImageSource) -> Picture:
        """The name of a picture, frame or page."""
        if source.frame is None or source in self._files:
            return self._files[source]
        file, ending = self._files[source.frame.file], frame_ending(source)
        return Picture(file.name + ending, file.stem + ending)


def frame_ending(source: ImageSource) -> str:
    """What the name of a frame or page ends in, such as ``#000012``; nothing for other pictures."""
    return "" if source.frame is None else f"#{source.frame.number:06d}"


def _frame(source: ImageSource) -> dict[str, Any]:
    """What is known of a frame or page, for JSON."""
    if source.frame is None:
        return {}
    if source.frame.time is None:
        return {"page": source.frame.number}
    return {"frame": source.frame.number, "time": round(source.frame.time, 6)}


def name_pictures(sources: Sequence[ImageSource]) -> tuple[Picture, ...]:
    """Names below the folder that all files have in common; of URLs and pictures in memory, the last part.

    What is called otherwise than its file keeps its own name.
    """
    files = [
        Path.cwd() / source.value
        if isinstance(source.value, str | Path) and not has_own_name(source) and Path(source.value).exists()
        else None
        for source in sources
    ]
    parents = {str(file.parent) for file in files if file is not None}
    base = os.path.commonpath(parents) if parents else ""
    taken: set[str] = set()
    pictures = []
    for source, place in zip(sources, files, strict=True):
        name = Path(source.name).name if place is None else place.relative_to(base).as_posix()
        ending = frame_ending(source)
        file_name = name.removesuffix(ending)
        stem = file_name if has_own_name(source) else file_name.removesuffix(PurePosixPath(file_name).suffix)
        pictures.append(Picture(name, free_name(stem + ending, taken)))
    return tuple(pictures)


def has_own_name(source: ImageSource) -> bool:
    """Whether something is called otherwise than the file that stands for it, as a moment of a drive is."""
    return source.frame is None and isinstance(source.value, Path) and source.name != str(source.value)


def free_name(stem: str, taken: set[str]) -> str:
    """The start of a file's name that is not ``taken`` yet; it is then."""
    name, number = stem, 1
    while name in taken:
        number += 1
        name = f"{stem}.{number}"
    taken.add(name)
    return name
