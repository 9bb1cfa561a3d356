"""What a run starts from: a model with its initial weights."""

from __future__ import annotations

import dataclasses
import warnings
from pathlib import Path
from typing import Any

from internimage.checkpoints.files import open_checkpoint
from internimage.checkpoints.folder import DESCRIPTION_FILE, WEIGHTS_FILE, find_model, read_description
from internimage.checkpoints.loading import ClassTensors
from internimage.data.dataset import PictureDataset
from internimage.errors import CheckpointMismatchError, ConfigError
from internimage.factory import create_model, load_model
from internimage.models.model import Model
from internimage.recipes import Recipe, get_recipe, list_models
from internimage.registry import ARCHITECTURES, architecture_of, resolve
from internimage.settings.training import RunConfig

_BACKBONE = "backbone."

SAVED_STATE = "the saved state"
"""As the initial weights of a run that goes on: those of its state are put into the model later."""


def initial_model(config: RunConfig, recipe: Recipe, classes: tuple[str, ...]) -> Any:
    """A model for these classes, with the weights to start from and prepared for the run's size.

    A model of another kind gives its backbone.

    Raises:
        CheckpointError: the weights cannot be read or fetched, or do not fit.
        ConfigError: they are of another architecture.
    """
    if config.init == "pretrained" and not recipe.name:
        raise ConfigError("a configuration of your own has no released weights; name weights to start from")
    folder = folder_of(recipe.name if config.init == "pretrained" else config.init)
    if config.init in ("scratch", SAVED_STATE):
        model = _create(recipe, num_classes=len(classes), in_channels=config.channels)
    elif folder is not None:
        model = _from_folder(folder, recipe, classes)
    else:
        model = _from_release(config.init, recipe, len(classes))
    check_architecture(model.config, recipe, config.init)
    preprocessing = recipe.preprocessing
    if folder is not None and model.description.preprocessing is not None:
        preprocessing = model.description.preprocessing
    preprocessing = preprocessing.of_channels(model.config.backbone.in_channels)
    model.description = dataclasses.replace(model.description, labels=classes, preprocessing=preprocessing)
    see_as_asked(model, config)
    return model


def see_as_asked(model: Any, config: RunConfig) -> None:
    """Give a model the size, the channels and the depth of pictures that the run asks for."""
    own = model.config.backbone.in_channels
    model.take_channels(config.channels or own)
    preprocessing = model.description.preprocessing
    if config.size is not None:
        preprocessing = preprocessing.resized(config.size)
    if config.depth is not None:
        preprocessing = dataclasses.replace(preprocessing, depth=config.depth)
    model.description = dataclasses.replace(model.description, preprocessing=preprocessing)


def known_classes(config: RunConfig, recipe: Recipe) -> tuple[str, ...] | None:
    """Classes of the weights to start from, which the data's go together with by name; None where none are known."""
    if config.init == "scratch" or (config.init == "pretrained" and not recipe.name):
        return None
    folder = folder_of(recipe.name if config.init == "pretrained" else config.init)
    if folder is not None:
        return read_description(folder).labels
    name = recipe.name if config.init == "pretrained" else config.init
    if name in list_models():
        return get_recipe(name).class_names
    named = open_checkpoint(config.init).classes
    return named.names if named is not None else None


def check_architecture(own: Any, recipe: Recipe, init: str) -> None:
    """Raise :class:`ConfigError` if ``own``, the configuration of ``init``, is of another network than the recipe's."""
    model: type[Model] = resolve(ARCHITECTURES[recipe.architecture].model)
    if not model.shares_weights(own, recipe.config):
        raise ConfigError(f"{init} has another architecture than {recipe.name}; name its own with --model")


def leave_out_unreadable(val: PictureDataset[Any, Any]) -> None:
    """Where files may be skipped: no other one stands in for them in evaluation, where it would count twice."""
    if val.on_corrupt == "skip" and (names := val.leave_out_unreadable()):
        warnings.warn(
            f"{len(names)} of {len(names) + len(val)} validation images cannot be read and are left out, such as "
            f"{names[0]}",
            stacklevel=2,
        )


