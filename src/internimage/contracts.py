"""What a task promises: everything that training, prediction, evaluation and the command line know of it.  No torch.

A task is a folder in ``tasks``; its ``spec.py`` fills one :class:`TaskSpec`, whose functions import the rest of the
folder when they are called.  :data:`internimage.registry.TASKS` says where it is.  What a model promises is
:class:`internimage.models.model.Model`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, TypeAlias

from internimage.data.samples import Part
from internimage.registry import TASKS, resolve
from internimage.settings.data import DataOptions
from internimage.settings.training import RunConfig, TrainingConfig
from internimage.settings.views import DisplayOptions, PredictionOptions, ReportOptions, Tiles

if TYPE_CHECKING:
    import numpy as np
    from PIL.Image import Image

    from internimage.data.samples import EvaluationSample
    from internimage.data.splits import Splits
    from internimage.description import ExportedDescription, ModelDescription
    from internimage.images import FitPreprocessing, ImageSource, Preprocessing
    from internimage.results.output import Output, Picture


class Pipeline(Protocol):
    """From pictures to results: what the predictor, the trainer's evaluation and ``evaluate`` run alike."""

    @property
    def labels(self) -> tuple[str, ...] | None:
        """Names of the classes; None where the model has no names."""

    @property
    def classes(self) -> int:
        """How many classes there are."""

    @property
    def read(self) -> Callable[[ImageSource], Any]:
        """A picture with the channels and the depth that the model sees, in another thread or process.

        It has ``size``, (width, height).  A task with inputs of its own may read something else.
        """

    @property
    def prepare(self) -> Callable[[Any], Any]:
        """Such a picture to what the model sees of it, in another thread or process: both can be pickled."""

    def predict(self, prepared: Sequence[Any], sources: Sequence[ImageSource], known: Sequence[Any]) -> Iterable[Any]:
        """A result for each, on the model's device and in its dtype; not influenced by the others."""


class Report(Protocol):
    """Numbers about results, added up image by image, for people and programs.

    ``state`` of several processes is merged with ``merge``, each image counted once.
    """

    unreadable: list[str]
    """Files left out."""

    left_out: list[str]
    """What else of the data was not measured, a line for each reason."""

    def add(self, result: Any, sample: EvaluationSample) -> None: ...
    def state(self) -> Any: ...
    def merge(self, states: Sequence[Any]) -> None: ...

    def compute(self) -> dict[str, float]:
        """Each number by its name; shares are 0 to 1."""

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""

    def table(self) -> str:
        """The numbers as text."""

    def save(self, folder: str | os.PathLike[str]) -> list[Path]:
        """Write metrics.json and pictures into ``folder``; their paths."""


class Writer(Protocol):
    """Results in a format of other tools, written into a folder while they come."""

    @property
    def notes(self) -> Sequence[str]:
        """What a person should know about what is written."""

    def add(self, picture: Picture, result: Any) -> None:
        """Write the result of one picture."""

    def close(self) -> list[Path]:
        """End; the paths that people look for first."""


class Findings(Protocol):
    """What is wrong or odd about a part of a data set; a dataclass, so that it is JSON too."""

    __dataclass_fields__: ClassVar[dict[str, Any]]

    @property
    def errors(self) -> bool:
        """Whether training would stumble or learn what is not there."""

    def lines(self, name: str) -> list[str]:
        """The findings as text, for a part of this name."""


class Task(Protocol):
    """How one model learns one task from one data set: what the trainer knows, beside the model."""

    @property
    def best(self) -> str:
        """The number that decides which weights are kept; larger is better."""

    @property
    def headline(self) -> Sequence[str]:
        """Numbers that are shown while training goes on."""

    @property
    def ragged(self) -> bool:
        """Whether images of a batch may differ in size, so that a batch is more than one forward pass."""

    def collate(self, samples: Sequence[Any]) -> Any:
        """A batch of training samples; it has ``to(device)`` and ``unreadable``, files left out in reading it."""

    def losses(self, losses: Callable[..., dict[str, Any]], batch: Any) -> dict[str, Any]:
        """Losses of a batch; ``losses`` is the model's method of that name, on however many processes."""

    def pipeline(self, model: Any, *, in_step: bool = False) -> Pipeline:
        """For evaluation; ``in_step``: processes wait for each other in every forward pass."""

    def report(self, pipeline: Pipeline) -> Report:
        """An empty report on the validation data."""


