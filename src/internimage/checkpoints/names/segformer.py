"""Names of a SegFormer's tensors."""

from __future__ import annotations

from internimage.checkpoints.names.backbone import backbone_rows
from internimage.checkpoints.names.table import Names, Rows, within
from internimage.models.segformer import SegFormerConfig

_HEADS = (
    ("decoder.lateral.#.conv.*", "decode_head.convs.#.conv.*"),
    ("decoder.lateral.#.norm.*", "decode_head.convs.#.bn.*"),
    ("decoder.fusion.conv.*", "decode_head.fusion_conv.conv.*"),
    ("decoder.fusion.norm.*", "decode_head.fusion_conv.bn.*"),
    ("classifier.*", "decode_head.conv_seg.*"),
)


def _rows(config: SegFormerConfig) -> Rows:
    return within("backbone.", "backbone.", backbone_rows(config.backbone)) + _HEADS


NAMES = Names(_rows)
