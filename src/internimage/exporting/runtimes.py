"""Exported files and what runs them: ONNX Runtime and OpenVINO.  No torch."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from internimage.contracts import Run
from internimage.description import ExportedDescription
from internimage.errors import ConfigError, ExportError, MissingExtraError
from internimage.settings.plain import from_plain

METADATA = "internimage"
"""Key of the description in a file's metadata."""

PICTURE = "picture"
"""Input of a file that takes pixels: uint8 (H, W, C), RGB."""

OPERATORS = (Path(__file__).parents[1] / "ops" / "native" / "_onnx_operators").with_suffix(
    ".dll" if sys.platform == "win32" else ".so"
)
"""The operators of the domain ``internimage`` (DCNv3, DCNv4, MSDeformAttn) for ONNX Runtime, if they were compiled."""

_PROVIDERS = {  # of ONNX Runtime, by device
    "cpu": (),
    "auto": ("CUDAExecutionProvider",),
    "cuda": ("CUDAExecutionProvider",),
    "tensorrt": ("TensorrtExecutionProvider", "CUDAExecutionProvider"),
}

Arrays = Mapping[str, np.ndarray[Any, Any]]


@dataclass(frozen=True)
class Exported:
    """An exported file, ready to run; with a ``run`` of one's own, in any runtime.

    Attributes:
        file: where it lies.
        runtime: name and version of what runs it.
        description: what it says of itself.
        run: inputs by name to outputs by name.
    """

    file: Path
    runtime: str
    description: ExportedDescription
    run: Run


def open_exported(
    place: str | Path, *, device: str = "auto", own_operators: bool = True, threads: int | None = None
) -> Exported:
    """Open a file that was written by ``internimage export``.

    Args:
        place: the file.
        device: "auto", "cpu", "cuda", "tensorrt" in an ONNX Runtime that has it, or what OpenVINO calls it.
        own_operators: in ONNX Runtime on a CPU, run deformable operators by this package's kernels, where they are
            installed.
        threads: of the CPU; None as many as the runtime takes.

    Raises:
        ExportError: there is none, another program wrote it, or its runtime cannot run it; or it is PyTorch's ``.pt2``,
            whose reading may execute what is in it.
        MissingExtraError: the runtime is not installed.
    """
    path = Path(place).expanduser()
    if not path.is_file():
        raise ExportError(f"there is no file {path}; expected an exported model, .onnx or .xml")
    if path.suffix.lower() == ".onnx":
        return _onnx(path, device, own_operators, threads)
    if path.suffix.lower() == ".xml":
        return _openvino(path, device, threads)
    if path.suffix.lower() == ".pt2":
        raise ExportError(
            f"{path} is a program of PyTorch's: reading it may execute what is in it, so it is not opened here; load "
            "what you made yourself by torch.export.load, or export to onnx"
        )
    raise ExportError(f"{path} is no exported model; expected .onnx or OpenVINO's .xml")


def openvino_library() -> Any:
    """The module, which tells nobody that it is used.

    Importing it or converting a graph would send an event to Google Analytics, asked or not: from a process that it
    forks in a thread, whatever the other threads hold.
    """
    if "openvino" not in sys.modules:
        sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]  # "there is no such package"
    import openvino

    return openvino


def description_of(text: str | None, path: Path) -> ExportedDescription:
    """From the JSON in a file's metadata."""
    if text is None:
        raise ExportError(f"{path} was not written by `internimage export`: it does not say what its numbers mean")
    try:
        return from_plain(ExportedDescription, json.loads(text))
    except (ValueError, ConfigError) as error:
        raise ExportError(f"{path} was written by another version of internimage: {error}") from error


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Within it nothing below an error is logged: libraries' advice to programmers."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)


