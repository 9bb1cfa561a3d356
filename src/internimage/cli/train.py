"""internimage train"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable
from dataclasses import dataclass, field, fields, make_dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from tyro.conf import FlagCreatePairsOff, arg

from internimage.cli.common import DeepPercentiles, DeepRange, MaxPixels, depth
from internimage.errors import ConfigError
from internimage.settings.data import DataOptions
from internimage.settings.training import TrainingConfig

if TYPE_CHECKING:
    from internimage.contracts import TaskSpec
    from internimage.training.run import Started


@dataclass(frozen=True)
class Train:
    """Options that all tasks have; those of one task are added by :func:`train_options`."""

    data: Annotated[Path | None, arg(metavar="FOLDER", help_behavior_hint="(required, unless --resume)")] = None
    """Labelled images. Classifiers: one folder per class, or train and val as folders, .csv, .zip, .tar shards
    or iNaturalist's .json; detectors: COCO annotations; segmenters: a folder of masks beside the folder of images; 3D
    detectors: nuScenes' tables, or the drives that `internimage data world` draws."""
    recipe: Annotated[str | None, arg(metavar="NAME", help_behavior_hint="")] = None
    """Train with the published settings of this model; they become the defaults of all other options."""
    model: Annotated[str | None, arg(metavar="NAME")] = None
    """Model to train: a name (see `internimage models`) or a folder: a model's, or a run's for its best model."""
    init: Annotated[str, arg(metavar="pretrained|scratch|NAME|FILE")] = "scratch"
    """Initial weights: the released ones (of --model or of another NAME), random ones, or a checkpoint or model
    folder."""
    size: Annotated[int | None, arg(metavar="PIXELS", help_behavior_hint="(default: the model's)")] = None
    """Side of the images; for detectors and segmenters, the shorter side in evaluation."""
    freeze: Annotated[int, arg(metavar="STAGES", help_behavior_hint="(default: none)")] = 0
    """Freeze the stem and this many stages of the backbone."""
    linear_probe: FlagCreatePairsOff[bool] = False
    """Train only the classifier, on frozen features."""
    max_objects: Annotated[int | None, arg(metavar="N", help_behavior_hint="(default: the model's, often 100)")] = None
    """Detectors: greatest number of objects that are reported of an image."""
    val_fraction: float = 0.2
    """Share of each class (for detectors and segmenters, of the images) to validate on if there is no val part."""
    channels: Annotated[int | None, arg(metavar="N", help_behavior_hint="(default: the model's, RGB)")] = None
    """Channels of the images: 1 for grey, 4 and more from TIFF or .npy. RGB weights are made to fit."""
    deep_range: DeepRange = None
    """Values of pixels of more than 8 bits that become black and white, such as 0 4095 for 12 bits."""
    deep_percentiles: DeepPercentiles = None
    """The same as percentiles of each image's values, such as 1 99."""
    on_corrupt: Literal["error", "skip"] = "error"
    """What to do with files that cannot be read; skipped files are counted."""
    output: Annotated[Path | None, arg(metavar="FOLDER", help_behavior_hint="(default: runs/NAME-OF-DATA)")] = None
    """Folder of the run."""
    resume: Annotated[Path | None, arg(metavar="RUN", help_behavior_hint="")] = None
    """Continue the run in this folder, with its own settings; only --device and --workers may be others, --data says
    where its data lie now, --epochs makes it longer, --max-pixels is to be given again. With strategy ddp the number of
    processes may be another."""
    device: str = "auto"
    """auto (a GPU if there is one) or cpu."""
    max_pixels: MaxPixels = None
    reading: DataOptions = field(default_factory=DataOptions)
    training: TrainingConfig = field(default_factory=TrainingConfig)

    def run(self) -> int:
        from internimage.training.processes import leave_processes

        status = self._train()
        leave_processes()
        return status

    def _train(self) -> int:
        from internimage.errors import InterruptedRunError
        from internimage.training.telling import tell

        if self.data is None and self.resume is None:
            raise ConfigError("pass either --data FOLDER to start a run or --resume RUN to continue one")
        started = self._start() if self.resume is None else self._resume(self.resume)
        tell(started, None if self.resume is not None else self._usual())
        main = started.trainer.accelerator.is_main_process
        try:
            started.fit()
        except InterruptedRunError as error:
            if main:
                several = started.trainer.accelerator.num_processes > 1
                start = "the same launcher and -m internimage" if several else "internimage"
                again = f"{start} train --resume {shlex.quote(str(started.folder))}"
                print(f"internimage: {error}; continue with: {again}", file=sys.stderr)
            return 128 + error.number
        if main:
            self._tell_what_is_there(started)
        return 0

    def _resume(self, folder: Path) -> Started:
        from internimage.training.console import ConsoleReporter
        from internimage.training.run import read_run, resume_run

        before, now = read_run(folder).training, self.training
        others = replace(
            self, resume=None, data=None, device="auto", model=None, max_pixels=None, training=TrainingConfig()
        )
        if others != type(self)() or now != replace(before, workers=now.workers, epochs=now.epochs):
            raise ConfigError(
                "--resume continues a run with its own settings; leave out all others but --data (where it lies now), "
                "--epochs (more of them), --device, --workers and --max-pixels"
            )
        epochs = None if now.epochs == before.epochs else now.epochs
        return resume_run(
            folder, ConsoleReporter(), device=self.device, workers=now.workers, data=self.data, epochs=epochs
        )

    def _start(self) -> Started:
        from internimage.settings.training import RunConfig
        from internimage.training.console import ConsoleReporter
        from internimage.training.run import default_folder, start_run

        assert self.data is not None
        ours = {one.name for one in fields(self)} - {"data"}
        own = {one.name: getattr(self, one.name) for one in fields(RunConfig) if one.name in ours}
        own["depth"] = depth(self.deep_range, self.deep_percentiles)
        config = RunConfig(data=str(self.data.expanduser().resolve()), **own)
        folder = self.output or default_folder(self.data)
        return start_run(config, folder, ConsoleReporter(), device=self.device)

    def _usual(self) -> TrainingConfig:
        """What suits the model and the data."""
        from internimage.training.usual import choose, usual_settings

        return usual_settings(choose(self.data, self.model, self.recipe, self.init), self.data, self.init, self.size)[0]

    def _tell_what_is_there(self, started: Started) -> None:
        from internimage.contracts import task_spec
        from internimage.factory import recipe_of

        trainer, folder = started.trainer, started.folder
        name, best, row = trainer.task.best, trainer.progress.best, trainer.progress.history[-1]
        if best is not None:
            print(f"best {name} {best:.1%} in {folder / 'best'}; last {row[name]:.1%}")
        for file in ("curves.png", "summary.json"):
            if (folder / file).exists():
                print(f"written: {folder / file}")
        model = shlex.quote(str(folder / "best"))
        data, report = shlex.quote(str(self.data or started.config.data)), shlex.quote(str(folder / "report"))
        if not started.prepared.splits.set_aside:
            on_corrupt = "" if self.on_corrupt == "error" else f" --on-corrupt {self.on_corrupt}"
            print(
                f"look at its mistakes: internimage evaluate --data {data} --part val{on_corrupt} --model {model} "
                f"--save {report}"
            )
        shown = "IMAGE" if task_spec(recipe_of(started.config.model).task).inputs is None else data
        print(f"use it: internimage predict {shown} --model {model}")


