"""ONNX files that compute in fewer bits.  No torch."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from internimage.contracts import TaskExport
from internimage.errors import DataError, ImageReadError
from internimage.exporting.operators import SAMPLING_LAYER
from internimage.exporting.runtimes import open_exported, quiet
from internimage.images import ImageSource
from internimage.settings.views import PredictionOptions

Feed = Mapping[str, np.ndarray[Any, Any]]

# Layers that say where to sample and how much each sample counts: an error there moves what is looked at.
KEPT_LAYERS = ("offset", "mask", "offset_mask", "sampling_offsets", "attention_weights", SAMPLING_LAYER)
# The first convolutions see pixels, few channels of wide range: in 8 bits they cost most of the accuracy that is lost.
_STEM = "stem"
_PRODUCTS = ["Conv", "MatMul", "Gemm"]
_EXACT = ["Range", "GridSample", "RoiAlign", "NonMaxSuppression", "TopK", "Resize"]


def quantise(source: Path, target: Path, feeds: Sequence[Feed] | None) -> None:
    """Write a file again with its products in int8, weights channel by channel.

    Weights have 7 bits: processors without VNNI add products of 8 bits in 16, which overflows without a word (a
    classifier lost 7.5 points).

    Args:
        source: an ONNX file in float32, whose nodes are named by their layers.
        target: another one.
        feeds: inputs that the ranges of activations are measured on; None to measure each time the file runs, which
            needs no data and leaves convolutions as they are.
    """
    import onnx
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_dynamic, quantize_static
    from onnxruntime.quantization.calibrate import CalibrationDataReader

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self._feeds: Iterator[Feed] = iter(feeds or ())

        def get_next(self) -> dict[str, Any] | None:
            feed = next(self._feeds, None)
            return None if feed is None else dict(feed)

    graph = onnx.load(source)
    products = [node.name for node in graph.graph.node if node.op_type in _PRODUCTS]
    kept = [name for name in products if kept_layer(name) or _STEM in layer_of(name).split(".")]
    with warnings.catch_warnings(), quiet():
        warnings.simplefilter("ignore")
        if feeds is None:
            quantize_dynamic(
                graph,
                target,
                _PRODUCTS[1:],
                per_channel=True,
                reduce_range=True,
                weight_type=QuantType.QInt8,
                nodes_to_exclude=kept,
            )
        else:
            quantize_static(
                graph,
                target,
                Reader(),
                quant_format=QuantFormat.QDQ,
                op_types_to_quantize=_PRODUCTS,
                per_channel=True,
                reduce_range=True,
                activation_type=QuantType.QUInt8,
                weight_type=QuantType.QInt8,
                nodes_to_exclude=kept,
                extra_options={"OpTypesToExcludeOutputQuantization": _PRODUCTS[1:]},  # nothing takes them in int8
            )
    written = onnx.load(target)
    del written.metadata_props[:]
    written.metadata_props.extend(graph.metadata_props)
    onnx.save(written, target)


def recorded_feeds(source: Path, task: TaskExport, pictures: Sequence[ImageSource]) -> list[Feed]:
    """The inputs that a file is run with when it predicts the pictures; those that cannot be read have none.

    Raises:
        DataError: none can be read.
    """
    exported, feeds = open_exported(source, device="cpu"), list[Feed]()

    def run(inputs: Feed) -> Feed:
        feeds.append(dict(inputs))
        return exported.run(inputs)

    pipeline = task.pipeline(exported.description, run, PredictionOptions())
    for picture in pictures:
        with contextlib.suppress(ImageReadError):
            list(pipeline.predict([pipeline.prepare(pipeline.read(picture))], [picture], [None]))
    if not feeds:
        raise DataError(f"none of {len(pictures)} pictures can be read, such as {pictures[0].name}")
    return feeds


def halve(source: Path, target: Path) -> None:
    """Write a file again in float16, for GPUs; where samples lie, and what is chosen by score, stays in float32."""
    import onnx
    from onnxruntime.transformers.float16 import DEFAULT_OP_BLOCK_LIST, convert_float_to_float16

    graph = onnx.load(source)
    named = [(node.name, kept_layer(node.name)) for node in graph.graph.node]
    exact = {layer_of(name).removesuffix(f".{own}") for name, own in named if own}
    kept = [name for name, own in named if own or layer_of(name) in exact]
    with quiet():
        written = convert_float_to_float16(
            graph, keep_io_types=True, op_block_list=[*DEFAULT_OP_BLOCK_LIST, *_EXACT], node_block_list=kept
        )
    onnx.save(written, target)


def layer_of(node: str) -> str:
    """The layer of a node by its name, ``layer.of.the.model/Operator``."""
    return node.partition("/")[0]


def kept_layer(node: str) -> str | None:
    """Which of ``KEPT_LAYERS`` a node belongs to, if any."""
    name = layer_of(node).rpartition(".")[2]
    return name if name in KEPT_LAYERS else None
