"""Names of an occupancy network's tensors."""

from __future__ import annotations

from internimage.checkpoints.layouts import names_of
from internimage.checkpoints.names.table import Names, Rows, within
from internimage.driving.models.occupancy import OccupancyConfig
from internimage.driving.names.bevformer import ENCODER, NECK

_DECODER = (
    ("convolutions.#.conv.*", "transformer.decoder.#.conv.*"),
    ("convolutions.#.norm.*", "transformer.decoder.#.bn.*"),
    ("classifier.#.*", "transformer.predicter.#.*"),
)


def _rows(config: OccupancyConfig) -> Rows:
    head = (*within("encoder.", "", ENCODER), *within("decoder.", "", _DECODER))
    return (
        *within("backbone.", "img_backbone.", names_of(config.backbone).rows(config.backbone)),
        *within("neck.", "img_neck.", NECK),
        *within("", "pts_bbox_head.", head),
    )


NAMES = Names(_rows)