def _onnx(path: Path, device: str, own_operators: bool, threads: int | None) -> Exported:
    try:
        import onnxruntime
    except ImportError:
        raise MissingExtraError(f"{path.name} needs ONNX Runtime: pip install 'internimage[export]'") from None
    wanted = _PROVIDERS.get(device, _PROVIDERS["cuda"])
    there = [name for name in wanted if name in onnxruntime.get_available_providers()]
    if device not in ("auto", "cpu") and there[:1] != list(wanted[:1]):
        missing = "TensorRT" if device == "tensorrt" else "GPU"
        raise ConfigError(f"device is {device}; this ONNX Runtime has no {missing}, expected cpu or auto")
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = threads or 0
    options.enable_mem_pattern = False  # one block for each size of pictures is held besides: half as much memory again
    lacking = _register_operators(options, there) if own_operators else "own_operators=False leaves them out"
    try:
        session = onnxruntime.InferenceSession(path, options, providers=[*there, "CPUExecutionProvider"])
    except Exception as error:  # of its own kinds, which are not public
        if lacking and "internimage:" in str(error):
            raise ExportError(
                f"{path} has operators of internimage's own, which do not run here: {lacking}; install internimage's "
                "wheel, or install it where there is a C++ compiler, or export the model in standard operators"
            ) from error
        old = "; it needs 1.25 or newer" if "DeformConv" in str(error) else ""
        raise ExportError(
            f"{path} cannot be run by ONNX Runtime {onnxruntime.__version__}{old}: {_first_line(error)}"
        ) from error
    if device == "tensorrt" and session.get_providers()[0] != there[0]:
        raise ConfigError("device is tensorrt; its libraries do not load here, expected cuda, cpu or auto")
    description = description_of(session.get_modelmeta().custom_metadata_map.get(METADATA), path)
    names = [slot.name for slot in session.get_outputs()]

    def run(inputs: Arrays) -> Arrays:
        return dict(zip(names, session.run(names, dict(inputs)), strict=True))

    runtime = f"ONNX Runtime {onnxruntime.__version__}{', TensorRT' if device == 'tensorrt' else ''}"
    return Exported(path, runtime, description, run)


def lacking_operators() -> str | None:
    """Why ONNX Runtime has none of :data:`OPERATORS`, or None; files of standard operators need none."""
    if os.environ.get("INTERNIMAGE_NATIVE", "1") == "0":
        return "INTERNIMAGE_NATIVE=0 leaves them out"
    return None if OPERATORS.exists() else f"their library is not installed ({OPERATORS.name} is missing)"


def _register_operators(options: Any, others: list[str]) -> str | None:
    """For sessions with these options, which has ``others`` beside the CPU; why not, if so."""
    if others:
        return f"they are for CPUs, and {others[0]} has its own DeformConv"
    if reason := lacking_operators():
        return reason
    try:
        options.register_custom_ops_library(str(OPERATORS))
    except Exception as error:  # an ONNX Runtime before 1.17, a library of another machine
        return f"their library does not load here ({_first_line(error)})"
    return None


def _openvino(path: Path, device: str, threads: int | None) -> Exported:
    try:
        openvino = openvino_library()
    except ImportError:
        raise MissingExtraError(f"{path.name} needs OpenVINO: pip install 'internimage[export]'") from None
    core = openvino.Core()
    try:
        model = core.read_model(path)
        text = str(model.get_rt_info([METADATA]).value) if model.has_rt_info([METADATA]) else None
        description = description_of(text, path)
        # it would compute in bfloat16 where the machine has it, and move a segmenter's logits by a tenth
        precision = {"bfloat16": "bf16", "float16": "f16"}.get(description.precision, "f32")
        where = "CPU" if device in ("auto", "cpu") else device.upper()
        settings = {"INFERENCE_PRECISION_HINT": precision, **({"INFERENCE_NUM_THREADS": threads} if threads else {})}
        compiled = core.compile_model(model, where, settings)
    except RuntimeError as error:
        raise ExportError(f"{path} cannot be run by OpenVINO: {_first_line(error)}") from error
    names = [slot.get_any_name() for slot in compiled.outputs]

    def run(inputs: Arrays) -> Arrays:
        found = compiled(dict(inputs))
        return {name: found[number] for number, name in enumerate(names)}

    return Exported(path, f"OpenVINO {openvino.__version__}", description, run)


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
