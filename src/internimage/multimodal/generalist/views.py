"""A model that does several tasks, as models of the tasks that there are: a detector and a classifier."""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, Self

from torch import Tensor, nn

from internimage.errors import ConfigError
from internimage.multimodal.models.uniperceiver_v2 import UniPerceiverV2
from internimage.structures.detection import DetectionConfig, RawDetections


class NamedTargets:
    """Features of texts that a model chooses among, computed once for each state of its weights.

    Args:
        model: whose.
        texts: names.
        encode: ids of the texts to features.
    """

    def __init__(self, model: UniPerceiverV2, texts: Sequence[str], encode: Any) -> None:
        tokenizer = model.tokenizer
        self._ids = [tokenizer.encode(text, model.config.longest) for text in texts]
        self._model, self._encode = model, encode
        self._known: tuple[int, Tensor] | None = None

    def __call__(self) -> Tensor:
        state = sum(one._version for one in self._model.parameters())  # a model may be learning meanwhile
        if self._known is None or self._known[0] != state:
            self._known = state, self._encode(self._ids)
        return self._known[1]


class _View(nn.Module):
    """What is alike in both."""

    has_masks = True

    def __init__(self, model: UniPerceiverV2, texts: Sequence[str], encode: Any) -> None:
        super().__init__()
        self.model = model
        self.targets = NamedTargets(model, texts, encode)
        assert model.description is not None
        self.description = replace(model.description, labels=tuple(texts))
        self.config = SimpleNamespace(num_classes=len(texts), metadata_channels=None)


class ObjectsView(_View):
    """As a detector: its classes are the names of the objects that it has learnt."""

    def __init__(self, model: UniPerceiverV2) -> None:
        super().__init__(model, model.config.objects, model.object_names)
        self.config.detections = DetectionConfig(0.0, 0.7, model.config.detections)

    def forward(self, images: Tensor, sizes: Sequence[tuple[int, int]], scales: Tensor) -> list[RawDetections]:
        """See :meth:`internimage.models.mask_rcnn.MaskRCNN.forward`."""
        regions = self.model.regions_of(images, sizes)
        keep = self.config.detections.keep
        return self.model.found(regions, self.targets(), sizes, scales, images.shape[2:], keep)

    def keeping(self, objects: int) -> Self:
        """See :meth:`internimage.models.model.Model.keeping`."""
        most = self.model.config.proposals.kept * max(1, self.config.num_classes)
        if not 1 <= objects <= most:
            raise ConfigError(f"{objects} objects an image; expected 1 to {most}")
        twin = copy(self)
        twin.config = SimpleNamespace(**vars(self.config))
        twin.config.detections = replace(self.config.detections, keep=objects)
        return twin

    def with_soft_nms(self) -> Self:
        raise ConfigError("a Uni-Perceiver v2 has no NMS that could be soft; leave soft-NMS out")


class NamesView(_View):
    """As a classifier of square pictures."""

    def __init__(self, model: UniPerceiverV2) -> None:
        super().__init__(model, model.config.names, model.encode_texts)

    def forward(self, images: Tensor) -> Tensor:
        """Images (N, C, H, W) to logits (N, classes)."""
        pictures = self.model.encode_pictures(images)
        logits: Tensor = self.model.likelihood.logits("img_cls", pictures, self.targets())
        return logits
