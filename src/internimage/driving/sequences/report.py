"""What reports of this wing share: classes that have to be the data's, and the files that are written."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from internimage.driving.data.frames import Frames
from internimage.errors import DataError
from internimage.writing import json_text, save_picture, write_text

if TYPE_CHECKING:
    from PIL import Image

    from internimage.contracts import Pipeline


def check_classes(pipeline: Pipeline, data: Frames) -> None:
    """Raise :class:`DataError` unless a model's classes are the list of the data, in its order."""
    if pipeline.classes != len(data.classes) or (pipeline.labels or data.classes) != data.classes:
        named = ", ".join(pipeline.labels or ()) or f"{pipeline.classes} classes"
        raise DataError(f"{data.name} has {', '.join(data.classes)}; the model's are {named}")


@dataclass
class FrameReport(ABC):
    """A report on frames.

    Attributes:
        unreadable: files left out.
        left_out: what else of the data was not measured, a line for each reason.
    """

    unreadable: list[str] = field(default_factory=list, kw_only=True)
    left_out: list[str] = field(default_factory=list, kw_only=True)

    @abstractmethod
    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON; null for what there is not."""

    @abstractmethod
    def table(self) -> str:
        """The numbers as text."""

    @abstractmethod
    def worst_sheet(self) -> Image.Image | None:
        """The frames that went worst, drawn; None without frames."""

    def save(self, folder: str | os.PathLike[str]) -> list[Path]:
        """Write metrics.json, table.txt and worst.png; their paths."""
        folder = Path(folder).expanduser()
        metrics, table, worst = (folder / name for name in ("metrics.json", "table.txt", "worst.png"))
        write_text(metrics, json_text(self.to_dict(), indent=2) + "\n")
        write_text(table, self.table() + "\n")
        if (sheet := self.worst_sheet()) is None:
            return [metrics, table]
        save_picture(sheet, worst)
        return [metrics, table, worst]


def finite(numbers: dict[str, float]) -> dict[str, float | None]:
    """Numbers for JSON: None for those that are none."""
    return {name: value if value == value else None for name, value in numbers.items()}
