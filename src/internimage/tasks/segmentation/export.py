"""A segmenter without PyTorch: its graph, and what runs it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from internimage.contracts import Frame, Graph, PixelExport, Run, TaskExport
from internimage.description import ExportedDescription, ModelDescription
from internimage.errors import ConfigError
from internimage.images import FitPreprocessing, ImageSource
from internimage.images.scaling import in_frame
from internimage.labels import class_names
from internimage.results.segmentation import Segmentation
from internimage.results.upscaling import best_classes, enlarge
from internimage.settings.plain import from_plain
from internimage.settings.views import PredictionOptions, Window, refuse_for_detectors

if TYPE_CHECKING:
    from internimage.images.channels import AnyImage
    from internimage.images.scaling import Scaled

_NEAR = 1e-4  # classes of a pixel whose probabilities are nearer than this may change places
_TOGETHER = 8  # classes that are enlarged at a time in a graph that takes pixels: a third of a gigabyte for 12 million
_EXAMPLE = (224, 320)  # of graphs for images of any size


def graph(model: Any, frame: Frame | None = None) -> Graph:
    """An image (1, C, H, W), normalised, to logits (1, K, h, w) at the network's own size, a fourth or an eighth."""
    import torch

    class Coarse(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.segmenter = model

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            logits: torch.Tensor = self.segmenter(images, coarse=True)
            return logits

    inputs = {"images": torch.zeros(1, model.config.backbone.in_channels, *(frame or _EXAMPLE))}
    varying = {"images": {2: "height", 3: "width"}} if frame is None else {}
    return Graph(Coarse(), inputs, ("logits",), varying)


def framed(description: ModelDescription, frame: Frame) -> ModelDescription:
    """See :class:`internimage.contracts.TaskExport`; a segmenter that looks in windows looks in these."""
    said = f"size is {frame[0]}x{frame[1]}"
    preprocessing, window = description.preprocessing, description.config.get("window")
    assert isinstance(preprocessing, FitPreprocessing)
    if window is not None and tuple(window["size"]) != frame:
        raise ConfigError(f"{said}; the segmenter looks in windows of {'x'.join(map(str, window['size']))}, give these")
    if window is None and any(side % preprocessing.multiple for side in frame):
        raise ConfigError(f"{said}; the segmenter sees multiples of {preprocessing.multiple}, give such")
    return description


class ExportedSegmenter:
    """See :class:`internimage.contracts.Pipeline`."""

    def __init__(self, description: ExportedDescription, run: Run, options: PredictionOptions) -> None:
        if options.augmentation is not None:
            raise ConfigError("exported segmenters have no test-time augmentation; leave it out")
        refuse_for_detectors(options, "a segmenter sees large pictures in sliding windows of its own (window)")
        if options.keep_scores:
            raise ConfigError("exported segmenters keep no scores; leave keep_scores out")
        model = description.model
        assert isinstance(model.preprocessing, FitPreprocessing)
        self.preprocessing = model.preprocessing.seen_with(options.depth)
        self.run = run
        self.frame = description.frame
        self.palette = model.palette
        self.labels = model.labels
        self.classes = int(model.config["num_classes"])
        self.names = class_names(self.labels, self.classes)
        own = model.config.get("window")
        trained = None if own is None else from_plain(Window, own)
        self.window = trained if options.window == "model" else options.window
        if self.frame is not None and self.window != trained:
            raise ConfigError(f"the file sees images of {self.frame[0]}x{self.frame[1]} alone; leave window out")

    def read(self, source: ImageSource) -> AnyImage:
        return self.preprocessing.read(source)

    def prepare(self, picture: AnyImage) -> Scaled:
        return self.preprocessing.scaled(picture, None if self.window else self.frame)

    def predict(
        self, prepared: Sequence[Scaled], sources: Sequence[ImageSource], known: Sequence[Any]
    ) -> Iterator[Segmentation]:
        for picture, source in zip(prepared, sources, strict=True):
            logits, whole = self._logits(picture.image)
            label_map, confidence = best_classes(logits, whole, picture.seen, picture.original)
            yield Segmentation(_numbers(label_map, self.classes), confidence, self.names, source, self.palette)

    def _logits(self, image: np.ndarray[Any, Any]) -> tuple[np.ndarray[Any, Any], Frame]:
        """At the network's own size, or of windows their mean, and the (height, width) that they are of."""
        _, height, width = image.shape
        parts = self.window.parts(height, width) if self.window else [(0, 0, height, width)]
        if len(parts) == 1:
            return self._run(image), self.frame or (height, width)
        sums: np.ndarray[Any, Any] = np.zeros((len(self.names), height, width), np.float32)
        visits = np.zeros((height, width), np.float32)
        for top, left, bottom, right in parts:
            seen = self._run(np.ascontiguousarray(image[:, top:bottom, left:right]))
            size = bottom - top, right - left
            sums[:, top:bottom, left:right] += enlarge(seen, self.frame or size)[:, : size[0], : size[1]]
            visits[top:bottom, left:right] += 1
        return sums / visits, (height, width)

    def _run(self, image: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        seen = image if self.frame is None else in_frame(image, self.frame)
        return self.run({"images": seen[None]})["logits"][0].astype(np.float32)


def _numbers(label_map: np.ndarray[Any, Any], classes: int) -> np.ndarray[Any, Any]:
    return label_map.astype(np.uint8 if classes <= 256 else np.int32)


def pixels(description: ModelDescription) -> PixelExport:
    """See :class:`internimage.contracts.PixelExport`."""
    if description.config.get("window") is not None:
        raise ConfigError("the segmenter looks at pictures in windows, which are not in the graph; leave pixels out")
    classes = int(description.config["num_classes"])
    names = class_names(description.labels, classes)

    def ending(op: Any, outputs: Mapping[str, Any], original: Any, seen: Any) -> Mapping[str, Any]:
        best, labels, sums = [], [], []
        for start in range(0, classes, _TOGETHER):
            some = op.Slice(outputs["logits"], [start], [min(start + _TOGETHER, classes)], [1])
            for size in (seen, original):
                some = op.Resize(
                    some, None, None, op.Concat(op.Shape(some, start=0, end=2), size, axis=0), mode="linear"
                )
            best.append(op.ReduceMax(some, [1], keepdims=1))
            labels.append(op.Add(op.ArgMax(some, axis=1, keepdims=1), [start]))
            sums.append(op.ReduceLogSumExp(some, [1], keepdims=1))
        most, label, total = (op.Concat(*each, axis=1) for each in (best, labels, sums))
        label = op.GatherElements(label, op.ArgMax(most, axis=1, keepdims=1), axis=1)
        likely = op.Exp(op.Sub(op.ReduceMax(most, [1], keepdims=1), op.ReduceLogSumExp(total, [1], keepdims=1)))
        return {"label_map": op.Squeeze(label, [0, 1]), "confidence": op.Squeeze(likely, [0, 1])}

    def result(found: Mapping[str, Any], size: tuple[int, int], source: ImageSource) -> Segmentation:
        label_map = _numbers(found["label_map"], classes)
        return Segmentation(label_map, found["confidence"], names, source, description.palette)

    return PixelExport(ending, result)


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
    graph,
    framed,
    ExportedSegmenter,
    differences,
    {"probabilities": 1e-4, "pixels of another class": 1e-3},
    ("miou",),
    pixels,
)
