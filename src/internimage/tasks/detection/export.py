"""A detector without PyTorch: its graph, and what runs it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from internimage.contracts import Frame, Graph, PixelExport, Run, TaskExport
from internimage.description import ExportedDescription, ModelDescription
from internimage.errors import ConfigError, ExportError
from internimage.images import FitPreprocessing, ImageSource
from internimage.images.nodes import DOUBLE, FLOAT
from internimage.labels import class_names
from internimage.results.detections import Detections
from internimage.settings.views import PredictionOptions
from internimage.structures.batching import DIVISOR, padded

if TYPE_CHECKING:
    from internimage.images.channels import AnyImage
    from internimage.images.scaling import Scaled

_NEAR = 1e-4  # scores that are nearer than this may change places, or fall on either side of a threshold
_EXAMPLE = (224, 320)  # of graphs for images of any size


def graph(model: Any, frame: Frame | None = None) -> Graph:
    """An image (1, C, H, W), normalised, to its objects, in its pixels.

    One of any size is not padded; in a frame ``extent`` (2,) says what of it is the picture, (height, width).
    """
    import torch
    import torch.nn.functional as F

    if model.config.detections.suppression != "nms":
        raise ExportError("soft-NMS cannot be exported; export the model with NMS (DetectionConfig.suppression)")

    class OneImage(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.detector = model

        def forward(self, images: torch.Tensor, extent: torch.Tensor | None = None) -> tuple[torch.Tensor, ...]:
            if extent is None:
                height, width = images.shape[2:]
                below, beside = ((side + DIVISOR - 1) // DIVISOR * DIVISOR - side for side in (height, width))
                images = F.pad(images, (0, beside, 0, below))
            else:
                sides: Any = extent.unbind()  # known when the graph runs
                height, width = (side.item() for side in sides)
            (found,) = self.detector(images, [(height, width)], images.new_ones(1, 4))
            masks = () if found.masks is None else (found.masks,)
            return (found.boxes, found.scores, found.labels, *masks)

    inputs = {"images": torch.zeros(1, model.config.backbone.in_channels, *(frame or _EXAMPLE))}
    varying = {"images": {2: "height", 3: "width"}} if frame is None else {}
    if frame is not None:
        inputs["extent"] = torch.tensor(frame)
    outputs = ("boxes", "scores", "labels", *(("masks",) if model.has_masks else ()))
    return Graph(OneImage(), inputs, outputs, varying)


def framed(description: ModelDescription, frame: Frame) -> ModelDescription:
    """See :class:`internimage.contracts.TaskExport`."""
    if any(side % DIVISOR for side in frame):
        raise ConfigError(
            f"size is {frame[0]}x{frame[1]}; detectors need multiples of {DIVISOR}, such as "
            f"{padded(frame[0])}x{padded(frame[1])}"
        )
    return description


class ExportedDetector:
    """See :class:`internimage.contracts.Pipeline`."""

    def __init__(self, description: ExportedDescription, run: Run, options: PredictionOptions) -> None:
        if options.augmentation is not None:
            raise ConfigError("exported detectors have no test-time augmentation; leave it out")
        if options.soft_nms:
            raise ConfigError("the file has its NMS inside; leave soft-NMS out")
        if options.keep_scores or options.window != "model":
            raise ConfigError("window and keep_scores are for segmenters; leave them out")
        preprocessing = description.model.preprocessing
        assert isinstance(preprocessing, FitPreprocessing)
        config = description.model.config
        most = int(config["detections"]["keep"])
        if options.max_objects is not None and not 1 <= options.max_objects <= most:
            raise ConfigError(f"the file reports {most} objects of an image; export one with more (--max-objects)")
        self.preprocessing = preprocessing.seen_with(options.depth)
        self.run = run
        self.frame = description.frame
        self.labels = description.model.labels
        self.classes = int(config["num_classes"])
        self.names = class_names(self.labels, self.classes)
        self.max_objects = options.max_objects or most
        self.has_masks = config.get("mask_width") is not None

    def read(self, source: ImageSource) -> AnyImage:
        return self.preprocessing.read(source)

    def prepare(self, picture: AnyImage) -> Scaled:
        return self.preprocessing.scaled(picture, self.frame)

    def predict(
        self, prepared: Sequence[Scaled], sources: Sequence[ImageSource], known: Sequence[Any]
    ) -> list[Detections]:
        return [self._one(each, source) for each, source in zip(prepared, sources, strict=True)]

    def _one(self, picture: Scaled, source: ImageSource) -> Detections:
        extent = {} if self.frame is None else {"extent": np.array(picture.seen)}
        found = self.run({"images": picture.image[None], **extent})
        kept = slice(self.max_objects)
        scale = [seen / own for seen, own in zip(picture.seen, picture.original, strict=True)]
        boxes = found["boxes"][kept].astype(np.float32) / np.array([scale[1], scale[0]] * 2, np.float32)
        masks = found["masks"][kept].astype(np.float32) if "masks" in found else None
        scores, labels = found["scores"][kept].astype(np.float32), found["labels"][kept]
        return Detections(boxes, scores, labels, self.names, picture.original, source, masks)


def pixels(description: ModelDescription) -> PixelExport:
    """See :class:`internimage.contracts.PixelExport`; masks stay as they are, in the frame of their box."""
    names = class_names(description.labels, int(description.config["num_classes"]))

    def ending(op: Any, outputs: Mapping[str, Any], original: Any, seen: Any) -> Mapping[str, Any]:
        scale = op.Cast(op.Div(op.Cast(seen, to=DOUBLE), op.Cast(original, to=DOUBLE)), to=FLOAT)
        return {**outputs, "boxes": op.Div(outputs["boxes"], op.Gather(scale, [1, 0, 1, 0]))}

    def result(found: Mapping[str, Any], size: tuple[int, int], source: ImageSource) -> Detections:
        return Detections(found["boxes"], found["scores"], found["labels"], names, size, source, found.get("masks"))

    config = description.config
    asked = {"max_objects": int(config["detections"]["keep"]), "has_masks": config.get("mask_width") is not None}
    return PixelExport(ending, result, asked)


def differences(ours: Detections, theirs: Detections) -> Mapping[str, float]:
    """Between objects of one class that are nearest; those near a threshold or the end of the list may be missing."""
    box, score, mask, missing, near = 0.0, 0.0, 0.0, 0, 0
    for one, other in ((ours, theirs), (theirs, ours)):
        edge = float(one.scores.min(initial=1.0)) + _NEAR
        for index in range(len(one)):
            same = np.flatnonzero(other.labels == one.labels[index])
            apart = np.abs(other.boxes[same] - one.boxes[index]).max(1) + np.abs(other.scores[same] - one.scores[index])
            if not len(same) or apart.min() > 1:
                missing += int(one.scores[index] > edge)
                near += int(one.scores[index] <= edge)
                continue
            nearest = same[int(apart.argmin())]
            box = max(box, float(np.abs(other.boxes[nearest] - one.boxes[index]).max()))
            score = max(score, float(abs(other.scores[nearest] - one.scores[index])))
            if one.soft_masks is not None and other.soft_masks is not None:
                first, second = one.soft_masks[index], other.soft_masks[nearest]
                differing = ((first >= 0.5) != (second >= 0.5)) & (np.abs(first - second) > _NEAR)
                mask = max(mask, float(differing.mean()))
    return {
        "boxes, pixels": box,
        "scores": score,
        "mask pixels": mask,
        "objects without a partner": float(missing),
        "objects at the threshold": float(near),
    }


EXPORT = TaskExport(
    graph,
    framed,
    ExportedDetector,
    differences,
    {"boxes, pixels": 0.02, "scores": 1e-4, "mask pixels": 1e-3, "objects without a partner": 0.0},
    ("box_ap", "mask_ap"),
    pixels,
)
