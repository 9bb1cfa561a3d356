"""A graph as an ONNX file of standard operators."""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from internimage.contracts import Graph
from internimage.errors import ExportError
from internimage.export.operators import Sampling
from internimage.export.runtimes import METADATA
from internimage.writing import written_aside

OPSET = 20
"""Of the operators: the first one with Gelu, which ONNX Runtime computes in one go."""


@contextmanager
def write_onnx(graph: Graph, description: str, target: Path, sampling: Sampling) -> Iterator[Path]:
    """Write a file aside; if the block succeeds, it is ``target``."""
    program = onnx_program(graph, sampling)
    program.model.metadata_props[METADATA] = description
    with written_aside(target, ExportError) as aside:  # type: ignore[arg-type]
        program.save(aside)
        yield aside


def onnx_program(graph: Graph, sampling: Sampling) -> Any:
    """The program, without traces of the machine that it was made on.

    PyTorch's exporters see each of our operators as one node, which is several times faster than all that they become.

    Raises:
        ExportError: PyTorch's exporter cannot follow the model; the message says where.
    """
    import torchvision  # noqa: F401  registers what NMS and RoIAlign become

    from internimage.export.operators.expanding import expand
    from internimage.export.operators.translation import translations

    names = {each for axes in graph.varying.values() for each in axes.values()}
    dims = dict.fromkeys(names, torch.export.Dim.DYNAMIC)
    shapes = tuple({axis: dims[name] for axis, name in graph.varying.get(one, {}).items()} for one in graph.inputs)
    try:
        with torch.no_grad(), warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            traced = torch.export.export(graph.module.eval(), tuple(graph.inputs.values()), dynamic_shapes=shapes)
            program: Any = torch.onnx.export(
                traced,
                input_names=list(graph.inputs),
                output_names=list(graph.outputs),
                opset_version=OPSET,
                custom_translation_table=dict(translations()),
                optimize=False,
                verbose=False,
            )
    except Exception as error:  # of many kinds; its cause says what the exporter could not follow
        cause = error.__cause__ or error
        reason = str(cause).strip().splitlines()[0] if str(cause).strip() else type(cause).__name__
        raise ExportError(f"PyTorch's exporter cannot follow a {type(graph.module).__name__}: {reason}") from error
    _simplify(program.model)
    expand(program.model, sampling)
    for node in program.model.graph.all_nodes():
        node.metadata_props.clear()
        for value in node.outputs:
            value.metadata_props.clear()
            if not value.is_graph_output():
                value.shape = None  # runtimes find it; PyTorch's, after NMS, takes different lengths for one
    foreign = sorted({node.domain for node in program.model.graph.all_nodes()} - {""})
    if foreign and sampling != "own":
        raise ExportError(f"the graph has operators that are not standard, of {', '.join(foreign)}")
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
