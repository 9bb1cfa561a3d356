"""Names of a UperNet's tensors."""

from __future__ import annotations

from internimage.checkpoints.names.backbone import backbone_rows
from internimage.checkpoints.names.table import Names, Rows, within
from internimage.models.upernet import UperNetConfig

_HEADS = (
    ("decoder.pools.#.conv.*", "decode_head.psp_modules.#.1.conv.*"),
    ("decoder.pools.#.norm.*", "decode_head.psp_modules.#.1.bn.*"),
    ("decoder.bottleneck.conv.*", "decode_head.bottleneck.conv.*"),
    ("decoder.bottleneck.norm.*", "decode_head.bottleneck.bn.*"),
    ("decoder.lateral.#.conv.*", "decode_head.lateral_convs.#.conv.*"),
    ("decoder.lateral.#.norm.*", "decode_head.lateral_convs.#.bn.*"),
    ("decoder.output.#.conv.*", "decode_head.fpn_convs.#.conv.*"),
    ("decoder.output.#.norm.*", "decode_head.fpn_convs.#.bn.*"),
    ("decoder.fusion.conv.*", "decode_head.fpn_bottleneck.conv.*"),
    ("decoder.fusion.norm.*", "decode_head.fpn_bottleneck.bn.*"),
    ("classifier.*", "decode_head.conv_seg.*"),
    ("auxiliary.convolution.conv.*", "auxiliary_head.convs.0.conv.*"),
    ("auxiliary.convolution.norm.*", "auxiliary_head.convs.0.bn.*"),
    ("auxiliary.classifier.*", "auxiliary_head.conv_seg.*"),
)


def _rows(config: UperNetConfig) -> Rows:
    return within("backbone.", "backbone.", backbone_rows(config.backbone)) + _HEADS


NAMES = Names(_rows)
