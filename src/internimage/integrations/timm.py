"""InternImage in timm: ``import internimage.integrations.timm``, and ``timm.create_model`` knows every classifier.

::

    import timm, internimage.integrations.timm
    model = timm.create_model("internimage_t_1k_224", pretrained=True, num_classes=5, drop_path_rate=0.1)
    maps = timm.create_model("internimage_t_1k_224", features_only=True, out_indices=(2, 3))

Names, weights, parameters' names and numbers are those of :func:`internimage.create_model`; what timm trained goes back
with :func:`as_classifier` and :func:`internimage.save_model`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import replace
from typing import Any, Literal, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from internimage.checkpoints.hub import HubFile, PackagedModel, locate
from internimage.description import ModelDescription
from internimage.errors import ConfigError, MissingExtraError
from internimage.factory import create_model
from internimage.images import Preprocessing
from internimage.models.classifier import ClassifierConfig, ImageClassifier
from internimage.recipes import Recipe, get_recipe
from internimage.registry import TASKS, resolve

try:
    from timm.models import build_model_with_cfg, generate_default_cfgs, register_model
except ModuleNotFoundError as error:
    raise MissingExtraError('this registers models in timm: pip install "internimage[timm]"') from error

Pool = Literal["avg", ""]
_SOURCES = {"file", "url", "state_dict", "hf_hub_id"}  # of weights, in timm's words
_BEFORE = (99_999,)  # in timm's way of counting: with the group before


class TimmClassifier(ImageClassifier):
    """An :class:`ImageClassifier` with the interface that timm's training, feature extraction and surgery expect.

    Args:
        config: the architecture.
        global_pool: "avg", the head's own pooling; "" gives the map that it would pool, without classes alone.
        drop_rate: dropout of the pooled features.
        drop_path_rate: see :meth:`Model.set_drop_path_rate`.

    Raises:
        ConfigError: another pooling, or none with classes.
    """

    def __init__(
        self,
        config: ClassifierConfig,
        *,
        global_pool: Pool = "avg",
        drop_rate: float = 0.0,
        drop_path_rate: float = 0.0,
    ) -> None:
        super().__init__(config)
        self.set_drop_path_rate(drop_path_rate)
        self.drop_rate = drop_rate
        self.num_features = self.head.in_features
        self.head_hidden_size = self.head.out_features
        self.in_chans = config.backbone.in_channels
        strides = zip(self.backbone.feature_channels, self.backbone.feature_strides, strict=True)
        self.feature_info = [
            {"num_chs": channels, "reduction": stride, "module": f"backbone.stages.{stage}"}
            for stage, (channels, stride) in enumerate(strides)
        ]
        self._pool_by(global_pool)

    def forward(self, x: Tensor) -> Tensor:  # type: ignore[override]
        """Logits (N, num_classes); without classes pooled features (N, F) or, without pooling, a map."""
        return self.forward_head(self.forward_features(x))

    def forward_features(self, x: Tensor) -> Tensor:
        """The map (N, num_features, H', W') that the head pools."""
        return self.head.fused(self.backbone(x))

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """What :meth:`forward` gives, of :meth:`forward_features`; ``pre_logits`` leaves the classifier out."""
        if not self.global_pool:
            return x
        pooled = F.dropout(self.head.pooled(x), self.drop_rate, self.training)
        return pooled if pre_logits else self.scores(pooled)

    def forward_intermediates(  # type: ignore[override]
        self,
        x: Tensor,
        indices: int | Sequence[int] | None = None,
        norm: bool = False,
        stop_early: bool = False,
        output_fmt: str = "NCHW",
        intermediates_only: bool = False,
    ) -> list[Tensor] | tuple[Tensor, list[Tensor]]:
        """The stages' maps, alone or after :meth:`forward_features`'.

        Args:
            x: images.
            indices: stages; a number for the last ones, None for all.
            norm: of no effect: a stage's norm is part of it.
            stop_early: compute no stage after the last one asked for.
            output_fmt: "NCHW" or "NHWC".
            intermediates_only: leave the head's map out.

        Raises:
            ConfigError: another format.
        """
        if output_fmt not in ("NCHW", "NHWC"):
            raise ConfigError(f"output_fmt is {output_fmt!r}; expected NCHW or NHWC")
        wanted = self._stages(indices)
        seen = copy(self.backbone)  # the same modules
        seen.out_indices = tuple(range(1 + (max(wanted) if stop_early else len(self.backbone.stages) - 1)))
        maps = seen(x)
        chosen = [maps[index] if output_fmt == "NCHW" else maps[index].permute(0, 2, 3, 1) for index in wanted]
        if intermediates_only:
            return chosen
        return (maps[-1] if stop_early else self.head.fused(maps)), chosen

    def vectors(self, images: Tensor) -> dict[str, Tensor]:
        pooled = self.head.pooled(self.forward_features(images))
        return {"pooled": pooled, "logits": self.scores(pooled)}

    def prune_intermediate_layers(
        self, indices: int | Sequence[int] = 1, prune_norm: bool = False, prune_head: bool = True
    ) -> list[int]:
        """Drop the stages after the last one asked for and, unless told otherwise, the head; the stages asked for."""
        wanted = self._stages(indices)
        self.backbone.stages = self.backbone.stages[: max(wanted) + 1]
        self.backbone.out_indices = tuple(range(max(wanted) + 1))
        if prune_head:
            self.reset_classifier(0, "")
            self.head = _NoHead()  # type: ignore[assignment]
        return wanted

    def group_matcher(self, coarse: bool = False) -> dict[str, Any]:
        """Patterns of the layers that layer decay tells apart: stages or, by default, blocks.

        What stands between two stages goes with the block before it; in our own training, with the one after it.
        """
        blocks = [
            (r"^backbone\.stages\.(\d+)\.blocks\.(\d+)", None),
            (r"^backbone\.stages\.(\d+)\.(?:norm|post_norms|downsample)\.", _BEFORE),
        ]
        return {"stem": r"^backbone\.stem", "blocks": r"^backbone\.stages\.(\d+)" if coarse else blocks}

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """See :meth:`Model.set_gradient_checkpointing`."""
        self.set_gradient_checkpointing(enable)

    def get_classifier(self) -> nn.Module:
        """The last layer."""
        return self.classifier

    def reset_classifier(self, num_classes: int, global_pool: Pool | None = None) -> None:
        """See :meth:`ImageClassifier.reset_classifier`; ``global_pool`` None leaves the pooling as it is."""
        super().reset_classifier(num_classes)
        if global_pool is not None:
            self._pool_by(global_pool)

    def load_pretrained(self, path: str, *_: Any) -> None:
        """Fill the network from a file or folder in any layout that :func:`internimage.create_model` reads."""
        config = replace(self.config, backbone=replace(self.config.backbone, in_channels=3))
        given = create_model(config, checkpoint=path, num_classes=self.num_classes, in_channels=self.in_chans)
        self.load_state_dict(given.state_dict())
        self.description = given.description  # type: ignore[assignment]

    def _stages(self, indices: int | Sequence[int] | None) -> list[int]:
        """Numbers of stages; a number is that of the last ones, None all of them, negative ones count from the end."""
        count = len(self.backbone.stages)
        last = count if indices is None else indices
        chosen = range(-last, 0) if isinstance(last, int) else last
        if not chosen or not set(chosen) <= set(range(-count, count)):
            raise ConfigError(f"indices are {indices}; expected stages from 0 to {count - 1}, or how many of the last")
        return [one % count for one in chosen]

    def _pool_by(self, pool: Pool) -> None:
        if pool not in ("avg", ""):
            raise ConfigError(f"global_pool is {pool!r}; expected avg, the head's own way, or an empty one for none")
        if not pool and self.num_classes:
            raise ConfigError("without pooling there is a map, which has no classes; expected num_classes=0")
        self.global_pool = pool


class _NoHead(nn.Module):
    """Of a model that was cut to its first stages."""

    def fused(self, maps: list[Tensor]) -> Tensor:
        return maps[-1]


def as_classifier(model: nn.Module) -> ImageClassifier:
    """A model of timm's registry as one of ours, with the same tensors, to save, serve and export.

    Raises:
        ConfigError: it is none of ours, or only a part of one.
    """
    if not isinstance(model, TimmClassifier) or isinstance(model.head, _NoHead):
        raise ConfigError(f"expected a whole model that {__name__} registered, not a {type(model).__name__}")
    with torch.device("meta"):
        ours = ImageClassifier(model.config)
    ours.load_state_dict(model.state_dict(), assign=True)
    ours.description = model.description
    return ours.train(model.training)


def _pretrained_config(recipe: Recipe) -> dict[str, Any]:
    """What timm wants to know of a model's weights and pictures."""
    seen, config = cast(Preprocessing, recipe.preprocessing), cast(ClassifierConfig, recipe.config)
    side = seen.side
    pooled = math.ceil(side / (32 if config.head == "conv" else 16))
    known: dict[str, Any] = {}
    if isinstance(recipe.weights, HubFile):
        known = {"hf_hub_id": recipe.weights.repository, "hf_hub_filename": recipe.weights.file, "custom_load": "hf"}
    elif isinstance(recipe.weights, PackagedModel):
        known = {"file": str(recipe.weights.path), "custom_load": True}
    return {
        **known,
        "num_classes": config.num_classes,
        "input_size": (3, side, side),
        "pool_size": (pooled, pooled),
        "crop_pct": side / seen.resize,
        "interpolation": seen.interpolation,
        "mean": seen.mean,
        "std": seen.std,
        "first_conv": "backbone.stem.conv1",
        "classifier": "classifier",
    }


