"""What a recipe is: everything that belongs to one name."""

from __future__ import annotations

from dataclasses import dataclass

from internimage.checkpoints.hub import HubFile
from internimage.images.transforms import Preprocessing
from internimage.models.classifier import ClassifierConfig


@dataclass(frozen=True)
class PublishedScore:
    """A result stated by the authors of the weights; not measured by this project."""

    metric: str
    value: float
    flops: str | None = None


@dataclass(frozen=True)
class Recipe:
    """One name for one model: architecture, weights, preprocessing, labels and score.

    Attributes:
        name: stem of the released checkpoint, or of its configuration where no file was published.
        task: "classification".
        architecture: a name of ``internimage.factory.ARCHITECTURES``.
        config: the architecture's configuration.
        preprocessing: evaluation protocol of the weights.
        parameters: exact number of parameters.
        gmacs: billions of multiply-additions for one image at the preprocessing's size, counted by this project.
        labels: a label set of :mod:`internimage.labels`; None where the names of the classes are not available.
        weights: the released file; None if there is none.
        hub_name: repository of the same weights in the Hugging Face layout.
        published: the authors' score.
        note: what a user of this model should know.
    """

    name: str
    task: str
    architecture: str
    config: ClassifierConfig
    preprocessing: Preprocessing
    parameters: int
    gmacs: float
    labels: str | None = None
    weights: HubFile | None = None
    hub_name: str | None = None
    published: PublishedScore | None = None
    note: str = ""
