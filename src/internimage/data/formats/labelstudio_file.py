"""Tasks of Label Studio's exports, JSON and JSON-MIN alike.

Format: https://labelstud.io/guide/task_format.  Predictions are not looked at.  Of several annotations of a task the
latest that was not cancelled counts.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from internimage.data.formats.documents import read_json
from internimage.data.formats.parts import part_named
from internimage.data.formats.places import annotation_files, mapped, some_files
from internimage.errors import DataError
from internimage.images.reader import IMAGE_SUFFIXES

_USUAL = ("image", "img", "picture", "photo", "url", "path", "file")
_DRAWN = ("rectanglelabels", "polygonlabels", "brushlabels", "ellipselabels", "keypointlabels")
_CHOICES = ("choice", "choices", "class", "label", "category")
_PLAIN = {
    "rectangle": "rectanglelabels",
    "polygon": "polygonlabels",
    "brush": "brushlabels",
    "ellipse": "ellipselabels",
}


class Result(NamedTuple):
    """One region or choice: its kind, such as ``rectanglelabels``, its value, and (height, width) of the picture."""

    kind: str
    value: Mapping[str, Any]
    size: tuple[Any, Any]


class Task(NamedTuple):
    """A picture and what was said of it; None if nobody annotated it."""

    part: str
    picture: object
    results: list[Result] | None
    where: str


def files_of(root: Path, *, drawn: bool) -> bool:
    """Whether there are exports of Label Studio with regions, or with choices for whole pictures alone."""
    files = [file for file in some_files(root, ".json") if _is_export(file)]
    regions = any(_mentions(file, *_DRAWN, *(f'"{one}"' for one in _PLAIN)) for file in files)
    choices = any(_mentions(file, '"choices"', '"choice"') for file in files)
    return regions if drawn else choices and not regions


def read_tasks(root: Path, notes: Counter[str]) -> Iterator[Task]:
    """All tasks of all exports; ``notes`` counts what was chosen.

    Raises:
        DataError: a file is no list of tasks.
    """
    for file, folder_part in annotation_files(root, ".json"):
        if not _is_export(file):
            continue
        content = read_json(file)
        if not isinstance(content, list):
            raise DataError(f"{file} is no list of tasks; expected Label Studio's export, JSON or JSON-MIN")
        part = part_named(file.stem) or folder_part or "all"
        for index, task in enumerate(content):
            where = f"{file} [{index}]"
            if not isinstance(task, dict):
                yield Task(part, None, None, where)
            elif isinstance(task.get("data"), dict):
                yield Task(part, _picture(task["data"]), _results(task, notes), where)
            else:
                yield Task(part, _picture(task), list(_flat_results(task)), where)


def label_of(result: Result) -> object:
    """The name that a region was given; the first of several."""
    names = result.value.get(result.kind) or result.value.get("labels")
    return names[0] if isinstance(names, list) and names else names


def _results(task: dict[str, Any], notes: Counter[str]) -> list[Result] | None:
    """What the latest annotation says."""
    given = task.get("annotations", task.get("completions"))
    given = given if isinstance(given, list) else []
    done = [one for one in given if isinstance(one, dict) and not one.get("was_cancelled")]
    notes["tasks whose annotations were all cancelled count as not annotated"] += bool(given) and not done
    if not done:
        return None
    notes["tasks have several annotations, of which the latest counts"] += len(done) > 1
    latest = max(done, key=lambda one: (str(one.get("updated_at") or one.get("created_at") or ""), given.index(one)))
    found = []
    for one in latest.get("result") or []:
        if isinstance(one, dict) and isinstance(one.get("value"), dict):
            kind = str(one.get("type")).lower()
            found.append(Result(kind, one["value"], (one.get("original_height"), one.get("original_width"))))
    return _with_labels(latest.get("result") or [], found)


def _with_labels(raw: list[Any], results: list[Result]) -> list[Result]:
    """Regions of tags without labels get those of the ``labels`` that has their id."""
    names = {
        one.get("id"): one["value"].get("labels")
        for one in raw
        if isinstance(one, dict) and one.get("type") == "labels" and isinstance(one.get("value"), dict)
    }
    found = []
    rows = [one for one in raw if isinstance(one, dict) and isinstance(one.get("value"), dict)]
    for row, result in zip(rows, results, strict=True):
        if result.kind in _PLAIN:
            value = {**result.value, "labels": result.value.get("labels") or names.get(row.get("id"))}
            found.append(Result(_PLAIN[result.kind], value, result.size))
        elif result.kind != "labels":
            found.append(result)
    return found


def _flat_results(task: dict[str, Any]) -> Iterator[Result]:
    """Of JSON-MIN, in which each tag's name is a key with its regions, or with the chosen text."""
    for key, value in task.items():
        if isinstance(value, list):
            for one in value:
                kind = next((kind for kind in _DRAWN if isinstance(one, dict) and kind in one), None)
                if kind:
                    yield Result(kind, one, (one.get("original_height"), one.get("original_width")))
        elif isinstance(value, dict) and isinstance(value.get("choices"), list):
            yield Result("choices", value, (None, None))
        elif isinstance(value, str) and value and key in _CHOICES:
            yield Result("choices", {"choices": [value]}, (None, None))


def _picture(data: dict[str, Any]) -> object:
    """The name of the picture among a task's data: by the usual keys, or by its suffix."""
    texts = {key: value for key, value in data.items() if isinstance(value, str)}
    for key in _USUAL:
        if key in texts:
            return texts[key]
    for value in texts.values():
        if PurePosixPath(value.partition("?")[0]).suffix.lower() in IMAGE_SUFFIXES:
            return value
    return None


def _is_export(path: Path) -> bool:
    """A list of objects with a task's keys."""
    with mapped(path) as content:
        if content[:64].lstrip(b"\xef\xbb\xbf \t\r\n")[:1] != b"[":
            return False
        return (content.find(b'"data"') >= 0 and content.find(b'"result"') >= 0) or content.find(
            b'"annotation_id"'
        ) >= 0


def _mentions(path: Path, *words: str) -> bool:
    with mapped(path) as content:
        return any(content.find(word.encode()) >= 0 for word in words)
