"""Models of torchvision, transformers and timm as architectures of this package, and what comparisons share.

A peer keeps the contract of ``internimage.models.model`` and has a line in the registry.  So ``internimage.train``,
the predictor and ``evaluate`` treat it as they treat a model of ours.
"""

from __future__ import annotations

import dataclasses
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
import torchvision
from safetensors.torch import load_file
from torch import Tensor, nn

import internimage
from internimage.checkpoints.folder import WEIGHTS_FILE, read_description
from internimage.contracts import Pipeline, task_spec
from internimage.data.dataset import EvaluationDataset
from internimage.data.samples import Part
from internimage.data.sampling.sampler import SampleKey
from internimage.factory import own_recipe, recipe_of
from internimage.inference.evaluation import predict_samples
from internimage.layers.boxes import cxcywh_to_xyxy, xyxy_to_cxcywh
from internimage.layers.segmentation import pixel_loss
from internimage.models.model import Model
from internimage.registry import ARCHITECTURES, ArchitectureEntry, resolve
from internimage.settings.plain import from_plain
from internimage.settings.training import RunConfig, TrainingConfig
from internimage.structures.detection import DetectionConfig, DetectionTarget, RawDetections
from internimage.training.beginning import read_splits
from internimage.training.run import RUN_FILE, Run


@dataclass(frozen=True)
class PeerConfig:
    """A model by its name elsewhere."""

    name: str = ""
    num_classes: int = 1


@dataclass(frozen=True)
class ClassifierConfig(PeerConfig):
    """``resnet18`` is torchvision's, all else timm's, with stochastic depth."""

    drop_path: float = 0.0
    metadata_channels: ClassVar[None] = None


@dataclass(frozen=True)
class DetectorConfig(PeerConfig):
    """One of torchvision's R-CNNs; ``masks`` False leaves those of a Mask R-CNN out."""

    masks: bool = True
    detections: ClassVar[DetectionConfig] = DetectionConfig()


@dataclass(frozen=True)
class RTDETRConfig(PeerConfig):
    """transformers' RT-DETR with ResNet-18."""

    detections: ClassVar[DetectionConfig] = DetectionConfig()


@dataclass(frozen=True)
class SegmenterConfig(PeerConfig):
    """One of torchvision's segmenters."""

    window: ClassVar[None] = None


class Peer(Model):
    """Someone else's network: nothing is known of its layers, so it is trained at one rate and never divided."""

    @classmethod
    def shares_weights(cls, config: Any, other: Any) -> bool:
        return bool(config.name == other.name)

    def backbones(self) -> Mapping[str, Any]:
        return {}

    def layer_prefixes(self) -> list[tuple[str, ...]]:
        return []

    def shardable(self) -> Sequence[nn.Module]:
        return []

    def set_drop_path_rate(self, rate: float) -> None:
        pass

    def set_gradient_checkpointing(self, enabled: bool = True) -> None:
        pass

    def freeze(self, stages: int) -> None:
        pass


class Classifier(Peer):
    """A classifier of torchvision's or timm's."""

    def __init__(self, config: ClassifierConfig) -> None:
        super().__init__()
        self.config = config
        if config.name == "resnet18":
            self.model = torchvision.models.resnet18(num_classes=config.num_classes)
        else:
            import timm

            self.model = timm.create_model(config.name, num_classes=config.num_classes, drop_path_rate=config.drop_path)

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.model(images)
        return logits

    def losses(  # type: ignore[override]
        self, images: Tensor, targets: Tensor, *, label_smoothing: float = 0.0
    ) -> dict[str, Tensor]:
        return {"cross_entropy": F.cross_entropy(self(images), targets, label_smoothing=label_smoothing)}


