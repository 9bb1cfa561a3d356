"""internimage train"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeAlias

from tyro.conf import FlagCreatePairsOff, arg

from internimage.data.augmentation import Augmentation
from internimage.data.object_augmentation import ObjectAugmentation
from internimage.data.region_augmentation import RegionAugmentation
from internimage.errors import ConfigError
from internimage.training.config import TrainingConfig

if TYPE_CHECKING:
    from internimage.tasks.detection import DetectionTask


@dataclass(frozen=True)
class _Train:
    """What all kinds of models have in common."""

    data: Annotated[Path | None, arg(metavar="FOLDER", help_behavior_hint="(required, unless --resume)")] = None
    """Images: one folder a class, or train and val as folders, .csv, .zip, .tar shards, or iNaturalist's .json; for
    detectors, COCO's annotations; for segmenters, a folder of masks beside the folder of images."""
    recipe: Annotated[str | None, arg(metavar="NAME", help_behavior_hint="")] = None
    """Train as a released model was trained: sets all that follows, which further options then change."""
    model: Annotated[str, arg(metavar="NAME")] = "internimage_atto"
    """Architecture, see `internimage models`."""
    init: Annotated[str, arg(metavar="pretrained|scratch|NAME|FILE")] = "scratch"
    """Weights to start from: released ones (of this or another NAME), none, or a checkpoint or model folder."""
    size: Annotated[int | None, arg(metavar="PIXELS", help_behavior_hint="(default: the model's)")] = None
    """Side of the images; of detectors and segmenters the shorter side in evaluation."""
    freeze: Annotated[int, arg(metavar="STAGES", help_behavior_hint="(default: none)")] = 0
    """Stages of the backbone that stay as they are, counted from the image."""
    linear_probe: FlagCreatePairsOff[bool] = False
    """Train nothing but the classifier, on features that stay as they are."""
    val_fraction: float = 0.2
    """Share of each class (of detectors and segmenters: of the images) set aside if there is no val part."""
    on_corrupt: Literal["error", "skip"] = "error"
    """What to do about files that cannot be read; skipped ones are counted."""
    output: Annotated[Path | None, arg(metavar="FOLDER", help_behavior_hint="(default: runs/NAME-OF-DATA)")] = None
    """Where the run is written."""
    resume: Annotated[Path | None, arg(metavar="RUN", help_behavior_hint="")] = None
    """Continue the run in this folder, with its own settings."""
    cpu: FlagCreatePairsOff[bool] = False
    """Stay on the CPU even where there is a GPU."""
    training: TrainingConfig = field(default_factory=TrainingConfig)

    def run(self) -> int:
        from internimage.training.distributed import leave_processes

        status = self._train()
        leave_processes()
        return status

    def _train(self) -> int:
        from internimage.cli.console import ConsoleReporter
        from internimage.errors import ConfigError, InterruptedRunError
        from internimage.tasks.detection import DetectionTask
        from internimage.training import run

        if (self.data is None) == (self.resume is None):
            raise ConfigError("pass either --data FOLDER to start a run or --resume RUN to continue one")
        reporter = ConsoleReporter()
        if self.resume is not None:
            if replace(self, resume=None, cpu=False) != type(self)():
                raise ConfigError("--resume continues a run with its own settings; leave out all others but --cpu")
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
                augmentation=self.augmentation,  # type: ignore[attr-defined]
                training=self.training,
            )
            trainer, splits = run.start(config, folder, reporter, cpu=self.cpu)
        if trainer.accelerator.is_main_process:
            sizes = f"{len(splits.train)} training, {len(splits.val)} validation images"
            length = f"{trainer.epochs} epochs of {trainer.updates_per_epoch} updates"
            if trainer.config.updates:
                length = f"{trainer.updates} updates, {trainer.updates_per_epoch} an epoch"
            print(f"{len(splits.train.classes)} classes; {sizes}; {length}")
            if isinstance(trainer.task, DetectionTask):
                print(_what_is_learnt(trainer.task, splits, trainer.model.config))
            print(_learning_rate(trainer.config, trainer.accelerator.num_processes))
            self._warn(trainer.config, len(splits.train), trainer.accelerator.num_processes)
            print(f"run: {folder}")
        try:
            row = trainer.fit(resume=self.resume is not None)
        except InterruptedRunError as error:
            if trainer.accelerator.is_main_process:
                several = trainer.accelerator.num_processes > 1
                start = "the same launcher and -m internimage" if several else "internimage"
                print(
                    f"internimage: {error}; continue with: {start} train --resume {shlex.quote(str(folder))}",
                    file=sys.stderr,
                )
            return 130
        finally:
            reporter.close()
        if trainer.accelerator.is_main_process:
            name, best = trainer.task.best, trainer.progress.best
            if best is not None:
                print(f"best {name} {best:.1%} in {folder / 'best'}; last {row[name]:.1%}")
            for name in ("curves.png", "summary.json"):
                if (folder / name).exists():
                    print(f"written: {folder / name}")
            on_corrupt = "" if self.on_corrupt == "error" else f" --on-corrupt {self.on_corrupt}"
            model = shlex.quote(str(folder / "best"))
            if not splits.set_aside:
                data = shlex.quote(str(self.data or run.data_of(folder)))
                report = shlex.quote(str(folder / "report"))
                print(
                    f"look at its mistakes: internimage evaluate --data {data} --part val{on_corrupt} --model {model} "
                    f"--save {report}"
                )
            print(f"use it: internimage predict IMAGE --model {model}")
        return 0

    def _usual(self, images: int) -> TrainingConfig:
        raise NotImplementedError

    def _warn(self, config: TrainingConfig, images: int, processes: int) -> None:
        from internimage.training.defaults import too_high
        from internimage.training.recipes import get_training_recipe

        usual = get_training_recipe(self.recipe).training if self.recipe else self._usual(images)
        warning = too_high(config, usual, processes)
        if warning and self.resume is None:
            print(f"internimage: {warning}; training may diverge", file=sys.stderr)


