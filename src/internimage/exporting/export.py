"""From a model to a file that runs without PyTorch, which is called good when its results agree."""

from __future__ import annotations

import contextlib
import hashlib
import importlib.metadata
import importlib.util
import os
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch

from internimage.contracts import Frame, Graph, PixelExport, TaskExport, task_export
from internimage.data.splits import Follow, unseen
from internimage.description import ExportedDescription, ModelDescription
from internimage.errors import ConfigError, ExportError, MissingExtraError
from internimage.exporting.accuracy import Accuracy, LowPrecision, Split, check_accuracy, read_split
from internimage.exporting.features import LIMITS, ExportedFeatures, feature_differences, feature_graph
from internimage.exporting.low_precision import halve, quantise, recorded_feeds
from internimage.exporting.onnx_file import onnx_program, placed_onnx, write_onnx
from internimage.exporting.openvino_file import placed_openvino
from internimage.exporting.operators import Sampling
from internimage.exporting.parity import Parity, check_parity, checked_pictures
from internimage.exporting.predictor import ExportedPredictor
from internimage.exporting.reading import read_inside
from internimage.exporting.runtimes import Exported
from internimage.exporting.torch_file import run_in_torch, write_torch
from internimage.images import ImageSource
from internimage.images.reader import ImageInputs
from internimage.inference.features import extract_features
from internimage.inference.predictor import Predictor
from internimage.inference.runner import Runner
from internimage.writing import json_text, write_text, written_together

Target = Literal["onnx", "openvino", "tensorrt", "torch-export"]
_FEW = 3  # pictures that a file is run on without our kernels
_SMALLEST = 32  # pixels a side of images of one size
_ELSEWHERE = "ONNX Runtime without this package's kernels"


@dataclass(frozen=True)
class _Form:
    """What is written for a runtime: by its numbers in docs/deploy.md, or because others know no better.

    Attributes:
        place: makes the runtime's files of an ONNX file; None where there is none on the way.
        sampling: by which standard operator.
        functions: whether deformable operators are whole in the file, and standard ones their bodies.
        tensorrt: compared in TensorRT where ONNX Runtime hands graphs to it, else with the remark.
    """

    suffix: str
    packages: tuple[str, ...]
    place: Callable[[Path, Path], Path] | None
    sampling: Sampling = "grid_sample"
    functions: bool = False
    tensorrt: bool = False
    remark: str = ""


_ONNX = ("torch", "onnx", "onnxscript", "onnxruntime")
_LOAD = "before torch.export.load: "
_FORMS: dict[Target, _Form] = {
    "onnx": _Form(".onnx", _ONNX, placed_onnx, "deform_conv", functions=True),
    "openvino": _Form(".xml", (*_ONNX[:3], "openvino"), placed_openvino),
    # engines with GridSample were seen to compute something else without a word
    "tensorrt": _Form(".onnx", _ONNX, placed_onnx, "gather", tensorrt=True, remark="not run in TensorRT"),
    "torch-export": _Form(".pt2", _ONNX[:1], None, remark=f"{_LOAD}`import internimage.ops, torchvision`"),
}
_PLAIN: dict[Target, _Form] = {
    "onnx": _Form(".onnx", _ONNX, placed_onnx),
    "torch-export": _Form(".pt2", _ONNX[:1], None, remark=f"{_LOAD}`import torchvision`, of a detector with NMS"),
}


@dataclass(frozen=True)
class ExportedFile:
    """An exported file whose results were compared with the model's.

    Attributes:
        files: what was written, the model first; with it lies the comparison as JSON.
        runtime: name and version of what ran it.
        comparison: how far its results are from the model's; of fewer bits, what they are worth on labelled pictures.
        remark: what a person should know.
    """

    files: tuple[Path, ...]
    runtime: str
    comparison: Parity | Accuracy
    remark: str = ""

    @property
    def file(self) -> Path:
        """What :class:`internimage.ExportedPredictor` opens."""
        return self.files[0]