@dataclass(frozen=True)
class Balance:
    """The tasks of a run, of which each update learns one.

    Attributes:
        shares: of the updates, those of each task.
        task_of: the number of a batch's task.
    """

    shares: Sequence[float]
    task_of: Callable[[Any], int]


ONE_TASK = Balance((1.0,), lambda batch: 0)


@dataclass(frozen=True)
class Prepared:
    """A run, ready to train.

    Attributes:
        task, model: see there.
        train: training samples, a data set for PyTorch indexed by :class:`internimage.data.sampling.sampler.SampleKey`.
        val: the validation part.
        splits: the parts that were found.
        notes: what a person should know before it starts, a line each.
        order: which training samples an epoch takes, as many as the training part has entries, see
            :class:`internimage.data.sampling.orders.Order`; None for the settings' sampling.
        balance: of the tasks that it learns.
    """

    task: Task
    model: Any
    train: Any
    val: Part
    splits: Splits[Any]
    notes: tuple[str, ...] = ()
    order: Any = None
    balance: Balance = ONE_TASK


@dataclass(frozen=True)
class Amount:
    """What defaults of a run depend on.

    Attributes:
        images: to train on, about.
        init: "scratch", or weights to start from.
        size: side of the images in pixels, of detectors and segmenters the shorter side in evaluation.
        architecture: of the model.
    """

    images: int
    init: str
    size: int
    architecture: str


@dataclass(frozen=True)
class OtherResults:
    """Results of other tools, as files that can be measured like our own.

    Attributes:
        noun: what they are, for messages.
        fits: whether a file or folder is of this kind.
        read_parts: as in :class:`TaskSpec`, also where the pictures are not there.
        measure: the report on a part of a data set, from such a file.
    """

    noun: str
    fits: Callable[[Path], bool]
    read_parts: Callable[[Path, str | None, DataOptions], Mapping[str, Any]]
    measure: Callable[[Any, Path, ReportOptions], Report]


Window: TypeAlias = "tuple[int, int, int, int]"
"""x1, y1, x2, y2 in pixels of a picture."""

Run: TypeAlias = "Callable[[Mapping[str, np.ndarray[Any, Any]]], Mapping[str, np.ndarray[Any, Any]]]"
"""An exported graph: inputs and outputs by name."""


@dataclass(frozen=True)
class Graph:
    """What of a model is exported.

    Attributes:
        module: takes the inputs in order, gives the outputs in order.
        inputs: an example of each by name.
        outputs: names.
        varying: by input the dimensions that may differ from the example's, with a name each; equal names are equal.
    """

    module: Any
    inputs: Mapping[str, Any]
    outputs: tuple[str, ...]
    varying: Mapping[str, Mapping[int, str]]


Frame: TypeAlias = "tuple[int, int]"
"""(height, width) of all images of an exported graph."""

Ending = Callable[[Any, Mapping[str, Any], Any, Any], Mapping[str, Any]]


@dataclass(frozen=True)
class PixelExport:
    """How a graph takes the pixels of one picture, and gives results in that picture's pixels.

    Attributes:
        ending: writes the end of the graph: from nodes of ONNX, the outputs by name, the picture's (height, width) and
            that of what the network sees to the new outputs by name.
        result: of these, the picture's (height, width) and the picture.
        asked: what the task's report asks of a pipeline beside classes, by name.
    """

    ending: Ending
    result: Callable[[Mapping[str, Any], tuple[int, int], ImageSource], Any]
    asked: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class TaskExport:
    """How a task's models leave PyTorch.

    Attributes:
        graph: of a model, for images of any size, or one at a time in a frame.
        framed: a model's description for pictures in a frame; raises :class:`internimage.errors.ConfigError` for one
            that it cannot have.
        pipeline: runs an exported graph, without torch.
        differences: between two results of one picture: numbers by name; those without a limit are counts of what is no
            difference, such as near ties.
        limits: the largest difference of each name in float32.
        metrics: numbers of its report that say what fewer bits cost, 0 to 1.
        pixels: how graphs of a model take pixels; raises :class:`internimage.errors.ConfigError` where they cannot.
    """

    graph: Callable[[Any, Frame | None], Graph]
    framed: Callable[[ModelDescription, Frame], ModelDescription]
    pipeline: Callable[[ExportedDescription, Run, PredictionOptions], Pipeline]
    differences: Callable[[Any, Any], Mapping[str, float]]
    limits: Mapping[str, float]
    metrics: tuple[str, ...]
    pixels: Callable[[ModelDescription], PixelExport]


