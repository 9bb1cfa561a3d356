"""Settings that suit the amount of data, for those who bring nothing but a folder."""

from __future__ import annotations

from internimage.contracts import Amount
from internimage.driving.recipes.common import TRAINING
from internimage.driving.sequences.settings import DriveAugmentation
from internimage.settings.training import MANY, TrainingConfig

_UPDATES = 2_300  # of four frames: what the drawn world of docs/driving.md needs


def default_settings(amount: Amount) -> tuple[TrainingConfig, DriveAugmentation]:
    """Settings for an amount of frames; from 10,000 on those that the networks were published with."""
    if amount.images >= MANY // 10:
        return TRAINING, DriveAugmentation(queue=4)
    epochs = max(2, min(100, round(_UPDATES * 4 / max(1, amount.images))))
    training = TrainingConfig(
        epochs=epochs,
        batch_size=4,
        lr=2e-3 if amount.init == "scratch" else 2e-4,
        weight_decay=0.01,
        warmup_epochs=min(1.0, epochs / 10),
        deformable_lr_scale=1.0,
        drop_path=0.0,
        clip_norm=10.0,
        ema_decay=0.99,
        evaluate_every=max(1, epochs // 2),
    )
    return training, DriveAugmentation(queue=1, skip=False, photometric=False, grid_mask=False)
