"""The deformable operators in ONNX: kept whole while a graph is made, then written in standard operators."""

from __future__ import annotations

from typing import Literal

Sampling = Literal["grid_sample", "deform_conv", "gather", "own"]
"""How deformable operators are written: in standard operators around one of these, or as they are."""
