"""What belongs to a model beside its tensors."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import Any

from internimage.images.scaling import FitPreprocessing
from internimage.images.transforms import Preprocessing


@dataclass(frozen=True)
class ModelSource:
    """Where weights came from: recipe, file and the file's sha256 (of downloaded files), None where unknown."""

    recipe: str | None = None
    file: str | None = None
    sha256: str | None = None


@dataclass(frozen=True)
class ModelDescription:
    """Attached to every model that the factory makes, and written to ``model.json``.

    Attributes:
        architecture: a name of ``internimage.factory.ARCHITECTURES``.
        config: the architecture's configuration, as plain data; filled in when the model is written.
        preprocessing: what an image goes through before the model; None for a bare backbone built by hand.
        labels: names of the outputs, None if they have none.
        category_ids: the training data's own id of each class, by which results go back to the tool that they are from;
            None for 1, 2, ... or those of the released model's data.
        palette: a colour (red, green, blue) of each, for segmenters; None for colours that are made up.
        source: where the weights came from.
    """

    architecture: str
    config: dict[str, Any] = field(default_factory=dict)
    preprocessing: Preprocessing | FitPreprocessing | None = None
    labels: tuple[str, ...] | None = None
    category_ids: tuple[int | str, ...] | None = None
    palette: tuple[tuple[int, int, int], ...] | None = None
    source: ModelSource = ModelSource()


@dataclass(frozen=True)
class ExportedDescription:
    """What an exported file says of itself, as JSON inside of it.

    Attributes:
        task: name of the model's task.
        layers: what it gives instead of predictions: names of layers, as of :func:`internimage.extract_features`.
        model: the model's description, with its configuration.
        pixels: it takes the 8-bit pixels of one picture, and gives results in that picture's pixels.
        frame: (height, width) of all its images, in which pictures lie at the top left; None for images of any size.
        precision: of its numbers: "float32", "float16", "bfloat16" or "int8".
        weights: SHA-256 of the model's tensors, in the order of their names.
        versions: of the packages that made it.
    """

    task: str
    model: ModelDescription
    layers: tuple[str, ...] = ()
    pixels: bool = False
    frame: tuple[int, int] | None = None
    precision: str = "float32"
    weights: str = ""
    versions: dict[str, Any] = field(default_factory=dict)


def is_exported(place: str | os.PathLike[str]) -> bool:
    """Whether a name is that of an exported file: .onnx, OpenVINO's .xml, or PyTorch's .pt2."""
    return os.fspath(place).lower().endswith((".onnx", ".xml", ".pt2"))
