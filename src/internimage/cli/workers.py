"""What ``serve`` and ``batch`` ask alike: how each of their processes runs its models."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Literal

from tyro.conf import arg

from internimage.cli.common import MaxPixels, ViewOptions

if TYPE_CHECKING:
    from internimage.serving.settings import WorkerSettings


@dataclass(frozen=True)
class WorkerOptions:
    """How each process runs its models."""

    threads: Annotated[int | None, arg(metavar="N", help_behavior_hint="(default: cores / processes)")] = None
    """Threads of each process."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:1 ...; several processes share several GPUs."""
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    """Precision of the weights."""
    views: ViewOptions = field(default_factory=ViewOptions)
    max_pixels: MaxPixels = None

    def settings(self, batch: int) -> WorkerSettings:
        """As the processes take them, with so many pictures at a time."""
        from internimage.serving.settings import WorkerSettings

        return WorkerSettings(
            self.device,
            self.dtype,
            self.threads or 0,
            batch,
            self.views.tiles(),
            self.views.augmentation(),
            self.max_pixels,
        )
