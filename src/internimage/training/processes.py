"""The processes of a run: how they find each other, end together and leave."""

from __future__ import annotations

import gc
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import torch.distributed as dist

from internimage.errors import ConfigError, InternImageError, MissingExtraError, TrainingError
from internimage.machine import trains_on_cpu

if TYPE_CHECKING:
    from accelerate import Accelerator

    from internimage.settings.training import TrainingConfig

T = TypeVar("T")


def started_processes() -> int:
    """How many processes the launcher started; 1 without one."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def make_accelerator(config: TrainingConfig, folder: Path, *, device: str = "auto") -> Accelerator:
    """Join the processes that torchrun or ``accelerate launch`` started, and see that none was left alone.

    Raises:
        ConfigError: the strategy that was asked for would not be the one in effect.
    """
    try:
        from accelerate import Accelerator, DistributedType
        from accelerate.state import AcceleratorState, GradientState
    except ImportError as error:
        raise MissingExtraError("training needs Accelerate: pip install 'internimage[train]'") from error
    for variable, what in (("ACCELERATE_USE_FSDP", "FSDP"), ("ACCELERATE_USE_DEEPSPEED", "DeepSpeed")):
        if os.environ.get(variable, "false").lower() == "true":
            raise ConfigError(f"Accelerate's configuration turns on {what}; turn it off there and pass --strategy here")
    if config.precision == "fp16" and config.strategy != "ddp":
        raise ConfigError(f"precision fp16 works with strategy ddp; use bf16 with {config.strategy}")
    cpu = trains_on_cpu(device)
    if config.precision == "fp16" and cpu:
        raise ConfigError("precision fp16 needs a GPU; use bf16 or no")
    started = started_processes()
    # Accelerate keeps precision and device of a process's first run, and a second one may want others
    AcceleratorState._reset_state(reset_partial_state=started == 1)
    GradientState._reset_state()
    # without a GPU Accelerate joins the processes only if told that it is to stay on the CPU
    accelerator = Accelerator(
        mixed_precision=config.precision,
        cpu=cpu,
        log_with=None if config.track == "none" else config.track,
        project_dir=folder,
    )
    if accelerator.num_processes != started:
        raise ConfigError(f"{started} processes were started but {accelerator.num_processes} found each other")
    copies = (DistributedType.NO, DistributedType.MULTI_CPU, DistributedType.MULTI_GPU, DistributedType.MULTI_XPU)
    if accelerator.distributed_type not in copies:
        raise ConfigError(f"Accelerate's configuration chose {accelerator.distributed_type}; pass --strategy here")
    if config.strategy == "fsdp" and accelerator.num_processes == 1:
        raise ConfigError("strategy fsdp has nothing to shard in one process; start several with torchrun")
    return accelerator


def end_together(failure: InternImageError | None) -> None:
    """Raise ``failure`` of this process, or an error that tells of another's; every process calls this."""
    from accelerate.utils import gather_object

    failures = [text for text in gather_object([None if failure is None else str(failure)]) if text is not None]
    if failures:
        raise failure or TrainingError(f"another process stopped: {failures[0]}")


def from_main(accelerator: Accelerator, compute: Callable[[], T]) -> T:
    """What the main process computes, on all processes; a plain value.

    Raises:
        InternImageError: the main process raised it.
    """
    from accelerate.utils import broadcast_object_list

    found: list[Any] = [None]
    failure: InternImageError | None = None
    if accelerator.is_main_process:
        try:
            found = [compute()]
        except InternImageError as error:
            failure = error
    end_together(failure)
    value: T = broadcast_object_list(found)[0]
    return value


def leave_processes() -> None:
    """Leave the processes that :func:`make_accelerator` joined; to be called last, when no trainer is in use any more.

    A process that just ends may abort instead: a thread of Gloo that still holds a tensor of the last exchange finds no
    interpreter to hand it back to (PyTorch issue 190489), and the launcher then stops the other processes and reports
    a failure.  Not for the end by an error: leaving would wait for exchanges that others may never join.
    """
    if dist.is_initialized():
        gc.collect()  # trainers are circular, and the group waits for its threads only when nothing refers to it
        dist.destroy_process_group()
        time.sleep(0.1)  # PyTorch's caches keep the group of a sharded model: all its threads can get is the time
