"""A job as it stands in its output folder: what is predicted with what, in which parts, and which are done."""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from internimage.batch.storage import Storage, table
from internimage.contracts import TaskSpec
from internimage.errors import ConfigError
from internimage.serving.settings import WorkerSettings
from internimage.settings.views import DisplayOptions
from internimage.writing import counted, json_text, readable

_PLAN, _LIST, _SUMMARY = "job.json", "pictures.json", "summary.json"


@dataclass(frozen=True)
class Row:
    """What is known of a picture.

    Attributes:
        image: its path below the source.
        result: as ``internimage predict --json`` prints it; None with an error.
        rows: rank, number, label, score and the task's own columns of each thing in it.
        error: why there is no result.
    """

    image: str
    result: dict[str, Any] | None = None
    rows: Sequence[Sequence[Any]] = ()
    error: str | None = None


def row_of(image: str, spec: TaskSpec, result: Any, shown: DisplayOptions) -> Row:
    """The row of a result."""
    return Row(image, {**spec.to_dict(result, shown), "image": image}, [list(one) for one in spec.rows(result, shown)])


@dataclass(frozen=True)
class Job:
    """Pictures of one place through one model.

    Attributes:
        source, output: where pictures are, and where results go.
        model: see :class:`internimage.serving.settings.ServedModel`.
        worker: how it runs.
        shown: how much of results is kept.
        part: pictures a file of results.
        pictures: paths below the source, in order.
    """

    source: Storage
    output: Storage
    model: str
    worker: WorkerSettings
    shown: DisplayOptions
    part: int
    pictures: tuple[str, ...]

    @property
    def parts(self) -> int:
        """Files of results."""
        return math.ceil(len(self.pictures) / self.part)

    def names(self, number: int) -> tuple[str, ...]:
        """The pictures of a part."""
        return self.pictures[number * self.part : (number + 1) * self.part]

    def left(self) -> list[int]:
        """Parts that are not done."""
        there = self.output.names()
        return [number for number in range(self.parts) if not {*_files(number)} <= there]

    def write(self, number: int, rows: Sequence[Row], columns: Sequence[str]) -> None:
        """Write the results of a part; it is done when its last file is there."""
        lines = [
            json_text({"image": row.image, "error": row.error} if row.result is None else row.result) for row in rows
        ]
        texts: dict[str, list[Any]] = {
            "image": [readable(row.image) for row in rows],
            "error": [None if row.error is None else readable(row.error) for row in rows],
            "result": [None if row.result is None else readable(json_text(row.result)) for row in rows],
        }
        lists: dict[str, list[Any]] = {"label": [[one[2] for one in row.rows] for row in rows]}
        for place, name in ((3, "score"), *enumerate(columns, 4)):
            lists[name] = [[_number(one[place]) for one in row.rows] for row in rows]
        parquet, jsonl = _files(number)
        self.output.write(parquet, table(texts, lists))
        self.output.write(jsonl, "".join(f"{line}\n" for line in lines).encode())

    def finish(self, seconds: float) -> dict[str, Any]:
        """Write what the whole job came to, from its files."""
        failed = []
        for number in range(self.parts):
            content = self.output.read(_files(number)[1]) or b""
            failed += [row for row in map(json.loads, content.splitlines()) if row.get("error")]
        summary = {
            "pictures": len(self.pictures),
            "errors": len(failed),
            "files": self.parts,
            "seconds": round(seconds, 1),
            "first_errors": failed[:20],
        }
        self.output.write(_SUMMARY, json_text(summary, indent=1).encode())
        return summary


def _files(number: int) -> tuple[str, str]:
    return f"part-{number:06d}.parquet", f"part-{number:06d}.jsonl"


def _number(text: Any) -> float | None:
    return None if text in (None, "") else float(text)


def open_job(
    source: str, output: str, model: str, worker: WorkerSettings, shown: DisplayOptions, part: int
) -> tuple[Job, list[str]]:
    """A new job, or the one whose files are in ``output``, and what is to be said of it.

    Raises:
        ConfigError: the files there are those of another job, or damaged.
        MissingExtraError: tables cannot be written.
        DataError: the source has no pictures.
    """
    if part < 1:
        raise ConfigError(f"--part is {part}; expected 1 or more pictures a file")
    table({"image": []}, {})  # what is lacking is said before hours of work
    source, output = _absolute(source), _absolute(output)
    if output == source or output.startswith(f"{source}/"):
        raise ConfigError(f"{output} lies in {source}, where pictures are read; name another folder")
    there = Storage(output)
    plan = {
        "source": source,
        "model": _absolute(model) if os.path.exists(model) else model,  # noqa: PTH110  a name may be anything
        "weights": _identity(Path(model)),
        "device": worker.device,
        "dtype": worker.dtype,
        "tiles": None if worker.tiles is None else asdict(worker.tiles),
        "augmentation": None if worker.augmentation is None else asdict(worker.augmentation),
        "topk": shown.topk,
        "score_threshold": shown.score_threshold,
        "part": part,
    }
    pictures, others = Storage(source).pictures()
    known = there.read(_PLAN)
    notes = []
    if others:
        notes.append(f"{counted(len(others), 'file')} of other kinds left out, such as {others[0]}")
    if known is None:
        if taken := sorted(name for name in there.names() - {_LIST} if not name.startswith(".")):
            raise ConfigError(f"{output} has other files in it, such as {taken[0]}; name a new folder")
        there.write(_LIST, json_text(pictures).encode())
        there.write(_PLAN, json_text({**plan, "internimage": version("internimage")}, indent=1).encode())
    else:
        before = _plan(known, f"{output}/{_PLAN}")
        if other := [name for name, value in plan.items() if before.get(name) != json.loads(json_text(value))]:
            name = other[0]
            raise ConfigError(
                f"{output} has a job whose {name} is {before.get(name)}, not {plan[name]}; name a new folder, or "
                "repeat the command that began it"
            )
        listed = _plan(there.read(_LIST) or b"", f"{output}/{_LIST}")
        if new := len(set(pictures) - set(listed)):
            notes.append(f"{counted(new, 'picture')} came after the job began and are not in it; a new job takes them")
        pictures = listed
    job = Job(Storage(source), there, model, worker, shown, part, tuple(pictures))
    if done := job.parts - len(job.left()):
        notes.append(f"{done} of {job.parts} files are there already and stay")
    return job, notes


def _plan(content: bytes, file: str) -> Any:
    try:
        return json.loads(content)
    except ValueError as error:
        raise ConfigError(f"{file} is damaged or gone; name a new folder, and the job begins anew") from error


def _absolute(place: str) -> str:
    return place.rstrip("/") if "://" in place else str(Path(place).expanduser().resolve())


def _identity(model: Path) -> str | None:
    """What tells weights from those that replaced them; None for released ones, which nothing replaces."""
    folder = model / "best" if (model / "best").is_dir() else model
    file = folder / "model.safetensors" if folder.is_dir() else folder
    if not file.is_file():
        return None
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