def export(
    model: str | os.PathLike[str] | torch.nn.Module,
    output: str | os.PathLike[str] | None = None,
    *,
    to: Target = "onnx",
    checkpoint: str | os.PathLike[str] | None = None,
    layers: Sequence[str] = (),
    max_objects: int | None = None,
    plain: bool = False,
    pixels: bool = False,
    size: tuple[int, int] | None = None,
    precision: LowPrecision | None = None,
    images: ImageInputs | None = None,
    tell: Callable[[str], None] = lambda text: None,
    follow: Follow = unseen,
) -> ExportedFile:
    """Export a model and check that the file gives the same results, for images of any size or of one.

    Args:
        model, checkpoint: see :class:`internimage.Predictor`.
        output: the file; by default the model's name in this folder, with the suffix of ``to``.
        to: "onnx", which ONNX Runtime runs, "openvino", "tensorrt": an ONNX file that samples by gathering alone and is
            compared in ONNX Runtime, or "torch-export": a program of PyTorch's, for those who build on it.
        layers: give these, see :func:`internimage.extract_features`, instead of predictions: "stage1" to "stage4" are
            the maps of the backbone.
        max_objects: of detectors, greatest number of objects of an image; None for the model's own.
        plain: no deformable operators in the file.  By default an ONNX file has them as functions of standard
            operators, which ONNX Runtime takes apart unless it has a kernel for them, as in this package; a program of
            PyTorch's has them as they are, and is loaded where this package is.
        pixels: ONNX: the file takes the 8-bit pixels of one ``picture`` (H, W, 3), RGB, as they are, and gives results
            in its pixels, for programs without this package: ``probabilities``; ``boxes``, ``scores``, ``labels`` and
            ``masks``, in the frames of their boxes; ``label_map`` and ``confidence``.
        size: (height, width) of the images that the file takes, one at a time, for runtimes that want to know it.
            Pictures are scaled as ever but no larger than this, lie at the top left, and the rest is the mean colour;
            detectors have a second input ``extent`` (2,), what of the image is the picture.  Classifiers see squares.
        precision: compute in fewer bits; then the file is good if its accuracy or average precision is.
        images: pictures to check with, beside some of the package's own.
        tell: is told what is being done, which takes up to minutes.
        follow: wraps pictures that are looked at one by one, for progress.

    Raises:
        ConfigError: the options contradict each other, or the model.
        ExportError: the model cannot be exported, or the file's results differ from the model's; then there is no file.
        DataError: the data of ``precision`` cannot be read, or are too few.
        MissingExtraError: a package is not installed.
    """
    if to not in _FORMS:
        raise ConfigError(f"to is {to!r}; expected {' or '.join(_FORMS)}")
    if precision is not None and layers:
        raise ConfigError("features have no accuracy that says what fewer bits cost; leave precision or layers out")
    if pixels and (to != "onnx" or layers or precision is not None):
        raise ConfigError("pixels are for ONNX, predictions and float32; leave pixels out")
    if size is not None and (pixels or layers):
        raise ConfigError("one size is for predictions from prepared images; leave size, or pixels and layers, out")
    if size is not None and min(size) < _SMALLEST:
        raise ConfigError(f"size is {size[0]}x{size[1]}; expected {_SMALLEST} pixels or more a side")
    if plain and to not in _PLAIN:
        raise ConfigError(f"files for {to} are of standard operators anyway; leave plain out")
    form = _PLAIN[to] if plain else _FORMS[to]
    if precision is not None and form.place is None:
        raise ConfigError(f"fewer bits are written to ONNX; leave precision out, or to={to!r}")
    _look_for_packages(to, form)
    predictor = Predictor(model, checkpoint=checkpoint, device="cpu", dtype=torch.float32, max_objects=max_objects)
    task = task_export(predictor.spec)
    if task is None:
        raise ExportError(f"a {predictor.spec.model_noun} cannot be exported yet")
    own = predictor.model if max_objects is None else predictor.model.keeping(max_objects)
    name = Path(str(model)).name if not isinstance(model, torch.nn.Module) else predictor.spec.name
    target = Path(output).expanduser() if output is not None else Path(f"{name}{form.suffix}")
    if target.suffix.lower() != form.suffix:
        raise ConfigError(f"{target} has another suffix than {form.suffix}, by which an exported file is known")
    split = None if precision is None else read_split(predictor.spec, precision.data)
    described = replace(own.description, config=asdict(own.config))
    if size is not None:
        described = task.framed(described, size)
    inside = task.pixels(described) if pixels else None
    sources = checked_pictures(images)
    job = _Job(predictor, own, described, task, form, sources, tuple(layers), inside, size, precision, split, follow)
    with written_together(target) as folder:
        tell(f"tracing a {type(own).__name__} for images of {_text(size)}")
        graph = feature_graph(own, layers) if layers else task.graph(own, size)
        file: Path | Exported
        if form.place is None:
            file = write_torch(graph, job.description(), folder / target.name, plain=plain)
        else:
            file = form.place(_onnx(job, graph, folder / "made" / f"{target.stem}.onnx", tell), folder)
        tell("comparing its results with the model's")
        runtime, comparison = _compared(job, graph, file)
        if not comparison.agrees:
            raise ExportError(f"{target} is not written: {comparison.refusal}\n{comparison.table()}")
        remark = "" if "TensorRT" in runtime else form.remark
        about = {"file": target.name, "runtime": runtime, "remark": remark, **asdict(comparison)}
        write_text(folder / f"{target.stem}.parity.json", json_text(about, indent=2))
        names = sorted((one.name for one in folder.iterdir() if one.is_file()), key=lambda name: name != target.name)
    return ExportedFile(tuple(target.with_name(name) for name in names), runtime, comparison, remark)


