"""Names of a DINO's tensors."""

from __future__ import annotations

from internimage.checkpoints.names.backbone import backbone_rows
from internimage.checkpoints.names.table import Names, Rows, within
from internimage.models.dino import DINOConfig

_NECK = (
    ("lateral.#.conv.*", "convs.#.conv.*"),
    ("lateral.#.norm.*", "convs.#.gn.*"),
    ("coarser.conv.*", "extra_convs.0.conv.*"),
    ("coarser.norm.*", "extra_convs.0.gn.*"),
)

_HEAD = (
    ("encoder.level_embedding", "transformer.level_embeds"),
    ("encoder.layers.#.attention.*", "transformer.encoder.layers.#.attentions.0.*"),
    ("encoder.layers.#.norm1.*", "transformer.encoder.layers.#.norms.0.*"),
    ("encoder.layers.#.norm2.*", "transformer.encoder.layers.#.norms.1.*"),
    ("layers.#.self_attention.*", "transformer.decoder.layers.#.attentions.0.attn.*"),
    ("layers.#.cross_attention.*", "transformer.decoder.layers.#.attentions.1.*"),
    ("layers.#.norm1.*", "transformer.decoder.layers.#.norms.0.*"),
    ("layers.#.norm2.*", "transformer.decoder.layers.#.norms.1.*"),
    ("layers.#.norm3.*", "transformer.decoder.layers.#.norms.2.*"),
    ("box_position.*", "transformer.decoder.ref_point_head.*"),
    ("norm.*", "transformer.decoder.norm.*"),
    ("proposal.*", "transformer.enc_output.*"),
    ("proposal_norm.*", "transformer.enc_output_norm.*"),
    ("query_embedding.*", "transformer.query_embed.*"),
    ("classifiers.#.*", "cls_branches.#.*"),
    ("regressors.#.*", "reg_branches.#.*"),
    ("label_embedding.*", "label_embedding.*"),
)

_FEED_FORWARD = (
    ("linear1.*", "layers.0.0.*"),
    ("linear2.*", "layers.1.*"),
)

_SPLIT_FEED_FORWARD = (
    ("bias", "fc2_bias"),
    ("linear1.#.*", "fc1_#.*"),
    ("linear2.#.*", "fc2_#.*"),
)

_COMPOSITE = (
    ("branches.#.feed_scale#", "cb_modules.#.gamma#"),
    ("links.#.#.*", "cb_linears.#.#.*"),
)


def _rows(config: DINOConfig) -> Rows:
    rows = within("backbone.", "backbone.", backbone_rows(config.backbone))
    if config.composite is not None:
        rows = within("backbone.branches.#.", "backbone.cb_modules.#.", backbone_rows(config.backbone))
        rows += within("backbone.", "backbone.", _COMPOSITE)
    rows += within("neck.", "neck.0." if config.composite else "neck.", _NECK)
    rows += within("", "bbox_head.", _HEAD)
    parts = _FEED_FORWARD if config.parts == 1 else _SPLIT_FEED_FORWARD
    for ours, theirs in (("encoder.layers.#", "encoder.layers.#"), ("layers.#", "decoder.layers.#")):
        rows += within(f"{ours}.feed_forward.", f"bbox_head.transformer.{theirs}.ffns.0.", parts)
    return rows


NAMES = Names(_rows)