class Detector(Peer):
    """A detector of torchvision's, which neither scales nor normalises again."""

    def __init__(self, config: DetectorConfig) -> None:
        super().__init__()
        self.config = config
        build = getattr(torchvision.models.detection, config.name)
        self.model = build(weights=None, weights_backbone=None, num_classes=config.num_classes + 1)
        self.model.transform = torchvision.models.detection.transform.GeneralizedRCNNTransform(
            320, 533, [0.0, 0.0, 0.0], [1.0, 1.0, 1.0], _skip_resize=True
        )
        if not config.masks:
            self.remove_masks()

    @property
    def has_masks(self) -> bool:
        return bool(self.model.roi_heads.has_mask())

    def remove_masks(self) -> None:
        heads = self.model.roi_heads
        heads.mask_roi_pool = heads.mask_head = heads.mask_predictor = None
        self.config = dataclasses.replace(self.config, masks=False)

    def forward(self, images: Tensor, sizes: Sequence[tuple[int, int]], scales: Tensor) -> list[RawDetections]:
        batch, _ = self.model.transform(_without_padding(images, sizes))
        features = self.model.backbone(batch.tensors)
        proposals, _ = self.model.rpn(batch, features)
        found, _ = self.model.roi_heads(features, proposals, batch.image_sizes)
        return [
            RawDetections(
                one["boxes"] / scale, one["scores"], one["labels"] - 1, one["masks"][:, 0] if "masks" in one else None
            )
            for one, scale in zip(found, scales, strict=True)
        ]

    def losses(  # type: ignore[override]
        self, images: Tensor, sizes: Sequence[tuple[int, int]], targets: Sequence[DetectionTarget]
    ) -> dict[str, Tensor]:
        learnt = [self._target(*pair) for pair in zip(targets, sizes, strict=True)]
        losses: dict[str, Tensor] = self.model(_without_padding(images, sizes), learnt)
        return losses

    def _target(self, truth: DetectionTarget, size: tuple[int, int]) -> dict[str, Tensor]:
        target = {"boxes": truth.boxes, "labels": truth.labels + 1}
        if truth.masks is not None:
            target["masks"] = truth.masks[:, : size[0], : size[1]].to(torch.uint8)
        return target


