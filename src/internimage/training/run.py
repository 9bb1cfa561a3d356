"""A run: from a data folder and a model's name to a trained model folder."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import warnings
from pathlib import Path
from typing import Any, TypeAlias

import torch

from internimage.checkpoints.folder import DESCRIPTION_FILE, from_plain, written_aside
from internimage.data.augmentation import Augmentation, batch_mixing, training_transform
from internimage.data.coco import ObjectImages
from internimage.data.dataset import ImageDataset, OnCorrupt
from internimage.data.labelled import read_splits
from internimage.data.regions import RegionImages
from internimage.data.samples import LabelledImages, Splits
from internimage.errors import ConfigError, TrainingError
from internimage.factory import create_model, load_model
from internimage.images import Preprocessing
from internimage.labels import imagenet1k_wnids
from internimage.models.classifier import ImageClassifier
from internimage.recipes import get_recipe, list_models
from internimage.tasks.classification import ClassificationTask
from internimage.training.config import RunConfig
from internimage.training.detection import prepare_detection
from internimage.training.initial import leave_out_unreadable
from internimage.training.segmentation import prepare_segmentation
from internimage.training.trainer import Reporter, Trainer

AnySplits: TypeAlias = Splits[LabelledImages] | Splits[ObjectImages] | Splits[RegionImages]
RUN_FILE = "run.json"
_DATA_FILE = "data.json"
_ONE_PIXEL = 32  # images up to this size end in a map of one pixel


def start(config: RunConfig, folder: Path, reporter: Reporter, *, cpu: bool = False) -> tuple[Trainer, AnySplits]:
    """Prepare a new run in ``folder``.

    Raises:
        TrainingError: ``folder`` already holds a run.
        DataError, CheckpointError, ConfigError: the data, the weights or the settings do not work.
    """
    if (folder / RUN_FILE).exists():
        raise TrainingError(
            f"{folder} already holds a run; resume it with --resume {folder}, or choose another --output"
        )
    classifier = get_recipe(config.model).task == "classification"
    if classifier and config.linear_probe and config.init == "scratch":
        raise ConfigError("a linear probe of random features teaches nothing; choose weights to start from with --init")
    trainer, splits = _prepare(config, folder, reporter, cpu)
    if trainer.accelerator.is_main_process:
        folder.mkdir(parents=True, exist_ok=True)
        with written_aside(folder / RUN_FILE) as aside:
            aside.write_text(json.dumps(dataclasses.asdict(config), indent=2) + "\n", encoding="utf-8")
        with written_aside(folder / _DATA_FILE) as aside:
            aside.write_text(json.dumps(_fingerprint(splits), indent=2) + "\n", encoding="utf-8")
    return trainer, splits


def resume(folder: Path, reporter: Reporter, *, cpu: bool = False) -> tuple[Trainer, AnySplits]:
    """Prepare the run in ``folder`` to continue; call ``fit(resume=True)``."""
    path = folder / RUN_FILE
    try:
        config = from_plain(RunConfig, json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        raise TrainingError(f"{folder} holds no {RUN_FILE}; it is not the folder of a run") from None
    except (ValueError, ConfigError) as error:
        raise TrainingError(f"{path} is damaged: {error}") from error
    trainer, splits = _prepare(config, folder, reporter, cpu)
    if (folder / _DATA_FILE).is_file():
        before, now = json.loads((folder / _DATA_FILE).read_text(encoding="utf-8")), _fingerprint(splits)
        changed = [name for name in now if before.get(name) != now[name]]
        if changed:
            raise TrainingError(
                f"{config.data} is not as it was when the run began: {changed[0]} differ; put it back, or start anew "
                f"with --init {folder / 'best'}"
            )
    return trainer, splits


def data_of(folder: Path) -> str:
    """Where the data of the run in ``folder`` lie."""
    return str(json.loads((folder / RUN_FILE).read_text(encoding="utf-8"))["data"])


def _fingerprint(splits: AnySplits) -> dict[str, Any]:
    """What must not change within a run: classes, and which files there are."""

    def files(part: LabelledImages | ObjectImages | RegionImages) -> str:
        entries = part.samples if isinstance(part, LabelledImages) else part.images
        return hashlib.sha256("\n".join(str(one.file) for one in entries).encode()).hexdigest()

    train, val = splits.train, splits.val
    return {
        "classes": list(train.classes),
        "numbers of training and validation images": [len(train), len(val)],
        "training images": files(train),
        "validation images": files(val),
    }


def _prepare(config: RunConfig, folder: Path, reporter: Reporter, cpu: bool) -> tuple[Trainer, AnySplits]:
    task = get_recipe(config.model).task
    if task == "detection":
        return prepare_detection(config, folder, reporter, cpu)
    if task == "segmentation":
        return prepare_segmentation(config, folder, reporter, cpu)
    return _prepare_classification(config, folder, reporter, cpu)


def _prepare_classification(
    config: RunConfig, folder: Path, reporter: Reporter, cpu: bool
) -> tuple[Trainer, Splits[LabelledImages]]:
    if not isinstance(config.augmentation, Augmentation):
        raise ConfigError(f"{config.model} is a classifier; its augmentation is an {Augmentation.__name__}")
    splits = read_splits(Path(config.data), val_fraction=config.val_fraction, seed=config.training.seed)
    torch.manual_seed(config.training.seed)
    model = _initial_model(config, splits.train.classes)
    if config.linear_probe:
        model.freeze_features()
    elif config.freeze:
        model.freeze(config.freeze)
    assert model.description is not None
    preprocessing = model.description.preprocessing
    assert isinstance(preprocessing, Preprocessing)
    size = preprocessing.crop or preprocessing.resize
    if min(config.training.batch_size, len(splits.train)) == 1 and size <= _ONE_PIXEL:
        raise ConfigError(
            f"one image of {size} pixels a batch gives batch normalisation a single value; use a larger batch or size"
        )
    task = ClassificationTask(
        splits.train.classes,
        config.augmentation.label_smoothing,
        batch_mixing(config.augmentation, len(splits.train.classes)),
        metadata=model.config.metadata_channels is not None,
    )
    seed = config.training.seed
    transform = training_transform(config.augmentation, preprocessing)
    train = ImageDataset(splits.train, transform, seed, config.on_corrupt)
    val = evaluation_data(splits.val, preprocessing, config.on_corrupt)
    leave_out_unreadable(val)
    return Trainer(task, model, train, val, config.training, folder, reporter, cpu=cpu), splits


def evaluation_data(
    data: LabelledImages, preprocessing: Preprocessing, on_corrupt: OnCorrupt = "error"
) -> ImageDataset:
    """Images prepared as for prediction."""
    return ImageDataset(data, preprocessing, 0, on_corrupt)


def _initial_model(config: RunConfig, classes: tuple[str, ...]) -> ImageClassifier:
    model: Any
    if config.init == "scratch":
        model = create_model(config.model, num_classes=len(classes))
    elif config.init == "pretrained":
        model = create_model(config.model, pretrained=True, num_classes=len(classes))
    elif config.init in list_models():
        model = _from_other(config.model, config.init, classes)
    elif (Path(config.init) / DESCRIPTION_FILE).is_file():
        model = load_model(config.init)
        if isinstance(model, ImageClassifier) and (not model.description or model.description.labels != classes):
            model.reset_classifier(len(classes))
            warnings.warn(f"{config.init} has other classes: the classifier starts anew", stacklevel=2)
    else:
        model = create_model(config.model, checkpoint=config.init, num_classes=len(classes))
    if not isinstance(model, ImageClassifier) or model.description is None:
        raise ConfigError(f"{config.init} is not an image classifier")
    preprocessing = model.description.preprocessing or get_recipe(config.model).preprocessing
    assert isinstance(preprocessing, Preprocessing)
    if config.size is not None:
        preprocessing = dataclasses.replace(preprocessing, resize=config.size, crop=config.size)
    model.description = dataclasses.replace(model.description, labels=classes, preprocessing=preprocessing)
    return model


def _from_other(name: str, other: str, classes: tuple[str, ...]) -> ImageClassifier:
    """A model with the released weights of another name, as ImageNet-1K models are fine-tuned from ImageNet-22K's.

    For ImageNet-1K itself, its folders being named by WordNet id, the classifier keeps the rows of its classes.
    """
    ours, theirs = get_recipe(name), get_recipe(other)
    if dataclasses.replace(ours.config, num_classes=0) != dataclasses.replace(theirs.config, num_classes=0):
        raise ConfigError(f"{other} has another architecture than {name}; start from a model of the same size")
    kept = theirs.labels == "imagenet22k" and classes == imagenet1k_wnids()
    reduced: dict[str, Any] = {"labels": "imagenet1k"} if kept else {"num_classes": len(classes)}
    model = create_model(other, pretrained=True, **reduced)
    assert isinstance(model, ImageClassifier)
    assert model.description is not None
    model.description = dataclasses.replace(model.description, preprocessing=ours.preprocessing)
    return model
