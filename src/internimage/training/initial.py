"""What a run starts from: the model of a detector or segmenter, and validation images that can be read."""

from __future__ import annotations

import dataclasses
import warnings
from pathlib import Path
from typing import Any

from torch import nn

from internimage.backbones.composite import CompositeBackbone
from internimage.backbones.internimage import InternImage
from internimage.checkpoints.folder import DESCRIPTION_FILE, WEIGHTS_FILE
from internimage.data.dataset import PictureDataset
from internimage.errors import CheckpointMismatchError, ConfigError
from internimage.factory import ARCHITECTURES, create_model, load_model
from internimage.images import FitPreprocessing
from internimage.recipes import get_recipe, list_models
from internimage.training.config import RunConfig


def initial_model(config: RunConfig, classes: tuple[str, ...]) -> Any:
    """A detector or segmenter for these classes, with the weights to start from and prepared for the run's size.

    A model of another kind gives its backbone.
    """
    init, folder, anew = config.init, Path(config.init).expanduser(), False
    if folder.name == WEIGHTS_FILE and (folder.parent / DESCRIPTION_FILE).is_file():
        folder = folder.parent
    model: Any
    if init == "scratch":
        model = create_model(config.model, num_classes=len(classes))
    elif init in list_models() and get_recipe(init).architecture != get_recipe(config.model).architecture:
        model = _on_backbone(config.model, create_model(init, pretrained=True, features_only=True), len(classes))
    elif init == "pretrained" or init in list_models():
        name = config.model if init == "pretrained" else init
        model = create_model(name, pretrained=True, num_classes=len(classes))
    elif (folder / DESCRIPTION_FILE).is_file():
        model = load_model(folder)
        if not isinstance(model, ARCHITECTURES[get_recipe(config.model).architecture].model):
            model = _on_backbone(config.model, model.backbone if hasattr(model, "backbone") else model, len(classes))
        elif model.description is None or model.description.labels != classes:  # type: ignore[union-attr]
            model.reset_classifier(len(classes))  # type: ignore[operator]
            anew = True
    elif folder.stem in list_models() and get_recipe(folder.stem).architecture != get_recipe(config.model).architecture:
        backbone = create_model(folder.stem, checkpoint=folder, features_only=True)
        model = _on_backbone(config.model, backbone, len(classes))
    else:
        try:
            model = create_model(config.model, checkpoint=folder, num_classes=len(classes))
        except CheckpointMismatchError as error:
            raise CheckpointMismatchError(
                f"{error}. If {folder.name} holds a model of another kind, whose backbone is wanted, give the file the "
                "name of its release or convert it: internimage convert"
            ) from error
    expected: Any = get_recipe(config.model).config
    same = model.config.backbone.shares_weights_with(expected.backbone)
    if not same or getattr(model.config, "composite", None) != getattr(expected, "composite", None):
        raise ConfigError(f"{init} has another architecture than {config.model}; name its own with --model")
    if anew:
        warnings.warn(f"{init} has other classes: the classifier starts anew", stacklevel=2)
    preprocessing = model.description.preprocessing
    if config.size is not None:
        assert isinstance(preprocessing, FitPreprocessing)
        long = round(config.size * preprocessing.long / preprocessing.short)
        preprocessing = dataclasses.replace(preprocessing, short=config.size, long=long)
    model.description = dataclasses.replace(model.description, labels=classes, preprocessing=preprocessing)
    return model


def _on_backbone(name: str, backbone: nn.Module, num_classes: int) -> Any:
    """A model on the backbone of another kind; detectors have layer scales where small classifiers have none."""
    model: Any = create_model(name, num_classes=num_classes)
    state = backbone.state_dict()
    composite = isinstance(model.backbone, CompositeBackbone) and isinstance(backbone, InternImage)
    own = (model.backbone.branches[0] if composite else model.backbone).state_dict()
    reshaped = [key for key in state if key in own and own[key].shape != state[key].shape]
    missing = [key for key in own if key not in state and "layer_scale" not in key]
    extra = [key for key in state if key not in own]
    if reshaped or missing or extra:
        family = "FlashInternImage" if model.config.backbone.layer == "dcnv4" else "InternImage"
        raise CheckpointMismatchError(
            f"the backbone does not fit {name} (tensors of another shape: {len(reshaped)}, missing: {len(missing)}, "
            f"left over: {len(extra)}); start from a classifier on {family} of the same size"
        )
    if composite:
        model.backbone.load_branches(state)
    else:
        model.backbone.load_state_dict(state, strict=False)
    return model


def leave_out_unreadable(val: PictureDataset[Any, Any]) -> None:
    """Where files may be skipped: no other one stands in for them in evaluation, where it would count twice."""
    if val.on_corrupt == "skip" and (names := val.leave_out_unreadable()):
        warnings.warn(
            f"{len(names)} of {len(names) + len(val)} validation images cannot be read and are left out, such as "
            f"{names[0]}",
            stacklevel=2,
        )
