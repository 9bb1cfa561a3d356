"""From a name or a configuration to a model, from a model to a folder: where a recipe becomes a module."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn

from internimage.backbones.config import Operator
from internimage.checkpoints import convert, files, folder, hub, layouts, loading
from internimage.checkpoints.building import build_backbone, build_model, class_tensors
from internimage.checkpoints.loading import ClassTensors
from internimage.contracts import task_spec
from internimage.description import ModelDescription, ModelSource
from internimage.errors import CheckpointMismatchError, ConfigError, DownloadError, UnknownModelError
from internimage.labels import imagenet22k_to_1k, load_labels, load_palette
from internimage.machine import choose_device, choose_dtype
from internimage.recipes import Recipe, get_recipe, packaged_models
from internimage.registry import ARCHITECTURES, architecture_of, resolve
from internimage.settings.plain import from_plain


def create_model(
    model: str | Any,
    *,
    pretrained: bool = False,
    checkpoint: str | os.PathLike[str] | None = None,
    num_classes: int | None = None,
    in_channels: int | None = None,
    labels: Literal["imagenet1k"] | None = None,
    features_only: bool = False,
    out_indices: Sequence[int] = (0, 1, 2, 3),
    operator: Operator | None = None,
    device: str | torch.device | None = None,
    dtype: torch.dtype | None = None,
) -> nn.Module:
    """Build a model by name or from a configuration of one's own, in evaluation mode.

    Args:
        model: a name of :func:`internimage.list_models`, or a configuration such as
            ``MaskRCNNConfig(backbone=InternImageConfig(...))``.
        pretrained: load the released weights, downloading them once.
        checkpoint: a file or folder to load instead: official ``.pth``, Hugging Face, safetensors or a folder of ours.
            Every tensor must be used and every parameter filled.
        num_classes: another number of classes than the recipe's.  A checkpoint with that many is loaded whole; from any
            other, what depends on the classes is left out and starts anew, with a warning.  0 gives a classifier's
            pooled features.
        in_channels: channels of the images, 3 for RGB.  For others, weights of RGB are made to fit: one channel gets
            the sum of the first convolution's weights, more channels get them in turn, scaled; the preprocessing goes
            along.
        labels: "imagenet1k" reduces a 21,841-way classifier to the 1,000 classes of ImageNet-1K, as the original
            evaluation does.
        features_only: the backbone alone; ``model(images)`` is a list of NCHW maps, strides 4, 8, 16, 32.
        out_indices: which of these maps.
        operator: "dcnv4" lets an InternImage sample with DCNv4's operator, which takes offsets and weights in one
            tensor: same weights, same results (docs/performance.md has the times).  None for the model's own.
        device: where to put the model.  Large models go there tensor by tensor.
        dtype: floating dtype of the parameters; float32 if None, whatever the file holds.

    Returns:
        An ``nn.Module`` whose attribute ``description`` tells architecture, preprocessing, labels and source.

    Raises:
        UnknownModelError: no such name.
        CheckpointError: the weights cannot be read, fetched or fitted; the message lists the tensors.
        ConfigError: options that contradict each other, a configuration of no architecture of this package, or a
            device that is not here.
    """
    recipe = get_recipe(model) if isinstance(model, str) else own_recipe(model)
    _refuse_contradictions(recipe, pretrained, checkpoint, num_classes, labels, features_only)
    place, dtype = choose_device(device), choose_dtype(dtype)
    path = _weights(recipe, pretrained, checkpoint)
    source = ModelSource(recipe.name or None)
    if path is not None:
        source = dataclasses.replace(source, file=path.name, sha256=hub.cached_sha256(path))
    config = recipe.config
    if operator is not None:
        config = dataclasses.replace(config, backbone=config.backbone.with_operator(operator))
    if features_only:
        backbone = build_backbone(recipe.architecture, config, path, place, dtype, out_indices, in_channels=in_channels)
        preprocessing = recipe.preprocessing.of_channels(backbone.config.in_channels)
        backbone.description = ModelDescription(
            architecture_of(type(backbone.config)), preprocessing=preprocessing, source=source
        )
        return backbone
    if num_classes is not None:
        config = dataclasses.replace(config, num_classes=num_classes)
    built = build_model(
        recipe.architecture,
        config,
        path,
        place,
        dtype,
        in_channels=in_channels,
        replace_classifier=num_classes is not None,
    )
    preprocessing = recipe.preprocessing.of_channels(built.config.backbone.in_channels)
    names, palette = _own_classes(recipe, built.config.num_classes, path)
    if labels is not None:
        built.keep_classes(imagenet22k_to_1k())
        names = load_labels(labels)
    built.description = ModelDescription(
        recipe.architecture, preprocessing=preprocessing, labels=names, palette=palette, source=source
    )
    return built


def own_recipe(config: Any, preprocessing: Any = None) -> Recipe:
    """A recipe without a name for a configuration of one's own; ``preprocessing`` None is the task's usual one.

    Raises:
        ConfigError: no architecture of this package is configured so.
    """
    architecture = architecture_of(type(config))
    task = ARCHITECTURES[architecture].task
    if task is None:
        raise ConfigError(f"a {type(config).__name__} is a backbone alone; put it into the configuration of a model")
    usual = task_spec(task).preprocessing
    return Recipe("", task, architecture, dataclasses.asdict(config), preprocessing or usual)


def recipe_of(model: str | os.PathLike[str] | Mapping[str, Any]) -> Recipe:
    """The recipe of a name, of a model's or run's folder (which is its weights), or of a description as plain data.

    Raises:
        UnknownModelError: no model is called so, and there is no such folder.
        CheckpointReadError: the folder is damaged.
    """
    if isinstance(model, Mapping):
        description, place = from_plain(ModelDescription, dict(model)), ""
    elif (found := folder.find_model(model)) is not None:
        description, place = folder.read_description(found), str(found)
    else:
        return get_recipe(str(model))
    entry = _known(description, place or "the run")
    if entry.task is None:
        raise ConfigError(f"{place or 'the run'} holds a backbone alone; expected a whole model")
    preprocessing = description.preprocessing or task_spec(entry.task).preprocessing
    return Recipe(place, entry.task, description.architecture, description.config, preprocessing)


def other_classes(name: str, checkpoint: str | os.PathLike[str]) -> int | None:
    """How many classes a file of weights tells apart, if not as many as the named model: None if as many."""
    recipe = get_recipe(name)
    file = loading.open_for(folder.find_model(checkpoint) or Path(checkpoint), recipe.config)
    found = class_tensors(recipe.architecture).count(file, loading.names_in(file, recipe.config))
    return found if found not in (0, recipe.config.num_classes) else None


def load_model(
    path: str | os.PathLike[str],
    *,
    device: str | torch.device | None = None,
    dtype: torch.dtype | None = None,
) -> nn.Module:
    """Load a folder written by :func:`save_model`, or a run's best model, in evaluation mode; the folder is enough."""
    place, dtype = choose_device(device), choose_dtype(dtype)
    path = folder.find_model(path) or Path(path).expanduser()
    description = folder.read_description(path)
    entry = _known(description, path)
    config = from_plain(resolve(entry.config), description.config)
    file = files.open_checkpoint(path)
    with torch.device("meta"):
        model = resolve(entry.model)(config)
    classes = ClassTensors.of(model)
    selected = loading.match(file, loading.names_in(file, config), loading.model_specs(model), classes=classes)
    loading.assign(model, file, selected, place, dtype)
    model.description = description
    return model.eval()  # type: ignore[no-any-return]


