"""A graph as an ONNX file of standard operators."""

from __future__ import annotations

import ast
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from internimage.contracts import Graph
from internimage.description import ExportedDescription
from internimage.errors import ExportError
from internimage.exporting.operators import DOMAIN, Sampling
from internimage.exporting.runtimes import METADATA
from internimage.exporting.torch_file import exporter_errors, traced_program

_SCOPES = "pkg.torch.onnx.name_scopes"
OPSET = 20
"""Of the operators: the first one with Gelu, which ONNX Runtime computes in one go."""


def write_onnx(program: Any, description: ExportedDescription, file: Path, sampling: Sampling, *, plain: bool) -> None:
    """Write a program of :func:`onnx_program`; weights beyond what one file can have (2 GB) lie beside it.

    Args:
        program: is changed; once ``plain``, it stays so.
        description: what the file says of itself.
        file: ends in ``.onnx``.
        sampling: how the deformable operators are written in standard ones.
        plain: write these into the graph; else the operators stay, as functions whose bodies they are, so that a
            runtime that has a kernel for them uses it.

    Raises:
        ExportError: there is an operator that ONNX does not have.
    """
    from internimage.exporting.operators.expanding import add_bodies, expand

    write = expand if plain else add_bodies
    write(program.model, sampling)
    known = {"", *(() if plain else (DOMAIN,))}
    if foreign := sorted({node.domain for node in program.model.graph.all_nodes()} - known):
        raise ExportError(f"the graph has operators that are not standard, of {', '.join(foreign)}")
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
    """The program, without traces of the machine that it was made on, and with our operators as they are.

    PyTorch's exporters see each of our operators as one node, which is several times faster than all that they become.

    Raises:
        ExportError: PyTorch's exporter cannot follow the model; the message says where.
    """
    import torchvision  # noqa: F401  registers what NMS and RoIAlign become

    from internimage.exporting.operators.translation import translations

    traced = traced_program(graph)
    with exporter_errors(graph):
        program: Any = torch.onnx.export(
            traced,
            input_names=list(graph.inputs),
            output_names=list(graph.outputs),
            opset_version=OPSET,
            custom_translation_table=dict(translations()),
            optimize=False,
            verbose=False,
        )
        _simplify(program.model)
    for number, node in enumerate(program.model.graph.all_nodes()):
        scopes = ast.literal_eval(node.metadata_props.get(_SCOPES, "[]"))
        layer = next((scope for scope in reversed(scopes[:-1]) if scope), "")
        node.name = f"{layer}/{node.op_type}_{number}"
        node.metadata_props.clear()  # they hold paths of this machine
        for value in node.outputs:
            value.metadata_props.clear()
            sampled = any(user.domain == DOMAIN for user, _ in value.uses())
            if not (value.is_graph_output() or sampled):
                value.shape = None  # runtimes find it; PyTorch's, after NMS, takes different lengths for one
    return program


def _simplify(model: Any) -> None:
    """What PyTorch's exporter does by default except its search for patterns, which takes half of all its time."""
    from onnx_ir.passes import Sequential, common
    from onnxscript.optimizer import fold_constants

    common.InlinePass()(model)
    fold_constants(model, onnx_shape_inference=True)
    Sequential(
        common.RemoveUnusedNodesPass(),
        common.RemoveUnusedFunctionsPass(),
        common.RemoveUnusedOpsetsPass(),
        common.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0),
        common.DeduplicateInitializersPass(),
        common.CommonSubexpressionEliminationPass(),
        common.OutputFixPass(),
        common.NameFixPass(),
    )(model)