class RTDETR(Peer):
    """transformers' RT-DETR with ResNet-18; its boxes are shares of the padded images."""

    has_masks = False

    def __init__(self, config: RTDETRConfig) -> None:
        super().__init__()
        from transformers import RTDetrConfig, RTDetrForObjectDetection, RTDetrResNetConfig

        self.config = config
        widths = [64, 128, 256, 512]
        backbone: dict[str, Any] = {
            "depths": [2, 2, 2, 2],
            "hidden_sizes": widths,
            "layer_type": "basic",
            "out_features": ["stage2", "stage3", "stage4"],
        }
        whole: dict[str, Any] = {
            "backbone_config": RTDetrResNetConfig(**backbone),
            "encoder_in_channels": widths[1:],
            "decoder_layers": 3,
            "num_queries": 100,
            "num_labels": config.num_classes,
            "freeze_backbone_batch_norms": False,
        }
        self.model = RTDetrForObjectDetection(RTDetrConfig(**whole))

    def forward(self, images: Tensor, sizes: Sequence[tuple[int, int]], scales: Tensor) -> list[RawDetections]:
        output, extent, results = self.model(images), _extent(images, images.shape[2:]), []
        for logits, boxes, size, scale in zip(output.logits, output.pred_boxes, sizes, scales, strict=True):
            scores, index = logits.sigmoid().flatten().topk(100)
            corners = cxcywh_to_xyxy(boxes[index // logits.shape[1]]) * extent
            inside = corners.clamp(min=0).minimum(_extent(images, size))
            results.append(RawDetections(inside / scale, scores, index % logits.shape[1], None))
        return results

    def losses(  # type: ignore[override]
        self, images: Tensor, sizes: Sequence[tuple[int, int]], targets: Sequence[DetectionTarget]
    ) -> dict[str, Tensor]:
        extent = _extent(images, images.shape[2:])
        labels = [{"class_labels": truth.labels, "boxes": xyxy_to_cxcywh(truth.boxes / extent)} for truth in targets]
        return {"loss": self.model(images, labels=labels).loss}


class Segmenter(Peer):
    """A segmenter of torchvision's, whose logits are as large as the images."""

    def __init__(self, config: SegmenterConfig) -> None:
        super().__init__()
        self.config = config
        build = getattr(torchvision.models.segmentation, config.name)
        self.model = build(weights=None, weights_backbone=None, num_classes=config.num_classes)

    def forward(self, images: Tensor, *, coarse: bool = False) -> Tensor:
        logits: Tensor = self.model(images)["out"]
        return logits

    def losses(self, images: Tensor, truth: Tensor) -> dict[str, Tensor]:  # type: ignore[override]
        return {"pixels": pixel_loss(self(images), truth)}


def _without_padding(images: Tensor, sizes: Sequence[tuple[int, int]]) -> list[Tensor]:
    return [image[:, :height, :width] for image, (height, width) in zip(images, sizes, strict=True)]


def _extent(like: Tensor, size: Sequence[int]) -> Tensor:
    """Width, height, width, height."""
    return like.new_tensor([size[1], size[0], size[1], size[0]])


def _peer(task: str, name: str) -> ArchitectureEntry:
    return ArchitectureEntry(task, f"{__name__}:{name}Config", f"{__name__}:{name}")


PEERS = {
    "peer_classifier": _peer("classification", "Classifier"),
    "peer_detector": _peer("detection", "Detector"),
    "peer_rt_detr": _peer("detection", "RTDETR"),
    "peer_segmenter": _peer("segmentation", "Segmenter"),
}
ARCHITECTURES.update(PEERS)


def load(folder: Path) -> Any:
    """The model in a folder, in evaluation mode.

    torchvision's anchors are tensors that no module knows of, and are lost where a model is built without data.  So a
    peer is built whole, and filled then.
    """
    description = read_description(folder)
    if description.architecture not in PEERS:
        return internimage.load_model(folder)
    config = from_plain(resolve(PEERS[description.architecture].config), description.config)
    model: Any = internimage.create_model(config)
    model.load_state_dict(load_file(folder / WEIGHTS_FILE))
    model.description = description
    return model


def trained(
    data: Path,
    model: str | PeerConfig,
    output: Path,
    *,
    size: int,
    training: TrainingConfig,
    augmentation: Any,
    minutes: float | None = None,
) -> tuple[Run, float]:
    """A run to its end, and the minutes it took; one that was stopped goes on, and they are those of the rest.

    ``minutes`` is how long it may take; None for the epochs of ``training``.
    """
    if (output / RUN_FILE).exists():
        started = time.monotonic()
        return internimage.resume(output, device="cpu"), (time.monotonic() - started) / 60
    if minutes is not None:
        epochs = fitting_epochs(data, model, minutes, size=size, training=training, augmentation=augmentation)
        training = dataclasses.replace(training, epochs=epochs)
    started = time.monotonic()
    run = internimage.train(
        data, model=model, size=size, training=training, augmentation=augmentation, output=output, device="cpu"
    )
    return run, (time.monotonic() - started) / 60


def fitting_epochs(
    data: Path, model: str | PeerConfig, minutes: float, *, size: int, training: TrainingConfig, augmentation: Any
) -> int:
    """How many epochs with their evaluations take so long, by a few of their steps."""
    recipe = recipe_of(model) if isinstance(model, str) else own_recipe(model)
    config = RunConfig(str(data), recipe.name, size=size, training=training, augmentation=augmentation)
    spec = task_spec(recipe.task)
    prepared = spec.prepare(config, recipe, read_splits(config, spec, None, None))
    task, network, train = prepared.task, prepared.model.train(), prepared.train
    times = []
    for number in range(6):
        indices = range(number * training.batch_size, (number + 1) * training.batch_size)
        started = time.perf_counter()
        batch = task.collate([train[SampleKey(0, index % len(train))] for index in indices])
        torch.stack(list(task.losses(network.losses, batch).values())).sum().backward()
        times.append(time.perf_counter() - started)
    looks = latencies(task.pipeline(network.eval()), prepared.val, 3, warm_up=1)
    step, look = statistics.median(times[1:]), statistics.median(looks) / 1e3
    epoch = len(train) // training.batch_size * step + len(prepared.val) * look
    return max(1, int(minutes * 60 / epoch))


def latencies(pipeline: Pipeline, data: Part, count: int, *, warm_up: int = 3) -> list[float]:
    """Milliseconds from tensor to result of so many pictures one by one, after a few that warm up."""
    dataset = EvaluationDataset(data, pipeline.prepare, read=pipeline.read)
    times = []
    for number in range(warm_up + count):
        sample = dataset.load(data.entries[number % len(data)])
        started = time.perf_counter()
        list(predict_samples(pipeline, [sample]))
        times.append((time.perf_counter() - started) * 1e3)
    return times[warm_up:]
