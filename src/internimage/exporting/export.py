"""From a model to a file that runs without PyTorch, which is called good when its results agree."""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
import json
import os
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal, get_args

import torch

from internimage.contracts import TaskSpec, task_export
from internimage.description import ExportedDescription
from internimage.errors import ConfigError, ExportError, MissingExtraError
from internimage.exporting.features import LIMITS, ExportedFeatures, feature_differences, feature_graph
from internimage.exporting.onnx_file import write_onnx
from internimage.exporting.openvino_file import write_openvino
from internimage.exporting.parity import Parity, check_parity, checked_pictures
from internimage.exporting.predictor import ExportedPredictor
from internimage.images.reader import ImageInputs
from internimage.inference.features import extract_features
from internimage.inference.predictor import Predictor
from internimage.writing import json_text, write_text

Target = Literal["onnx", "openvino"]
_SUFFIXES: dict[str, str] = {"onnx": ".onnx", "openvino": ".xml"}
_PACKAGES = {"onnx": ("torch", "onnx", "onnxscript", "onnxruntime"), "openvino": ("torch", "onnx", "openvino")}


@dataclass(frozen=True)
class ExportedFile:
    """An exported file whose results were compared with the model's.

    Attributes:
        files: where it lies; of OpenVINO also its weights.
        report: the comparison as JSON, beside it.
        runtime: name and version of what ran it.
        parity: how far its results are from the model's.
    """

    files: tuple[Path, ...]
    report: Path
    runtime: str
    parity: Parity

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
    images: ImageInputs | None = None,
    tell: Callable[[str], None] = lambda text: None,
) -> ExportedFile:
    """Export a model and check that the file gives the same results, for images of any size.

    Args:
        model, checkpoint: see :class:`internimage.Predictor`.
        output: the file; by default the model's name in this folder, with the suffix of ``to``.
        to: "onnx", which ONNX Runtime and others run, or "openvino".
        layers: give these, see :func:`internimage.extract_features`, instead of predictions: "stage1" to "stage4" are
            the maps of the backbone.
        max_objects: of detectors, greatest number of objects of an image; None for the model's own.
        images: pictures to check with, beside some of the package's own.
        tell: is told what is being done, which takes up to minutes.

    Raises:
        ExportError: the model cannot be exported, or the file's results differ from the model's; then there is no file.
        MissingExtraError: a package is not installed.
    """
    if to not in get_args(Target):
        raise ConfigError(f"to is {to!r}; expected {' or '.join(_SUFFIXES)}")
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
    sources = checked_pictures(images)
    described = _description(own, predictor.spec, to, tuple(layers))
    text = json.dumps(asdict(described), ensure_ascii=False)
    graph = feature_graph(own, layers) if layers else task.graph(own, None)
    tell(f"tracing a {type(own).__name__} for images of any size")
    write = write_onnx if to == "onnx" else write_openvino
    with write(graph, text, target) as aside:
        tell(f"comparing its results with the model's on {len(sources)} pictures")
        if layers:
            features = ExportedFeatures(aside, device="cpu")
            runtime, theirs = features.runtime, features.extract(sources)
            ours = extract_features(own, sources, layers)
            parity = check_parity(ours, theirs, feature_differences, LIMITS)
        else:
            exported = ExportedPredictor(aside, device="cpu")
            runtime = exported.runtime
            found = predictor.stream(sources), exported.stream(sources)
            parity = check_parity(*found, task.differences, task.limits)
        if not parity.agrees:
            raise ExportError(f"{target} is not written: its results differ from the model's\n{parity.table()}")
    report = target.with_suffix(".parity.json")
    write_text(report, json_text({"file": target.name, "runtime": runtime, **asdict(parity)}, indent=2))
    files = (target,) if to == "onnx" else (target, target.with_suffix(".bin"))
    return ExportedFile(files, report, runtime, parity)


def _description(model: Any, spec: TaskSpec, to: Target, layers: tuple[str, ...]) -> ExportedDescription:
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().float().contiguous().numpy().tobytes())
    versions = {name: importlib.metadata.version(name) for name in ("internimage", *_PACKAGES[to])}
    described = replace(model.description, config=asdict(model.config))
    return ExportedDescription(spec.name, described, layers, weights=digest.hexdigest(), versions=versions)


def _look_for_packages(to: Target) -> None:
    missing = [name for name in _PACKAGES[to] if importlib.util.find_spec(name) is None]
    if missing:
        raise MissingExtraError(f"exporting to {to} needs {', '.join(missing)}: pip install 'internimage[export]'")
