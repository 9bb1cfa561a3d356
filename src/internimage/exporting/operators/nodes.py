"""Writing nodes of ONNX."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx_ir as ir
from onnx_ir.tape import Tape

INDEX = ir.DataType.INT32
FLOAT = ir.DataType.FLOAT


class Nodes:
    """New nodes of a graph, or, with None, of a function: ``nodes.Gather(values, [0, 2], axis=-1)``.

    Inputs are values, or constants: arrays, integers and lists of them (int64), floating numbers (float32).
    Constants of one content are written once, under names that begin with ``constants``.
    """

    def __init__(self, graph: ir.Graph | None, constants: str = "sampling_constant") -> None:
        self.graph = graph
        self.constants = constants
        self.tape = Tape()
        self.known: dict[tuple[str, tuple[int, ...], bytes], ir.Value] = {}

    def __getattr__(self, operator: str) -> Callable[..., Any]:
        def write(*inputs: Any, outputs: int = 1, **attributes: Any) -> Any:
            values = [None if each is None else self.value(each) for each in inputs]
            if outputs == 1:
                return self.tape.op(operator, values, attributes)
            return self.tape.op_multi_out(operator, values, attributes, num_outputs=outputs)

        return write

    def value(self, given: Any) -> ir.Value:
        if isinstance(given, ir.Value):
            return given
        array = np.asarray(given)
        if not isinstance(given, np.ndarray):
            array = array.astype(np.float32 if array.dtype.kind == "f" else np.int64)
        key = (array.dtype.str, array.shape, array.tobytes())
        if key not in self.known:
            name = f"{self.constants}_{len(self.known)}"
            tensor = ir.tensor(np.ascontiguousarray(array).reshape(array.shape), name=name)
            if self.graph is None:
                self.known[key] = self.tape.op("Constant", [], {"value": tensor})
            else:
                self.known[key] = self.tape.initializer(tensor)
                self.graph.register_initializer(self.known[key])
        return self.known[key]

    def take(self) -> list[ir.Node]:
        """The nodes since the last call."""
        written, self.tape = list(self.tape.nodes), Tape()
        return written

    def columns(self, value: ir.Value, at: Any, scale: float = 1.0, shift: Any = 0.0) -> Any:
        """``value[..., at] * scale + shift``; of a linear layer's output by another layer with such weights."""
        shift = np.broadcast_to(np.asarray(shift, np.float32), len(at))
        layer = _linear(value)
        if layer is not None:
            source, weight, bias = layer
            return self.Add(
                self.MatMul(source, weight[:, at] * np.float32(scale)), bias[at] * np.float32(scale) + shift
            )
        value = self.Gather(value, np.asarray(at), axis=-1)
        value = value if scale == 1 else self.Mul(value, scale)
        return self.Add(value, shift) if shift.any() else value

    def extent(self, value: ir.Value, axis: int) -> Any:
        """A tensor's length along an axis, as a tensor (1,)."""
        return self.Shape(value, start=axis, end=axis + 1)

    def shape(self, *extents: Any) -> Any:
        """A shape of integers and tensors (1,)."""
        return self.Concat(*([each] if isinstance(each, int) else each for each in extents), axis=0)


def _linear(value: ir.Value) -> tuple[ir.Value, np.ndarray[Any, Any], np.ndarray[Any, Any]] | None:
    """Input, weight (in, out) and bias of the linear layer that computes a value, if one does."""
    add = value.producer()
    product = add.inputs[0].producer() if add is not None and add.op_type == "Add" and add.inputs[0] else None
    if add is None or product is None or product.op_type != "MatMul":
        return None
    source, weight, bias = product.inputs[0], _constant(product.inputs[1]), _constant(add.inputs[1])
    if source is None or weight is None or bias is None or (weight.ndim, bias.ndim) != (2, 1):
        return None
    return source, weight, bias


def _constant(value: ir.Value | None) -> np.ndarray[Any, Any] | None:
    tensor = None if value is None else ir.convenience.get_const_tensor(value)
    return None if tensor is None else tensor.numpy()
