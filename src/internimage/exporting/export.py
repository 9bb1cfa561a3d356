"""From a model to a file that runs without PyTorch, which is called good when its results agree."""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
import os
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

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
from internimage.exporting.operators import Sampling
from internimage.exporting.parity import Parity, check_parity, checked_pictures
from internimage.exporting.predictor import ExportedPredictor
from internimage.images import ImageSource
from internimage.images.reader import ImageInputs
from internimage.inference.features import extract_features
from internimage.inference.predictor import Predictor
from internimage.writing import json_text, write_text, written_together

Target = Literal["onnx", "openvino", "tensorrt"]
_FEW = 3  # pictures that a file is run on without our kernels
_ELSEWHERE = "ONNX Runtime without this package's kernels"


@dataclass(frozen=True)
class _Form:
    """What is written for a runtime: by its numbers in docs/deploy.md, or because others know no better."""

    suffix: str
    packages: tuple[str, ...]
    sampling: Sampling
    place: Callable[[Path, Path], Path]
    functions: bool = False
    remark: str = ""


_ONNX = ("torch", "onnx", "onnxscript", "onnxruntime")
_FORMS: dict[Target, _Form] = {
    "onnx": _Form(".onnx", _ONNX, "deform_conv", placed_onnx, functions=True),
    "openvino": _Form(".xml", (*_ONNX[:3], "openvino"), "grid_sample", placed_openvino),
    # engines with GridSample were seen to compute something else without a word
    "tensorrt": _Form(".onnx", _ONNX, "gather", placed_onnx, remark="not run in TensorRT"),
}
_PLAIN = _Form(".onnx", _ONNX, "grid_sample", placed_onnx)


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
    precision: LowPrecision | None = None,
    images: ImageInputs | None = None,
    tell: Callable[[str], None] = lambda text: None,
    follow: Follow = unseen,
) -> ExportedFile:
    """Export a model and check that the file gives the same results, for images of any size.

    Args:
        model, checkpoint: see :class:`internimage.Predictor`.
        output: the file; by default the model's name in this folder, with the suffix of ``to``.
        to: "onnx", which ONNX Runtime runs, "openvino", or "tensorrt": an ONNX file that samples by gathering alone,
            and is compared in ONNX Runtime.
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
    if to not in _FORMS:
        raise ConfigError(f"to is {to!r}; expected {' or '.join(_FORMS)}")
    if precision is not None and layers:
        raise ConfigError("features have no accuracy that says what fewer bits cost; leave precision or layers out")
    if plain and to != "onnx":
        raise ConfigError(f"files for {to} have no functions; leave plain out")
    form = _PLAIN if plain else _FORMS[to]
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
    job = _Job(predictor, own, task, form, checked_pictures(images), tuple(layers), precision, split, follow)
    with written_together(target) as folder:
        tell(f"tracing a {type(own).__name__} for images of any size")
        (folder / "made").mkdir()
        made = folder / "made" / f"{target.stem}.onnx"
        program = onnx_program(feature_graph(own, layers) if layers else task.graph(own))
        write_onnx(program, job.description(), made, form.sampling, plain=not form.functions)
        if precision is not None:
            tell(f"{precision.dtype}: writing it in fewer bits")
            made = _reduced(job, made)
        file = form.place(made, folder)
        tell("comparing its results with the model's")
        runtime, comparison = _compared(job, file)
        if not comparison.agrees:
            raise ExportError(f"{target} is not written: {comparison.refusal}\n{comparison.table()}")
        about = {"file": target.name, "runtime": runtime, "remark": form.remark, **asdict(comparison)}
        write_text(folder / f"{target.stem}.parity.json", json_text(about, indent=2))
        names = sorted((one.name for one in folder.iterdir() if one.is_file()), key=lambda name: name != target.name)
    return ExportedFile(tuple(target.with_name(name) for name in names), runtime, comparison, form.remark)


@dataclass(frozen=True)
class _Job:
    """What is exported, and what it is compared on."""

    predictor: Predictor
    model: Any
    task: TaskExport
    form: _Form
    sources: Sequence[ImageSource]
    layers: tuple[str, ...]
    precision: LowPrecision | None
    split: Split | None
    follow: Follow

    def description(self) -> ExportedDescription:
        digest = hashlib.sha256()
        for name, tensor in sorted(self.model.state_dict().items()):
            digest.update(name.encode())
            digest.update(tensor.detach().float().contiguous().numpy().tobytes())
        versions = {name: importlib.metadata.version(name) for name in ("internimage", *self.form.packages)}
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
    exported, task = ExportedPredictor(file, device="cpu"), job.task
    if job.precision is not None and job.split is not None:
        accept = job.precision.accept
        return exported.runtime, check_accuracy(job.predictor, exported, job.split, task.metrics, accept, job.follow)
    if job.form.functions:
        taken_apart = ExportedPredictor(file, device="cpu", own_operators=False).stream(few)
        found = check_parity(job.predictor.stream(few), taken_apart, task.differences, task.limits)
        if not found.agrees:
            return _ELSEWHERE, found
    results = job.follow(job.predictor.stream(job.sources), count, "comparing")
    return exported.runtime, check_parity(results, exported.stream(job.sources), task.differences, task.limits)


def _look_for_packages(to: Target, form: _Form) -> None:
    missing = [name for name in form.packages if importlib.util.find_spec(name) is None]
    if missing:
        raise MissingExtraError(f"exporting to {to} needs {', '.join(missing)}: pip install 'internimage[export]'")