def save_model(
    model: nn.Module,
    path: str | os.PathLike[str],
    weights: Mapping[str, torch.Tensor] | None = None,
    *,
    labels: Sequence[str] | None = None,
) -> Path:
    """Write ``model.safetensors`` and ``model.json`` into the folder ``path`` and return it.

    Args:
        model: made by :func:`create_model`.
        path: the folder.
        weights: its state dict, where the model itself does not have all of it (as when it is sharded).
        labels: names of the outputs of a model whose classes are one's own.

    Raises:
        ConfigError: no model of this package, or as many labels as it does not have.
        CheckpointWriteError: the folder cannot be written; nothing is left half-written.
    """
    try:
        architecture = architecture_of(type(model))
    except ConfigError:
        raise ConfigError(
            f"cannot save a {type(model).__name__}; expected a whole model or a plain backbone made by create_model"
        ) from None
    config: Any = model.config
    description: ModelDescription = model.description or ModelDescription(architecture)  # type: ignore[assignment]
    classes = config.num_classes
    if labels is not None and len(labels) != classes:
        raise ConfigError(f"{len(labels)} labels for a model with {classes} outputs")
    names = tuple(labels) if labels is not None else description.labels
    names = names if names is not None and len(names) == classes else None
    description = dataclasses.replace(description, config=dataclasses.asdict(config), labels=names)
    return folder.write_folder(path, model.state_dict() if weights is None else weights, description)


def convert_checkpoint(
    source: str | os.PathLike[str],
    target: str | os.PathLike[str],
    layout: layouts.Layout,
    *,
    name: str | None = None,
    ema: bool = False,
) -> Path:
    """Rewrite a checkpoint in another layout, values untouched, and return the path written.

    Args:
        source: a file or folder in any layout.
        target: a ``.pth`` file for "official", a folder for "hf" and "ours".
        layout: the layout to write; detectors and segmenters know "official" and "ours".
        name: the model the file belongs to; by default the stem of the file or what ``model.json`` says.
        ema: take the moving average of a training checkpoint.
    """
    source = folder.find_model(source) or Path(source).expanduser()
    file = files.open_checkpoint(source, ema=ema)
    description, config = _identify(source, name)
    file = loading.as_released(file, config)
    found = class_tensors(description.architecture).count(file, loading.names_in(file, config))
    config = dataclasses.replace(config, num_classes=found)
    with torch.device("meta"):
        expected = loading.model_specs(resolve(ARCHITECTURES[description.architecture].model)(config))
    selected = loading.match(file, loading.names_in(file, config), expected)
    tensors = {selected[theirs]: tensor for theirs, tensor in file.read(selected)}
    if file.classes is not None and len(file.classes.names) == found and not _is_ours(source):
        description = dataclasses.replace(description, labels=file.classes.names, palette=file.classes.palette)
    if description.labels is not None and len(description.labels) != found:
        description = dataclasses.replace(description, labels=None, palette=None)
    description = dataclasses.replace(description, config=dataclasses.asdict(config))
    return convert.write_layout(
        Path(target).expanduser(), layout, {name: tensors[name] for name in expected}, config, description
    )


