"""A segmenter without PyTorch: its graph, and what runs it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from internimage.contracts import Graph, Run, TaskExport
from internimage.description import ExportedDescription
from internimage.errors import ConfigError
from internimage.images import FitPreprocessing, ImageSource
from internimage.results.segmentation import Segmentation
from internimage.results.upscaling import best_classes, enlarge
from internimage.settings.plain import from_plain
from internimage.settings.views import PredictionOptions, Window

if TYPE_CHECKING:
    from internimage.images.channels import AnyImage
    from internimage.images.scaling import Scaled

_NEAR = 1e-4  # classes of a pixel whose probabilities are nearer than this may change places
_EXAMPLE = (224, 320)  # of graphs for images of any size


def graph(model: Any) -> Graph:
    """An image (1, C, H, W), normalised, to logits (1, K, h, w) at the network's own size, a fourth or an eighth."""
    import torch

    class Coarse(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.segmenter = model

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            logits: torch.Tensor = self.segmenter(images, coarse=True)
            return logits

    inputs = {"images": torch.zeros(1, model.config.backbone.in_channels, *_EXAMPLE)}
    varying = {"images": {2: "height", 3: "width"}}
    return Graph(Coarse(), inputs, ("logits",), varying)


class ExportedSegmenter:
    """See :class:`internimage.contracts.Pipeline`."""

    def __init__(self, description: ExportedDescription, run: Run, options: PredictionOptions) -> None:
        if options.augmentation is not None:
            raise ConfigError("exported segmenters have no test-time augmentation; leave it out")
        if options.max_objects is not None:
            raise ConfigError("a greatest number of objects is for detectors; leave it out")
        if options.keep_scores:
            raise ConfigError("exported segmenters keep no scores; leave keep_scores out")
        model = description.model
        assert isinstance(model.preprocessing, FitPreprocessing)
        self.preprocessing = model.preprocessing.seen_with(options.depth)
        self.run = run
        self.palette = model.palette
        self.labels = model.labels
        self.classes = int(model.config["num_classes"])
        self.names = model.labels or tuple(f"class {index}" for index in range(self.classes))
        own = model.config.get("window")
        trained = None if own is None else from_plain(Window, own)
        self.window = trained if options.window == "model" else options.window

    def read(self, source: ImageSource) -> AnyImage:
        return self.preprocessing.read(source)

    def prepare(self, picture: AnyImage) -> Scaled:
        return self.preprocessing.scaled(picture)

    def predict(
        self, prepared: Sequence[Scaled], sources: Sequence[ImageSource], known: Sequence[Any]
    ) -> Iterator[Segmentation]:
        for picture, source in zip(prepared, sources, strict=True):
            seen = picture.image.shape[1], picture.image.shape[2]
            label_map, confidence = best_classes(self._logits(picture.image), seen, picture.original)
            labels = label_map.astype(np.uint8 if len(self.names) <= 256 else np.int32)
            yield Segmentation(labels, confidence, self.names, source, self.palette)

    def _logits(self, image: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """Of a whole picture, at the network's own size; of one seen in windows, their mean in the picture's size."""
        height, width = image.shape[1:]
        parts = self.window.parts(height, width) if self.window else [(0, 0, height, width)]
        if len(parts) == 1:
            return self._run(image)
        sums: np.ndarray[Any, Any] = np.zeros((len(self.names), height, width), np.float32)
        visits = np.zeros((height, width), np.float32)
        for top, left, bottom, right in parts:
            seen = self._run(np.ascontiguousarray(image[:, top:bottom, left:right]))
            sums[:, top:bottom, left:right] += enlarge(seen, (bottom - top, right - left))
            visits[top:bottom, left:right] += 1
        return sums / visits

    def _run(self, image: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        return self.run({"images": image[None]})["logits"][0].astype(np.float32)


def differences(ours: Segmentation, theirs: Segmentation) -> Mapping[str, float]:
    """Of the probability of each pixel's class, and how many pixels have another class that was no near tie."""
    apart = np.abs(ours.confidence - theirs.confidence)
    other, near = ours.label_map != theirs.label_map, apart <= _NEAR
    return {
        "probabilities": float(apart.max()),
        "pixels of another class": float((other & ~near).mean()),
        "pixels with near ties": float((other & near).sum()),
    }


EXPORT = TaskExport(
    graph, ExportedSegmenter, differences, {"probabilities": 1e-4, "pixels of another class": 1e-3}, ("miou",)
)
