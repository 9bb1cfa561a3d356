"""The task as the package sees it; imports no torch before a function is called."""

from dataclasses import dataclass
from importlib import import_module
from typing import Any

from PIL import Image

from internimage.contracts import TaskSpec
from internimage.drawing.charts import contact_sheet
from internimage.images import ImageSource, Preprocessing, read_image
from internimage.settings.training import TrainingConfig

from . import data


@dataclass(frozen=True)
class Count:
    value: float
    source: ImageSource

    def to_dict(self) -> dict[str, Any]:
        return {"image": self.source.name, "count": self.value}


@dataclass(frozen=True)
class CountingAugmentation:
    """Nothing is varied."""


def in_task(name: str) -> Any:
    """A function of ``task.py``, imported when it is called."""

    def call(*arguments: Any) -> Any:
        return getattr(import_module(f"{__package__}.task"), name)(*arguments)

    return call


def sheet(part: data.CountedImages) -> Image.Image:
    pictures = [(read_image(entry.file), [(str(entry.count), (0, 0, 0))]) for entry in part.entries[:6]]
    return contact_sheet(pictures, title=part.name)


SPEC = TaskSpec(
    name="counting",
    model_noun="counter",
    data_noun="counts of objects",
    result=Count,
    augmentation=CountingAugmentation,
    default_model="counter_internimage_mini",
    preprocessing=Preprocessing(32, 32),
    recognise=data.recognise,
    read_parts=data.read_parts,
    estimate=data.estimate,
    defaults=lambda amount: (
        TrainingConfig(epochs=10, batch_size=8, lr=1e-2, warmup_epochs=1, drop_path=0, workers=0, ema_decay=0),
        CountingAugmentation(),
    ),
    resized=lambda augmentation, size: augmentation,
    prepare=in_task("prepare"),
    pipeline=lambda model, options: in_task("CountingPipeline")(model),
    report=lambda pipeline, part, options: in_task("CountingReport")(),
    check=data.check,
    sheet=sheet,
    columns=(),
    rows=lambda result, options: [(1, 0, "dots", f"{result.value:.3f}")],
    text=lambda result, options: f"{result.source.name}: {result.value:.1f} dots",
    to_dict=lambda result, options: result.to_dict(),
    pictures=lambda result, options: {".predicted.png": result.source.read()},
    train_help="Learn to count dots.",
    several_views=False,
)
