"""Backbones and what they say of pictures, without PyTorch."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from internimage.contracts import Graph
from internimage.data.read_ahead import ReadAhead
from internimage.errors import ConfigError, ExportError, ImageReadError
from internimage.exporting.runtimes import Exported, open_exported
from internimage.images import ImageSource, list_images
from internimage.images.inputs.listing import comes_one_by_one, iterate_images
from internimage.images.reader import ImageInputs
from internimage.settings.depth import Depth

Arrays = dict[str, np.ndarray[Any, Any]]

LIMITS = {"features, relative": 1e-4}
_EXAMPLE = (192, 256)


def feature_graph(model: Any, layers: Sequence[str]) -> Graph:
    """Images (N, C, H, W), normalised, to what :func:`internimage.extract_features` gives of these layers."""
    import torch

    from internimage.inference.features import check_layers, layer_outputs

    check_layers(model, layers)

    class Layers(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, ...]:
            return tuple(layer_outputs(self.model, images, layers).values())

    inputs = {"images": torch.zeros(2, model.config.backbone.in_channels, *_EXAMPLE)}
    return Graph(Layers(), inputs, tuple(layers), {"images": {0: "batch", 2: "height", 3: "width"}})


def feature_differences(ours: Arrays, theirs: Arrays) -> Mapping[str, float]:
    """Of the largest value of each layer."""
    apart = [float(np.abs(ours[name] - theirs[name]).max() / max(np.abs(ours[name]).max(), 1e-12)) for name in ours]
    return {"features, relative": max(apart)}


class ExportedFeatures:
    """Features of pictures from a file that ``internimage export --layers`` wrote; torch is not imported.

    Args:
        file: ``.onnx`` or OpenVINO's ``.xml``; or one that is open, whatever runs it, to which ``device`` and
            ``own_operators`` mean nothing.
        device: "auto", "cpu", or what the runtime calls it.
        batch_size: images per run; those of different sizes run apart.
        own_operators: see :class:`internimage.ExportedPredictor`.
        depth: how pixels of more than 8 bits are read; None as the model was trained.

    Attributes:
        layers: what the file gives.
        runtime: name and version of what runs it.
        preprocessing: how a picture is read and prepared.

    Raises:
        ExportError: it is no such file, or cannot be run.
    """

    def __init__(
        self,
        file: str | os.PathLike[str] | Exported,
        *,
        device: str = "auto",
        batch_size: int = 8,
        own_operators: bool = True,
        depth: Depth | None = None,
    ) -> None:
        exported = file
        if not isinstance(exported, Exported):
            exported = open_exported(os.fspath(exported), device=device, own_operators=own_operators)
        description = exported.description
        if not description.layers:
            raise ExportError(f"{exported.file} predicts and gives no features; export them with --layers")
        assert description.model.preprocessing is not None
        self.runtime, self.layers = exported.runtime, description.layers
        self.preprocessing = description.model.preprocessing.seen_with(depth)
        self.batch_size = batch_size
        self._run = exported.run

    def extract(
        self, images: ImageInputs, layers: Sequence[str] | None = None, *, average: bool = False
    ) -> Iterator[tuple[ImageSource, Arrays | ImageReadError]]:
        """As :func:`internimage.extract_features`; ``layers`` None for all that the file has.

        Raises:
            ConfigError: a layer that it has not.
        """
        wanted = self.layers if layers is None else tuple(layers)
        if unknown := [name for name in wanted if name not in self.layers]:
            raise ConfigError(f"the file has no layer {', '.join(unknown)}; expected {', '.join(self.layers)}")
        sources = iterate_images(images) if comes_one_by_one(images) else list_images(images)
        return self._stream(sources, wanted, average)

    def _stream(
        self, sources: Any, layers: Sequence[str], average: bool
    ) -> Iterator[tuple[ImageSource, Arrays | ImageReadError]]:
        def load(source: ImageSource) -> np.ndarray[Any, Any]:
            return self.preprocessing.array(self.preprocessing.read(source))

        for loaded in ReadAhead(sources, load, self.batch_size):
            sizes: dict[tuple[int, ...], list[int]] = {}
            for place, (_, array) in enumerate(loaded):
                if not isinstance(array, ImageReadError):
                    sizes.setdefault(array.shape, []).append(place)
            rows: dict[int, Arrays] = {}
            for places in sizes.values():
                found = self._run({"images": np.stack([np.asarray(loaded[place][1]) for place in places])})
                for row, place in enumerate(places):
                    own = {name: found[name][row].astype(np.float32) for name in layers}
                    rows[place] = {name: a.mean((1, 2)) if average and a.ndim == 3 else a for name, a in own.items()}
            for place, (source, array) in enumerate(loaded):
                yield source, array if isinstance(array, ImageReadError) else rows[place]
