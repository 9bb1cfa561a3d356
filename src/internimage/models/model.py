"""What a model promises to loading, saving, training and prediction: the model contract.

A model is a backbone and what stands on it.  ``forward(images, ...)`` predicts; ``losses(images, targets, ...)`` is
what it learns from.  Everything here has a default that suits such a model, so an architecture states what differs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import dataclass, fields, replace
from types import MappingProxyType
from typing import Any, ClassVar, Self

from torch import Tensor, nn

from internimage.backbones.composite import Backbone, build_backbone
from internimage.backbones.internimage import InternImage
from internimage.backbones.resnet import ResNet
from internimage.description import ModelDescription
from internimage.errors import ConfigError


@dataclass(frozen=True)
class ReleasedOptimizer:
    """In which ways the released optimiser treated an architecture, see ``training/optimiser/published.py``.

    Attributes:
        by_layer: it counts the stem and the heads as layers of their own, and slows sampling offsets alone.
        spared_by_name: it spares all that is called a norm or sampling offset from weight decay.
        at_stem_rate: a regular expression: parameters outside the backbone that have the rate of its stem.
    """

    by_layer: bool = False
    spared_by_name: bool = False
    at_stem_rate: str | None = None


class Model(nn.Module):
    """A backbone and what stands on it.

    Attributes:
        config: the architecture's configuration, with ``backbone`` and ``num_classes``.
        backbone: images to maps.
        description: what belongs to the weights; set by the factory.
        class_tensors: patterns of the parameters whose shape depends on the classes, ``#`` for a number, ``*`` for the
            rest of a name; the first dimension of the first one counts the classes.
        interleaved: patterns of those among them that have several numbers a class, the first of all classes before the
            second; otherwise a class's numbers lie together.
        classifier_parts: patterns of what else is of no use without a classifier.
        background: by how many that dimension is larger than the number of classes.
        smallest_batch: images of a training batch at least.
        vector_names: what :meth:`vectors` gives.
        released_optimizer: see there.
        all_learn: whether every parameter has a gradient in every batch; DistributedDataParallel has to know.
        numbers: parameters without dimensions that are vectors of one while a strategy of training divides them.
        slower: factors on the learning rate of parameters whose names begin so: parts that learnt before the rest.
    """

    config: Any
    backbone: Backbone
    description: ModelDescription | None = None
    numbers: frozenset[str] = frozenset()
    slower: Mapping[str, float] = MappingProxyType({})

    class_tensors: ClassVar[tuple[str, ...]] = ("classifier.*",)
    interleaved: ClassVar[tuple[str, ...]] = ()
    classifier_parts: ClassVar[tuple[str, ...]] = ()
    background: ClassVar[int] = 0
    smallest_batch: ClassVar[int] = 1
    vector_names: ClassVar[tuple[str, ...]] = ("pooled",)
    released_optimizer: ClassVar[ReleasedOptimizer] = ReleasedOptimizer()
    all_learn: ClassVar[bool] = True

    @classmethod
    def build_backbone(cls, config: Any, out_indices: Sequence[int] = (0, 1, 2, 3)) -> Backbone:
        """The backbone of a configuration, alone."""
        return build_backbone(config.backbone, None, out_indices)

    @classmethod
    def shares_weights(cls, config: Any, other: Any) -> bool:
        """Whether the backbone of one configuration has the weights of the other's."""
        return bool(config.backbone.shares_weights_with(other.backbone))

    def vectors(self, images: Tensor) -> dict[str, Tensor]:
        """What describes an image as a whole, (N, F) by name: "pooled", the mean over the backbone's last map."""
        return {"pooled": self.backbone(images)[-1].mean((2, 3))}

    def losses(self, images: Tensor, *targets: Any) -> dict[str, Tensor]:
        """Named losses, to be added up."""
        raise NotImplementedError

    def after_update(self, share: float) -> None:
        """What a model does itself after each update of its weights, when ``share`` of the run is done; nothing."""

    def reset_classifier(self, num_classes: int) -> None:
        """Start anew what depends on the classes, for another number of them; everything else stays."""
        raise NotImplementedError

    def keeping(self, objects: int) -> Self:
        """The same network with the same tensors, which reports up to so many objects of an image.

        Raises:
            ConfigError: it reports no objects, or cannot report so many.
        """
        config = self.config
        if "detections" not in {one.name for one in fields(config)}:
            raise ConfigError(f"a {type(self).__name__} reports no objects; leave the greatest number of objects out")
        most = config.proposals.keep if "proposals" in {one.name for one in fields(config)} else config.queries
        if not 1 <= objects <= most:
            raise ConfigError(
                f"{objects} objects an image; expected 1 to {most}, which a {type(self).__name__} looks at"
            )
        return self._reporting(keep=objects)

    def with_soft_nms(self) -> Self:
        """The same network with the same tensors, which lowers scores of boxes where it would drop them.

        Raises:
            ConfigError: it has no NMS.
        """
        if "proposals" not in {one.name for one in fields(self.config)}:
            raise ConfigError(f"a {type(self).__name__} has no NMS that could be soft; leave soft-NMS out")
        return self._reporting(suppression="soft-nms")

    def _reporting(self, **changes: Any) -> Self:
        """A twin whose configuration of reported boxes differs."""
        twin = copy(self)
        twin.config = replace(self.config, detections=replace(self.config.detections, **changes))
        return twin

    def take_channels(self, channels: int) -> None:
        """Take images of so many channels from now on, with the same weights as far as there are any.

        The description's preprocessing goes along.

        Raises:
            ConfigError: not a number of channels.
        """
        config = self.config
        if channels == config.backbone.in_channels:
            return
        self.config = replace(config, backbone=replace(config.backbone, in_channels=channels))
        self.backbone.take_channels(channels)
        if self.description is not None and self.description.preprocessing is not None:
            preprocessing = self.description.preprocessing.of_channels(channels)
            self.description = replace(self.description, preprocessing=preprocessing)

    def backbones(self) -> Mapping[str, InternImage | ResNet]:
        """The networks that layer decay counts the blocks of, by the prefix of their parameters' names."""
        return {f"backbone.{prefix}": network for prefix, network in self.backbone.backbones().items()}

    def layer_prefixes(self) -> list[tuple[str, ...]]:
        """Prefixes of parameters' names, layer by layer from the image on; what is in none comes after all of them."""
        return [tuple(f"backbone.{prefix}" for prefix in layer) for layer in self.backbone.layer_prefixes()]

    def shardable(self) -> Sequence[nn.Module]:
        """Modules that are whole one at a time where a model is sharded (FSDP2): blocks, layers of transformers."""
        return self.backbone.shardable()

    def set_drop_path_rate(self, rate: float) -> None:
        """Stochastic depth in training, see :meth:`InternImage.set_drop_path_rate`."""
        self.backbone.set_drop_path_rate(rate)

    def set_gradient_checkpointing(self, enabled: bool = True) -> None:
        """Trade compute for memory in training, see :meth:`InternImage.set_gradient_checkpointing`."""
        self.backbone.set_gradient_checkpointing(enabled)

    def freeze(self, stages: int) -> None:
        """Fix the stem and the first ``stages`` stages, 0 for none; see :meth:`InternImage.freeze`."""
        self.backbone.freeze(stages)
