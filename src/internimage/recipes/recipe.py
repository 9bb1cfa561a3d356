"""What a recipe is: everything that belongs to one name."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache, cached_property
from importlib.resources import files
from statistics import mean, stdev
from typing import TYPE_CHECKING, Any

from internimage.images import FitPreprocessing, Preprocessing
from internimage.labels import load_labels
from internimage.registry import ARCHITECTURES, resolve
from internimage.settings.plain import from_plain
from internimage.settings.training import TrainingConfig

if TYPE_CHECKING:
    from internimage.checkpoints.hub import HubFile, PackagedModel


@dataclass(frozen=True)
class PublishedScore:
    """A result stated by the authors of the weights, not measured by this project.

    ``masks`` is the same of masks, ``multi_scale`` the same with several views of each picture.
    """

    metric: str
    value: float
    flops: str | None = None
    masks: float | None = None
    multi_scale: float | None = None

    def __str__(self) -> str:
        masks = f", {self.masks} mask AP" if self.masks is not None else ""
        views = f", {self.multi_scale} with several views" if self.multi_scale is not None else ""
        return f"{self.value} {self.metric}{masks}{views}"


@dataclass(frozen=True)
class MeasuredScore:
    """A result of weights of this project, one number a seed, beside peers that were trained in the same way.

    Attributes:
        metric: what was measured, in percent, and on which data.
        command: how; the seeds are 0, 1, ...
        seeds: results of this model.
        shipped: result of the weights in the package, those of the seed that was best on the validation data.
        peers: results of other models.
    """

    metric: str
    command: str
    seeds: tuple[float, ...]
    shipped: float
    peers: dict[str, tuple[float, ...]] = field(default_factory=dict)

    def __str__(self) -> str:
        spread = f" ± {stdev(self.seeds):.1f}" if len(self.seeds) > 1 else ""
        return f"{mean(self.seeds):.1f}{spread} {self.metric}"


@dataclass(frozen=True)
class TrainingRecipe:
    """How a released model was trained.

    Attributes:
        init: "scratch", "pretrained" (the released weights), or the name of the model that it was fine-tuned from.
        training: settings.
        augmentation: settings of the model's task.
    """

    init: str
    training: TrainingConfig
    augmentation: Any


@dataclass(frozen=True)
class Recipe:
    """One name for one model: architecture, weights, preprocessing, labels, score and how it was trained.

    Attributes:
        name: stem of the released checkpoint, or of its configuration where no file was published.
        task: a key of :data:`internimage.registry.TASKS`.
        architecture: a key of :data:`internimage.registry.ARCHITECTURES`.
        plain: the architecture's configuration as plain data, as ``model.json`` has it; defaults may be left out.
        preprocessing: evaluation protocol of the weights.
        labels: a label set of :mod:`internimage.labels`; None where the names of the classes are not available.
            Outputs beyond it, as heads copied from other data sets have them, are "unused".
        weights: the released file, or a folder of this package; None if there is none.
        elsewhere: where its authors keep the released file, if that is not fetched.
        hub_name: repository of the same weights in the Hugging Face layout.
        published: the authors' score.
        measured: this project's score of weights of its own.
        training: how it was trained, where that was published.
        note: what a user of this model should know.
    """

    name: str
    task: str
    architecture: str
    plain: Mapping[str, Any]
    preprocessing: Preprocessing | FitPreprocessing
    labels: str | None = None
    weights: HubFile | PackagedModel | None = None
    elsewhere: str = ""
    hub_name: str | None = None
    published: PublishedScore | None = None
    measured: MeasuredScore | None = None
    training: TrainingRecipe | None = None
    note: str = ""

    @cached_property
    def config(self) -> Any:
        """The architecture's configuration."""
        return from_plain(resolve(ARCHITECTURES[self.architecture].config), dict(self.plain))

    @property
    def class_names(self) -> tuple[str, ...] | None:
        """Names of the outputs; those beyond the label set are unused.  None if they have none."""
        if self.labels is None:
            return None
        names = load_labels(self.labels)
        return (*names, *(f"unused {index}" for index in range(len(names), self.config.num_classes)))

    @property
    def parameters(self) -> int:
        """Exact number of parameters, counted by this project; 0 where nobody counted."""
        return int(_counted().get(self.name, {}).get("parameters", 0))

    @property
    def gmacs(self) -> float:
        """Billions of multiply-additions for one image at the preprocessing's size, counted by this project.

        For detectors at 800x1280, with 1,000 RoIs and 100 masks, for segmenters at the size of their training crops,
        for BEVFormers a frame of six cameras; for other networks on frames backbone and pyramid alone.
        """
        return float(_counted().get(self.name, {}).get("gmacs", 0.0))


@cache
def _counted() -> dict[str, dict[str, float]]:
    """The content of ``counted.json``, which ``benchmarks/count.py`` writes."""
    content: dict[str, dict[str, float]] = json.loads(
        files("internimage.recipes").joinpath("counted.json").read_text(encoding="utf-8")
    )
    return content
