"""A graph as a program of PyTorch's own (``torch.export``), in its file format ``.pt2``."""

from __future__ import annotations

import contextlib
import io
import json
import warnings
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from internimage.contracts import Graph
from internimage.description import ExportedDescription
from internimage.errors import ExportError
from internimage.exporting.runtimes import METADATA, Arrays, Exported, quiet
from internimage.ops.standard import standard_operators


def traced_program(graph: Graph) -> Any:
    """The program, in which our operators are one node each.

    Raises:
        ExportError: PyTorch's exporter cannot follow the model; the message says where.
    """
    names = {each for axes in graph.varying.values() for each in axes.values()}
    dims = dict.fromkeys(names, torch.export.Dim.DYNAMIC)
    shapes = tuple({axis: dims[name] for axis, name in graph.varying.get(one, {}).items()} for one in graph.inputs)
    with exporter_errors(graph):
        return torch.export.export(graph.module.eval(), tuple(graph.inputs.values()), dynamic_shapes=shapes)


@contextlib.contextmanager
def exporter_errors(graph: Graph) -> Iterator[None]:
    """What PyTorch's exporters print and log is hidden, and what they raise is said in one sentence."""
    try:
        with torch.no_grad(), warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()), quiet():
            warnings.simplefilter("ignore")
            yield
    except Exception as error:  # of many kinds; its cause says what the exporter could not follow
        cause = error.__cause__ or error
        reason = str(cause).strip().splitlines()[0] if str(cause).strip() else type(cause).__name__
        raise ExportError(f"PyTorch's exporter cannot follow a {type(graph.module).__name__}: {reason}") from error


def write_torch(graph: Graph, description: ExportedDescription, file: Path, *, plain: bool) -> Exported:
    """Write ``graph`` and read it again, as whoever gets the file will.

    Args:
        graph: what is written.
        description: what the file says of itself, as an extra file of the archive called ``internimage``.
        file: ends in ``.pt2``.
        plain: spell our operators out in PyTorch's own; else whoever loads the file needs this package.

    Raises:
        ExportError: PyTorch's exporter cannot follow the model.
        OSError: the disk is full.
    """
    with standard_operators() if plain else contextlib.nullcontext():
        program = traced_program(graph)
    _let_lists_be_empty(program)
    for node in program.graph.nodes:  # they hold paths of this machine
        node.meta.pop("stack_trace", None)
    text = json.dumps(asdict(description), ensure_ascii=False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        archive = io.BytesIO()  # where the disk is full, PyTorch's own writer ends the process
        torch.export.save(program, archive, extra_files={METADATA: text})
        file.write_bytes(archive.getbuffer())
        module = torch.export.load(file).module()
    return replace(run_in_torch(replace(graph, module=module), description), file=file)


def run_in_torch(graph: Graph, description: ExportedDescription) -> Exported:
    """A graph that was not exported, run as an exported file is."""

    def run(inputs: Arrays) -> Arrays:
        with torch.inference_mode():
            found = graph.module(*(torch.from_numpy(np.ascontiguousarray(inputs[name])) for name in graph.inputs))
        tensors = (found,) if isinstance(found, Tensor) else found
        return {name: one.numpy() for name, one in zip(graph.outputs, tensors, strict=True)}

    return Exported(Path("model"), f"PyTorch {torch.__version__}", description, run)


def _let_lists_be_empty(program: Any) -> None:
    """torchvision says of NMS that two boxes are left at least; the program would fail where there is nothing."""
    for node in list(program.graph.nodes):
        if node.target is torch.ops.aten._assert_scalar.default:
            program.graph.erase_node(node)
    program.graph.eliminate_dead_code()
    program.graph_module.recompile()
    for symbol, bounds in program.range_constraints.items():
        if str(symbol).startswith("u"):  # what only the run tells
            program.range_constraints[symbol] = type(bounds)(0, bounds.upper)
