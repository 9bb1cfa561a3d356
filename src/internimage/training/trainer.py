"""The one trainer: knows optimisation, processes and interruptions; learns everything else from the task."""

from __future__ import annotations

import dataclasses
import math
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, closing, nullcontext
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from internimage.checkpoints.folder import BEST_FOLDER
from internimage.contracts import ONE_TASK, Balance, Task
from internimage.data.dataset import batches, end_workers
from internimage.data.samples import EvaluationSample
from internimage.data.sampling.orders import EachOnce, Order
from internimage.data.sampling.sampler import mix_seed
from internimage.errors import InternImageError, InterruptedRunError, TrainingError
from internimage.factory import save_model
from internimage.inference.blame import explain_losses
from internimage.machine import check_compiler, describe_machine, peak_memory
from internimage.models.model import Model
from internimage.settings.training import TrainingConfig
from internimage.training.distributed import WHOLE, distribute, gathered_weights, share_buffers
from internimage.training.division import Change, divide
from internimage.training.evaluation import evaluate, out_of_patience
from internimage.training.interruption import Interruption, told_of_killed_readers, told_of_lost_processes
from internimage.training.loaders import make_loaders
from internimage.training.optimiser.ema import MovingAverage
from internimage.training.optimiser.making import make_optimizer
from internimage.training.optimiser.schedule import make_schedule
from internimage.training.processes import make_accelerator
from internimage.training.reporting import Clock, Moment, Reporter
from internimage.training.state import Processes, Progress, load_state, newest_checkpoint, save_state
from internimage.training.tracking import check_tracker, start_tracking, write_history

LAST_FOLDER = "final"
_CHECK_SECONDS = 15.0
_CHECK_EVERY = 20  # batches between looks at the loss, each of which waits for the device and the other processes
_SKIPS_IN_A_ROW = 20  # float16's loss scale starts at 2**16 and is halved at each skip