@dataclass(frozen=True)
class _Job:
    """What is exported, and what it is compared on."""

    predictor: Predictor
    model: Any
    described: ModelDescription
    task: TaskExport
    form: _Form
    sources: Sequence[ImageSource]
    layers: tuple[str, ...]
    inside: PixelExport | None
    size: Frame | None
    precision: LowPrecision | None
    split: Split | None
    follow: Follow

    def description(self) -> ExportedDescription:
        digest = hashlib.sha256()
        for name, tensor in sorted(self.model.state_dict().items()):
            digest.update(name.encode())
            digest.update(tensor.detach().float().contiguous().numpy().tobytes())
        versions = {name: importlib.metadata.version(name) for name in ("internimage", *self.form.packages)}
        precision = "float32" if self.precision is None else self.precision.dtype
        return ExportedDescription(
            self.predictor.spec.name,
            self.described,
            self.layers,
            self.inside is not None,
            self.size,
            precision=precision,
            weights=digest.hexdigest(),
            versions=versions,
        )


def _onnx(job: _Job, graph: Graph, file: Path, tell: Callable[[str], None]) -> Path:
    """The graph as an ONNX file; in fewer bits, it has another folder."""
    file.parent.mkdir()
    program = onnx_program(graph)
    if job.inside is not None:
        assert job.described.preprocessing is not None
        read_inside(program.model, job.described.preprocessing, job.inside.ending)
    write_onnx(program, job.description(), file, job.form.sampling, plain=not job.form.functions)
    if job.precision is None:
        return file
    tell(f"{job.precision.dtype}: writing it in fewer bits")
    return _reduced(job, file)


def _reduced(job: _Job, source: Path) -> Path:
    """The file in fewer bits, beside it."""
    assert job.precision is not None
    assert job.split is not None
    target = source.parent / job.precision.dtype / source.name
    target.parent.mkdir()
    if job.precision.dtype == "float16":
        halve(source, target)
        return target
    feeds = None
    if not job.precision.dynamic:
        entries = job.split.ranges.entries[:: -(-len(job.split.ranges) // job.precision.pictures)]
        seen = job.follow(entries, len(entries), "measuring ranges")
        feeds = recorded_feeds(source, job.task, [ImageSource(str(one.file), one.file) for one in seen])
    quantise(source, target, feeds)
    return target


def _compared(job: _Job, graph: Graph, file: Path | Exported) -> tuple[str, Parity | Accuracy]:
    """What ran the file, and how far its results are from the model's."""
    count = len(job.sources)
    few = job.sources[-_FEW:]
    if job.layers:
        if job.form.functions:  # elsewhere it runs without our kernels
            standard = ExportedFeatures(file, device="cpu", own_operators=False).extract(few)
            found = check_parity(extract_features(job.model, few, job.layers), standard, feature_differences, LIMITS)
            if not found.agrees:
                return _ELSEWHERE, found
        features = ExportedFeatures(file, device="cpu")
        ours = job.follow(extract_features(job.model, job.sources, job.layers), count, "comparing")
        return features.runtime, check_parity(ours, features.extract(job.sources), feature_differences, LIMITS)
    exported, task = _opened(job, file), job.task
    if job.precision is not None and job.split is not None:
        accept = job.precision.accept
        return exported.runtime, check_accuracy(job.predictor, exported, job.split, task.metrics, accept, job.follow)
    model: Runner = job.predictor
    if job.size is not None:  # which sees pictures in their own size
        model = ExportedPredictor(run_in_torch(graph, job.description()))
    if job.form.functions:
        taken_apart = ExportedPredictor(file, device="cpu", own_operators=False).stream(few)
        found = check_parity(model.stream(few), taken_apart, task.differences, task.limits)
        if not found.agrees:
            return _ELSEWHERE, found
    results = job.follow(model.stream(job.sources), count, "comparing")
    return exported.runtime, check_parity(results, exported.stream(job.sources), task.differences, task.limits)


def _opened(job: _Job, file: Path | Exported) -> ExportedPredictor:
    if job.form.tensorrt:
        with contextlib.suppress(ConfigError):  # which says that there is none
            return ExportedPredictor(file, device="tensorrt")
    return ExportedPredictor(file, device="cpu")


def _text(size: Frame | None) -> str:
    return "any size" if size is None else f"{size[0]}x{size[1]}"


def _look_for_packages(to: Target, form: _Form) -> None:
    missing = [name for name in form.packages if importlib.util.find_spec(name) is None]
    if missing:
        raise MissingExtraError(f"exporting to {to} needs {', '.join(missing)}: pip install 'internimage[export]'")