def _refuse_contradictions(
    recipe: Recipe,
    pretrained: bool,
    checkpoint: str | os.PathLike[str] | None,
    num_classes: int | None,
    labels: str | None,
    features_only: bool,
) -> None:
    name = recipe.name or f"a {recipe.architecture} of your own"
    if pretrained and checkpoint is not None:
        raise ConfigError("pass either pretrained=True or checkpoint=, not both")
    if features_only and (num_classes is not None or labels is not None):
        raise ConfigError("features_only builds no classifier; leave num_classes and labels out")
    if labels is not None and (labels != "imagenet1k" or num_classes is not None):
        raise ConfigError("labels takes 'imagenet1k' alone and excludes num_classes")
    if labels is not None and recipe.labels != "imagenet22k":
        raise ConfigError(f"{name} has no 21,841-way classifier to reduce; leave labels out")
    if num_classes is not None and (not isinstance(num_classes, int) or num_classes < 0):
        raise ConfigError(f"num_classes is {num_classes!r}; expected an integer, 0 or more")
    if num_classes == 0 and not task_spec(recipe.task).without_classes:
        raise ConfigError(f"num_classes is 0; {name} needs classes (features_only=True gives its backbone)")


def _weights(recipe: Recipe, pretrained: bool, checkpoint: str | os.PathLike[str] | None) -> Path | None:
    """The file or folder to load, fetched if need be."""
    if checkpoint is not None:
        return folder.find_model(checkpoint) or Path(checkpoint).expanduser()
    if not pretrained:
        return None
    if recipe.weights is None:
        name = recipe.name or f"a {recipe.architecture} of your own"
        if recipe.elsewhere:
            where = recipe.elsewhere
            raise DownloadError(f"{name} is not fetched; download it from {where} and pass --checkpoint FILE")
        raise DownloadError(f"no weights were published for {name}; start from a checkpoint or from scratch")
    try:
        return hub.locate(recipe.weights)
    except DownloadError as error:
        here, noun = ", ".join(packaged_models(recipe.task)), task_spec(recipe.task).model_noun
        raise DownloadError(f"{error}. Each a {noun} in this package: {here}" if here else str(error)) from error


def _own_classes(
    recipe: Recipe, classes: int, path: Path | None
) -> tuple[tuple[str, ...] | None, tuple[tuple[int, int, int], ...] | None]:
    """Names and colours of a model's outputs: those of the folder or file of the weights, or else the recipe's."""
    if path is not None and (path / folder.DESCRIPTION_FILE).is_file():
        own = folder.read_description(path)
        if own.labels is not None and len(own.labels) == classes:
            return own.labels, own.palette
    elif path is not None and (given := files.open_checkpoint(path).classes) and len(given.names) == classes:
        known = recipe.labels is not None and given.names == recipe.class_names
        return given.names, load_palette(recipe.labels) if recipe.labels and known else given.palette
    if recipe.labels and classes == recipe.config.num_classes:
        return recipe.class_names, load_palette(recipe.labels)
    return None, None


def _identify(source: Path, name: str | None) -> tuple[ModelDescription, Any]:
    """What model a file holds: by the name given, by its ``model.json``, or by its own name."""
    place = source if source.is_dir() else source.parent
    if name is None and (place / folder.DESCRIPTION_FILE).is_file():
        description = folder.read_description(place)
        entry = ARCHITECTURES.get(description.architecture)
        if entry is None or entry.task is None:
            raise ConfigError(f"{source} holds a {description.architecture}; only whole models have other layouts")
        return description, from_plain(resolve(entry.config), description.config)
    name = name or (source.name if source.is_dir() else source.stem)
    try:
        recipe = get_recipe(name)
    except UnknownModelError as error:
        raise UnknownModelError(f"{error}. Name the model that {source} holds (name=, --model)") from None
    palette = load_palette(recipe.labels) if recipe.labels else None
    origin = ModelSource(name, source.name)
    return ModelDescription(
        recipe.architecture,
        preprocessing=recipe.preprocessing,
        labels=recipe.class_names,
        palette=palette,
        source=origin,
    ), recipe.config


def _is_ours(source: Path) -> bool:
    """Whether a folder or file of weights has a ``model.json``, which says all that there is to say."""
    return ((source if source.is_dir() else source.parent) / folder.DESCRIPTION_FILE).is_file()


def _known(description: ModelDescription, place: str | Path) -> Any:
    """Where the architecture of a model folder lives."""
    if description.architecture not in ARCHITECTURES:
        raise CheckpointMismatchError(
            f"{place} holds a {description.architecture!r}; this installation knows {', '.join(ARCHITECTURES)}"
        )
    return ARCHITECTURES[description.architecture]
