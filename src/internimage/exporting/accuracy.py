"""What a file in fewer bits is worth, on labelled pictures.  No torch."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from internimage.contracts import TaskSpec
from internimage.data.splits import Follow
from internimage.errors import DataError
from internimage.inference.evaluation import evaluate_part, refuse_other_data
from internimage.inference.runner import Runner
from internimage.settings.data import DataOptions

_LEAST = 50  # pictures that tell
_POINT = 0.01  # of accuracy or average precision that may be lost


@dataclass(frozen=True)
class LowPrecision:
    """Products in fewer bits.

    Attributes:
        dtype: "int8", for CPUs, or "float16", for GPUs.
        data: labelled pictures as for training.  On its validation part, or another of at least 50 pictures, the file
            is measured; on its training part, of int8, the ranges of activations.
        dynamic: measure those each time the file runs instead; convolutions stay float.
        pictures: how many ranges are measured on.
        accept: write the file although it loses more than a point.
    """

    dtype: Literal["int8", "float16"]
    data: str | os.PathLike[str]
    dynamic: bool = False
    pictures: int = 100
    accept: bool = False


@dataclass(frozen=True)
class Split:
    """Pictures to measure ranges on, and those, a part of this name, to measure accuracy on."""

    ranges: Any
    measured: Any
    name: str


@dataclass(frozen=True)
class Accuracy:
    """What a file is worth beside its model.

    Attributes:
        part, pictures: what both were measured on.
        before, after: of the model and of the file, 0 to 1 by name.
        accepted: whether it is good whatever it loses.
    """

    part: str
    pictures: int
    before: Mapping[str, float]
    after: Mapping[str, float]
    accepted: bool

    @property
    def agrees(self) -> bool:
        losses = [self.before[name] - self.after[name] for name in self.before]
        return self.accepted or (bool(losses) and all(loss <= _POINT for loss in losses))  # NaN is not

    @property
    def refusal(self) -> str:
        return "more than a point is lost (--accept, in Python accept=True, writes it anyway)"

    def table(self) -> str:
        """A line for each number."""
        lines = [f"  {name}  {self.before[name]:.1%} before, {self.after[name]:.1%} after" for name in self.before]
        return "\n".join([f"measured on {self.pictures} pictures ({self.part}):", *lines])


def read_split(spec: TaskSpec, data: str | os.PathLike[str]) -> Split:
    """The pictures that say what fewer bits cost.

    Raises:
        DataError: the data are of another task, or no part has enough pictures.
    """
    root = Path(data).expanduser()
    refuse_other_data(spec, root)
    usual = DataOptions(allow_left_out=True)
    parts = {name: part.usable(usual) for name, part in spec.read_parts(root, None, usual).items()}
    order = [name for name in ("val", "test", *parts) if name in parts]
    name = next((name for name in order if len(parts[name]) >= _LEAST), None)
    if name is None:
        raise DataError(
            f"{root} has at most {max(map(len, parts.values()))} labelled pictures in a part; what fewer bits cost "
            f"is told by {_LEAST} or more"
        )
    return Split(parts.get("train", parts[name]), parts[name], name)


def check_accuracy(
    model: Runner, exported: Runner, split: Split, metrics: Sequence[str], accept: bool, follow: Follow
) -> Accuracy:
    """Measure both on the same pictures."""

    def measured(runner: Runner, what: str) -> dict[str, float]:
        entries = len(split.measured)
        report = evaluate_part(runner, split.measured, progress=lambda some: follow(some, entries, what))
        return {name: value for name, value in report.compute().items() if name in metrics}

    before, after = measured(model, "measuring the model"), measured(exported, "measuring the file")
    return Accuracy(split.name, len(split.measured), before, after, accept)
