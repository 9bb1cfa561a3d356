"""Networks of this wing in training: batches and losses."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from internimage.driving.data.frames import Frame, Frames
from internimage.driving.data.preparing import befores, grid_mask
from internimage.driving.sequences.batch import Batch, make_views
from internimage.driving.sequences.dataset import SequenceDataset, SequenceSample
from internimage.driving.sequences.settings import DriveAugmentation

if TYPE_CHECKING:
    from internimage.contracts import Pipeline, Report


class SequenceTask(ABC):
    """What is learnt from frames in a row; the task says what is best and how it is measured.

    Args:
        config: of the network.
        val: the validation frames; their classes are the model's.
        augmentation: see there.
    """

    best: ClassVar[str]
    headline: ClassVar[tuple[str, ...]]
    noun: ClassVar[str]
    """What is found, for messages."""
    ragged = True
    dataset: ClassVar[type[SequenceDataset]] = SequenceDataset
    takes_scene: ClassVar[bool] = False
    """Whether pictures and ground are shown in other ways."""

    def __init__(self, config: Any, val: Frames, augmentation: DriveAugmentation) -> None:
        self.config, self.val, self.augmentation = config, val, augmentation

    @classmethod
    @abstractmethod
    def look_over(cls, part: Frames) -> None:
        """What would end a run, or teach nothing, is said before it starts: a :class:`DataError`."""

    @classmethod
    @abstractmethod
    def targets(cls, config: Any, data: Frames) -> Callable[[Frame], Any]:
        """What a network is to find in a frame of the data; a function that can be pickled."""

    def collate(self, samples: Sequence[SequenceSample]) -> Batch:
        rows = list(zip(*(sample.seen for sample in samples), strict=True))
        before = zip(*(befores([seen.frame for seen in sample.seen]) for sample in samples), strict=True)
        return Batch(
            tuple(make_views(row, last, self.config) for row, last in zip(rows, before, strict=True)),
            tuple(sample.targets for sample in samples),
            tuple(name for sample in samples for name in sample.unreadable),
        )

    def losses(self, losses: Callable[..., dict[str, Tensor]], batch: Batch) -> dict[str, Tensor]:
        *history, last = batch.queue
        if self.augmentation.grid_mask:  # drawn from what the trainer seeded for this batch
            height, width = last.images.shape[-2:]
            mask = grid_mask(height, width, np.random.RandomState(int(torch.randint(2**32, ()))))
            if mask is not None:
                last = replace(last, images=last.images * torch.from_numpy(mask).to(last.images))
        return losses([*history, last], batch.targets, *self.further(last.images.device))

    @classmethod  # noqa: B027
    def fit(cls, model: Any, train: Frames, *, anew: bool) -> None:
        """Tell a model what it begins with, of the training data; ``anew``: it begins with random weights."""

    def prepare(self, train: Frames) -> None:  # noqa: B027
        """Learn of the training data what the losses ask for, once."""

    def further(self, device: torch.device) -> tuple[Any, ...]:
        """What else the losses of the model ask for."""
        return ()

    @abstractmethod
    def pipeline(self, model: Any, *, in_step: bool = False) -> Pipeline: ...

    @abstractmethod
    def report(self, pipeline: Any) -> Report: ...
