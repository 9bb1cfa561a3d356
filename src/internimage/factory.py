"""From a name to a model, from a model to a folder: the only place where a recipe becomes a module."""

from __future__ import annotations

import dataclasses
import os
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

import torch
from torch import nn

from internimage.backbones.composite import CompositeBackbone, build_backbone
from internimage.backbones.config import InternImageConfig, Operator
from internimage.backbones.internimage import InternImage
from internimage.checkpoints import convert, files, folder, hub, layouts, loading
from internimage.checkpoints.layouts import Config
from internimage.description import ModelDescription, ModelSource
from internimage.errors import CheckpointMismatchError, ConfigError, DownloadError, UnknownModelError
from internimage.labels import imagenet22k_to_1k, load_labels, load_palette
from internimage.models.cascade_rcnn import CascadeRCNN, CascadeRCNNConfig
from internimage.models.classifier import ClassifierConfig, ImageClassifier
from internimage.models.dino import DINO, DINOConfig
from internimage.models.mask2former import Mask2Former, Mask2FormerConfig
from internimage.models.mask_rcnn import MaskRCNN, MaskRCNNConfig
from internimage.models.segformer import SegFormer, SegFormerConfig
from internimage.models.upernet import UperNet, UperNetConfig
from internimage.recipes import get_recipe

M = TypeVar("M", bound=nn.Module)


@dataclass(frozen=True)
class Architecture:
    """A kind of model: its configuration and the module built from it."""

    config: type[Any]
    model: type[Any]


ARCHITECTURES: dict[str, Architecture] = {
    "image_classifier": Architecture(ClassifierConfig, ImageClassifier),
    "mask_rcnn": Architecture(MaskRCNNConfig, MaskRCNN),
    "cascade_rcnn": Architecture(CascadeRCNNConfig, CascadeRCNN),
    "dino": Architecture(DINOConfig, DINO),
    "upernet": Architecture(UperNetConfig, UperNet),
    "segformer": Architecture(SegFormerConfig, SegFormer),
    "mask2former": Architecture(Mask2FormerConfig, Mask2Former),
    "internimage": Architecture(InternImageConfig, InternImage),
}

_BACKBONE_PREFIX = "backbone."


def create_model(
    name: str,
    *,
    pretrained: bool = False,
    checkpoint: str | os.PathLike[str] | None = None,
    num_classes: int | None = None,
    labels: Literal["imagenet1k"] | None = None,
    features_only: bool = False,
    out_indices: Sequence[int] = (0, 1, 2, 3),
    operator: Operator | None = None,
    device: str | torch.device | None = None,
    dtype: torch.dtype | None = None,
) -> nn.Module:
    """Build a model by name, in evaluation mode.

    Args:
        name: a name of :func:`internimage.list_models`.
        pretrained: load the released weights, downloading them once.
        checkpoint: a file or folder to load instead: official ``.pth``, Hugging Face, safetensors or a folder of ours.
            Every tensor must be used and every parameter filled.
        num_classes: another number of classes than the recipe's.  A checkpoint with that many is loaded whole; from any
            other, what depends on the classes is left out and starts anew, with a warning.  0 gives a classifier's
            pooled features.
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
        ConfigError: options that contradict each other.
    """
    recipe = get_recipe(name)
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
    if num_classes == 0 and recipe.task != "classification":
        raise ConfigError(f"num_classes is 0; {name} needs classes (features_only=True gives its backbone)")
    path: Path | None = None
    if pretrained:
        if recipe.weights is None:
            raise DownloadError(f"no weights were published for {name}; start from a checkpoint or from scratch")
        path = hub.locate(recipe.weights)
    elif checkpoint is not None:
        path = Path(checkpoint).expanduser()
    source = ModelSource(name, path.name, hub.cached_sha256(path)) if path else ModelSource(name)

    recipe_config = recipe.config
    if operator is not None:
        backbone_config = dataclasses.replace(recipe_config.backbone, operator=operator)
        recipe_config = dataclasses.replace(recipe_config, backbone=backbone_config)
    if features_only:
        backbone = _build_backbone(recipe_config, path, device, dtype, out_indices)
        backbone.description = ModelDescription("internimage", preprocessing=recipe.preprocessing, source=source)
        return backbone
    classes = recipe.config.num_classes if num_classes is None else num_classes
    config = dataclasses.replace(recipe_config, num_classes=classes)
    model = _build_model(recipe.architecture, config, path, device, dtype, replace_classifier=num_classes is not None)
    own_classes = classes == recipe.config.num_classes
    names = _labels(recipe.labels, classes) if recipe.labels and own_classes else None
    palette = load_palette(recipe.labels) if recipe.labels and own_classes else None
    if path is not None and (path / folder.DESCRIPTION_FILE).is_file():  # a folder knows its own classes
        own = folder.read_description(path)
        if own.labels is not None and len(own.labels) == classes:
            names, palette = own.labels, own.palette
    if labels is not None:
        model.keep_classes(imagenet22k_to_1k())
        names = load_labels(labels)
    model.description = ModelDescription(
        recipe.architecture, preprocessing=recipe.preprocessing, labels=names, palette=palette, source=source
    )
    return model


