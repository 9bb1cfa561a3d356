"""How the images of an epoch are divided among processes, batches and updates, and divided anew among other processes.

The sampler gives the processes neighbouring images, so an update takes the same images in whatever way they are divided
as long as it takes as many, and so does an epoch.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path

from internimage.checkpoints.folder import BEST_FOLDER
from internimage.errors import TrainingError
from internimage.settings.training import TrainingConfig
from internimage.training.state import Division, Progress, Saved, saved_by


@dataclass(frozen=True)
class Change:
    """A run that goes on.

    Attributes:
        before: how its images were divided when its state was saved.
        now: how they are divided from now on.
    """

    before: Division
    now: Division

    def settings(self, config: TrainingConfig) -> TrainingConfig:
        """A run's settings with what is in effect now; the learning rate, which was scaled already, stays."""
        now = self.now
        return replace(config, batch_size=now.batch_size, accumulate=now.accumulate, lr=now.lr, lr_batch_size=0)

    def converted(self, progress: Progress) -> Progress:
        """Progress in batches of now."""
        before, now = self.before, self.now
        if before == now:
            return progress
        count = round(progress.loss_count * before.batch_size / now.batch_size)
        return replace(
            progress,
            batch=progress.batch * before.images_a_batch // now.images_a_batch,
            loss_sum=progress.loss_sum / max(1, progress.loss_count) * count,
            loss_count=count,
        )

    @property
    def told(self) -> str | None:
        """What is different, for people; None if nothing is."""
        before, now = self.before, self.now
        if before == now:
            return None
        batches = f"{now.accumulate} batches of {now.batch_size} are accumulated"
        if now.accumulate == 1:
            batches = f"each takes a batch of {now.batch_size}"
        return (
            f"resumed with {_processes(now.world)} instead of {before.world}: {batches}, an update takes "
            f"{now.images_an_update} images as before"
        )


def divide(length: int, config: TrainingConfig, world: int) -> Division:
    """As a new run divides its images: what does not fill a batch on each process is left out of an epoch.

    Where there are fewer images than that, some are seen twice, so that each process has a batch.
    """
    size, lr = config.batch_size, config.peak_lr(world)
    if length < size * world:
        return Division(world, -(-length // world), config.accumulate, 1, lr)
    return Division(world, size, config.accumulate, length // world // size, lr)


def divide_anew(before: Division, world: int, batch_size: int) -> Division:
    """As many images an update and an epoch, on ``world`` processes, in batches of at most ``batch_size``.

    Raises:
        TrainingError: they do not divide so.
    """
    common = math.gcd(before.images_an_update, before.images_an_epoch)  # the last update of an epoch may be shorter
    if common % world:
        possible = ", ".join(str(number) for number in range(1, common + 1) if not common % number)
        raise TrainingError(
            f"the run takes {before.images_an_update} images an update and {before.images_an_epoch} an epoch, which "
            f"{_processes(world)} cannot share evenly; resume it with as many as divide both: {possible}"
        )
    each = common // world
    size = next(size for size in range(min(batch_size, each), 0, -1) if not each % size)
    images = size * world
    return Division(world, size, before.images_an_update // images, before.images_an_epoch // images, before.lr)


def going_on(folder: Path, length: int, config: TrainingConfig, world: int) -> Change | None:
    """How the run in ``folder`` goes on with ``world`` processes; None if as it began, or if it has saved nothing yet.

    Args:
        folder: of the run.
        length: training images.
        config: the settings that the run was started with.
        world: processes.

    Raises:
        TrainingError: its state cannot be read, or cannot be divided anew.
    """
    saved = saved_by(folder)
    if saved is None:
        return None
    before = saved.division or divide(length, config, saved.world)
    if saved.world == world:
        return None if before == divide(length, config, world) else Change(before, before)
    if saved.strategy != "ddp":
        raise TrainingError(_divided(folder, saved, world))
    return Change(before, divide_anew(before, world, config.batch_size))


def _divided(folder: Path, saved: Saved, world: int) -> str:
    best = folder / BEST_FOLDER
    weights = f" from its weights with --init {best}" if best.exists() else ""
    return (
        f"{saved.folder} was saved by {_processes(saved.world)} with strategy {saved.strategy}, of which each has its "
        f"part, and only ddp goes on with another number; resume with {saved.world}, or start a new run{weights}"
    )


def _processes(number: int) -> str:
    return f"{number} process{'es' if number > 1 else ''}"
