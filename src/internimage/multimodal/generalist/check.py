"""Looking at several data sets: each as its own task looks at it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from internimage.contracts import Findings, task_spec
from internimage.multimodal.generalist.data import TASKS, Sets

if TYPE_CHECKING:
    from PIL.Image import Image


@dataclass(frozen=True)
class SetsFindings:
    """What is wrong or odd about each data set.

    Attributes:
        names, findings: of the sets.
    """

    names: tuple[str, ...]
    findings: tuple[Findings, ...]

    @property
    def errors(self) -> bool:
        """Whether training would stumble or learn what is not there."""
        return any(one.errors for one in self.findings)

    def lines(self, name: str) -> list[str]:
        """The findings as text, for a part of this name."""
        pairs = zip(self.names, self.findings, strict=True)
        return [line for own, one in pairs for line in one.lines(f"{name} {own}")]


def check_sets(data: Sets, progress: Callable[[Iterable[Any]], Iterable[Any]]) -> SetsFindings:
    """Findings about a part."""
    found = [task_spec(TASKS[one.kind]).check(one.part, progress) for one in data.sets]
    return SetsFindings(tuple(one.name for one in data.sets), tuple(found))


def sets_sheet(data: Sets) -> Image:
    """The contact sheets of the sets, below each other."""
    from PIL import Image

    sheets = [task_spec(TASKS[one.kind]).sheet(one.part) for one in data.sets]
    whole = Image.new("RGB", (max(one.width for one in sheets), sum(one.height for one in sheets)), "white")
    top = 0
    for sheet in sheets:
        whole.paste(sheet, (0, top))
        top += sheet.height
    return whole