@dataclass(frozen=True)
class Train(_Train):
    """Train or fine-tune a classifier, a detector or a segmenter on your own images.

    $ internimage train --data photos/

    $ internimage train --data photos/ --model internimage_t_1k_224 --init pretrained --epochs 20 --lr 1e-4

    $ internimage train --data imagenet/ --recipe internimage_t_1k_224

    $ internimage train --data cells/ --model mask_rcnn_internimage_t_fpn_3x_coco --init pretrained

    $ internimage train --data streets/ --model upernet_internimage_t_512_160k_ade20k --init pretrained

    $ internimage train --resume runs/photos

    The data is a folder with one folder a class (or train/ and val/ with such folders, a CSV file with the columns path
    and label, zip archives, WebDataset shards or iNaturalist's JSON), or for detectors one with COCO's annotations, or
    for segmenters one with images/ and masks/; see docs/training.md. The trained model is a folder that every other
    command takes: --model runs/photos/best. These are the options for classifiers; with the --data or --model of a
    detector or segmenter, --help shows its own.
    """

    augmentation: Augmentation = field(default_factory=Augmentation)

    def _usual(self, images: int) -> TrainingConfig:
        from internimage.training.defaults import default_settings

        return default_settings(images, self.init)[0]


@dataclass(frozen=True)
class TrainDetector(_Train):
    """Train or fine-tune a detector on your own images with COCO's annotations.

    $ internimage train --data cells/

    $ internimage train --data cells/ --model mask_rcnn_internimage_t_fpn_3x_coco --init pretrained --size 640

    $ internimage train --data cells/ --model dino_4scale_internimage_t_1x_coco --init pretrained --lr 1e-4

    $ internimage train --data coco/ --recipe cascade_internimage_l_fpn_3x_coco

    $ internimage train --resume runs/cells

    The data is a folder with annotations/train.json (and val.json) and the images in train/ (and val/), or laid out as
    COCO or Roboflow do; see docs/detection.md. Masks are learnt if every object has one. Your own classes start anew.
    The trained model is a folder that every other command takes: --model runs/cells/best.
    """

    model: Annotated[str, arg(metavar="NAME")] = "mask_rcnn_internimage_atto_fpn"
    augmentation: ObjectAugmentation = field(default_factory=ObjectAugmentation)

    def _usual(self, images: int) -> TrainingConfig:
        from internimage.recipes import get_recipe
        from internimage.training.defaults import default_object_settings

        return default_object_settings(images, self.init, self.size or 800, get_recipe(self.model).architecture)[0]


@dataclass(frozen=True)
class TrainSegmenter(_Train):
    """Train or fine-tune a segmenter on your own images with a mask for each.

    $ internimage train --data streets/

    $ internimage train --data streets/ --model upernet_internimage_t_512_160k_ade20k --init pretrained --size 512

    $ internimage train --data cells/ --model upernet_internimage_atto

    $ internimage train --data ADEChallengeData2016/ --recipe upernet_internimage_t_512_160k_ade20k

    $ internimage train --resume runs/streets

    The data is a folder with train/images and train/masks (and val/images, val/masks), pictures and masks of the same
    names; classes.json or classes.txt names the classes. Or COCO's annotations, whose objects become regions; or
    ADE20K, Cityscapes, CamVid as they are; see docs/segmentation.md. Your own classes start anew.
    The trained model is a folder that every other command takes: --model runs/streets/best.
    """

    model: Annotated[str, arg(metavar="NAME")] = "upernet_internimage_atto"
    augmentation: RegionAugmentation = field(default_factory=RegionAugmentation)

    def _usual(self, images: int) -> TrainingConfig:
        from internimage.training.defaults import default_region_settings

        return default_region_settings(images, self.init, self.size or 320)[0]


AnyTrain: TypeAlias = Train | TrainDetector | TrainSegmenter


