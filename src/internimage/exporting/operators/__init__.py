"""The deformable operators in ONNX: kept whole while a graph is made, then written in standard operators."""

from __future__ import annotations

from typing import Literal

Sampling = Literal["grid_sample", "deform_conv", "gather"]
"""What sampling in standard operators is written with."""

DOMAIN = "internimage"
"""Of the operators ``DCNv3`` (input, offset, mask), ``DCNv4`` (input, packed) and ``MSDeformAttn`` (value, location,
weight, shapes), as in ``internimage.ops``."""

SAMPLING_LAYER = "sampling"
"""The layer that nodes of an operator are named by, below the operator's own."""
