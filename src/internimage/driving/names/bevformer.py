"""Names of a BEVFormer's tensors."""

from __future__ import annotations

from internimage.checkpoints.layouts import names_of
from internimage.checkpoints.names.table import Names, Rows, within
from internimage.driving.models.bevformer import BEVFormerConfig

NECK = (
    ("lateral.#.*", "lateral_convs.#.conv.*"),
    ("output.#.*", "fpn_convs.#.conv.*"),
)
"""Of the pyramid."""

_TEMPORAL = (("*", "*"),)

_SPATIAL = (
    ("output_proj.*", "output_proj.*"),
    ("*", "deformable_attention.*"),
)

_FEED_FORWARD = (
    ("linear1.*", "layers.0.0.*"),
    ("linear2.*", "layers.1.*"),
)

_NORMS = tuple((f"norm{number + 1}.*", f"norms.{number}.*") for number in range(3))

_ENCODER_LAYER = (
    *within("temporal.", "attentions.0.", _TEMPORAL),
    *within("spatial.", "attentions.1.", _SPATIAL),
    *within("feed_forward.", "ffns.0.", _FEED_FORWARD),
    *_NORMS,
)

_DECODER_LAYER = (
    ("self_attention.*", "attentions.0.attn.*"),
    ("cross_attention.*", "attentions.1.*"),
    *within("feed_forward.", "ffns.0.", _FEED_FORWARD),
    *_NORMS,
)

ENCODER = (
    ("rows.*", "positional_encoding.row_embed.*"),
    ("columns.*", "positional_encoding.col_embed.*"),
    ("level_embedding", "transformer.level_embeds"),
    ("camera_embedding", "transformer.cams_embeds"),
    *within("layers.#.", "transformer.encoder.layers.#.", _ENCODER_LAYER),
    ("motion.4.*", "transformer.can_bus_mlp.norm.*"),
    ("motion.#.*", "transformer.can_bus_mlp.#.*"),
    ("cells.*", "bev_embedding.*"),
)
"""Of a :class:`internimage.driving.bev.encoder.BEVEncoder`, without the prefix of the head that it is a part of."""

DECODER = (
    *within("layers.#.", "transformer.decoder.layers.#.", _DECODER_LAYER),
    ("reference.*", "transformer.reference_points.*"),
    ("classifiers.#.*", "cls_branches.#.*"),
    ("regressors.#.*", "reg_branches.#.*"),
    ("query_embedding.*", "query_embedding.*"),
)
"""Of a :class:`internimage.driving.bev.decoder.BoxDecoder`, likewise."""


def _rows(config: BEVFormerConfig) -> Rows:
    head = (("code_weights", "code_weights"), *within("encoder.", "", ENCODER), *within("decoder.", "", DECODER))
    return (
        *within("backbone.", "img_backbone.", names_of(config.backbone).rows(config.backbone)),
        *within("neck.", "img_neck.", NECK),
        *within("", "pts_bbox_head.", head),
    )


NAMES = Names(_rows)
