"""Names of a Mask2Former's tensors."""

from __future__ import annotations

from internimage.checkpoints.names.backbone import backbone_rows
from internimage.checkpoints.names.table import Names, Rows, within
from internimage.models.mask2former import Mask2FormerConfig

_PIXEL_DECODER = (
    ("projections.#.conv.*", "input_convs.#.conv.*"),
    ("projections.#.norm.*", "input_convs.#.gn.*"),
    ("level_embedding.*", "level_encoding.*"),
    ("layers.#.attention.*", "encoder.layers.#.attentions.0.*"),
    ("layers.#.norm1.*", "encoder.layers.#.norms.0.*"),
    ("layers.#.feed_forward.linear1.*", "encoder.layers.#.ffns.0.layers.0.0.*"),
    ("layers.#.feed_forward.linear2.*", "encoder.layers.#.ffns.0.layers.1.*"),
    ("layers.#.norm2.*", "encoder.layers.#.norms.1.*"),
    ("lateral.conv.*", "lateral_convs.0.conv.*"),
    ("lateral.norm.*", "lateral_convs.0.gn.*"),
    ("output.conv.*", "output_convs.0.conv.*"),
    ("output.norm.*", "output_convs.0.gn.*"),
    ("masks.*", "mask_feature.*"),
)

_QUERIES = (
    ("query_embedding.*", "query_embed.*"),
    ("query_features.*", "query_feat.*"),
    ("level_embedding.*", "level_embed.*"),
    ("layers.#.cross_attention.*", "transformer_decoder.layers.#.attentions.0.attn.*"),
    ("layers.#.norm1.*", "transformer_decoder.layers.#.norms.0.*"),
    ("layers.#.self_attention.*", "transformer_decoder.layers.#.attentions.1.attn.*"),
    ("layers.#.norm2.*", "transformer_decoder.layers.#.norms.1.*"),
    ("layers.#.feed_forward.linear1.*", "transformer_decoder.layers.#.ffns.0.layers.0.0.*"),
    ("layers.#.feed_forward.linear2.*", "transformer_decoder.layers.#.ffns.0.layers.1.*"),
    ("layers.#.norm3.*", "transformer_decoder.layers.#.norms.2.*"),
    ("norm.*", "transformer_decoder.post_norm.*"),
    ("query_classifier.*", "cls_embed.*"),
    ("mask_embedding.*", "mask_embed.*"),
)


def _rows(config: Mask2FormerConfig) -> Rows:
    rows = within("backbone.", "backbone.", backbone_rows(config.backbone))
    rows += within("pixel_decoder.", "decode_head.pixel_decoder.", _PIXEL_DECODER)
    return rows + within("", "decode_head.", _QUERIES)


NAMES = Names(_rows)