def _register(name: str) -> None:
    def build(
        num_classes: int = 1000,
        in_chans: int = 3,
        global_pool: Pool = "avg",
        drop_rate: float = 0.0,
        drop_path_rate: float = 0.0,
    ) -> TimmClassifier:
        recipe = get_recipe(name)
        config = cast(ClassifierConfig, recipe.config)
        labels = recipe.class_names if num_classes == config.num_classes else None
        config = replace(config, num_classes=num_classes, backbone=replace(config.backbone, in_channels=in_chans))
        model = TimmClassifier(config, global_pool=global_pool, drop_rate=drop_rate, drop_path_rate=drop_path_rate)
        seen = recipe.preprocessing.of_channels(in_chans)
        model.description = ModelDescription(recipe.architecture, preprocessing=seen, labels=labels)
        return model

    def entry(
        pretrained: bool = False,
        pretrained_cfg: Any = None,
        pretrained_cfg_overlay: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> nn.Module:
        overlay, cut = dict(pretrained_cfg_overlay or {}), {"out_indices": (0, 1, 2, 3), "feature_cls": "getter"}
        weights = get_recipe(name).weights
        if pretrained and weights is not None and not pretrained_cfg and not _SOURCES & set(overlay):
            overlay |= {"file": str(locate(weights)), "custom_load": True}  # fetched as we do, and checked
        options |= {"pretrained_cfg": pretrained_cfg, "pretrained_cfg_overlay": overlay}
        return cast(nn.Module, build_model_with_cfg(build, name, pretrained, feature_cfg=cut, **options))

    entry.__name__ = entry.__qualname__ = name
    entry.__doc__ = f"{name}, see :func:`internimage.create_model`."
    register_model(entry)


_RECIPES: dict[str, Recipe] = {one.name: one for place in TASKS["classification"].recipes for one in resolve(place)}
default_cfgs = generate_default_cfgs({name: _pretrained_config(recipe) for name, recipe in _RECIPES.items()})
for _name in _RECIPES:
    _register(_name)