class Trainer:
    """Trains one model on one task.

    Args:
        task: see :class:`internimage.contracts.Task`.
        model: with its initial weights; trained in place.
        train_data, val_data: data sets indexed by :class:`internimage.data.sampling.sampler.SampleKey`.
        config: settings.
        folder: of the run.  Receives ``checkpoints`` (to resume), ``best`` and ``final`` (model folders), and what
            people look at, see :mod:`internimage.training.tracking`.
        reporter: is told of batches and epochs.
        device: "auto" for a GPU if there is one, or "cpu".
        order: which training images an epoch takes; None for each once.
        change: of a run that goes on, maybe with another number of processes; ``config`` is then what is in effect now.
        balance: of the tasks that it learns.
        save: writes the model that is kept into a folder, given its weights; replace it for a module that is not one
            of ours.
    """

    def __init__(
        self,
        task: Task,
        model: Model,
        train_data: Dataset[Any],
        val_data: Dataset[EvaluationSample],
        config: TrainingConfig,
        folder: Path,
        reporter: Reporter,
        *,
        device: str = "auto",
        order: Order | None = None,
        change: Change | None = None,
        balance: Balance = ONE_TASK,
        save: Callable[[nn.Module, Path, Mapping[str, Tensor]], object] = save_model,
    ) -> None:
        self.task, self.balance = task, balance
        self.config = config
        self.folder = folder
        self.reporter = reporter
        self.save = save
        check_tracker(config.track, folder)
        self.accelerator = make_accelerator(config, folder, device=device)
        if config.compile:
            check_compiler(self.accelerator.device)
        rank, world = self.accelerator.process_index, self.accelerator.num_processes
        self.processes = Processes(rank, world, config.strategy, self._all)
        self.change = change
        order = order or EachOnce(len(train_data))  # type: ignore[arg-type]
        self.division = change.now if change else divide(order.length, config, world)
        self.order = order.for_updates(self.division.images_an_update)
        pinned = self.accelerator.device.type == "cuda"
        loaders = make_loaders(
            task, train_data, val_data, config, self.division, order=self.order, rank=rank, pin_memory=pinned
        )
        self.sampler, self.loader, self.val_loader = loaders.sampler, loaders.train, loaders.val
        self.in_step, self.batches = loaders.in_step, self.division.batches
        model.set_drop_path_rate(config.drop_path)
        model.set_gradient_checkpointing(config.gradient_checkpointing)
        self.lr = self.division.lr
        self.model = model
        self.parameters = sum(parameter.numel() for parameter in model.parameters())
        self.images_per_second = 0.0
        self.distribution = distribute(self.accelerator, model, self._optimizer, config)
        self.base_rates = [group["lr"] for group in self.distribution.optimizer.param_groups]
        self.average = MovingAverage(model, config.ema_decay, warmup=config.ema_warmup) if config.ema_decay else None
        self.module = self.distribution.module
        if config.compile and task.ragged:  # what follows a detector's backbone depends on what is in the images
            model.backbone.compile()
        elif config.compile:
            self.module = cast(nn.Module, torch.compile(self.module))
        self.schedule = make_schedule(config, self.batches)
        self.epochs = self.schedule.epochs
        self.progress = Progress()
        self.interruption = Interruption()
        self._saved_at = self._counted_at = time.monotonic()
        self.clock = Clock(len(val_data) / config.batch_size / world)  # type: ignore[arg-type]

    def fit(self, *, resume: bool = False) -> dict[str, Any]:
        """Train to the end and return the last row of the history.

        Raises:
            TrainingError: losses stay not finite, the state cannot be saved or restored.
            ReaderKilledError: the system killed a process that reads images.
            InterruptedRunError: SIGINT or SIGTERM; the state was saved first.  A second signal stops at once.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        if resume:
            self._restore()
        start_tracking(self.accelerator, self.config.track, self.folder)
        try:
            lost = told_of_lost_processes(self.folder)
            with self.interruption.caught(), lost, told_of_killed_readers(self.folder):
                while self.progress.epoch < self.epochs and not self._is_enough():
                    with closing(batches(self.loader)) as epoch:
                        self._train_epoch(epoch)
                    self._finish_epoch()
        finally:
            end_workers(self.loader, self.val_loader)
        with self._averaged():
            self._keep(LAST_FOLDER)
        for tracker in self.accelerator.trackers:
            tracker.finish()
        return self.progress.history[-1]

    def evaluate(self) -> dict[str, float]:
        """Metrics of the moving average, if there is one, over the validation data, every image counted once."""
        with self._averaged():
            share_buffers(self.model)
            divided = self.config.strategy not in WHOLE
            return evaluate(
                self.task, self.model, self.val_loader, self.accelerator, in_step=self.in_step, divided=divided
            )

    def summary(self) -> dict[str, Any]:
        """The run in a few numbers, as plain data for JSON."""
        state, config = self.progress, self.config
        best = max(state.history, key=lambda row: row.get(self.task.best, -math.inf), default=None)
        return {
            "finished": state.epoch == self.epochs or self._is_enough(),
            "epochs": state.epoch,
            "updates": state.update,
            "best": best,
            "last": state.history[-1] if state.history else None,
            "parameters": self.parameters,
            "images": len(self.loader.dataset),  # type: ignore[arg-type]
            "images_an_update": config.images_an_update(self.accelerator.num_processes),
            "peak_lr": self.lr,
            "processes": self.accelerator.num_processes,
            "strategy": config.strategy,
            "precision": config.precision,
            "images_per_second": self.images_per_second,
            "peak_memory_bytes": peak_memory(self.accelerator.device),
            "machine": dataclasses.asdict(describe_machine(self.accelerator.device)),
        }

    def _optimizer(self, model: Model) -> torch.optim.Optimizer:
        made = make_optimizer(model, self.config, self.lr, self.balance.shares)
        self.balanced = made if self.config.optimizer == "task-balanced" else None
        return made

    def _train_epoch(self, epoch: Iterator[Any]) -> None:
        state, config = self.progress, self.config
        self.sampler.epoch = state.epoch
        self.sampler.skip = state.batch * self.division.batch_size
        self.module.train()
        # float32 losses add up in float64 without rounding, so it does not matter where an interruption divides the sum
        device = self.accelerator.device
        running = torch.zeros(2, dtype=torch.float32 if device.type == "mps" else torch.float64, device=device)
        counted, self._counted_at = 0, time.monotonic()
        batches_now = self.batches if state.epoch + 1 < self.epochs else self.schedule.last_batches
        for batch in epoch:
            # dropout, stochastic depth and mixing draw from this; so nothing random has to be saved
            torch.manual_seed(mix_seed(config.seed + self.accelerator.process_index, state.epoch, 1 + state.batch))
            last = state.batch + 1 == batches_now
            updates = last or (state.batch + 1) % config.accumulate == 0
            loss = self._step(batch.to(self.accelerator.device), updates)
            finite = loss.isfinite()
            running += torch.stack([torch.where(finite, loss, 0.0), finite.to(loss.dtype)])
            counted += 1
            state.batch += 1
            state.unreadable += len(batch.unreadable)
            # gradients of an unfinished accumulation are not saved, so a state is saved between updates only
            save = updates and self._asked()
            if last or save or (updates and self._due(counted)):
                self._count(running, counted)
                counted = 0
                running.zero_()
            if save and not last:
                self._save()
                self._stop_if_asked()
            if last:
                break

    def _step(self, batch: Any, updates: bool) -> Tensor:
        """Forward, backward and, at the end of an accumulation, one update; returns the detached loss."""
        state, config = self.progress, self.config
        factor = self.schedule.factor(state.update)
        for group, rate in zip(self.distribution.optimizer.param_groups, self.base_rates, strict=True):
            group["lr"] = rate * factor
        with self.distribution.accumulating(updates):
            with self.accelerator.autocast():
                losses = self.task.losses(self.module, batch)
            loss = torch.stack(list(losses.values())).sum()
            self.distribution.backward(loss / config.accumulate)
        if updates:
            self._update(losses, batch)
        return loss.detach()

    def _update(self, losses: Mapping[str, Tensor], batch: Any) -> None:
        """One update, after the backward pass of ``losses`` of ``batch``."""
        state = self.progress
        state.update += 1
        if self.balanced is not None:
            self.balanced.task = self.balance.task_of(batch)  # type: ignore[attr-defined]
        if self.distribution.step():
            state.skipped_in_a_row = 0
            self.model.after_update(state.update / self.schedule.updates)
            if self.average:
                self.average.update()
            return
        state.skipped += 1
        state.skipped_in_a_row += 1
        if state.skipped_in_a_row == _SKIPS_IN_A_ROW:
            with self.accelerator.autocast():
                why = explain_losses(losses, self.model, lambda: self.task.losses(self.module, batch))
            raise TrainingError(
                f"the gradient was not finite {_SKIPS_IN_A_ROW} updates in a row, up to epoch {state.epoch + 1}, batch "
                f"{state.batch + 1}: {why}; lower the learning rate (lr {self.lr:.3g}) or use precision bf16 or no. "
                "The last saved state is intact"
            )

    def _asked(self) -> bool:
        """Whether to save a state now, on all processes alike: it is time, or one of them was asked to stop."""
        due = time.monotonic() - self._saved_at > self.config.checkpoint_minutes * 60
        if self.accelerator.num_processes == 1:
            return due or self.interruption.asked is not None
        mine = torch.tensor([float(self.interruption.asked is not None), float(due)], device=self.accelerator.device)
        stop, save = self.accelerator.reduce(mine, "sum").tolist()
        if stop and self.interruption.asked is None:
            self.interruption.asked = signal.SIGTERM
        return bool(stop or save)

    def _is_enough(self) -> bool:
        return out_of_patience(self.progress.history, self.task.best, self.config.patience)

    def _due(self, batches: int) -> bool:
        """Whether it is time for a look at the loss; one process alone also looks after a while."""
        slow = self.accelerator.num_processes == 1 and time.monotonic() - self._counted_at > _CHECK_SECONDS
        return slow or batches >= _CHECK_EVERY

    def _count(self, running: Tensor, batches: int) -> None:
        """Add up what all processes saw in the last ``batches``, and report."""
        state, now = self.progress, time.monotonic()
        several = self.accelerator.num_processes > 1
        loss_sum, finite = (self.accelerator.reduce(running, "sum") if several else running).tolist()
        state.loss_sum += loss_sum
        state.loss_count += int(finite)
        seconds, self._counted_at = now - self._counted_at, now
        self.clock.trained(batches, seconds)
        self.images_per_second = batches * self.division.images_a_batch / seconds
        if self.accelerator.is_main_process:
            moment = Moment(
                state.epoch,
                self.epochs,
                state.batch,
                self.batches,
                state.update,
                loss_sum / finite if finite else math.nan,
                self.lr * self.schedule.factor(state.update),
                self.images_per_second,
                peak_memory(self.accelerator.device),
                self.clock.left(
                    *self.schedule.rest(state.epoch, state.batch, self.batches, self.config.evaluate_every)
                ),
            )
            self.reporter.batch(moment)
            seen = {"batch/loss": moment.loss, "batch/lr": moment.lr, "images_per_second": moment.images_per_second}
            self.accelerator.log(seen, step=state.update)

    def _finish_epoch(self) -> None:
        state = self.progress
        done = state.epoch + 1
        if done % self.config.evaluate_every and done < self.epochs:
            state.epoch, state.batch = done, 0  # losses add up until the next evaluation
            self._save()
            self._stop_if_asked()
            return
        started = time.monotonic()
        metrics = self.evaluate()
        row: dict[str, Any] = {
            "epoch": state.epoch + 1,
            "loss": state.loss_sum / state.loss_count if state.loss_count else math.nan,
            "lr": self.lr * self.schedule.factor(state.update),
            "unreadable": state.unreadable,
            "skipped": state.skipped,
            **metrics,
        }
        value = metrics.get(self.task.best)
        improved = value is not None and (state.best is None or value > state.best)
        state.best = value if improved else state.best
        state.history.append(row)
        state.epoch += 1
        state.batch = state.loss_count = state.unreadable = state.skipped = 0
        state.loss_sum = 0.0
        if improved:
            with self._averaged():
                self._keep(BEST_FOLDER)
        self.on_main(lambda: write_history(self.folder, state.history, self.summary(), self.task.best))
        self.accelerator.log({name: value for name, value in row.items() if name != "epoch"}, step=state.update)
        if self.accelerator.is_main_process:
            self.reporter.epoch(row, improved, self.task.headline)
        self._save()
        self.clock.measured(time.monotonic() - started)
        if state.epoch < self.epochs:
            self._stop_if_asked()

    def _averaged(self) -> AbstractContextManager[Any]:
        """Within it the model has the weights that are evaluated and kept."""
        return self.average.applied() if self.average else nullcontext()

    def _keep(self, name: str) -> None:
        weights = gathered_weights(self.model, keep=self.accelerator.is_main_process)
        self.on_main(lambda: self.save(self.model, self.folder / name, weights))

    def on_main(self, write: Callable[[], object]) -> None:
        """Write on the main process; if that fails, no other process waits for it, and all raise an error."""
        failure: InternImageError | None = None
        if self.accelerator.is_main_process:
            try:
                write()
            except InternImageError as error:
                failure = error
            except OSError as error:
                failure = TrainingError(f"cannot write into {self.folder}: {error}; what was saved before is intact")
        if not self._all(failure is None):
            raise failure or TrainingError("the main process could not write the run's files")

    def _save(self) -> None:
        parts = self.distribution.state()
        if parts and self.average:
            parts |= {"average": self.average.tensors, "average_updates": self.average.updates}
        save_state(self.folder, self.progress, parts, self.processes, self.division, self.config.keep_checkpoints)
        self._saved_at = time.monotonic()

    def _restore(self) -> None:
        if newest_checkpoint(self.folder) is None:
            return  # killed before the first state was saved
        world = self.change.before.world if self.change else self.division.world
        self.progress, parts = load_state(self.folder, dataclasses.replace(self.processes, world=world))
        if self.change:
            self.progress = self.change.converted(self.progress)
        self.distribution.load(parts)
        if self.average:
            self.average.load(parts["average"], parts["average_updates"])

    def _all(self, mine: bool) -> bool:
        if self.accelerator.num_processes == 1:
            return mine
        votes = self.accelerator.reduce(torch.tensor(float(mine), device=self.accelerator.device), "sum")
        return int(votes) == self.accelerator.num_processes

    def _stop_if_asked(self) -> None:
        if self.interruption.asked is not None:
            asked = self.interruption.asked
            raise InterruptedRunError(f"stopped by {asked.name} after saving", asked)
