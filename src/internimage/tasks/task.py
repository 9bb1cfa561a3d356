"""What the trainer knows of a task, and nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, TypeVar

from PIL import Image
from torch import Tensor, nn

SampleT = TypeVar("SampleT", contravariant=True)
BatchT = TypeVar("BatchT")
ResultT = TypeVar("ResultT")


class Metric(Protocol):
    """Running evaluation.  ``state`` of several processes is merged with :meth:`merge`, each image counted once."""

    def update(self, results: Sequence[Any], batch: Any) -> None: ...
    def state(self) -> Any: ...
    def merge(self, states: Sequence[Any]) -> None: ...
    def compute(self) -> dict[str, float]: ...


class Task(Protocol[SampleT, BatchT, ResultT]):
    """A task: from samples to batches, to losses, to results, to numbers, to pictures."""

    best: str
    """Name of the metric that decides which weights are kept; larger is better."""

    ragged: bool
    """Whether images of a batch may differ in size, so that a batch is more than one forward pass."""

    in_step: bool
    """Set by the trainer where processes wait for each other in every forward pass: ``predict`` of one image then takes
    as many as that of the others."""

    def collate(self, samples: Sequence[SampleT]) -> BatchT: ...
    def losses(self, model: nn.Module, batch: BatchT) -> dict[str, Tensor]: ...
    def predict(self, model: nn.Module, batch: BatchT) -> list[ResultT]: ...
    def metric(self) -> Metric: ...
    def draw(self, result: ResultT) -> Image.Image: ...
