"""Operators.  One public function each; the implementation is chosen by what the machine has."""

from internimage.ops.dcnv3 import Implementation, dcnv3, implementation

__all__ = ["Implementation", "dcnv3", "implementation"]
