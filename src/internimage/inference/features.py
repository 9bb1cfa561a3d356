"""Features of images: pooled vectors, stage maps, single blocks."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
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
from internimage.images.inputs.listing import comes_one_by_one, iterate_images
from internimage.images.reader import ImageInputs
from internimage.inference.blame import finite
from internimage.inference.twin import evaluating_twin
from internimage.models.model import Model
from internimage.settings.depth import Depth
from internimage.writing import save_picture, written_aside


def layer_names(model: Model) -> list[str]:
    """What :func:`extract_features` can give of a model, coarse to fine; stages and blocks count from 1."""
    stages = model.config.backbone.depths
    names = [*model.vector_names, *(f"stage{stage + 1}" for stage in range(len(stages)))]
    return names + [f"stage{s + 1}.block{b + 1}" for s, depth in enumerate(stages) for b in range(depth)]


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
    unknown = sorted(set(layers) - set(layer_names(model)))
    if unknown or not layers:
        known = ", ".join(layer_names(model)[:6])
        raise ConfigError(
            f"no layer is called {', '.join(unknown) or '(none given)'}; expected {known} or stageI.blockJ"
        )
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
            features = finite(model, partial(_forward, model, batch, layers))
            arrays = {
                name: (t.mean((2, 3)) if average and t.dim() == 4 else t).float().cpu().numpy()
                for name, t in features.items()
            }
            rows |= {place: {name: array[i] for name, array in arrays.items()} for i, place in enumerate(places)}
        for place, (source, tensor) in enumerate(loaded):
            yield source, tensor if isinstance(tensor, ImageReadError) else rows[place]


@torch.inference_mode()
def _forward(model: Model, images: Tensor, layers: Sequence[str]) -> dict[str, Tensor]:
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


class FeatureSheet:
    """Collects pictures of feature maps, one row an image: the photo, then three principal components of each map."""

    def __init__(self, layers: Sequence[str], rows: int = 12) -> None:
        self.layers = [layer for layer in layers if layer.startswith("stage")]
        if not self.layers:
            raise ConfigError("a sheet shows maps; add a stage to the layers (--layers stage1 stage2 stage3 stage4)")
        self._most = rows
        self._rows: list[list[Image.Image]] = []

    @property
    def full(self) -> bool:
        """Whether there is no room for another image."""
        return len(self._rows) >= self._most

    def add(self, source: ImageSource, features: dict[str, np.ndarray[Any, Any]]) -> None:
        """Draw the maps of one image, while there is room."""
        if not self.full:
            maps = (principal_components(features[layer]) for layer in self.layers)
            photo, (height, width) = source.show(), features[self.layers[0]].shape[1:]
            scale = min(photo.width / width, photo.height / height)
            seen = ImageOps.fit(photo, (round(width * scale), round(height * scale)))  # the part that the network saw
            self._rows.append([seen, *maps])

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
        """Append the features of one image.

        Raises:
            ConfigError: maps are of another size than those of the images before.
        """
        for layer, array in features.items():
            before = self._arrays.setdefault(layer, [])
            if before and before[0].shape != array.shape:
                raise ConfigError(
                    f"{name}: {layer} is {array.shape}, that of {self._names[0]} {before[0].shape}: pictures of "
                    "different shapes give maps of different sizes; average them over space (--average)"
                )
        self._names.append(name)
        for layer, array in features.items():
            self._arrays[layer].append(array)

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