def _create(recipe: Recipe, **options: Any) -> Any:
    """A model of the recipe, by its name if it has one."""
    return create_model(recipe.name if recipe.name in list_models() else recipe.config, **options)


def _from_folder(folder: Path, recipe: Recipe, classes: tuple[str, ...]) -> Any:
    """The model in a folder, its classifier anew for classes that it does not know; of another kind, its backbone."""
    model: Any = load_model(folder)
    if architecture_of(type(model)) != recipe.architecture:
        return _on_backbone(recipe, model.backbone, len(classes))
    check_architecture(model.config, recipe, str(folder))
    if model.description.labels != classes:
        before, names = dict(model.named_parameters()), model.description.labels
        model.reset_classifier(len(classes))
        kept = ClassTensors.of(model).carry(before, model, names, classes) if names else 0
        anew = "the classifier starts anew"
        if kept:
            anew = f"{kept} of {len(classes)} go on by their names, the classifier of others starts anew"
        warnings.warn(f"{folder} has other classes: {anew}", stacklevel=2)
    return model


def _from_release(init: str, recipe: Recipe, num_classes: int) -> Any:
    """The released weights of the recipe or of another name, or a file in any layout."""
    name = recipe.name if init == "pretrained" else init
    file = Path(init).expanduser()
    given: dict[str, Any] = {"pretrained": True}
    if name not in list_models():
        name, given = file.stem, {"checkpoint": file}
    if name in list_models() and get_recipe(name).architecture != recipe.architecture:
        return _on_backbone(recipe, create_model(name, features_only=True, **given), num_classes)
    if "pretrained" in given:
        check_architecture(get_recipe(name).config, recipe, name)  # before anything is fetched
        return create_model(name, num_classes=num_classes, **given)
    try:
        return _create(recipe, checkpoint=file, num_classes=num_classes)
    except CheckpointMismatchError as error:
        raise CheckpointMismatchError(
            f"{error}. If {file.name} holds a model of another kind, whose backbone is wanted, give the file the "
            "name of its release or convert it: internimage convert"
        ) from error


def what_is_taken(init: str, model: Model) -> str:
    """What of a model folder of another kind a model begins with, for people; empty for other weights."""
    folder = folder_of(init)
    if folder is None or read_description(folder).architecture == architecture_of(type(model)):
        return ""
    given = set(open_checkpoint(folder).specs)
    taken = {name for name in given if name.startswith(_BACKBONE)}
    own = [name for name in model.state_dict() if name.startswith(_BACKBONE)]
    anew = sum(name not in given for name in own) if len(model.backbone.backbones()) == 1 else 0
    text = f"the backbone of a {read_description(folder).architecture}, {len(taken)} tensors"
    text += f" ({anew} of the backbone's own start anew)" if anew else ""
    return f"{text}; {len(given) - len(taken)} others left out, what stands on it starts anew"


def folder_of(init: str) -> Path | None:
    """The model folder that ``init`` names: itself, by its file of weights, or by the run that it is the best of."""
    path = Path(init).expanduser()
    if path.name == WEIGHTS_FILE and (path.parent / DESCRIPTION_FILE).is_file():
        return path.parent
    return find_model(path)


def _on_backbone(recipe: Recipe, backbone: Any, num_classes: int) -> Any:
    """A model on the backbone of another kind; detectors have layer scales where small classifiers have none."""
    model = _create(recipe, num_classes=num_classes)
    state, networks = backbone.state_dict(), model.backbone.backbones()
    plain = len(backbone.backbones()) == 1 and len(networks) > 1  # one network starts all of a composite backbone
    own = (next(iter(networks.values())) if plain else model.backbone).state_dict()
    reshaped = [key for key in state if key in own and own[key].shape != state[key].shape]
    missing = [key for key in own if key not in state and "layer_scale" not in key]
    extra = [key for key in state if key not in own]
    if reshaped or missing or extra:
        raise CheckpointMismatchError(
            f"the backbone does not fit {recipe.name} (tensors of another shape: {len(reshaped)}, missing: "
            f"{len(missing)}, left over: {len(extra)}); start from a classifier on {model.config.backbone.family} of "
            "the same size"
        )
    if plain:
        model.backbone.load_branches(state)
    else:
        model.backbone.load_state_dict(state, strict=False)
    return model
