"""internimage train"""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import FlagCreatePairsOff, arg

from internimage.data.augmentation import Augmentation
from internimage.training.config import TrainingConfig


@dataclass(frozen=True)
class Train:
    """Train or fine-tune a classifier on your own images.

    $ internimage train --data photos/

    $ internimage train --data photos/ --model internimage_t_1k_224 --init pretrained --epochs 20 --lr 1e-4

    $ internimage train --data imagenet/ --recipe internimage_t_1k_224

    $ internimage train --resume runs/photos

    The data is a folder with one folder a class (or train/ and val/ with such folders, a CSV file with the columns path
    and label, zip archives, WebDataset shards or iNaturalist's JSON; see docs/training.md). The trained model is a
    folder that every other command takes: --model runs/photos/best.
    """

    data: Annotated[Path | None, arg(metavar="FOLDER", help_behavior_hint="(required, unless --resume)")] = None
    """Images: one folder a class, or train and val as folders, .csv, .zip, .tar shards, or iNaturalist's .json."""
    recipe: Annotated[str | None, arg(metavar="NAME", help_behavior_hint="")] = None
    """Train as a released model was trained: sets all that follows, which further options then change."""
    model: Annotated[str, arg(metavar="NAME")] = "internimage_atto"
    """Architecture, see `internimage models`."""
    init: Annotated[str, arg(metavar="pretrained|scratch|NAME|FILE")] = "scratch"
    """Weights to start from: released ones (of this or another NAME), none, or a checkpoint or model folder."""
    size: Annotated[int | None, arg(metavar="PIXELS", help_behavior_hint="(default: the model's)")] = None
    """Side of the images."""
    freeze: Annotated[int, arg(metavar="STAGES", help_behavior_hint="(default: none)")] = 0
    """Stages of the backbone that stay as they are, counted from the image."""
    linear_probe: FlagCreatePairsOff[bool] = False
    """Train nothing but the classifier, on features that stay as they are."""
    val_fraction: float = 0.2
    """Share of each class set aside if there is no val folder."""
    on_corrupt: Literal["error", "skip"] = "error"
    """What to do about files that cannot be read; skipped ones are counted."""
    output: Annotated[Path | None, arg(metavar="FOLDER", help_behavior_hint="(default: runs/NAME-OF-DATA)")] = None
    """Where the run is written."""
    resume: Annotated[Path | None, arg(metavar="RUN", help_behavior_hint="")] = None
    """Continue the run in this folder, with its own settings."""
    cpu: FlagCreatePairsOff[bool] = False
    """Stay on the CPU even where there is a GPU."""
    training: TrainingConfig = field(default_factory=TrainingConfig)
    augmentation: Augmentation = field(default_factory=Augmentation)

    @staticmethod
    def from_recipe(name: str) -> Train:
        """The defaults of ``--recipe NAME``."""
        from internimage.training.recipes import get_training_recipe

        recipe = get_training_recipe(name)
        return Train(
            recipe=name,
            model=recipe.model,
            init=recipe.init,
            training=recipe.training,
            augmentation=recipe.augmentation,
        )

    @staticmethod
    def from_data(data: str, init: str) -> Train:
        """The defaults for the amount of data in a folder, starting from scratch or from weights."""
        from internimage.data.labelled import estimate_images
        from internimage.training.defaults import default_settings

        training, augmentation = default_settings(estimate_images(Path(data)), init)
        return Train(training=training, augmentation=augmentation)

    def run(self) -> int:
        from internimage.cli.console import ConsoleReporter
        from internimage.errors import ConfigError, InterruptedRunError
        from internimage.training import run

        if (self.data is None) == (self.resume is None):
            raise ConfigError("pass either --data FOLDER to start a run or --resume RUN to continue one")
        reporter = ConsoleReporter()
        if self.resume is not None:
            folder = self.resume
            trainer, splits = run.resume(folder, reporter, cpu=self.cpu)
        else:
            assert self.data is not None
            folder = self.output or Path("runs") / self.data.expanduser().resolve().stem
            config = run.RunConfig(
                data=str(self.data.expanduser().resolve()),
                model=self.model,
                init=self.init,
                size=self.size,
                freeze=self.freeze,
                linear_probe=self.linear_probe,
                val_fraction=self.val_fraction,
                on_corrupt=self.on_corrupt,
                augmentation=self.augmentation,
                training=self.training,
            )
            trainer, splits = run.start(config, folder, reporter, cpu=self.cpu)
        if trainer.accelerator.is_main_process:
            sizes = f"{len(splits.train)} training, {len(splits.val)} validation images"
            length = f"{trainer.config.epochs} epochs of {trainer.updates_per_epoch} updates"
            print(f"{len(splits.train.classes)} classes; {sizes}; {length}")
            print(_learning_rate(trainer.config, trainer.accelerator.num_processes))
            self._warn(trainer.config, len(splits.train), trainer.accelerator.num_processes)
            print(f"run: {folder}")
        try:
            row = trainer.fit(resume=self.resume is not None)
        except InterruptedRunError as error:
            if trainer.accelerator.is_main_process:
                several = trainer.accelerator.num_processes > 1
                start = "the same launcher and -m internimage" if several else "internimage"
                print(f"internimage: {error}; continue with: {start} train --resume {folder}", file=sys.stderr)
            return 130
        finally:
            reporter.close()
        if trainer.accelerator.is_main_process:
            print(f"best {trainer.task.best} {trainer.progress.best:.1%} in {folder / 'best'}; last {row['top1']:.1%}")
            for name in ("curves.png", "summary.json"):
                if (folder / name).exists():
                    print(f"written: {folder / name}")
            on_corrupt = "" if self.on_corrupt == "error" else f" --on-corrupt {self.on_corrupt}"
            print(
                f"look at its mistakes: internimage evaluate --data {self.data or 'DATA'} --part val{on_corrupt} "
                f"--model {folder / 'best'} --save {folder / 'report'}"
            )
            print(f"use it: internimage predict IMAGE --model {folder / 'best'}")
        return 0

    def _warn(self, config: TrainingConfig, images: int, processes: int) -> None:
        from internimage.training.defaults import default_settings, too_high
        from internimage.training.recipes import get_training_recipe

        usual = get_training_recipe(self.recipe).training if self.recipe else default_settings(images, self.init)[0]
        warning = too_high(config, usual, processes)
        if warning and self.resume is None:
            print(f"internimage: {warning}; training may diverge", file=sys.stderr)


def _learning_rate(config: TrainingConfig, processes: int) -> str:
    """``learning rate 0.000125 = 0.0005 x 128 / 512; 128 images an update (128 x 1 x 1 processes)``"""
    images, text = config.images_an_update(processes), f"learning rate {config.peak_lr(processes):.3g}"
    if config.lr_batch_size:
        text += f" = {config.lr:g} x {images} / {config.lr_batch_size}"
    return f"{text}; {images} images an update ({config.batch_size} x {config.accumulate} x {processes} processes)"
