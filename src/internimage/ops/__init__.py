"""Operators.  One public function each; the implementation is chosen by what the machine has."""

from internimage.ops.dcnv3 import dcnv3

__all__ = ["dcnv3"]