def other_classes(name: str, checkpoint: str | os.PathLike[str]) -> int | None:
    """How many classes a file of weights tells apart, if not as many as the named model: None if as many."""
    config = get_recipe(name).config
    found = loading.classes_in(files.open_checkpoint(Path(checkpoint).expanduser()), config)
    return found if found not in (0, config.num_classes) else None


def load_model(
    path: str | os.PathLike[str],
    *,
    device: str | torch.device | None = None,
    dtype: torch.dtype | None = None,
) -> nn.Module:
    """Load a folder written by :func:`save_model`, in evaluation mode; nothing but the folder is needed."""
    path = Path(path).expanduser()
    description = folder.read_description(path)
    if description.architecture not in ARCHITECTURES:
        raise CheckpointMismatchError(
            f"{path} holds a {description.architecture!r}; this installation knows {', '.join(ARCHITECTURES)}"
        )
    architecture = ARCHITECTURES[description.architecture]
    config = folder.from_plain(architecture.config, description.config)
    file = files.open_checkpoint(path)
    with torch.device("meta"):
        model = architecture.model(config)
    selected = loading.match(file, loading.names_in(file, config), loading.model_specs(model))
    loading.assign(model, file, selected, _device(device), dtype or torch.float32)
    model.description = description
    return model.eval()


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
    """
    kinds = [name for name, kind in ARCHITECTURES.items() if isinstance(model, kind.model)]
    if isinstance(model, CompositeBackbone):
        raise ConfigError("a composite backbone is saved with the detector that it belongs to, not alone")
    if not kinds:
        raise ConfigError(f"cannot save a {type(model).__name__}; expected a model made by create_model")
    config: Any = model.config
    description: ModelDescription = model.description or ModelDescription(kinds[0])  # type: ignore[assignment]
    classes = getattr(config, "num_classes", 0)  # a backbone alone has none
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
    source = Path(source).expanduser()
    file = files.open_checkpoint(source, ema=ema)
    description, config = _identify(source, name)
    config = dataclasses.replace(config, num_classes=loading.classes_in(file, config))
    with torch.device("meta"):
        expected = loading.model_specs(ARCHITECTURES[description.architecture].model(config))
    selected = loading.match(file, loading.names_in(file, config), expected)
    tensors = {selected[theirs]: tensor for theirs, tensor in file.read(selected)}
    if description.labels is not None and len(description.labels) != config.num_classes:
        description = dataclasses.replace(description, labels=None)
    description = dataclasses.replace(description, config=dataclasses.asdict(config))
    return convert.write_layout(
        Path(target).expanduser(), layout, {name: tensors[name] for name in expected}, config, description
    )


def _identify(source: Path, name: str | None) -> tuple[ModelDescription, Config]:
    """What model a file holds: by the name given, by its ``model.json``, or by its own name."""
    place = source if source.is_dir() else source.parent
    if name is None and (place / folder.DESCRIPTION_FILE).is_file():
        description = folder.read_description(place)
        if description.architecture not in ARCHITECTURES or description.architecture == "internimage":
            raise ConfigError(f"{source} holds a {description.architecture}; only whole models have other layouts")
        return description, folder.from_plain(ARCHITECTURES[description.architecture].config, description.config)
    name = name or (source.name if source.is_dir() else source.stem)
    try:
        recipe = get_recipe(name)
    except UnknownModelError as error:
        raise UnknownModelError(f"{error}. Name the model that {source} holds (name=, --model)") from None
    labels = _labels(recipe.labels, recipe.config.num_classes) if recipe.labels else None
    palette = load_palette(recipe.labels) if recipe.labels else None
    origin = ModelSource(name, source.name)
    return ModelDescription(
        recipe.architecture, preprocessing=recipe.preprocessing, labels=labels, palette=palette, source=origin
    ), recipe.config


def _labels(name: str, classes: int) -> tuple[str, ...]:
    """Names of a model's outputs; those beyond the label set are unused."""
    names = load_labels(name)
    return (*names, *(f"unused {index}" for index in range(len(names), classes)))


