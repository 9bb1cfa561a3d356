"""The one trainer: knows optimisation, processes and interruptions; learns everything else from the task.

Distribution, mixed precision and gradient accumulation are Accelerate's.
"""

from __future__ import annotations

import csv
import math
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, Protocol

import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset

from internimage.backbones.internimage import InternImage
from internimage.checkpoints.folder import written_aside
from internimage.data.dataset import EpochSampler, mix_seed
from internimage.errors import InterruptedRunError, MissingExtraError, TrainingError
from internimage.factory import save_model
from internimage.tasks.task import Task
from internimage.training.config import TrainingConfig
from internimage.training.ema import MovingAverage
from internimage.training.groups import parameter_groups, parameter_rules
from internimage.training.schedule import warmup_cosine
from internimage.training.state import Progress, load_state, save_state

BEST_FOLDER = "best"
LAST_FOLDER = "final"
METRICS_FILE = "metrics.csv"
_CHECK_EVERY = 20  # batches between looks at the loss, each of which waits for the device


class Reporter(Protocol):
    """Where the trainer tells what it does; called on the main process alone."""

    def batch(self, epoch: int, batch: int, batches: int, loss: float, lr: float) -> None: ...
    def epoch(self, row: dict[str, Any], improved: bool) -> None: ...


class Trainer:
    """Trains one model on one task.

    Args:
        task: see :class:`internimage.tasks.task.Task`.
        model: with its initial weights; trained in place.
        train_data, val_data: data sets indexed by :class:`internimage.data.dataset.SampleKey`.
        config: settings.
        folder: of the run.  Receives ``last.pt`` (to resume), ``metrics.csv``, ``best`` and ``final`` (model folders).
        reporter: is told of every batch and epoch.
        cpu: stay on the CPU even where there is a GPU.
        save: writes the model that is kept into a folder; replace it for a module that is not one of ours.
    """

    def __init__(
        self,
        task: Task[Any, Any, Any],
        model: nn.Module,
        train_data: Dataset[Any],
        val_data: Dataset[Any],
        config: TrainingConfig,
        folder: Path,
        reporter: Reporter,
        *,
        cpu: bool = False,
        save: Callable[[nn.Module, Path], object] = save_model,
    ) -> None:
        try:
            from accelerate import Accelerator
            from accelerate.utils import DataLoaderConfiguration
        except ImportError as error:
            raise MissingExtraError("training needs Accelerate: pip install 'internimage[train]'") from error
        self.task = task
        self.config = config
        self.folder = folder
        self.reporter = reporter
        self.save = save
        self.accelerator = Accelerator(
            mixed_precision=config.precision,
            gradient_accumulation_steps=config.accumulate,
            cpu=cpu,
            dataloader_config=DataLoaderConfiguration(even_batches=True),
        )
        rank, world = self.accelerator.process_index, self.accelerator.num_processes
        length, val_length = len(train_data), len(val_data)  # type: ignore[arg-type]
        self.sampler = EpochSampler(length, config.seed, shuffle=True)
        val_sampler = EpochSampler(val_length, config.seed, shuffle=False, rank=rank, world=world)
        whole = length >= config.batch_size * world
        self.val_loader = self._loader(val_data, val_sampler, drop_last=False)
        loader = self._loader(train_data, self.sampler, drop_last=whole)
        for module in model.modules():
            if isinstance(module, InternImage):
                module.set_drop_path_rate(config.drop_path)
                module.set_gradient_checkpointing(config.gradient_checkpointing)
        self.lr = config.peak_lr(world)
        rules = parameter_rules(
            model,
            weight_decay=config.weight_decay,
            layer_decay=config.layer_decay,
            deformable_lr_scale=config.deformable_lr_scale,
            as_published=config.published_groups,
        )
        optimizer = torch.optim.AdamW(parameter_groups(model, rules, self.lr))  # type: ignore[arg-type]
        self.base_rates = [group["lr"] for group in optimizer.param_groups]
        # accelerate's tracing hook is not wanted: compile by hand, so that the averaged model stays a plain module
        self.model = model.to(self.accelerator.device)
        self.average = MovingAverage(self.model, config.ema_decay) if config.ema_decay else None
        self.wrapped, self.optimizer, self.loader = self.accelerator.prepare(
            self.model, optimizer, loader, device_placement=[True, True, False]
        )
        if config.compile:
            self.wrapped = torch.compile(self.wrapped)
        self.updates_per_epoch = math.ceil(len(self.loader) / config.accumulate)
        self.factor = warmup_cosine(
            config.epochs * self.updates_per_epoch,
            round(config.warmup_epochs * self.updates_per_epoch),
            start=config.warmup_start,
            end=config.end_lr,
        )
        self.progress = Progress()
        self._stop: signal.Signals | None = None
        self._saved_at = time.monotonic()

    def fit(self, *, resume: bool = False) -> dict[str, Any]:
        """Train to the end and return the last row of the history.

        Raises:
            TrainingError: the loss is not finite, the state cannot be saved or restored.
            InterruptedRunError: SIGINT or SIGTERM; the state was saved first.  A second signal stops at once.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        if resume:
            self._restore()
        with self._signals():
            while self.progress.epoch < self.config.epochs:
                self._train_epoch()
                self._finish_epoch()
        if self.accelerator.is_main_process:
            self.save(self.evaluated, self.folder / LAST_FOLDER)
        return self.progress.history[-1]

    @property
    def evaluated(self) -> nn.Module:
        """The model that is evaluated and kept: the moving average if there is one."""
        return self.average.model if self.average else self.model

    def evaluate(self) -> dict[str, float]:
        """Metrics over the validation data, every image counted once over all processes."""
        return evaluate(self.task, self.evaluated, self.val_loader, self.accelerator)

    def _loader(self, data: Dataset[Any], sampler: EpochSampler, *, drop_last: bool) -> DataLoader[Any]:
        return DataLoader(
            data,
            batch_size=self.config.batch_size,
            sampler=sampler,
            drop_last=drop_last,
            num_workers=self.config.workers,
            collate_fn=self.task.collate,
            persistent_workers=self.config.workers > 0,
            pin_memory=self.accelerator.device.type == "cuda",
        )

    def _train_epoch(self) -> None:
        state, config = self.progress, self.config
        self.sampler.epoch = state.epoch
        self.wrapped.train()
        batches = len(self.loader)
        loader = self.accelerator.skip_first_batches(self.loader, state.batch) if state.batch else self.loader
        # one running sum an epoch, carried over interruptions, so that even its rounding is reproduced
        running = torch.tensor(state.loss_sum, dtype=torch.float64, device=self.accelerator.device)
        counted = 0
        for batch in loader:
            # dropout, stochastic depth and mixing draw from this; so nothing random has to be saved
            torch.manual_seed(mix_seed(config.seed + self.accelerator.process_index, state.epoch, 1 + state.batch))
            running += self._step(batch.to(self.accelerator.device))
            counted += 1
            state.batch += 1
            state.unreadable += len(batch.unreadable)
            last = state.batch == batches
            # gradients of an unfinished accumulation are not saved, so a state is saved between updates only
            save = not last and self.accelerator.sync_gradients and (self._stop is not None or self._save_due())
            if counted == _CHECK_EVERY or last or save:
                self._count(running, counted)
                counted = 0
            if save:
                self._save()
                self._stop_if_asked()

    def _step(self, batch: Any) -> torch.Tensor:
        """Forward, backward and, at the end of an accumulation, one update; returns the detached loss."""
        state, config = self.progress, self.config
        factor = self.factor(state.update)
        for group, rate in zip(self.optimizer.param_groups, self.base_rates, strict=True):
            group["lr"] = rate * factor
        with self.accelerator.accumulate(self.wrapped):
            with self.accelerator.autocast():
                losses = self.task.losses(self.wrapped, batch)
            loss = torch.stack(list(losses.values())).sum()
            self.accelerator.backward(loss)
            if self.accelerator.sync_gradients:
                if config.clip_norm:
                    self.accelerator.clip_grad_norm_(self.wrapped.parameters(), config.clip_norm)
                state.update += 1
            self.optimizer.step()
            self.optimizer.zero_grad()
        if self.average and self.accelerator.sync_gradients:
            self.average.update(self.model)
        return loss.detach()

    def _count(self, running: torch.Tensor, batches: int) -> None:
        """Look at the epoch's running loss after some ``batches``: this waits for the device, so not after each."""
        state = self.progress
        total = float(running)
        if not math.isfinite(total):
            raise TrainingError(
                f"the loss is not finite in epoch {state.epoch + 1}, batch {state.batch}; lower the learning rate "
                f"(lr {self.lr:.3g}) or use precision bf16 or no. The last saved state is intact"
            )
        recent = (total - state.loss_sum) / batches
        state.loss_sum = total
        state.loss_count += batches
        if self.accelerator.is_main_process:
            lr = self.lr * self.factor(state.update)
            self.reporter.batch(state.epoch, state.batch, len(self.loader), recent, lr)

    def _finish_epoch(self) -> None:
        state = self.progress
        metrics = self.evaluate()
        row: dict[str, Any] = {
            "epoch": state.epoch + 1,
            "loss": state.loss_sum / max(1, state.loss_count),
            "lr": self.lr * self.factor(state.update),
            "unreadable": state.unreadable,
            **metrics,
        }
        value = metrics.get(self.task.best)
        improved = value is not None and (state.best is None or value > state.best)
        state.best = value if improved else state.best
        state.history.append(row)
        state.epoch += 1
        state.batch = state.loss_count = state.unreadable = 0
        state.loss_sum = 0.0
        if self.accelerator.is_main_process:
            if improved:
                self.save(self.evaluated, self.folder / BEST_FOLDER)
            self._write_metrics()
            self.reporter.epoch(row, improved)
        self._save()
        if state.epoch < self.config.epochs:
            self._stop_if_asked()

    def _write_metrics(self) -> None:
        with written_aside(self.folder / METRICS_FILE) as aside, aside.open("w", newline="") as file:
            writer = csv.DictWriter(file, fieldnames=list(self.progress.history[0]))
            writer.writeheader()
            writer.writerows(self.progress.history)

    def _save_due(self) -> bool:
        return time.monotonic() - self._saved_at > self.config.checkpoint_minutes * 60

    def _save(self) -> None:
        if self.accelerator.is_main_process:
            scaler = self.accelerator.scaler
            save_state(
                self.folder,
                self.progress,
                {
                    "model": self.model.state_dict(),
                    "average": self.average.model.state_dict() if self.average else None,
                    "average_updates": self.average.updates if self.average else 0,
                    "optimizer": self.optimizer.state_dict(),
                    "scaler": scaler.state_dict() if scaler is not None else None,
                },
            )
        self._saved_at = time.monotonic()
        self.accelerator.wait_for_everyone()

    def _restore(self) -> None:
        self.progress, parts = load_state(self.folder)
        self.model.load_state_dict(parts["model"])
        self.optimizer.load_state_dict(parts["optimizer"])
        if self.average:
            self.average.model.load_state_dict(parts["average"])
            self.average.updates = parts["average_updates"]
        if self.accelerator.scaler is not None:
            self.accelerator.scaler.load_state_dict(parts["scaler"])

    def _stop_if_asked(self) -> None:
        if self._stop is not None:
            raise InterruptedRunError(f"stopped by {self._stop.name} after saving")

    @contextmanager
    def _signals(self) -> Iterator[None]:
        """First SIGINT or SIGTERM: finish the batch and save.  Second: the usual, at once."""
        caught = (signal.SIGINT, signal.SIGTERM)
        try:
            previous: dict[int, Any] = {number: signal.getsignal(number) for number in caught}

            def request(number: int, frame: FrameType | None) -> None:
                self._stop = signal.Signals(number)
                for other in caught:
                    signal.signal(other, previous[other])

            for number in caught:
                signal.signal(number, request)
        except ValueError:  # not in the main thread, where signals cannot be handled
            yield
            return
        try:
            yield
        finally:
            for number in caught:
                signal.signal(number, previous[number])


def evaluate(
    task: Task[Any, Any, Any], model: nn.Module, loader: DataLoader[Any], accelerator: Any
) -> dict[str, float]:
    """Metrics of a model over the batches of this process, merged over all processes."""
    model.eval()
    metric = task.metric()
    for batch in loader:
        metric.update(task.predict(model, batch), batch)
    if accelerator.num_processes > 1:
        from accelerate.utils import gather_object

        metric.merge(gather_object([metric.state()]))
    return metric.compute()
