"""Settings of a training run."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, Literal

from internimage.errors import ConfigError
from internimage.settings.data import DataOptions
from internimage.settings.depth import Depth

FEW, MANY = 5_000, 100_000
"""Images up to and from which defaults are those for small and large data."""

_FAR_ABOVE = 4.0
_SMALLEST = 32  # pixels, of which the last stage makes one

Strategy = Literal["ddp", "fsdp", "deepspeed-zero1", "deepspeed-zero3", "deepspeed-zero3-offload"]


@dataclass(frozen=True)
class TrainingConfig:
    """Settings of a run. Together with the data and the initial weights they determine it.

    Attributes:
        epochs: passes over the training images.
        updates: end after this many updates, even within an epoch, instead of after ``epochs``; 0 uses ``epochs``.
        sampling: which images an epoch takes: "uniform" each once; "class-aware" the classes in turn and of each its
            next image, so that rare ones come as often as others; "repeat-factor" each once, and those that show a
            class which less than ``repeat_threshold`` of the images show more often, max over such classes of
            sqrt(threshold / share), rounded up. The last two leave out images that show nothing.
        repeat_threshold: share of the images up to which a class is rare.
        repeat: how often an epoch takes all of that.
        batch_size: images per process and batch; ``accumulate`` batches make an update.
        accumulate: batches per update; their gradients are added up.
        optimizer: "adamw"; or "task-balanced" for models that learn one of several tasks a step: AdamW with gradients
            of length 1, which count the more the rarer their task is.
        lr: peak learning rate of AdamW.
        lr_batch_size: images per update that ``lr`` is given for; for another number it is scaled linearly (Goyal et
            al., 2017). 0 for no scaling.
        weight_decay: weight decay of matrices; vectors have none.
        betas: how much of the past AdamW keeps in the mean of the gradient and in that of its square.
        warmup_epochs: epochs of linear warm-up; may be a fraction.
        warmup_updates: updates of warm-up, instead of ``warmup_epochs``; 0 uses those.
        warmup_start: first learning rate, as a share of the peak.
        lr_drops: epochs after which the learning rate is divided by ten (step schedule of detectors); empty for a
            cosine schedule.
        lr_power: power of the polynomial schedule of segmenters, (share of the run that is left) ** power; 0 for a
            cosine schedule.
        end_lr: last learning rate of the cosine schedule, as a share of the peak.
        layer_decay: learning rate of a block, as a share of that of the next block.
        deformable_lr_scale: factor on the learning rate of the layers that predict offsets of deformable convolutions
            and attention (in DCNv4 also weights).
        backbone_lr_scale: factor on the learning rate of the backbone of a detector or segmenter.
        published_groups: learning rate and weight decay of each parameter exactly as in the released code, whose
            layer decay omits some norms.
        drop_path: stochastic depth rate of the last block.
        clip_norm: maximum norm of the gradient; 0 for no clipping.
        ema_decay: decay of the moving average of the weights, which is evaluated and saved; 0 for none.
        ema_warmup: start with a decay of 0.2 and raise it, so that initial weights do not dominate a short run.
        precision: "no" (float32), or mixed precision with "bf16" or "fp16".
        gradient_checkpointing: recompute each block in the backward pass, to save memory.
        compile: use torch.compile on the model (for a detector, its backbone); only with strategy ddp.
        strategy: with several processes, "ddp" copies the model to each; "fsdp" and the stages of DeepSpeed's ZeRO
            shard it.
        track: dashboard for losses and metrics: "tensorboard" (in the run's folder), "trackio", "wandb" or "none".
        seed: seed of the order of images, augmentation and everything else random.
        workers: processes that read images; 0 reads in the main process.
        checkpoint_minutes: minutes between saves within an epoch.
        keep_checkpoints: number of newest states to keep; the best weights are kept in addition.
        evaluate_every: epochs between evaluations; the last epoch is always evaluated.
        patience: end the run after so many evaluations in a row without a better one; 0 for never.
    """

    epochs: int = 100
    updates: int = 0
    sampling: Literal["uniform", "class-aware", "repeat-factor"] = "uniform"
    repeat_threshold: float = 1e-3
    repeat: int = 1
    batch_size: int = 32
    accumulate: int = 1
    optimizer: Literal["adamw", "task-balanced"] = "adamw"
    lr: float = 1e-3
    lr_batch_size: int = 0
    weight_decay: float = 0.05
    betas: tuple[float, float] = (0.9, 0.999)
    warmup_epochs: float = 5.0
    warmup_updates: int = 0
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
    patience: int = 0

    def __post_init__(self) -> None:
        for name in ("epochs", "repeat", "batch_size", "accumulate", "keep_checkpoints", "evaluate_every"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} is {getattr(self, name)}; expected at least 1")
        for name in ("lr", "checkpoint_minutes"):
            if not getattr(self, name) > 0:
                raise ConfigError(f"{name} is {getattr(self, name)}; expected more than 0")
        for name in (
            *("updates", "lr_batch_size", "weight_decay", "warmup_epochs", "warmup_updates", "lr_power"),
            *("deformable_lr_scale", "backbone_lr_scale", "clip_norm", "workers", "patience"),
        ):
            if getattr(self, name) < 0:
                raise ConfigError(f"{name} is {getattr(self, name)}; expected 0 or more")
        if not 0 <= self.seed < 2**63:
            raise ConfigError(f"seed is {self.seed}; expected 0 or more, below 2**63")
        if not 0 < self.repeat_threshold <= 1:
            raise ConfigError(f"repeat_threshold is {self.repeat_threshold}; expected a share of the images, 0 to 1")
        if not all(0 <= decay < 1 for decay in (self.ema_decay, *self.betas)):
            raise ConfigError(f"ema_decay is {self.ema_decay}, betas are {self.betas}; expected 0 <= decay < 1")
        if list(self.lr_drops) != sorted({drop for drop in self.lr_drops if drop > 0}):
            raise ConfigError(f"lr_drops are {self.lr_drops}; expected epochs, ascending")
        if self.lr_drops and self.lr_drops[-1] >= self.epochs and not self.updates:
            raise ConfigError(f"lr_drops are {self.lr_drops}; expected epochs before the end at {self.epochs}")
        if self.lr_drops and self.lr_power:
            raise ConfigError("lr_drops and lr_power are two different schedules; choose one")
        for name in ("warmup_start", "end_lr"):
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigError(f"{name} is {getattr(self, name)}; expected a share of the peak, 0 to 1")
        if self.compile and self.strategy != "ddp":
            raise ConfigError(f"compile works with strategy ddp, not with {self.strategy}")

    def in_epochs(self) -> TrainingConfig:
        """The same for a run whose length and warm-up are given in epochs, not in updates."""
        return replace(self, updates=0, warmup_updates=0)

    def images_an_update(self, processes: int) -> int:
        """Images whose gradients one update adds up."""
        return self.batch_size * self.accumulate * processes

    def peak_lr(self, processes: int) -> float:
        """The peak learning rate, scaled to the images of an update."""
        return self.lr * (self.images_an_update(processes) / self.lr_batch_size if self.lr_batch_size else 1.0)


@dataclass(frozen=True)
class RunConfig:
    """All settings of a run; kept in ``run.json`` so that it can be resumed and repeated.

    Attributes:
        data: folder, table or archive, as the task of the model reads it.
        model: a name of :func:`internimage.list_models`, a model folder, or a model's description as plain data
            (``architecture``, ``config`` and ``preprocessing``, as in ``model.json``).
        init: "scratch", "pretrained" (the model's released weights, or those of the model folder), the name of another
            released model of the same architecture, or a checkpoint or model folder to start from.  A detector or
            segmenter also starts from a classifier, which gives its backbone.
        size: side of the images in pixels, for detectors and segmenters the shorter side in evaluation; None for the
            model's own.
        freeze: freeze the stem and this many stages of the backbone.
        linear_probe: train only the classifier; for classifiers only.
        val_fraction: share of each class set aside where the data has no validation part.
        max_objects: greatest number of objects of an image that a detector reports; None for the model's own.
        split_rule: how it is chosen, see :class:`internimage.settings.data.SplitOptions`.
        reading: how annotations are read.
        channels: of the images as the model sees them; None for the model's own, RGB as a rule.
        depth: how pixels of more than 8 bits are read; None for the model's own, the whole range of 16 bits as a rule.
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
    max_objects: int | None = None
    split_rule: int = 2
    channels: int | None = None
    depth: Depth | None = None
    on_corrupt: Literal["error", "skip"] = "error"
    reading: DataOptions = field(default_factory=DataOptions)
    augmentation: Any = None
    training: TrainingConfig = field(default_factory=TrainingConfig)

    def __post_init__(self) -> None:
        if self.size is not None and self.size < _SMALLEST:
            raise ConfigError(f"size is {self.size}; expected {_SMALLEST} pixels or more")
        if self.channels is not None and self.channels < 1:
            raise ConfigError(f"channels is {self.channels}; expected 1 or more")


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
