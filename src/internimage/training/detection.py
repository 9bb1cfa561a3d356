"""A detector's run: data, initial weights, task."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import torch
from torch import nn

from internimage.checkpoints.folder import DESCRIPTION_FILE
from internimage.data.coco import ObjectSplits, read_object_splits
from internimage.data.object_augmentation import ObjectAugmentation, object_transform
from internimage.data.object_dataset import ObjectDataset
from internimage.errors import CheckpointMismatchError, ConfigError, DataError
from internimage.factory import create_model, load_model
from internimage.images import FitPreprocessing
from internimage.models.cascade_rcnn import CascadeRCNN
from internimage.models.mask_rcnn import MaskRCNN
from internimage.recipes import get_recipe, list_models
from internimage.tasks.detection import DetectionTask
from internimage.training.config import RunConfig
from internimage.training.trainer import Reporter, Trainer

_ONE_PIXEL = 32  # images up to this size end in a map of one pixel


def prepare_detection(config: RunConfig, folder: Path, reporter: Reporter, cpu: bool) -> tuple[Trainer, ObjectSplits]:
    """The trainer of a detector; masks are learnt if the model predicts them and every object has one."""
    augmentation = config.augmentation
    if not isinstance(augmentation, ObjectAugmentation):
        raise ConfigError(f"{config.model} is a detector; its augmentation is an {ObjectAugmentation.__name__}")
    if config.linear_probe:
        raise ConfigError("a linear probe is for classifiers; --freeze 4 fixes a detector's backbone")
    splits = read_object_splits(Path(config.data), val_fraction=config.val_fraction, seed=config.training.seed)
    for part in (splits.train, splits.val):
        if not sum(part.counts()):
            raise DataError(f"{part.name} has no objects; training needs some to learn from and some to measure with")
        if config.on_corrupt == "error" and (missing := part.missing()):
            raise DataError(
                f"{part.name}: {len(missing)} of {len(part)} images are not there, such as {missing[0]} (--on-corrupt "
                "skip leaves them out)"
            )
    torch.manual_seed(config.training.seed)
    model = initial_detector(config, splits)
    model.backbone.freeze(config.freeze)
    masks = model.config.mask_width is not None
    assert model.description is not None
    preprocessing = model.description.preprocessing
    assert isinstance(preprocessing, FitPreprocessing)
    if min(config.training.batch_size, len(splits.train)) == 1 and preprocessing.short <= _ONE_PIXEL:
        raise ConfigError(
            f"one image of {preprocessing.short} pixels a batch gives batch normalisation a single value; use a larger "
            "batch or size"
        )
    train = ObjectDataset(
        splits.train,
        object_transform(augmentation, preprocessing),
        masks=masks,
        seed=config.training.seed,
        on_corrupt=config.on_corrupt,
    )
    val = ObjectDataset(splits.val, preprocessing=preprocessing, on_corrupt=config.on_corrupt)
    task = DetectionTask(splits.val, masks=masks and splits.val.has_masks)
    return Trainer(task, model, train, val, config.training, folder, reporter, cpu=cpu), splits


def initial_detector(config: RunConfig, splits: ObjectSplits) -> MaskRCNN | CascadeRCNN:
    """The model with the weights to start from, for the classes of the data and for masks if it has such."""
    classes, init = splits.train.classes, config.init
    folder = Path(init).expanduser()
    model: Any
    if init == "scratch":
        model = create_model(config.model, num_classes=len(classes))
    elif init in list_models() and get_recipe(init).task == "classification":
        model = _on_backbone(config.model, create_model(init, pretrained=True, features_only=True), len(classes))
    elif init == "pretrained" or init in list_models():
        name = config.model if init == "pretrained" else init
        model = create_model(name, pretrained=True, num_classes=len(classes))
    elif (folder / DESCRIPTION_FILE).is_file():
        model = load_model(folder)
        if not isinstance(model, MaskRCNN | CascadeRCNN):
            backbone = getattr(model, "backbone", model)
            model = _on_backbone(config.model, backbone, len(classes))
        elif model.description is None or model.description.labels != classes:
            model.reset_classifier(len(classes))
    else:
        model = create_model(config.model, checkpoint=folder, num_classes=len(classes))
    expected = get_recipe(config.model).config
    if type(model.config) is not type(expected):
        raise ConfigError(f"{init} is a {type(model).__name__}; {config.model} is another kind of detector")
    if model.config.backbone != expected.backbone:
        raise ConfigError(f"{init} has another architecture than {config.model}; name its own with --model")
    assert isinstance(model, MaskRCNN | CascadeRCNN)
    if model.config.mask_width is not None and not splits.train.has_masks:
        model.remove_masks()
    assert model.description is not None
    preprocessing = model.description.preprocessing
    if config.size is not None:
        assert isinstance(preprocessing, FitPreprocessing)
        long = round(config.size * preprocessing.long / preprocessing.short)
        preprocessing = dataclasses.replace(preprocessing, short=config.size, long=long)
    model.description = dataclasses.replace(model.description, labels=classes, preprocessing=preprocessing)
    return model


def _on_backbone(name: str, backbone: nn.Module, num_classes: int) -> Any:
    """A detector on the backbone of a classifier.  Detectors have layer scales where small classifiers have none."""
    model: Any = create_model(name, num_classes=num_classes)
    state = backbone.state_dict()
    own = model.backbone.state_dict()
    reshaped = [key for key in state if key in own and own[key].shape != state[key].shape]
    missing = [key for key in own if key not in state and "layer_scale" not in key]
    extra = [key for key in state if key not in own]
    if reshaped or missing or extra:
        raise CheckpointMismatchError(
            f"the backbone does not fit {name} (tensors of another shape: {len(reshaped)}, missing: {len(missing)}, "
            f"left over: {len(extra)}); start from a classifier of the same size"
        )
    model.backbone.load_state_dict(state, strict=False)
    return model
