"""Names of a Cascade R-CNN's tensors."""

from __future__ import annotations

from internimage.checkpoints.names.rcnn import rcnn_rows
from internimage.checkpoints.names.table import Names

NAMES = Names(lambda config: rcnn_rows(config, "heads.#", "head.#"))
