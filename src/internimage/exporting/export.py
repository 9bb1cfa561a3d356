"""From a model to a file that runs without PyTorch, which is called good when its results agree."""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
import os
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal, get_args

import torch

from internimage.contracts import TaskExport, task_export
from internimage.data.splits import Follow, unseen
from internimage.description import ExportedDescription
from internimage.errors import ConfigError, ExportError, MissingExtraError
from internimage.exporting.accuracy import Accuracy, LowPrecision, Split, check_accuracy, read_split
from internimage.exporting.features import LIMITS, ExportedFeatures, feature_differences, feature_graph
from internimage.exporting.low_precision import halve, quantise, recorded_feeds
from internimage.exporting.onnx_file import onnx_program, placed_onnx, write_onnx
from internimage.exporting.openvino_file import placed_openvino
from internimage.exporting.parity import Parity, check_parity, checked_pictures
from internimage.exporting.predictor import ExportedPredictor
from internimage.images import ImageSource
from internimage.images.reader import ImageInputs
from internimage.inference.features import extract_features
from internimage.inference.predictor import Predictor
from internimage.writing import json_text, write_text, written_together

Target = Literal["onnx", "openvino"]
_FEW = 3  # pictures that a file is run on without our kernels
_SUFFIXES: dict[str, str] = {"onnx": ".onnx", "openvino": ".xml"}
_PACKAGES = {
    "onnx": ("torch", "onnx", "onnxscript", "onnxruntime"),
    "openvino": ("torch", "onnx", "onnxscript", "openvino"),
}


@dataclass(frozen=True)
class ExportedFile:
    """An exported file whose results were compared with the model's.

    Attributes:
        files: what was written, the model first; with it lies the comparison as JSON.
        runtime: name and version of what ran it.
        comparison: how far its results are from the model's; of fewer bits, what they are worth on labelled pictures.
    """

    files: tuple[Path, ...]
    runtime: str
    comparison: Parity | Accuracy

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
    precision: LowPrecision | None = None,
    images: ImageInputs | None = None,
    tell: Callable[[str], None] = lambda text: None,
    follow: Follow = unseen,
) -> ExportedFile:
    """Export a model and check that the file gives the same results, for images of any size.

    Args:
        model, checkpoint: see :class:`internimage.Predictor`.
        output: the file; by default the model's name in this folder, with the suffix of ``to``.
        to: "onnx", which ONNX Runtime and others run, or "openvino".
        layers: give these, see :func:`internimage.extract_features`, instead of predictions: "stage1" to "stage4" are
            the maps of the backbone.
        max_objects: of detectors, greatest number of objects of an image; None for the model's own.
        plain: write an ONNX file without functions, for readers that know none.  By default deformable operators are
            functions of standard operators, which ONNX Runtime takes apart unless it has a kernel for them, as in this
            package.
        precision: compute in fewer bits; then the file is good if its accuracy or average precision is.
        images: pictures to check with, beside some of the package's own.
        tell: is told what is being done, which takes up to minutes.
        follow: wraps pictures that are looked at one by one, for progress.

    Raises:
        ExportError: the model cannot be exported, or the file's results differ from the model's; then there is no file.
        DataError: the data of ``precision`` cannot be read, or are too few.
        MissingExtraError: a package is not installed.
    """
    if to not in get_args(Target):
        raise ConfigError(f"to is {to!r}; expected {' or '.join(_SUFFIXES)}")
    if precision is not None and layers:
        raise ConfigError("features have no accuracy that says what fewer bits cost; leave precision or layers out")
    _look_for_packages(to)
    predictor = Predictor(model, checkpoint=checkpoint, device="cpu", dtype=torch.float32, max_objects=max_objects)
    own = predictor.model if max_objects is None else predictor.model.keeping(max_objects)
    task = task_export(predictor.spec)
    if task is None:
        raise ExportError(f"a {predictor.spec.model_noun} cannot be exported yet")
    name = Path(str(model)).name if not isinstance(model, torch.nn.Module) else predictor.spec.name
    target = Path(output).expanduser() if output is not None else Path(f"{name}{_SUFFIXES[to]}")
    if target.suffix.lower() != _SUFFIXES[to]:
        raise ConfigError(f"{target} has another suffix than {_SUFFIXES[to]}, by which an exported file is known")
    job = _Job(
        predictor,
        own,
        task,
        checked_pictures(images),
        tuple(layers),
        precision,
        None if precision is None else read_split(predictor.spec, precision.data),
        to == "onnx" and not plain,
        follow,
    )
    with written_together(target) as folder:
        tell(f"tracing a {type(own).__name__} for images of any size")
        (folder / "made").mkdir()
        made = folder / "made" / f"{target.stem}.onnx"
        write_onnx(
            onnx_program(feature_graph(own, layers) if layers else task.graph(own, None)),
            job.description(to),
            made,
            "deform_conv" if to == "onnx" and not plain else "grid_sample",
            plain=plain or to != "onnx",
        )
        if job.split is not None:
            tell(f"{job.description(to).precision}: writing it in fewer bits")
            made = _reduced(job, made)
        file = placed_onnx(made, folder) if to == "onnx" else placed_openvino(made, folder)
        tell("comparing its results with the model's")
        runtime, comparison = _compared(job, file)
        if not comparison.agrees:
            raise ExportError(f"{target} is not written: {comparison.refusal}\n{comparison.table()}")
        about = {"file": target.name, "runtime": runtime, **asdict(comparison)}
        write_text(folder / f"{target.stem}.parity.json", json_text(about, indent=2))
        files = tuple(
            sorted((one.name for one in folder.iterdir() if one.is_file()), key=lambda name: name != target.name)
        )
    return ExportedFile(tuple(target.with_name(name) for name in files), runtime, comparison)


