"""An ONNX file as OpenVINO's files, .xml and .bin."""

from __future__ import annotations

from pathlib import Path

from internimage.errors import ExportError, FileWriteError
from internimage.exporting.onnx_file import metadata_of
from internimage.exporting.runtimes import METADATA, openvino_library


def placed_openvino(made: Path, folder: Path) -> Path:
    """What OpenVINO makes of an ONNX file, written into a folder.

    Raises:
        ExportError: it cannot convert it.
        FileWriteError: the disk is full.
    """
    openvino = openvino_library()
    target = folder / f"{made.stem}.xml"
    try:
        model = openvino.convert_model(made)
    except RuntimeError as error:
        raise ExportError(f"OpenVINO cannot convert the graph: {str(error).strip().splitlines()[0]}") from error
    model.set_rt_info(metadata_of(made), [METADATA])
    try:
        openvino.save_model(model, target, compress_to_fp16=False)
    except RuntimeError as error:
        raise FileWriteError(f"OpenVINO cannot write {target.name}: {str(error).strip().splitlines()[0]}") from error
    return target
