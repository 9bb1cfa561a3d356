"""Features of images: pooled vectors, stage maps, single blocks."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageOps
from safetensors.numpy import save_file
from torch import Tensor, nn

from internimage.data.read_ahead import ReadAhead
from internimage.drawing.charts import contact_sheet
from internimage.drawing.features import principal_components
from internimage.errors import ConfigError, ImageReadError
from internimage.images import ImageSource, list_images
from internimage.images.reader import ImageInputs
from internimage.inference.blame import finite
from internimage.inference.twin import evaluating_twin
from internimage.models.classifier import ClassifierFeatures, ImageClassifier
from internimage.writing import save_picture, written_aside


def layer_names(model: ImageClassifier) -> list[str]:
    """What :func:`extract_features` can give of a model, coarse to fine; stages and blocks count from 1."""
    stages = model.config.backbone.depths
    names = ["pooled", "logits", *(f"stage{stage + 1}" for stage in range(len(stages)))]
    return names + [f"stage{s + 1}.block{b + 1}" for s, depth in enumerate(stages) for b in range(depth)]


def extract_features(
    model: nn.Module,
    images: ImageInputs,
    layers: Sequence[str] = ("pooled",),
    *,
    average: bool = False,
    batch_size: int = 8,
) -> Iterator[tuple[ImageSource, dict[str, np.ndarray[Any, Any]] | ImageReadError]]:
    """Yield (source, features) for each image, or the error of an image that cannot be read.

    Args:
        model: a classifier made by :func:`internimage.create_model`; it keeps its mode.
        images: anything that :func:`internimage.images.list_images` takes.
        layers: "pooled" (F,), the vector that the classifier sees; "logits" (K,); "stage1" to "stage4" (C, H, W), the
            maps of ``features_only``; "stage3.block5" (C, H, W), the output of one block.
        average: average maps over space, to (C,).
        batch_size: images per forward pass.

    Raises:
        ConfigError: a layer that the model does not have, or a model that is not a classifier.
    """
    if not isinstance(model, ImageClassifier):
        raise ConfigError(f"features are extracted from a classifier, not a {type(model).__name__} (see features_only)")
    if model.description is None or model.description.preprocessing is None:
        raise ConfigError("the model does not say how its images are prepared; build it with create_model")
    unknown = sorted(set(layers) - set(layer_names(model)))
    if unknown or not layers:
        known = ", ".join(layer_names(model)[:6])
        raise ConfigError(
            f"no layer is called {', '.join(unknown) or '(none given)'}; expected {known} or stageI.blockJ"
        )
    prepare = model.description.preprocessing

    def load(source: ImageSource) -> Tensor:
        return prepare(source.read())

    return _stream(evaluating_twin(model), ReadAhead(list_images(images), load, batch_size), layers, average)


def _stream(
    model: ImageClassifier, loader: ReadAhead[ImageSource, Tensor], layers: Sequence[str], average: bool
) -> Iterator[tuple[ImageSource, dict[str, np.ndarray[Any, Any]] | ImageReadError]]:
    weight = next(model.parameters())
    for loaded in loader:
        good = [tensor for _, tensor in loaded if isinstance(tensor, Tensor)]
        rows: Iterator[dict[str, np.ndarray[Any, Any]]] = iter(())
        if good:
            batch = torch.stack(good).to(weight.device, weight.dtype)
            features = finite(model, partial(_forward, model, batch, layers))
            arrays = {
                name: (t.mean((2, 3)) if average and t.dim() == 4 else t).float().cpu().numpy()
                for name, t in features.items()
            }
            rows = ({name: array[i] for name, array in arrays.items()} for i in range(len(good)))
        for source, tensor in loaded:
            yield source, tensor if isinstance(tensor, ImageReadError) else next(rows)


@torch.inference_mode()
def _forward(model: ImageClassifier, images: Tensor, layers: Sequence[str]) -> dict[str, Tensor]:
    blocks: dict[str, Tensor] = {}
    hooks = []
    for name in layers:
        found = re.fullmatch(r"stage(\d+)\.block(\d+)", name)
        if found:
            block = model.get_submodule(f"backbone.stages.{int(found[1]) - 1}.blocks.{int(found[2]) - 1}")
            hooks.append(block.register_forward_hook(partial(_keep, blocks, name)))
    try:
        out: ClassifierFeatures = model.forward_intermediates(images)
    finally:
        for hook in hooks:
            hook.remove()
    named = {"pooled": out.pooled, "logits": out.logits, **{f"stage{i + 1}": m for i, m in enumerate(out.maps)}}
    return {name: {**named, **blocks}[name] for name in layers}


def _keep(into: dict[str, Tensor], name: str, module: nn.Module, inputs: Any, output: Tensor) -> None:
    into[name] = output.permute(0, 3, 1, 2)


class FeatureSheet:
    """Collects pictures of feature maps, one row an image: the photo, then three principal components of each map."""

    def __init__(self, layers: Sequence[str], rows: int = 12) -> None:
        self.layers = [layer for layer in layers if layer.startswith("stage")]
        if not self.layers:
            raise ConfigError("a sheet shows maps; add a stage to the layers (--layers stage1 stage2 stage3 stage4)")
        self._most = rows
        self._rows: list[list[Image.Image]] = []

    def add(self, source: ImageSource, features: dict[str, np.ndarray[Any, Any]]) -> None:
        """Draw the maps of one image, while there is room."""
        if len(self._rows) < self._most:
            maps = (principal_components(features[layer]) for layer in self.layers)
            photo = source.read()
            side = min(photo.size)
            self._rows.append([ImageOps.fit(photo, (side, side)), *maps])  # the part that the network saw

    def save(self, path: Path) -> None:
        """Write the picture."""
        pictures = [(picture, ()) for row in self._rows for picture in row]
        headings, title = ["photo", *self.layers], "Principal components of features"
        save_picture(contact_sheet(pictures, headings=headings, title=title, columns=len(headings), cell=220), path)


class FeatureFile:
    """Collects the features of images and writes them to one file, ``.npz`` or ``.safetensors``.

    One array a layer, (images, ...), and the images' names: as array ``images`` in an ``.npz``, as metadata ``images``
    (a JSON list) in a ``.safetensors``.
    """

    def __init__(self, path: Path) -> None:
        if path.suffix not in (".npz", ".safetensors"):
            raise ConfigError(f"{path} has an unknown suffix; expected .npz or .safetensors")
        self.path = path
        self._names: list[str] = []
        self._arrays: dict[str, list[np.ndarray[Any, Any]]] = {}

    def add(self, name: str, features: dict[str, np.ndarray[Any, Any]]) -> None:
        """Append the features of one image."""
        self._names.append(name)
        for layer, array in features.items():
            self._arrays.setdefault(layer, []).append(array)

    def write(self) -> dict[str, tuple[int, ...]]:
        """Write the file and return the shape of each layer's array."""
        arrays = {layer: np.stack(rows) for layer, rows in self._arrays.items()}
        with written_aside(self.path) as aside:
            if self.path.suffix == ".npz":
                with aside.open("wb") as file:
                    np.savez(file, **{"images": np.array(self._names), **arrays})  # type: ignore[arg-type]
            else:
                save_file(arrays, aside, metadata={"images": json.dumps(self._names)})
        return {layer: array.shape for layer, array in arrays.items()}
