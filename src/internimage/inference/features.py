"""Features of images: pooled vectors, stage maps, single blocks."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from internimage.data.read_ahead import ReadAhead
from internimage.errors import ConfigError, ImageReadError
from internimage.images import ImageSource, list_images
from internimage.images.inputs.listing import comes_one_by_one, iterate_images
from internimage.images.reader import ImageInputs
from internimage.inference.blame import finite
from internimage.inference.twin import evaluating_twin
from internimage.models.model import Model
from internimage.settings.depth import Depth


def layer_names(model: Model) -> list[str]:
    """What :func:`extract_features` can give of a model, coarse to fine; stages and blocks count from 1."""
    stages = model.config.backbone.depths
    names = [*model.vector_names, *(f"stage{stage + 1}" for stage in range(len(stages)))]
    return names + [f"stage{s + 1}.block{b + 1}" for s, depth in enumerate(stages) for b in range(depth)]


def check_layers(model: Model, layers: Sequence[str]) -> None:
    """Raise :class:`ConfigError` for layers that the model does not have, and for none."""
    unknown = sorted(set(layers) - set(layer_names(model)))
    if unknown or not layers:
        known = ", ".join(layer_names(model)[:6])
        raise ConfigError(
            f"no layer is called {', '.join(unknown) or '(none given)'}; expected {known} or stageI.blockJ"
        )


def extract_features(
    model: nn.Module,
    images: ImageInputs,
    layers: Sequence[str] = ("pooled",),
    *,
    average: bool = False,
    batch_size: int = 8,
    depth: Depth | None = None,
) -> Iterator[tuple[ImageSource, dict[str, np.ndarray[Any, Any]] | ImageReadError]]:
    """Yield (source, features) for each image, or the error of an image that cannot be read.

    Args:
        model: a classifier, detector or segmenter made by :func:`internimage.create_model`; it keeps its mode.
        images: anything that :func:`internimage.images.list_images` takes; an iterator is taken as the work goes on.
        layers: "pooled" (F,), the vector that a classifier sees, of other models the mean over the last map; "logits"
            (K,), of classifiers; "stage1" to "stage4" (C, H, W), the backbone's maps; "stage3.block5" (C, H, W), the
            output of one block.  A composite backbone gives those of its last branch.
        average: average maps over space, to (C,).
        batch_size: images per forward pass; those of different sizes, as detectors and segmenters see them, run apart.
        depth: how pixels of more than 8 bits are read; None as the model was trained.

    Raises:
        ConfigError: a layer that the model does not have, or not a whole model.
    """
    if not isinstance(model, Model):
        raise ConfigError(
            f"features are extracted from a classifier, detector or segmenter, not from a {type(model).__name__}, "
            "which gives its maps itself"
        )
    if model.description is None or model.description.preprocessing is None:
        raise ConfigError("the model does not say how its images are prepared; give a name or a model folder")
    check_layers(model, layers)
    own = model.description.preprocessing
    prepare = own if depth is None else replace(own, depth=depth)
    sources = iterate_images(images) if comes_one_by_one(images) else list_images(images)

    def load(source: ImageSource) -> Tensor:
        return prepare(prepare.read(source))

    return _stream(evaluating_twin(model), ReadAhead(sources, load, batch_size), layers, average)


def _stream(
    model: Model, loader: ReadAhead[ImageSource, Tensor], layers: Sequence[str], average: bool
) -> Iterator[tuple[ImageSource, dict[str, np.ndarray[Any, Any]] | ImageReadError]]:
    weight = next(model.parameters())
    for loaded in loader:
        sizes: dict[tuple[int, ...], list[int]] = {}
        for place, (_, tensor) in enumerate(loaded):
            if isinstance(tensor, Tensor):
                sizes.setdefault(tuple(tensor.shape), []).append(place)
        rows: dict[int, dict[str, np.ndarray[Any, Any]]] = {}
        for places in sizes.values():
            images = torch.stack([loaded[place][1] for place in places])  # type: ignore[misc]
            batch = images.to(weight.device, weight.dtype)
            features = finite(model, partial(layer_outputs, model, batch, layers))
            arrays = {
                name: (t.mean((2, 3)) if average and t.dim() == 4 else t).float().cpu().numpy()
                for name, t in features.items()
            }
            rows |= {place: {name: array[i] for name, array in arrays.items()} for i, place in enumerate(places)}
        for place, (source, tensor) in enumerate(loaded):
            yield source, tensor if isinstance(tensor, ImageReadError) else rows[place]


@torch.inference_mode()
def layer_outputs(model: Model, images: Tensor, layers: Sequence[str]) -> dict[str, Tensor]:
    """What each of these layers gives for images (N, C, H, W), normalised; see :func:`extract_features`."""
    maps: dict[str, Tensor] = {}
    network = list(model.backbone.backbones().values())[-1]
    hooks = []
    for name in layers:
        found = re.fullmatch(r"stage(\d+)(?:\.block(\d+))?", name)
        if found:
            block = f".blocks.{int(found[2]) - 1}" if found[2] else ""
            module = network.get_submodule(f"stages.{int(found[1]) - 1}{block}")
            hooks.append(module.register_forward_hook(partial(_keep, maps, name)))
    try:
        vectors = model.vectors(images)
    finally:
        for hook in hooks:
            hook.remove()
    return {name: {**vectors, **maps}[name] for name in layers}


def _keep(into: dict[str, Tensor], name: str, module: nn.Module, inputs: Any, output: Tensor) -> None:
    into[name] = output.permute(0, 3, 1, 2)
