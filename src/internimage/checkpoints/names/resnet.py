"""Names of a ResNet's tensors, which torchvision, mmdetection and all who took theirs share."""

from __future__ import annotations

from internimage.backbones.config import ResNetConfig
from internimage.checkpoints.names.table import Names, Rows, within

_STEM = (
    ("stem.conv1.*", "conv1.*"),
    ("stem.norm1.*", "bn1.*"),
)

_BLOCK = (
    ("conv1.*", "conv1.*"),
    ("norm1.*", "bn1.*"),
    ("conv2.offset_mask.*", "conv2.conv_offset.*"),  # before the row that would take it for the convolution's own
    ("conv2.*", "conv2.*"),
    ("norm2.*", "bn2.*"),
    ("conv3.*", "conv3.*"),
    ("norm3.*", "bn3.*"),
    ("shortcut.conv.*", "downsample.0.*"),
    ("shortcut.norm.*", "downsample.1.*"),
)


def resnet_rows(config: ResNetConfig) -> Rows:
    """The table of a backbone alone."""
    rows: Rows = _STEM
    for stage in range(len(config.depths)):
        rows += within(f"stages.{stage}.blocks.#.", f"layer{stage + 1}.#.", _BLOCK)
    return rows


NAMES = Names(resnet_rows)
