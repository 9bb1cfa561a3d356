"""From a configuration to a module: with the tensors of a file, or with initial weights."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import nn

from internimage.checkpoints import loading
from internimage.checkpoints.loading import ClassTensors
from internimage.registry import ARCHITECTURES, resolve

M = TypeVar("M", bound=nn.Module)
_BACKBONE_PREFIX = "backbone."


def class_tensors(architecture: str) -> ClassTensors:
    """Which tensors of an architecture depend on the classes."""
    return ClassTensors.of(resolve(ARCHITECTURES[architecture].model))


def build_model(
    architecture: str,
    config: Any,
    path: Path | None,
    device: torch.device,
    dtype: torch.dtype,
    *,
    in_channels: int | None = None,
    replace_classifier: bool = False,
) -> Any:
    """A model of a configuration, in evaluation mode.

    Args:
        architecture, config: of the model.
        path: a file or folder to load; None for initial weights.
        device, dtype: of the model.
        in_channels: of its images, where they are not the configuration's; weights for those are made to fit.
        replace_classifier: start what depends on the classes anew, with a warning, where the file has other classes.
    """
    build = resolve(ARCHITECTURES[architecture].model)
    if path is None:
        return _fresh(lambda: build(_of_channels(config, in_channels)), device, dtype)
    file, tensors = loading.open_for(path, config), ClassTensors.of(build)
    mapping = loading.names_in(file, config)
    if loading.channels_in(file, mapping) == in_channels:
        config = _of_channels(config, in_channels)
    classes = tensors.count(file, mapping)
    anew = replace_classifier and classes != config.num_classes
    with torch.device("meta"):
        model = build(config)
    specs = loading.model_specs(model)
    unused: list[str] = []
    absent: list[str] = []
    if anew:
        unused = [ours for ours in mapping.values() if tensors.useless(ours)]
        found = {ours: file.specs[theirs].shape for theirs, ours in mapping.items()}
        absent = [ours for ours in specs if tensors.include(ours) and found.get(ours) != specs[ours].shape]
    selected = loading.match(file, mapping, specs, unused=unused, absent=absent, classes=tensors)
    loading.assign(model, file, selected, device, dtype)
    if anew and config.num_classes:
        model.reset_classifier(config.num_classes)
        warnings.warn(
            f"{path.name} has {classes} classes, the model {config.num_classes}: the classifier starts anew",
            UserWarning,
            stacklevel=3,
        )
    return _taking(model, in_channels)


def build_backbone(
    architecture: str,
    config: Any,
    path: Path | None,
    device: torch.device,
    dtype: torch.dtype,
    out_indices: Sequence[int],
    *,
    in_channels: int | None = None,
) -> Any:
    """The backbone of a model, from a file of the whole model or of the backbone alone."""
    build = resolve(ARCHITECTURES[architecture].model).build_backbone
    if path is None:
        return _fresh(lambda: build(_of_channels(config, in_channels), out_indices), device, dtype)
    file = loading.open_for(path, config)
    mapping = loading.names_in(file, config)
    if loading.channels_in(file, mapping) == in_channels:
        config = _of_channels(config, in_channels)
    head = [ours for ours in mapping.values() if not ours.startswith(_BACKBONE_PREFIX)]
    with torch.device("meta"):
        model = build(config, out_indices)
    expected = {_BACKBONE_PREFIX + name: spec for name, spec in loading.model_specs(model).items()}
    selected = loading.match(file, mapping, expected, unused=head)
    selected = {theirs: ours.removeprefix(_BACKBONE_PREFIX) for theirs, ours in selected.items()}
    loading.assign(model, file, selected, device, dtype)
    return _taking(model, in_channels)


def _of_channels(config: Any, in_channels: int | None) -> Any:
    if in_channels is None:
        return config
    return replace(config, backbone=replace(config.backbone, in_channels=in_channels))


def _taking(model: Any, in_channels: int | None) -> Any:
    if in_channels not in (None, model.config.backbone.in_channels):
        model.take_channels(in_channels)
    return model.eval()


def _fresh(build: Callable[[], M], device: torch.device, dtype: torch.dtype) -> M:
    """A model with initial weights; on the meta device nothing is drawn first, which takes half a minute for H."""
    with device if device.type == "meta" else nullcontext():
        model = build()
    return model.to(device=device, dtype=dtype).eval()
