"""Names of a backbone's tensors: InternImage and FlashInternImage.

``{norm}`` is the position of a convolution's norm in the released modules' ``Sequential``, where a LayerNorm comes
after a permutation and a BatchNorm does not.
"""

from __future__ import annotations

from internimage.backbones.config import InternImageConfig, NormLayer
from internimage.checkpoints.names.table import Names, Rows

_BACKBONE = (
    # ours, official
    ("stem.conv1.*", "patch_embed.conv1.*"),
    ("stem.norm1.*", "patch_embed.norm1.{norm}.*"),
    ("stem.conv2.*", "patch_embed.conv2.*"),
    ("stem.norm2.*", "patch_embed.norm2.{norm}.*"),
    ("stages.#.blocks.#.norm1.*", "levels.#.blocks.#.norm1.0.*"),
    ("stages.#.blocks.#.norm2.*", "levels.#.blocks.#.norm2.0.*"),
    ("stages.#.blocks.#.res_post_norm1.*", "levels.#.blocks.#.res_post_norm1.0.*"),
    ("stages.#.blocks.#.res_post_norm2.*", "levels.#.blocks.#.res_post_norm2.0.*"),
    ("stages.#.blocks.#.layer_scale1", "levels.#.blocks.#.gamma1"),
    ("stages.#.blocks.#.layer_scale2", "levels.#.blocks.#.gamma2"),
    ("stages.#.blocks.#.dcn.center_scale_weight", "levels.#.blocks.#.dcn.center_feature_scale_proj_weight"),
    ("stages.#.blocks.#.dcn.center_scale_bias", "levels.#.blocks.#.dcn.center_feature_scale_proj_bias"),
    ("stages.#.blocks.#.dcn.depthwise.*", "levels.#.blocks.#.dcn.dw_conv.0.*"),
    ("stages.#.blocks.#.dcn.depthwise_norm.*", "levels.#.blocks.#.dcn.dw_conv.1.{norm}.*"),
    ("stages.#.blocks.#.dcn.offset.*", "levels.#.blocks.#.dcn.offset.*"),
    ("stages.#.blocks.#.dcn.mask.*", "levels.#.blocks.#.dcn.mask.*"),
    ("stages.#.blocks.#.dcn.input_proj.*", "levels.#.blocks.#.dcn.input_proj.*"),
    ("stages.#.blocks.#.dcn.output_proj.*", "levels.#.blocks.#.dcn.output_proj.*"),
    ("stages.#.blocks.#.mlp.*", "levels.#.blocks.#.mlp.*"),
    ("stages.#.norm.*", "levels.#.norm.0.*"),
    ("stages.#.post_norms.#.*", "levels.#.post_norms.#.0.*"),
    ("stages.#.downsample.conv.*", "levels.#.downsample.conv.*"),
    ("stages.#.downsample.norm.*", "levels.#.downsample.norm.{norm}.*"),
)

# what DCNv4 has, some of it instead of rows of the same name
_FLASH = {
    "stages.#.blocks.#.dcn.depthwise.*": "levels.#.blocks.#.dcn.offset_mask_dw.*",
    "stages.#.blocks.#.dcn.offset_mask.*": "levels.#.blocks.#.dcn.offset_mask.*",
    "stages.#.blocks.#.dcn.input_proj.*": "levels.#.blocks.#.dcn.value_proj.*",
}

_NORM_POSITION: dict[NormLayer, str] = {"layer": "1", "batch": "0"}


def backbone_rows(config: InternImageConfig) -> Rows:
    """The table of a backbone alone."""
    rows = tuple((dict(_BACKBONE) | _FLASH).items()) if config.layer == "dcnv4" else _BACKBONE
    position = _NORM_POSITION[config.norm_layer]
    return tuple((ours, official.replace("{norm}", position)) for ours, official in rows)


NAMES = Names(backbone_rows, key="model")
