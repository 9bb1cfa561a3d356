"""Learning to count, counting, and how well it is done."""

import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from internimage.contracts import Prepared
from internimage.data.dataset import PictureDataset
from internimage.data.samples import EvaluationSample
from internimage.data.splits import Splits
from internimage.images import ImageSource
from internimage.recipes import Recipe
from internimage.settings.training import RunConfig
from internimage.training.initial import initial_model

from .data import Counted, CountedImages
from .spec import Count


@dataclass(frozen=True)
class Batch:
    images: Tensor
    counts: Tensor
    unreadable: tuple[str, ...] = ()

    def to(self, device: torch.device) -> "Batch":
        return replace(self, images=self.images.to(device), counts=self.counts.to(device))


class CountingDataset(PictureDataset[Counted, tuple[Tensor, int]]):
    def __init__(self, data: CountedImages, transform: Callable[[Image.Image], Tensor]) -> None:
        super().__init__(data.name, data.entries, 0, "error")
        self.transform = transform

    def prepare(
        self, entry: Counted, source: ImageSource, picture: Image.Image, unreadable: tuple[str, ...]
    ) -> tuple[Tensor, int]:
        return self.transform(picture), entry.count


class CountingPipeline:
    def __init__(self, model: Any) -> None:
        self.model = model
        self.labels: tuple[str, ...] | None = model.description.labels
        self.classes: int = model.config.num_classes
        self.prepare = model.description.preprocessing
        self.read = self.prepare.read

    @torch.inference_mode()
    def predict(self, prepared: Sequence[Tensor], sources: Sequence[ImageSource], known: Sequence[Any]) -> list[Count]:
        found = self.model(torch.stack(list(prepared)).to(next(self.model.parameters())))[:, 0].tolist()
        return [Count(value, source) for value, source in zip(found, sources, strict=True)]


@dataclass
class CountingReport:
    errors: list[float] = field(default_factory=list)
    unreadable: list[str] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)

    def add(self, result: Count, sample: EvaluationSample) -> None:
        self.errors.append(abs(result.value - sample.measured.truth))

    def state(self) -> list[float]:
        return self.errors

    def merge(self, states: Sequence[list[float]]) -> None:
        self.errors = [error for state in states for error in state]

    def compute(self) -> dict[str, float]:
        mean = sum(self.errors) / len(self.errors)
        return {"mean_error": mean, "closeness": 1 / (1 + mean), "images": float(len(self.errors))}

    def to_dict(self) -> dict[str, Any]:
        return self.compute()

    def table(self) -> str:
        return f"mean error {self.compute()['mean_error']:.2f} of {len(self.errors)} images"

    def save(self, folder: str | os.PathLike[str]) -> list[Path]:
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "metrics.json").write_text(json.dumps(self.to_dict()))
        return [folder / "metrics.json"]


class CountingTask:
    best = "closeness"
    headline = ("closeness",)
    ragged = False

    def collate(self, samples: Sequence[tuple[Tensor, int]]) -> Batch:
        counts = torch.tensor([[float(count)] for _, count in samples])
        return Batch(torch.stack([image for image, _ in samples]), counts)

    def losses(self, losses: Callable[..., dict[str, Tensor]], batch: Batch) -> dict[str, Tensor]:
        return losses(batch.images, batch.counts)

    def pipeline(self, model: Any, *, in_step: bool = False) -> CountingPipeline:
        return CountingPipeline(model)

    def report(self, pipeline: Any) -> CountingReport:
        return CountingReport()


def prepare(config: RunConfig, recipe: Recipe, splits: Splits[CountedImages]) -> Prepared:
    torch.manual_seed(config.training.seed)
    model = initial_model(config, recipe, splits.train.classes)
    train = CountingDataset(splits.train, model.description.preprocessing)
    return Prepared(CountingTask(), model, train, splits.val, splits, ("dots are counted",))