def train_options(spec: TaskSpec) -> type[Train]:
    """The options of one task: those of all, and its augmentation."""
    own = ("augmentation", spec.augmentation, field(default_factory=spec.augmentation))
    options = make_dataclass("Train", [own], bases=(Train,), frozen=True)
    options.__doc__ = spec.train_help
    return options


def train_command(value_of: Callable[[str], str | None]) -> Train:
    """The command, with its defaults, that the options on the command line ask for."""
    from internimage.training.run import RUN_FILE, read_run
    from internimage.training.usual import choose, usual_settings

    recipe, data, model, resume = (value_of(name) for name in ("--recipe", "--data", "--model", "--resume"))
    if value_of("--epochs") is not None and value_of("--updates") is not None:
        raise ConfigError("--epochs and --updates both say when a run ends; pass one")
    if resume is not None:
        data = None  # the run's settings count, wherever its data lie now
    root = None if data is None else Path(data).expanduser()
    there = root if root is not None and root.exists() else None  # reading says what is not there
    choice = choose(there, model, recipe, value_of("--init"))
    init = value_of("--init") or choice.init
    training, augmentation = usual_settings(choice, root, init, _pixels(value_of("--size")))
    if value_of("--epochs") is not None:
        training = training.in_epochs()
    if resume is not None and (Path(resume) / RUN_FILE).exists():  # where there is none, the command says so
        training = read_run(Path(resume)).training
    given: dict[str, Any] = {"recipe": recipe, "init": init, "training": training, "augmentation": augmentation}
    return train_options(choice.spec)(model=choice.recipe.name, **given)


def _pixels(text: str | None) -> int | None:
    """A number of pixels, None if it is none."""
    return int(text) if text and text.isdigit() and int(text) else None