def _build_model(
    architecture: str,
    config: Config,
    path: Path | None,
    device: str | torch.device | None,
    dtype: torch.dtype | None,
    *,
    replace_classifier: bool = False,
) -> Any:
    build = ARCHITECTURES[architecture].model
    if path is None:
        return _on(build(config), device, dtype)
    file = files.open_checkpoint(path)
    mapping = loading.names_in(file, config)
    classes = loading.classes_in(file, config)
    anew = replace_classifier and classes != config.num_classes
    with torch.device("meta"):
        model = build(config)
    specs = loading.model_specs(model)
    unused: list[str] = []
    absent: list[str] = []
    if anew:
        unused = [ours for ours in mapping.values() if _depends_on_classes(ours)]
        found = {ours: file.specs[theirs].shape for theirs, ours in mapping.items()}
        absent = [ours for ours in specs if loading.is_class_tensor(ours) and found.get(ours) != specs[ours].shape]
    selected = loading.match(file, mapping, specs, unused=unused, absent=absent)
    loading.assign(model, file, selected, _device(device), dtype or torch.float32)
    if anew and config.num_classes:
        model.reset_classifier(config.num_classes)
        warnings.warn(
            f"{path.name} has {classes} classes, the model {config.num_classes}: the classifier starts anew",
            UserWarning,
            stacklevel=3,
        )
    return model.eval()


def _depends_on_classes(name: str) -> bool:
    """Whether a tensor is of no use with other classes; without a classifier, neither is a metadata head."""
    return loading.is_class_tensor(name) or name.startswith("metadata_head.")


def _build_backbone(
    config: Config,
    path: Path | None,
    device: str | torch.device | None,
    dtype: torch.dtype | None,
    out_indices: Sequence[int],
) -> InternImage | CompositeBackbone:
    """The backbone of a model, from a file of the whole model or of the backbone alone."""
    composite = config.composite if isinstance(config, DINOConfig) else None
    if path is None:
        return _on(build_backbone(config.backbone, composite, out_indices), device, dtype)
    file = files.open_checkpoint(path)
    mapping = loading.names_in(file, config)
    head = [ours for ours in mapping.values() if not ours.startswith(_BACKBONE_PREFIX)]
    with torch.device("meta"):
        model = build_backbone(config.backbone, composite, out_indices)
    expected = {_BACKBONE_PREFIX + name: spec for name, spec in loading.model_specs(model).items()}
    selected = loading.match(file, mapping, expected, unused=head)
    selected = {theirs: ours.removeprefix(_BACKBONE_PREFIX) for theirs, ours in selected.items()}
    loading.assign(model, file, selected, _device(device), dtype or torch.float32)
    return model.eval()


def _on(model: M, device: str | torch.device | None, dtype: torch.dtype | None) -> M:
    return model.to(device=_device(device), dtype=dtype or torch.float32).eval()


def _device(device: str | torch.device | None) -> torch.device:
    return torch.device(device) if device is not None else torch.get_default_device()