@dataclass(frozen=True)
class _Job:
    """What is exported, and what it is compared on."""

    predictor: Predictor
    model: Any
    task: TaskExport
    sources: Sequence[ImageSource]
    layers: tuple[str, ...]
    precision: LowPrecision | None
    split: Split | None
    functions: bool
    follow: Follow

    def description(self, to: Target) -> ExportedDescription:
        digest = hashlib.sha256()
        for name, tensor in sorted(self.model.state_dict().items()):
            digest.update(name.encode())
            digest.update(tensor.detach().float().contiguous().numpy().tobytes())
        versions = {name: importlib.metadata.version(name) for name in ("internimage", *_PACKAGES[to])}
        described = replace(self.model.description, config=asdict(self.model.config))
        precision = "float32" if self.precision is None else self.precision.dtype
        return ExportedDescription(
            self.predictor.spec.name,
            described,
            self.layers,
            precision=precision,
            weights=digest.hexdigest(),
            versions=versions,
        )


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


def _compared(job: _Job, file: Path) -> tuple[str, Parity | Accuracy]:
    """What ran the file, and how far its results are from the model's."""
    count = len(job.sources)
    if job.layers:
        features = ExportedFeatures(file, device="cpu")
        ours = job.follow(extract_features(job.model, job.sources, job.layers), count, "comparing")
        return features.runtime, check_parity(ours, features.extract(job.sources), feature_differences, LIMITS)
    exported, task = ExportedPredictor(file, device="cpu"), job.task
    if job.precision is not None and job.split is not None:
        found = check_accuracy(job.predictor, exported, job.split, task.metrics, job.precision.accept, job.follow)
        return exported.runtime, found
    if job.functions:  # elsewhere it runs without our kernels
        standard = ExportedPredictor(file, device="cpu", own_operators=False)
        both = job.predictor.stream(job.sources[-_FEW:]), standard.stream(job.sources[-_FEW:])
        if not (elsewhere := check_parity(*both, task.differences, task.limits)).agrees:
            return f"{exported.runtime}, in standard operators", elsewhere
    results = job.follow(job.predictor.stream(job.sources), count, "comparing")
    return exported.runtime, check_parity(results, exported.stream(job.sources), task.differences, task.limits)


def _look_for_packages(to: Target) -> None:
    missing = [name for name in _PACKAGES[to] if importlib.util.find_spec(name) is None]
    if missing:
        raise MissingExtraError(f"exporting to {to} needs {', '.join(missing)}: pip install 'internimage[export]'")
