"""The loaders of a run: this process's part of the training and of the validation images."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch.utils.data import DataLoader, Dataset, Sampler

from internimage.contracts import Task
from internimage.data.samples import EvaluationSample
from internimage.data.sampling.orders import Order
from internimage.data.sampling.sampler import EpochSampler, SampleKey, SequenceSampler
from internimage.settings.training import TrainingConfig
from internimage.training.distributed import WHOLE
from internimage.training.interruption import reading_process
from internimage.training.state import Division


@dataclass(frozen=True)
class Loaders:
    """Where a run's batches come from.

    Attributes:
        sampler: of the training images; its ``epoch`` and ``skip`` are set before each epoch.
        train, val: batches of samples.
        in_step: whether processes have to make as many forward passes in evaluation, because they share the model.
    """

    sampler: EpochSampler
    train: DataLoader[Any]
    val: DataLoader[Any]
    in_step: bool


def make_loaders(
    task: Task,
    train_data: Dataset[Any],
    val_data: Dataset[EvaluationSample],
    config: TrainingConfig,
    division: Division,
    *,
    order: Order,
    rank: int,
    pin_memory: bool,
) -> Loaders:
    """Loaders of the process ``rank``: training images in ``order``; each validation image is seen by one process."""
    val_length = len(val_data)  # type: ignore[arg-type]
    world, share = division.world, division.batches * division.batch_size
    sampler = EpochSampler(order, config.seed, shuffle=True, rank=rank, world=world, share=share)
    val_sampler: Sampler[SampleKey] = EpochSampler(val_length, config.seed, shuffle=False, rank=rank, world=world)
    if (lengths := getattr(val_data, "sequences", None)) is not None:
        val_sampler = SequenceSampler(lengths, rank=rank, world=world)
    alone = task.ragged and config.strategy not in WHOLE

    def loader(data: Dataset[Any], order: Sampler[SampleKey], size: int, collate: Callable[[list[Any]], Any]) -> Any:
        return DataLoader(
            data,
            batch_size=size,
            sampler=order,
            num_workers=config.workers,
            collate_fn=collate,
            persistent_workers=config.workers > 0,
            pin_memory=pin_memory,
            worker_init_fn=reading_process(),
        )

    val = loader(val_data, val_sampler, 1 if alone else config.batch_size, list)
    return Loaders(sampler, loader(train_data, sampler, division.batch_size, task.collate), val, alone and world > 1)
