"""Settings that suit the amount of data, for those who bring nothing but a folder."""

from __future__ import annotations

from internimage.contracts import Amount
from internimage.driving.boxes3d.settings import BoxAugmentation
from internimage.settings.training import MANY, TrainingConfig

_UPDATES = 2_400  # of eight frames: what the drawn world of 256 scenes needs


def default_settings(amount: Amount) -> tuple[TrainingConfig, BoxAugmentation]:
    """Settings for an amount of frames; from 10,000 on those that BEVFormer was published with."""
    if amount.images >= MANY // 10:
        return published(), BoxAugmentation(queue=4)
    epochs = max(6, min(100, round(_UPDATES * 8 / max(1, amount.images))))
    training = TrainingConfig(
        epochs=epochs,
        batch_size=8,
        lr=2e-3 if amount.init == "scratch" else 2e-4,
        weight_decay=0.01,
        warmup_epochs=min(2.0, epochs / 10),
        deformable_lr_scale=1.0,
        drop_path=0.0,
        clip_norm=10.0,
        ema_decay=0.99,
        evaluate_every=max(1, epochs // 10),
    )
    return training, BoxAugmentation(queue=2, photometric=False, grid_mask=0.0)


def published() -> TrainingConfig:
    """24 epochs of AdamW with 8 frames an update, as BEVFormer was trained (Li et al., 2022, section 4.2)."""
    return TrainingConfig(
        epochs=24,
        batch_size=1,
        lr=2e-4,
        lr_batch_size=8,
        weight_decay=0.01,
        warmup_epochs=0.0,
        warmup_updates=500,
        warmup_start=1 / 3,
        end_lr=1e-3,
        backbone_lr_scale=0.1,
        drop_path=0.0,
        clip_norm=35.0,
        ema_decay=0.0,
    )
