"""A graph as OpenVINO's files, .xml and .bin."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from internimage.contracts import Graph
from internimage.errors import ExportError
from internimage.export.onnx_file import onnx_program
from internimage.export.operators import Sampling
from internimage.export.runtimes import METADATA
from internimage.writing import written_aside


@contextmanager
def write_openvino(graph: Graph, description: str, target: Path, sampling: Sampling) -> Iterator[Path]:
    """Write two files aside; if the block succeeds, they are ``target`` and its .bin."""
    import openvino  # type: ignore[import-untyped]

    program = onnx_program(graph, sampling)
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".internimage-") as folder:
        source, aside = Path(folder) / "model.onnx", Path(folder) / target.name
        try:
            program.save(source)
            model = openvino.convert_model(source)
            model.set_rt_info(description, [METADATA])
            openvino.save_model(model, aside, compress_to_fp16=False)
        except (OSError, RuntimeError) as error:
            raise ExportError(f"cannot write {target}: {error}; nothing was left half-written") from error
        yield aside
        for written in (aside.with_suffix(".bin"), aside):  # the .xml last: with it the model is there
            with written_aside(target.with_suffix(written.suffix), ExportError) as place:  # type: ignore[arg-type]
                shutil.copyfile(written, place)
