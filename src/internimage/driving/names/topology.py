"""Names of the tensors of a network of lanes and traffic elements."""

from __future__ import annotations

from internimage.checkpoints.layouts import names_of
from internimage.checkpoints.names.table import Names, Rows, within
from internimage.driving.models.topology import TopologyConfig
from internimage.driving.names.bevformer import DECODER, ENCODER, NECK

_ELEMENT_LAYER = (
    ("attention.*", "attentions.0.*"),
    ("feed_forward.linear1.*", "ffns.0.layers.0.0.*"),
    ("feed_forward.linear2.*", "ffns.0.layers.1.*"),
    ("norm1.*", "norms.0.*"),
    ("norm2.*", "norms.1.*"),
)

ELEMENTS = (
    ("level_embedding", "transformer.level_embeds"),
    *within("encoder.#.", "transformer.encoder.layers.#.", _ELEMENT_LAYER),
    *DECODER,
)
"""Of a :class:`internimage.driving.lanes.elements.ElementDecoder`, without the prefix of its head."""

_CONSTRUCTOR = tuple((ours, theirs.removeprefix("transformer.")) for ours, theirs in ENCODER)


def _relation(ours: str, theirs: str) -> Rows:
    """Linear layers, ours with a ReLU after each but the last."""
    parts = (("rows", "MLP_o1"), ("columns", "MLP_o2"), ("classifier", "classifier"))
    return tuple(
        (f"{ours}.{mine}.{2 * number}.*", f"{theirs}.{other}.layers.{number}.*")
        for mine, other in parts
        for number in range(3)
    )


def _rows(config: TopologyConfig) -> Rows:
    return (
        *within("backbone.", "img_backbone.", names_of(config.backbone).rows(config.backbone)),
        *within("neck.", "img_neck.", NECK),
        *within("encoder.", "bev_constructor.", _CONSTRUCTOR),
        ("code_weights", "pts_bbox_head.code_weights"),
        *within("lanes.", "pts_bbox_head.", DECODER),
        *within("elements.", "bbox_head.", ELEMENTS),
        *_relation("lane_lane", "lclc_head"),
        *_relation("lane_element", "lcte_head"),
    )


NAMES = Names(_rows)
