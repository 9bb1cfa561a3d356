"""A run: from a data folder and a model to a trained model folder."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

from internimage.checkpoints.folder import BEST_FOLDER
from internimage.contracts import Prepared, task_spec
from internimage.data.dataset import EvaluationDataset
from internimage.data.sampling.orders import training_order
from internimage.data.splits import SET_ASIDE, changes
from internimage.errors import TrainingError
from internimage.machine import trains_on_cpu
from internimage.settings.data import DataOptions
from internimage.settings.depth import Depth
from internimage.settings.training import RunConfig, TrainingConfig
from internimage.training.beginning import (
    RUN_FILE,
    WEIGHTS_CLASSES,
    begun_with,
    known_data,
    read_run,
    read_splits,
    run_recipe,
    splits_of_all,
    write_beginning,
    write_run,
)
from internimage.training.console import ConsoleReporter
from internimage.training.division import going_on
from internimage.training.initial import SAVED_STATE, known_classes, leave_out_unreadable
from internimage.training.interruption import told_of_lost_processes
from internimage.training.processes import make_accelerator, started_processes
from internimage.training.reporting import Reporter
from internimage.training.state import RunLock, newest_checkpoint
from internimage.training.telling import tell
from internimage.training.tracking import SUMMARY_FILE
from internimage.training.trainer import LAST_FOLDER, Trainer
from internimage.training.usual import choose, usual_settings


@dataclass(frozen=True)
class Run:
    """A run that has ended.

    Attributes:
        folder: what it wrote.
        history: a row of numbers for each evaluation.
    """

    folder: Path
    history: tuple[dict[str, Any], ...]

    @property
    def best(self) -> Path:
        """The model folder with the best evaluation."""
        return self.folder / BEST_FOLDER

    @property
    def final(self) -> Path:
        """The model folder of the last weights."""
        return self.folder / LAST_FOLDER

    @property
    def summary(self) -> dict[str, Any]:
        """The run in a few numbers."""
        content: dict[str, Any] = json.loads((self.folder / SUMMARY_FILE).read_text(encoding="utf-8"))
        return content


@dataclass(frozen=True)
class Started:
    """A run that is ready to train.

    Attributes:
        config: what it was asked to do.
        folder: where it writes.
        trainer, prepared: see there.
        resumed: whether it goes on from a saved state.
        noun: what its task calls the model.
        classes: of the initial weights, with which those of the data went together by name; None for none.
        lock: of the folder, on the main process.
    """

    config: RunConfig
    folder: Path
    trainer: Trainer
    prepared: Prepared
    resumed: bool
    noun: str
    classes: tuple[str, ...] | None = None
    lock: RunLock | None = None

    def fit(self) -> Run:
        """Train to the end; see :meth:`internimage.training.trainer.Trainer.fit` for what it raises."""
        try:
            self.trainer.fit(resume=self.resumed)
        finally:
            self.trainer.reporter.close()
            if self.lock is not None:
                self.lock.release()
        return Run(self.folder, tuple(self.trainer.progress.history))


def train(
    data: str | os.PathLike[str],
    *,
    model: str | os.PathLike[str] | Any | None = None,
    recipe: str | None = None,
    init: str | os.PathLike[str] | None = None,
    output: str | os.PathLike[str] | None = None,
    size: int | None = None,
    epochs: int | None = None,
    batch_size: int | None = None,
    lr: float | None = None,
    freeze: int = 0,
    linear_probe: bool = False,
    max_objects: int | None = None,
    val_fraction: float = 0.2,
    channels: int | None = None,
    depth: Depth | None = None,
    on_corrupt: Literal["error", "skip"] = "error",
    reading: DataOptions | None = None,
    training: TrainingConfig | None = None,
    augmentation: Any | None = None,
    device: str = "auto",
    reporter: Reporter | None = None,
) -> Run:
    """Train or fine-tune a model on your own images, as ``internimage train`` does.

    Args:
        data: folder, table or archive; decides the task if no model is named.
        model: a name of :func:`internimage.list_models`, a model folder, or a configuration of your own such as
            ``MaskRCNNConfig(...)``; None for a small model of the data's task.
        recipe: train with the published settings of this model; the other arguments override them.
        init: "scratch" (the default), "pretrained", another released name, a file or a model folder.
        output: folder of the run; by default ``runs/NAME-OF-DATA``.
        size: side of the images in pixels, for detectors and segmenters the shorter side in evaluation.
        epochs, batch_size, lr: the most common settings; None for what suits model and data.
        freeze: freeze the stem and this many stages of the backbone.
        linear_probe: train only the classifier.
        max_objects: greatest number of objects that a detector reports of an image; None for the model's own.
        val_fraction: share of the images to validate on if there is no validation part.
        channels: of the images, such as 4 for RGB and infrared or 1 for grey; None for the model's own.
        depth: how pixels of more than 8 bits are read, such as ``Depth(range=(0, 4095))`` for 12 bits.
        on_corrupt: "error" or "skip" for files that cannot be read.
        reading: how annotations are read, such as ``DataOptions(crowds="learn")``.
        training: all settings; None for what suits model and data.
        augmentation: of the model's task, such as :class:`internimage.settings.detection.DetectionAugmentation`.
        device: "auto" for a GPU if there is one, or "cpu".
        reporter: receives progress; by default lines and a progress bar on the console.

    Returns:
        The run; ``run.best`` is a model folder for ``Predictor``, ``evaluate`` and every command.

    Raises:
        TrainingError: the folder holds a run already, or training cannot go on; what was saved is intact.
        InterruptedRunError: Ctrl-C or SIGTERM, after the state was saved; :func:`resume` goes on.
        DataError, CheckpointError, ConfigError: the data, the weights or the settings do not work.
    """
    root = Path(data).expanduser().resolve()
    choice = choose(root, model, recipe, None if init is None else str(init))
    start = str(init) if init is not None else choice.init
    usual, varied = usual_settings(choice, root, start, size)
    changes = {"epochs": epochs, "batch_size": batch_size, "lr": lr}
    given = {name: value for name, value in changes.items() if value is not None}
    chosen = replace(training or usual, **given)  # type: ignore[arg-type]
    if epochs is not None:
        chosen = chosen.in_epochs()
    config = RunConfig(
        data=str(root),
        model=choice.plain,
        init=start,
        size=size,
        freeze=freeze,
        linear_probe=linear_probe,
        max_objects=max_objects,
        val_fraction=val_fraction,
        channels=channels,
        depth=depth,
        on_corrupt=on_corrupt,
        reading=reading or DataOptions(),
        augmentation=varied if augmentation is None else augmentation,
        training=chosen,
    )
    folder = Path(output).expanduser() if output is not None else default_folder(root)
    started = start_run(config, folder, reporter or ConsoleReporter(), device=device)
    tell(started, usual)
    return started.fit()


def resume(
    folder: str | os.PathLike[str],
    *,
    device: str = "auto",
    workers: int | None = None,
    data: str | os.PathLike[str] | None = None,
    epochs: int | None = None,
    reporter: Reporter | None = None,
) -> Run:
    """Go on with a run exactly where it was saved, with its own settings; see :func:`train`.

    Args:
        folder: of the run.
        device: see :func:`train`.
        workers: others than before change no numbers, but may need more memory than there is.
        data: where the same images lie now, if they moved.
        epochs: of the whole run, to make it longer; the learning rate goes on along the longer schedule.
        reporter: see :func:`train`.

    Raises:
        TrainingError: there is no run, it is going on, its data have changed, or ``epochs`` are not more.
    """
    where = None if data is None else Path(data)
    started = resume_run(
        Path(folder).expanduser(),
        reporter or ConsoleReporter(),
        device=device,
        workers=workers,
        data=where,
        epochs=epochs,
    )
    tell(started, None)
    return started.fit()


def default_folder(data: Path) -> Path:
    """``runs/NAME-OF-DATA``, in UTF-8 whatever the data's name is in."""
    return Path("runs") / os.fsencode(data.expanduser().resolve().stem).decode(errors="replace")