@dataclass(frozen=True)
class TaskSpec:
    """A task, as everything outside its folder sees it.

    Attributes:
        name: its key in the registry.
        model_noun: what its models are called in messages, such as "detector".
        data_noun: what its data has, such as "COCO's annotations".
        result: type of its results.
        augmentation: type of its training augmentation's settings.
        default_model: name of the model that is trained where none is named.
        preprocessing: for configurations of one's own.
        recognise: whether a folder or file holds data of this task; of the package's own,
            :mod:`internimage.data.recognition` decides that.
        reads: whether data that another task recognises can be read for this one; None for no such data.
        read_parts: the parts of a data set by name ("train", "val", "test", or "all"), or the wanted one alone.
        estimate: how many images there are to train on, without reading them; 0 if none are found.
        defaults: settings for an amount of data.
        resized: an augmentation for images of another size than it was published for.
        prepare: a run from its settings, the model's recipe and the data.
        pipeline: from a model and options to what runs it.
        report: an empty report on a part of a data set, for results of a pipeline.
        check: findings about a part; the second argument follows the progress through its entries.
        sheet: a contact sheet of a part.
        columns: of a result as comma-separated values, after image, rank, index, label and score.
        rows: those values of a result, without the image's name.
        text: a result for people.
        to_dict: a result as plain data for JSON.
        pictures: a result drawn, by the end of the file's name.
        without_classes: whether a model may have no classes.
        several_views: whether its pipeline takes test-time augmentation.
        train_help: help of ``internimage train`` for this task.
        shown: what its results heed of :class:`internimage.settings.views.DisplayOptions`.
        writers: a result in formats of others, by name.
        others: results of other tools that can be measured; None for no such format.
        merge: results of windows of one picture made one, with the windows, the picture's (height, width), the picture
            and how it was tiled; None for a task whose pictures are not.
        export: where its :class:`TaskExport` lives; None for models that cannot leave PyTorch.
        inputs: what a path that is given for prediction stands for, where that is not a picture, or a folder of them.
    """

    name: str
    model_noun: str
    data_noun: str
    result: type[Any]
    augmentation: type[Any]
    default_model: str
    preprocessing: Preprocessing | FitPreprocessing
    recognise: Callable[[Path], bool]
    read_parts: Callable[[Path, str | None, DataOptions], Mapping[str, Any]]
    estimate: Callable[[Path], int]
    defaults: Callable[[Amount], tuple[TrainingConfig, Any]]
    resized: Callable[[Any, int], Any]
    prepare: Callable[[RunConfig, Any, Splits[Any]], Prepared]
    pipeline: Callable[[Any, PredictionOptions], Pipeline]
    report: Callable[[Pipeline, Any, ReportOptions], Report]
    check: Callable[[Any, Callable[[Iterable[Any]], Iterable[Any]]], Findings]
    sheet: Callable[[Any], Image]
    columns: tuple[str, ...]
    rows: Callable[[Any, DisplayOptions], Iterable[tuple[Any, ...]]]
    text: Callable[[Any, DisplayOptions], str]
    to_dict: Callable[[Any, DisplayOptions], dict[str, Any]]
    pictures: Callable[[Any, DisplayOptions], Mapping[str, Image]]
    train_help: str
    without_classes: bool = False
    several_views: bool = True
    reads: Callable[[Path], bool] | None = None
    shown: tuple[str, ...] = ("topk", "score_threshold")
    writers: Mapping[str, Callable[[Output], Writer]] = field(default_factory=dict)
    others: OtherResults | None = None
    merge: Callable[[Sequence[Any], Sequence[Window], tuple[int, int], ImageSource, Tiles], Any] | None = None
    export: str | None = None
    inputs: Callable[[str], Sequence[ImageSource]] | None = None


def task_spec(name: str) -> TaskSpec:
    """The specification of a task by its name in the registry."""
    spec: TaskSpec = resolve(TASKS[name].spec)
    return spec


def task_export(spec: TaskSpec) -> TaskExport | None:
    """How a task's models leave PyTorch; None for those that cannot."""
    export: TaskExport | None = None if spec.export is None else resolve(spec.export)
    return export
