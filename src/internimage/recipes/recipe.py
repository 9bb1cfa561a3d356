"""What a recipe is: everything that belongs to one name."""

from __future__ import annotations

from dataclasses import dataclass, field
from statistics import mean, stdev
from typing import Literal

from internimage.backbones.config import InternImageConfig
from internimage.checkpoints.hub import HubFile, PackagedModel
from internimage.checkpoints.layouts import Config
from internimage.images import FitPreprocessing, Preprocessing


def released_file(name: str, backbone: InternImageConfig) -> HubFile:
    """Where the weights of a released model are; those with DCNv4 have a repository of their own."""
    repository = "DCNv4" if backbone.layer == "dcnv4" else "InternImage"
    return HubFile(f"OpenGVLab/{repository}", f"{name}.pth")


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
class Recipe:
    """One name for one model: architecture, weights, preprocessing, labels and score.

    Attributes:
        name: stem of the released checkpoint, or of its configuration where no file was published.
        task: "classification", "detection" or "segmentation".
        architecture: a name of ``internimage.factory.ARCHITECTURES``.
        config: the architecture's configuration.
        preprocessing: evaluation protocol of the weights.
        parameters: exact number of parameters.
        gmacs: billions of multiply-additions for one image at the preprocessing's size, counted by this project; for
            detectors at 800x1280, with 1,000 regions and 100 masks, for segmenters at the size of their training crops.
        labels: a label set of :mod:`internimage.labels`; None where the names of the classes are not available.
            Outputs beyond it, as heads copied from other data sets have them, are "unused".
        weights: the released file, or a folder of this package; None if there is none.
        hub_name: repository of the same weights in the Hugging Face layout.
        published: the authors' score.
        measured: this project's score of weights of its own.
        note: what a user of this model should know.
    """

    name: str
    task: Literal["classification", "detection", "segmentation"]
    architecture: str
    config: Config
    preprocessing: Preprocessing | FitPreprocessing
    parameters: int
    gmacs: float
    labels: str | None = None
    weights: HubFile | PackagedModel | None = None
    hub_name: str | None = None
    published: PublishedScore | None = None
    measured: MeasuredScore | None = None
    note: str = ""