def start_run(config: RunConfig, folder: Path, reporter: Reporter, *, device: str = "auto") -> Started:
    """Prepare a new run in ``folder``; one that ended there before it saved anything is forgotten.

    Raises:
        TrainingError: ``folder`` already holds a run, or another one is going on in it.
        DataError, CheckpointError, ConfigError: the data, the weights or the settings do not work.
    """
    _refuse_run(folder)
    started = _prepare(config, folder, reporter, device, resumed=False)

    def begin() -> None:
        _refuse_run(folder)  # another one may have begun and ended meanwhile
        write_run(folder, started.config)
        write_beginning(folder, started.prepared, Path(started.config.data), started.classes)

    return _locked(started, begin)


def _refuse_run(folder: Path) -> None:
    """Raise :class:`TrainingError` if a run has saved something in ``folder``."""
    if (folder / RUN_FILE).exists() and ((folder / BEST_FOLDER).exists() or newest_checkpoint(folder) is not None):
        raise TrainingError(
            f"{folder} already holds a run; resume it with --resume {folder} (in Python, resume), or choose another "
            "--output"
        )


def _locked(started: Started, begin: Callable[[], object]) -> Started:
    """The run with its folder locked by the main process, which then begins it; if it cannot, none of them goes on."""
    locks: list[RunLock] = []

    def lock() -> None:
        locks.append(RunLock(started.folder))
        if not locks[0].kept:
            where = f"the file system of {started.folder} keeps no locks"
            started.trainer.reporter.warn(f"{where}; see to it that no other process trains there")
        begin()

    try:
        with told_of_lost_processes(started.folder):
            started.trainer.on_main(lock)
    except TrainingError:
        for one in locks:
            one.release()
        raise
    return replace(started, lock=locks[0] if locks else None)


