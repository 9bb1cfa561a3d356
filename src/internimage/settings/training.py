"""What a training run is asked to do."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from internimage.errors import ConfigError

FEW, MANY = 5_000, 100_000
"""Images up to and from which defaults are those for small and large data."""

_FAR_ABOVE = 4.0

Strategy = Literal["ddp", "fsdp", "deepspeed-zero1", "deepspeed-zero3", "deepspeed-zero3-offload"]


@dataclass(frozen=True)
class TrainingConfig:
    """Settings of one run; together with data and initial weights they determine it.

    Attributes:
        epochs: passes over the training images.
        updates: end after so many updates, if need be within an epoch, whatever ``epochs`` says; 0 for ``epochs``.
        batch_size: images an update and process, before accumulation.
        accumulate: batches added up for one update.
        lr: peak learning rate of AdamW.
        lr_batch_size: images an update that the learning rate is meant for; for another number it is scaled in
            proportion (Goyal et al., 2017).  0 takes it as it is.
        weight_decay: of matrices; vectors are spared.
        warmup_epochs: linear warm-up; may be a fraction.
        warmup_start: first learning rate over the peak.
        lr_drops: epochs after which the learning rate falls to a tenth, as detectors are trained; none for half a
            cosine.
        lr_power: the learning rate falls as this power of the share of the run that is left, as segmenters are trained;
            0 for half a cosine.
        end_lr: last learning rate of the cosine over the peak.
        layer_decay: learning rate of a block over that of the next.
        deformable_lr_scale: extra factor for the layers that predict offsets of deformable convolutions and attention;
            those of DCNv4 predict weights too.
        backbone_lr_scale: extra factor for the backbone of a detector or segmenter.
        published_groups: learning rates and weight decay of each parameter exactly as in the released code, whose
            layer decay forgets some norms.
        drop_path: stochastic depth of the last block.
        clip_norm: largest norm of the gradient; 0 for no clipping.
        ema_decay: decay of the moving average that is evaluated and kept; 0 for none.
        ema_warmup: let that decay grow from 0.2, so that a short run is not dominated by its initial weights.
        precision: "no" (float32), "bf16" or "fp16" mixed precision.
        gradient_checkpointing: recompute each block in the backward pass, for less memory.
        compile: compile the model, of a detector its backbone, with torch.compile (strategy ddp alone).
        strategy: what several processes do: "ddp" copies the model on each, "fsdp" and the stages of DeepSpeed's ZeRO
            divide it.
        track: dashboard that receives losses and metrics: "tensorboard" (in the run's folder), "trackio", "wandb" or
            "none".
        seed: of initial order, augmentation and everything else random.
        workers: processes that read images; 0 reads in the main process.
        checkpoint_minutes: also save within an epoch, this often.
        keep_checkpoints: states to keep, the newest ones; the best weights are kept besides.
        evaluate_every: epochs from one evaluation to the next; the last one is always evaluated.
    """

    epochs: int = 100
    updates: int = 0
    batch_size: int = 32
    accumulate: int = 1
    lr: float = 1e-3
    lr_batch_size: int = 0
    weight_decay: float = 0.05
    warmup_epochs: float = 5.0
    warmup_start: float = 1e-3
    lr_drops: tuple[int, ...] = ()
    lr_power: float = 0.0
    end_lr: float = 1e-2
    layer_decay: float = 1.0
    deformable_lr_scale: float = 1.0
    backbone_lr_scale: float = 1.0
    published_groups: bool = False
    drop_path: float = 0.05
    clip_norm: float = 5.0
    ema_decay: float = 0.999
    ema_warmup: bool = True
    precision: Literal["no", "bf16", "fp16"] = "no"
    gradient_checkpointing: bool = False
    compile: bool = False
    strategy: Strategy = "ddp"
    track: Literal["none", "tensorboard", "trackio", "wandb"] = "tensorboard"
    seed: int = 0
    workers: int = 2
    checkpoint_minutes: float = 15.0
    keep_checkpoints: int = 2
    evaluate_every: int = 1

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size", "accumulate", "keep_checkpoints", "evaluate_every"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} is {getattr(self, name)}; expected at least 1")
        for name in ("lr", "checkpoint_minutes"):
            if not getattr(self, name) > 0:
                raise ConfigError(f"{name} is {getattr(self, name)}; expected more than 0")
        for name in (
            *("updates", "lr_batch_size", "weight_decay", "warmup_epochs", "lr_power"),
            *("deformable_lr_scale", "backbone_lr_scale", "clip_norm", "workers"),
        ):
            if getattr(self, name) < 0:
                raise ConfigError(f"{name} is {getattr(self, name)}; expected 0 or more")
        if not 0 <= self.ema_decay < 1:
            raise ConfigError(f"ema_decay is {self.ema_decay}; expected 0 <= ema_decay < 1")
        if list(self.lr_drops) != sorted({drop for drop in self.lr_drops if drop > 0}):
            raise ConfigError(f"lr_drops are {self.lr_drops}; expected epochs, ascending")
        if self.lr_drops and self.lr_drops[-1] >= self.epochs and not self.updates:
            raise ConfigError(f"lr_drops are {self.lr_drops}; expected epochs before the end at {self.epochs}")
        if self.lr_drops and self.lr_power:
            raise ConfigError("lr_drops and lr_power are two ways for the learning rate to fall; choose one")
        for name in ("warmup_start", "end_lr"):
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigError(f"{name} is {getattr(self, name)}; expected a share of the peak, 0 to 1")
        if self.compile and self.strategy != "ddp":
            raise ConfigError(f"compile works with strategy ddp, not with {self.strategy}")

    def images_an_update(self, processes: int) -> int:
        """Images whose gradients one update adds up."""
        return self.batch_size * self.accumulate * processes

    def peak_lr(self, processes: int) -> float:
        """The peak learning rate, scaled to the images of an update."""
        return self.lr * (self.images_an_update(processes) / self.lr_batch_size if self.lr_batch_size else 1.0)


@dataclass(frozen=True)
class RunConfig:
    """Everything that a run was asked to do; kept in ``run.json`` so that it can be resumed and repeated.

    Attributes:
        data: folder, table or archive, as the task of the model reads it.
        model: a name of :func:`internimage.list_models`, a model folder, or a model's description as plain data
            (``architecture``, ``config`` and ``preprocessing``, as in ``model.json``).
        init: "scratch", "pretrained" (the model's released weights, or those of the model folder), the name of another
            released model of the same architecture, or a checkpoint or model folder to start from.  A detector or
            segmenter also starts from a classifier, which gives its backbone.
        size: side of the images in pixels, of detectors and segmenters the shorter side in evaluation; None for the
            model's own.
        freeze: stages of the backbone, counted from the image, that stay as they are.
        linear_probe: train nothing but the classifier; for classifiers alone.
        val_fraction: share of each class set aside where the data has no validation part.
        on_corrupt: "error" or "skip".
        augmentation: settings of the model's task; None for its defaults.
        training: settings.
    """

    data: str
    model: str | dict[str, Any]
    init: str = "scratch"
    size: int | None = None
    freeze: int = 0
    linear_probe: bool = False
    val_fraction: float = 0.2
    on_corrupt: Literal["error", "skip"] = "error"
    augmentation: Any = None
    training: TrainingConfig = field(default_factory=TrainingConfig)

    def __post_init__(self) -> None:
        if self.size is not None and self.size < 1:
            raise ConfigError(f"size is {self.size}; expected pixels")


def too_high(config: TrainingConfig, usual: TrainingConfig, processes: int) -> str | None:
    """A warning if the learning rate is far above the ``usual`` one at as many images an update."""
    images = config.images_an_update(processes)
    if usual.lr_batch_size:
        suits = usual.lr * images / usual.lr_batch_size
    else:
        suits = usual.lr * max(1.0, images / usual.images_an_update(1))
    found = config.peak_lr(processes)
    if found <= _FAR_ABOVE * suits:
        return None
    times = f"{found / suits:.0f} times what suits {images} images an update ({suits:.3g})"
    return f"a learning rate of {found:.3g} is {times}"