def train_command(value_of: Callable[[str], str | None]) -> AnyTrain:
    """The kind of command, with its defaults, that the options on the command line ask for."""
    from internimage.data.coco import is_object_data
    from internimage.data.regions import is_region_data
    from internimage.recipes import get_recipe, list_models
    from internimage.training.recipes import get_training_recipe

    recipe, data, model = (value_of(name) for name in ("--recipe", "--data", "--model"))
    if value_of("--epochs") is not None and value_of("--updates") is not None:
        raise ConfigError("--epochs and --updates both say when a run ends; pass one")
    if recipe is not None:
        given = get_training_recipe(recipe)
        training = given.training if value_of("--epochs") is None else replace(given.training, updates=0)
        chosen = {"recipe": recipe, "model": given.model, "init": given.init, "training": training}
        if isinstance(given.augmentation, ObjectAugmentation):
            augmentation = given.augmentation
            if _pixels(value_of("--size")):  # of 800, which the published sides are for
                share = _pixels(value_of("--size")) / max(augmentation.short_sides)
                sides = tuple(max(1, round(share * side)) for side in augmentation.short_sides)
                augmentation = replace(
                    augmentation, short_sides=sides, long=max(sides[-1], round(share * augmentation.long))
                )
            return TrainDetector(**chosen, augmentation=augmentation)  # type: ignore[arg-type]
        if isinstance(given.augmentation, RegionAugmentation):
            regions = given.augmentation
            if size := _pixels(value_of("--size")):  # of the shorter side, which the published crops are for
                high, wide = (max(1, round(size * side / regions.short)) for side in regions.crop)
                long = round(size * regions.long / regions.short)
                regions = replace(regions, crop=(high, wide), short=size, long=long)
            return TrainSegmenter(**chosen, augmentation=regions)  # type: ignore[arg-type]
        return Train(**chosen, augmentation=given.augmentation)  # type: ignore[arg-type]
    kind: type[AnyTrain] = Train
    if model is not None and model in list_models():
        kinds: dict[str, type[AnyTrain]] = {"detection": TrainDetector, "segmentation": TrainSegmenter}
        kind = kinds.get(get_recipe(model).task, Train)
    elif data is not None:
        kind = TrainDetector if is_object_data(Path(data)) else TrainSegmenter if is_region_data(Path(data)) else Train
    return kind() if data is None else _for_data(kind(), Path(data), model, value_of("--init"), value_of("--size"))


def _pixels(text: str | None) -> int:
    """A number of pixels, 0 if it is none."""
    return int(text) if text and text.isdigit() else 0


def _for_data(command: AnyTrain, data: Path, model: str | None, init: str | None, size: str | None) -> AnyTrain:
    """Defaults for the amount of data, starting from scratch or from weights."""
    from internimage.checkpoints.folder import DESCRIPTION_FILE, read_description
    from internimage.data.coco import estimate_object_images
    from internimage.data.labelled import estimate_images
    from internimage.data.regions import estimate_region_images
    from internimage.images import FitPreprocessing
    from internimage.recipes import get_recipe
    from internimage.training.defaults import default_object_settings, default_region_settings, default_settings

    start = init or command.init
    if isinstance(command, Train):
        training, augmentation = default_settings(estimate_images(data), start)
        return replace(command, training=training, augmentation=augmentation)
    recipe = get_recipe(model or command.model)
    preprocessing: Any = recipe.preprocessing
    if (Path(start) / DESCRIPTION_FILE).is_file():
        own = read_description(start).preprocessing
        preprocessing = own if isinstance(own, FitPreprocessing) else preprocessing
    side = _pixels(size) or preprocessing.short
    if isinstance(command, TrainDetector):
        training, objects = default_object_settings(estimate_object_images(data), start, side, recipe.architecture)
        return replace(command, training=training, augmentation=objects)
    training, regions = default_region_settings(estimate_region_images(data), start, side)
    return replace(command, training=training, augmentation=regions)


def _what_is_learnt(task: DetectionTask, splits: Any, config: Any) -> str:
    """Whether masks are, and if not why."""
    if task.masks:
        return "boxes and masks are learnt and measured"
    if not hasattr(config, "mask_width"):
        return "boxes are learnt; the model has no masks"
    if not splits.train.has_masks:
        return "boxes alone are learnt: not every object has a mask that is more than its box"
    if config.mask_width is None:
        return "boxes alone are learnt: the model has no masks"
    return "boxes alone are measured: not every validation object has a mask"


def _learning_rate(config: TrainingConfig, processes: int) -> str:
    """``learning rate 0.000125 = 0.0005 x 128 / 512; 128 images an update (128 x 1 x 1 processes)``"""
    images, text = config.images_an_update(processes), f"learning rate {config.peak_lr(processes):.3g}"
    if config.lr_batch_size:
        text += f" = {config.lr:g} x {images} / {config.lr_batch_size}"
    return f"{text}; {images} images an update ({config.batch_size} x {config.accumulate} x {processes} processes)"
