"""Features of images in files and as pictures.  No torch."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps
from safetensors.numpy import save_file

from internimage.drawing.charts import contact_sheet
from internimage.drawing.features import principal_components
from internimage.errors import ConfigError
from internimage.images import ImageSource
from internimage.writing import save_picture, written_aside


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
