"""From a model to a file that runs without PyTorch, which is called good when its results agree."""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
import json
import os
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch

from internimage.contracts import TaskSpec, task_export
from internimage.description import ExportedDescription
from internimage.errors import ConfigError, ExportError, MissingExtraError
from internimage.export.onnx_file import write_onnx
from internimage.export.openvino_file import write_openvino
from internimage.export.operators import Sampling
from internimage.export.parity import Parity, check_parity
from internimage.export.predictor import ExportedPredictor
from internimage.images.reader import ImageInputs
from internimage.inference.predictor import Predictor

Target = Literal["onnx", "openvino"]
_SUFFIXES = {"onnx": ".onnx", "openvino": ".xml"}
_PACKAGES = {
    "onnx": ("torch", "onnx", "onnxscript", "onnxruntime"),
    "openvino": ("torch", "onnx", "onnxscript", "openvino"),
}
_SAMPLING: dict[Target, Sampling] = {"onnx": "deform_conv", "openvino": "grid_sample"}  # each runtime's fastest


@dataclass(frozen=True)
class Written:
    """An exported file.

    Attributes:
        file: where it lies.
        parity: how far its results are from the model's.
    """

    file: Path
    parity: Parity


def export(
    model: str | os.PathLike[str] | torch.nn.Module,
    output: str | os.PathLike[str] | None = None,
    *,
    to: Target = "onnx",
    checkpoint: str | os.PathLike[str] | None = None,
    size: tuple[int, int] | None = None,
    images: ImageInputs | None = None,
) -> Written:
    """Export a model and check that the file gives the same results.

    Args:
        model, checkpoint: see :class:`internimage.Predictor`.
        output: the file; by default the model's name in this folder, with the suffix of ``to``.
        to: "onnx", which ONNX Runtime and others run, or "openvino".
        size: (height, width) of the images that the graph takes; None for any.
        images: pictures to check with, beside some of the package's own.

    Raises:
        ExportError: the model cannot be exported, or the file's results differ; then it is not there.
        MissingExtraError: a package is not installed.
    """
    if to not in _SUFFIXES:
        raise ConfigError(f"to is {to!r}; expected {' or '.join(_SUFFIXES)}")
    _look_for_packages(to)
    predictor = Predictor(model, checkpoint=checkpoint, device="cpu", dtype=torch.float32)
    task = task_export(predictor.spec)
    if task is None:
        raise ExportError(f"a {predictor.spec.model_noun} cannot be exported yet")
    name = Path(str(model)).name if not isinstance(model, torch.nn.Module) else predictor.spec.name
    target = Path(output).expanduser() if output is not None else Path(f"{name}{_SUFFIXES[to]}")
    if target.suffix.lower() != _SUFFIXES[to]:
        raise ConfigError(f"{target} has another suffix than {_SUFFIXES[to]}, by which an exported file is known")
    description = _description(predictor.model, predictor.spec, size, to)
    text = json.dumps(asdict(description), ensure_ascii=False)
    graph = task.graph(predictor.model, size)
    write = write_onnx if to == "onnx" else write_openvino
    with write(graph, text, target, _SAMPLING[to]) as aside:
        parity = check_parity(predictor, ExportedPredictor(aside, device="cpu"), task, images)
        if not parity.agrees:
            raise ExportError(f"{target} is not written: its results differ from the model's\n{parity.table()}")
    return Written(target, parity)


def _description(model: Any, spec: TaskSpec, size: tuple[int, int] | None, to: Target) -> ExportedDescription:
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().float().contiguous().numpy().tobytes())
    versions = {name: importlib.metadata.version(name) for name in ("internimage", *_PACKAGES[to])}
    described = replace(model.description, config=asdict(model.config))
    return ExportedDescription(spec.name, described, size, weights=digest.hexdigest(), versions=versions)


def _look_for_packages(to: Target) -> None:
    missing = [name for name in _PACKAGES[to] if importlib.util.find_spec(name) is None]
    if missing:
        raise MissingExtraError(f"exporting to {to} needs {', '.join(missing)}: pip install 'internimage[export]'")
