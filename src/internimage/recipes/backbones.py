"""The sizes of backbones, by which models are called, and where the weights of the released ones are."""

from __future__ import annotations

from dataclasses import replace

from internimage.backbones.config import InternImageConfig
from internimage.checkpoints.hub import HubFile

# Ours are trained from scratch on little data.  Without the masks' softmax, with random filters and batch norm, eight
# channels a group and linear layers that start at full size they learn in a fraction of the epochs (docs/training.md).
ATTO = InternImageConfig(
    channels=32,
    depths=(2, 2, 4, 2),
    groups=(4, 8, 16, 32),
    norm_layer="batch",
    mask_softmax=False,
    random_filters=True,
    linear_std=None,
)
ZEPTO = replace(ATTO, channels=8, depths=(3, 3, 6, 3), groups=(1, 2, 4, 8))
PICO = replace(ATTO, channels=48, depths=(2, 2, 6, 2), groups=(6, 12, 24, 48))

# InternImage (Wang et al., CVPR 2023).
T = InternImageConfig(channels=64, depths=(4, 4, 18, 4), groups=(4, 8, 16, 32))
S = InternImageConfig(channels=80, depths=(4, 4, 21, 4), groups=(5, 10, 20, 40), post_norm=True, layer_scale=1e-5)
B = InternImageConfig(channels=112, depths=(4, 4, 21, 4), groups=(7, 14, 28, 56), post_norm=True, layer_scale=1e-5)
L = InternImageConfig(
    channels=160,
    depths=(5, 5, 22, 5),
    groups=(10, 20, 40, 80),
    post_norm=True,
    layer_scale=1e-5,
    offset_scale=2.0,
)
XL = InternImageConfig(
    channels=192,
    depths=(5, 5, 24, 5),
    groups=(12, 24, 48, 96),
    post_norm=True,
    layer_scale=1e-5,
    offset_scale=2.0,
)
H = InternImageConfig(
    channels=320,
    depths=(6, 6, 32, 6),
    groups=(10, 20, 40, 80),
    res_post_norm=True,
    depthwise_kernel_size=5,
    center_feature_scale=True,
    post_norm_blocks=(5, 11, 17, 23, 29),
)
G = InternImageConfig(
    channels=512,
    depths=(2, 2, 48, 4),
    groups=(16, 32, 64, 128),
    post_norm=True,
    depthwise_kernel_size=5,
    center_feature_scale=True,
    post_norm_blocks=(5, 11, 17, 23, 29, 35, 41, 47),
)

# FlashInternImage (Xiong et al., CVPR 2024).  T has no depthwise convolution before its offsets; of the released ones
# only L has biases after its operators and MLPs.
FLASH_ATTO = replace(ATTO, layer="dcnv4")
FLASH_T = replace(T, layer="dcnv4", depthwise_kernel_size=None, output_bias=False, mlp_bias=False)
FLASH_S = replace(S, layer="dcnv4", output_bias=False, mlp_bias=False)
FLASH_B = replace(B, layer="dcnv4", output_bias=False, mlp_bias=False, offset_scale=0.5)
FLASH_L = replace(L, layer="dcnv4")

# By the names that people know.
BACKBONES = {
    "zepto": ZEPTO,
    "atto": ATTO,
    "pico": PICO,
    "T": T,
    "S": S,
    "B": B,
    "L": L,
    "XL": XL,
    "H": H,
    "G": G,
    "flash_atto": FLASH_ATTO,
    "flash_T": FLASH_T,
    "flash_S": FLASH_S,
    "flash_B": FLASH_B,
    "flash_L": FLASH_L,
}


def dense(backbone: InternImageConfig) -> InternImageConfig:
    """The backbone as released detectors and segmenters have it: layer scales start at 1.  H and G have none there."""
    return replace(backbone, layer_scale=1.0)


def released_file(name: str, backbone: InternImageConfig) -> HubFile:
    """Where the weights of a released model are; those with DCNv4 have a repository of their own."""
    repository = "DCNv4" if backbone.layer == "dcnv4" else "InternImage"
    return HubFile(f"OpenGVLab/{repository}", f"{name}.pth")