def resume_run(
    folder: Path,
    reporter: Reporter,
    *,
    device: str = "auto",
    workers: int | None = None,
    data: Path | None = None,
    epochs: int | None = None,
) -> Started:
    """Prepare the run in ``folder`` to go on; see :func:`resume`."""
    before = read_run(folder)
    config = before
    if workers is not None:
        config = replace(config, training=replace(config.training, workers=workers))
    if epochs is not None:
        if epochs <= before.training.epochs or before.training.updates:
            longer = f"{before.training.epochs} epochs; pass more of them, not {epochs}"
            length = f"{before.training.updates} updates, which cannot be more" if before.training.updates else longer
            raise TrainingError(f"{folder} is a run of {length}")
        config = replace(config, training=replace(config.training, epochs=epochs))
    if data is not None:
        config = replace(config, data=str(data.expanduser().resolve()))
    known = known_data(folder)
    started = _prepare(config, folder, reporter, device, resumed=True, known=known)
    changed = changes(known, started.prepared.splits, Path(config.data), moved=config.data != before.data)
    if changed:
        raise TrainingError(
            f"{config.data} is not as it was when the run began: {changed[0]} differ; put it back, or start "
            f"anew{_from_best(folder)}"
        )

    def begin() -> None:
        if config != before:
            write_run(folder, started.config)

    return _locked(started, begin)


def _from_best(folder: Path) -> str:
    """How to start a new run from the weights of the old one, if it kept any."""
    return f" with --init {folder / BEST_FOLDER}" if (folder / BEST_FOLDER).exists() else ""


def _prepare(
    config: RunConfig,
    folder: Path,
    reporter: Reporter,
    device: str,
    *,
    resumed: bool,
    known: Mapping[str, Any] = MappingProxyType({}),
) -> Started:
    trains_on_cpu(device)  # a mistyped one ends the run before the data are read
    began = begun_with(folder) if resumed else None
    recipe = run_recipe(folder, config)
    spec = task_spec(recipe.task)
    if config.augmentation is None:
        config = replace(config, augmentation=spec.augmentation())
    asked = config
    if resumed:  # how much is left out was looked at when it began, maybe by an older rule
        asked = replace(config, reading=replace(config.reading, allow_left_out=True))
    processes, chosen = started_processes(), known.get(SET_ASIDE)
    if began:
        names = known.get(WEIGHTS_CLASSES)
        classes = None if names is None else tuple(names)
    else:
        classes = known_classes(config, recipe)
    if processes == 1 or chosen is not None:
        splits = read_splits(asked, spec, classes, chosen, reporter.follow)
    else:
        accelerator = make_accelerator(config.training, folder, device=device)
        splits = splits_of_all(asked, spec, classes, accelerator, reporter)
    order = training_order(splits.train, config.training)
    change = going_on(folder, order.length, config.training, processes) if resumed else None
    training = change.settings(config.training) if change else config.training
    effective = replace(asked, training=training)
    if began:  # the state has the weights; those that the run started from may be gone
        effective = replace(effective, init=SAVED_STATE, size=None)
    prepared = spec.prepare(effective, recipe, splits)
    task, model, order = prepared.task, prepared.model, prepared.order or order
    if began:
        model.description = began
    pipeline = task.pipeline(model)
    val = EvaluationDataset(prepared.val, pipeline.prepare, config.on_corrupt, pipeline.read)
    leave_out_unreadable(val)
    trainer = Trainer(
        task,
        model,
        prepared.train,
        val,
        training,
        folder,
        reporter,
        device=device,
        order=order,
        change=change,
        balance=prepared.balance,
    )
    return Started(config, folder, trainer, prepared, resumed, spec.model_noun, classes)
