"""Classes of whole pictures as Label Studio's choices tell them."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from internimage.data.formats.labelling import Labelling, settled_labels
from internimage.data.formats.labelstudio_file import files_of, read_tasks
from internimage.data.formats.places import picture_finder
from internimage.data.formats.shapes import BadEntryError, short
from internimage.data.samples import LabelledImages
from internimage.settings.data import DataOptions


def recognise(root: Path) -> bool:
    """Whether there is an export with choices, and no regions."""
    return files_of(root, drawn=False)


def estimate(root: Path, most: int) -> int:
    """How many images there are to train on."""
    parts = Counter(task.part for task in read_tasks(root, Counter()))
    return min(most, parts.get("train", 0) or parts.get("all", 0))


def read_parts(root: Path, wanted: str | None = None, options: DataOptions | None = None) -> dict[str, LabelledImages]:
    """The parts of a data set, by files or folders that are called after parts.

    Raises:
        DataError: entries contradict the format, or a picture has several choices.
    """
    gathered: dict[str, Labelling] = {}
    notes: Counter[str] = Counter()
    for task in read_tasks(root, notes):
        if task.part not in gathered:
            name = f"{root} ({task.part})" if task.part != "all" else str(root)
            gathered[task.part] = Labelling(name, "Label Studio", picture_finder(root, task.part))
        part = gathered[task.part]
        if task.results is None:
            part.leave_out("not annotated", task.where)
            continue
        with part.entry(task.where):
            choices = [name for one in task.results if one.kind == "choices" for name in one.value.get("choices") or []]
            if len(choices) != 1:
                raise BadEntryError(
                    f"{len(choices)} choices, {short(choices)}; expected one: pictures have one class here"
                )
            part.add(task.picture, choices[0])
    for part in gathered.values():
        part.notes += [f"{count} {what}" for what, count in notes.items() if count]
    return settled_labels(gathered, wanted, options)
