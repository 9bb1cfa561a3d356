"""What the recipes of this wing share: ResNets as they were released, how BEVFormer was trained."""

from __future__ import annotations

from internimage.backbones.config import RESNET_50, RESNET_101, ResNetConfig
from internimage.images import FitPreprocessing
from internimage.settings.training import TrainingConfig

_FRAMES = 28_130  # of nuScenes's training drives

# As the released ones were trained: 8 frames an update; the 500 updates of warm-up are given as a share of an epoch
TRAINING = TrainingConfig(
    epochs=24,
    batch_size=1,
    lr=2e-4,
    lr_batch_size=8,
    weight_decay=0.01,
    warmup_epochs=500 / (_FRAMES / 8),
    warmup_start=1 / 3,
    end_lr=1e-3,
    backbone_lr_scale=0.1,
    published_groups=True,
    clip_norm=35.0,
    ema_decay=0.0,
    drop_path=0.0,
    workers=4,
)

R50 = ResNetConfig(RESNET_50, frozen_stages=1, frozen_norm=True)
R101 = ResNetConfig(
    RESNET_101,
    style="caffe",
    deformable=(False, False, True, True),
    bgr=True,
    frozen_stages=1,
    frozen_norm=True,
)


def square(side: int) -> dict[str, int]:
    """A grid of so many cells a side."""
    return {"height": side, "width": side}


def mean_alone(short: int, long: int) -> FitPreprocessing:
    """Only the mean is subtracted."""
    return FitPreprocessing(short=short, long=long, std=(1.0, 1.0, 1.0))
