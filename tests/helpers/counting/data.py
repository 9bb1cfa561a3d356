"""Images with counts: ``counts.json`` is ``{"train": {"a.png": 3, ...}, "val": {...}}``."""

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from internimage.data.samples import Measured, Part
from internimage.settings.data import DataOptions


class Counted(NamedTuple):
    file: Path
    count: int


@dataclass(frozen=True)
class CountedImages(Part):
    name: str
    images: tuple[Counted, ...]
    classes: tuple[str, ...] = ("dots",)
    format: str = "counts.json"

    @property
    def entries(self) -> tuple[Counted, ...]:
        return self.images

    def measured(self, entry: Counted, size: tuple[int, int]) -> Measured:
        return Measured(entry.count)


@dataclass
class CountingFindings:
    images: int
    missing: list[str] = field(default_factory=list)

    @property
    def errors(self) -> bool:
        return bool(self.missing)

    def lines(self, name: str) -> list[str]:
        return [f"{name}: {self.images} images", *(f"  missing: {path}" for path in self.missing)]


def recognise(root: Path) -> bool:
    return (root / "counts.json").is_file()


def read_parts(root: Path, wanted: str | None, options: DataOptions) -> dict[str, CountedImages]:
    content = json.loads((root / "counts.json").read_text())
    return {
        part: CountedImages(f"{root} ({part})", tuple(Counted(root / name, n) for name, n in counts.items()))
        for part, counts in content.items()
    }


def estimate(root: Path) -> int:
    return len(read_parts(root, None, DataOptions())["train"])


def check(data: CountedImages, progress: Any) -> CountingFindings:
    entries: Iterable[Counted] = progress(data.entries)
    return CountingFindings(len(data), [str(entry.file) for entry in entries if not entry.file.exists()])
