"""A graph as an ONNX file of standard operators."""

from __future__ import annotations

import ast
import contextlib
import io
import json
import warnings
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from internimage.contracts import Graph
from internimage.description import ExportedDescription
from internimage.errors import ExportError
from internimage.exporting.runtimes import METADATA

_SCOPES = "pkg.torch.onnx.name_scopes"
OPSET = 20
"""Of the operators: the first one with Gelu, which ONNX Runtime computes in one go."""


def write_onnx(graph: Graph, description: ExportedDescription, file: Path) -> None:
    """Write a graph; weights beyond what one file can have (2 GB) lie beside it."""
    program = onnx_program(graph)
    program.model.metadata_props[METADATA] = json.dumps(asdict(description), ensure_ascii=False)
    program.save(file)


def placed_onnx(made: Path, folder: Path) -> Path:
    """The file, moved into a folder with what belongs to it."""
    for file in (made.with_name(f"{made.name}.data"), made):
        if file.exists():
            file.replace(folder / file.name)
    return folder / made.name


def metadata_of(file: Path) -> str:
    """What a file of ours says of itself."""
    import onnx

    return {one.key: one.value for one in onnx.load(file, load_external_data=False).metadata_props}[METADATA]


def onnx_program(graph: Graph) -> Any:
    """The program, without traces of the machine that it was made on.

    Raises:
        ExportError: PyTorch's exporter cannot follow the model; the message says where.
    """
    import torchvision  # noqa: F401  registers what NMS and RoIAlign become

    names = {each for axes in graph.varying.values() for each in axes.values()}
    dims = dict.fromkeys(names, torch.export.Dim.DYNAMIC)
    shapes = tuple({axis: dims[name] for axis, name in graph.varying.get(one, {}).items()} for one in graph.inputs)
    try:
        with torch.no_grad(), warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            program: Any = torch.onnx.export(
                graph.module.eval(),
                tuple(graph.inputs.values()),
                dynamo=True,
                dynamic_shapes=shapes,
                input_names=list(graph.inputs),
                output_names=list(graph.outputs),
                opset_version=OPSET,
                verbose=False,
            )
    except Exception as error:  # of many kinds; its cause says what the exporter could not follow
        cause = error.__cause__ or error
        reason = str(cause).strip().splitlines()[0] if str(cause).strip() else type(cause).__name__
        raise ExportError(f"PyTorch's exporter cannot follow a {type(graph.module).__name__}: {reason}") from error
    for number, node in enumerate(program.model.graph.all_nodes()):
        scopes = ast.literal_eval(node.metadata_props.get(_SCOPES, "[]"))
        layer = next((scope for scope in reversed(scopes[:-1]) if scope), "")
        node.name = f"{layer}/{node.op_type}_{number}"
        node.metadata_props.clear()  # they hold paths of this machine
    foreign = sorted({node.domain for node in program.model.graph.all_nodes()} - {""})
    if foreign:
        raise ExportError(f"the graph has operators that are not standard, of {', '.join(foreign)}")
    return program
