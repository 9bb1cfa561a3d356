"""The optimiser of a run, from its settings."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from internimage.errors import ConfigError
from internimage.models.model import Model
from internimage.settings.training import TrainingConfig
from internimage.training.optimiser.balanced import TaskBalancedAdamW
from internimage.training.optimiser.groups import parameter_groups, parameter_rules


def make_optimizer(model: Model, config: TrainingConfig, lr: float, shares: Sequence[float]) -> torch.optim.Optimizer:
    """AdamW, balanced between the tasks that have these ``shares`` of the steps if the settings ask for that.

    Raises:
        ConfigError: that, with a strategy of which no process knows the whole gradient's length.
    """
    if config.optimizer == "task-balanced" and config.strategy not in ("ddp", "fsdp"):
        raise ConfigError(
            f"optimizer task-balanced needs the length of the whole gradient, which {config.strategy} divides; use "
            "strategy ddp or fsdp, or optimizer adamw"
        )
    rules = parameter_rules(
        model,
        weight_decay=config.weight_decay,
        layer_decay=config.layer_decay,
        deformable_lr_scale=config.deformable_lr_scale,
        backbone_lr_scale=config.backbone_lr_scale,
        as_published=config.published_groups,
    )
    groups = parameter_groups(model, rules, lr)
    if config.optimizer == "task-balanced":
        return TaskBalancedAdamW(groups, shares, betas=config.betas)
    return torch.optim.AdamW(groups, betas=config.betas)  # type: ignore[arg-type]
