"""Classes of whole pictures: as folders, as tables, and as Hugging Face's ``imagefolder``."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence

from internimage.data.converting.target import Target, below, folder_of
from internimage.data.samples import LabelledImages


def write_class_folders(parts: Mapping[str, LabelledImages], target: Target) -> None:
    """``PART/CLASS/IMAGE``."""
    _count_lost(parts, target)
    for name, part in parts.items():
        for sample in part.samples:
            folder = folder_of(part.classes[sample.label])
            target.picture(sample.file, folder if name == "all" else f"{name}/{folder}")


def write_csv(parts: Mapping[str, LabelledImages], target: Target) -> None:
    """``PART.csv`` with ``path`` and ``label``, and ``images/PART``."""
    _count_lost(parts, target)
    for name, part in parts.items():
        folder = below(name, "images")
        rows = [(f"{folder}/{target.picture(one.file, folder)}", part.classes[one.label]) for one in part.samples]
        target.write("labels.csv" if name == "all" else f"{name}.csv", _table(("path", "label"), rows))


def write_imagefolder(parts: Mapping[str, LabelledImages], target: Target) -> None:
    """``PART/metadata.jsonl`` beside the pictures, with ``file_name`` and ``label``."""
    _count_lost(parts, target)
    for name, part in parts.items():
        rows = [
            json.dumps({"file_name": target.picture(one.file, below(name) or "."), "label": part.classes[one.label]})
            for one in part.samples
        ]
        target.write("metadata.jsonl" if name == "all" else f"{name}/metadata.jsonl", "\n".join([*rows, ""]))


def _count_lost(parts: Mapping[str, LabelledImages], target: Target) -> None:
    target.lost["times and places of photos"] += sum(
        one.taken is not None for part in parts.values() for one in part.samples
    )


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\n").writerows([header, *rows])
    return buffer.getvalue()
