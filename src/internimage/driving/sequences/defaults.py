"""Settings that suit the amount of data, for those who bring nothing but a folder."""

from __future__ import annotations

from internimage.contracts import Amount
from internimage.driving.recipes.common import TRAINING
from internimage.driving.sequences.settings import DriveAugmentation
from internimage.settings.training import MANY, TrainingConfig


def default_settings(
    amount: Amount, published: DriveAugmentation, *, updates: int, batch_size: int, queue: int = 1, evaluations: int = 2
) -> tuple[TrainingConfig, DriveAugmentation]:
    """Settings for an amount of frames; from 10,000 on those that networks of this wing were published with.

    Args:
        amount: of data.
        published: how frames are shown then.
        updates: of ``batch_size`` frames that few are learnt with: what the drawn world of docs/driving.md needs.
        batch_size: of those.
        queue: frames in a row that are seen of few.
        evaluations: about so many on the way.
    """
    if amount.images >= MANY // 10:
        return TRAINING, published
    epochs = max(2, min(100, round(updates * batch_size / max(1, amount.images))))
    training = TrainingConfig(
        epochs=epochs,
        batch_size=batch_size,
        lr=2e-3 if amount.init == "scratch" else 2e-4,
        weight_decay=0.01,
        warmup_epochs=min(2.0, epochs / 10),
        deformable_lr_scale=1.0,
        drop_path=0.0,
        clip_norm=10.0,
        ema_decay=0.99,
        evaluate_every=max(1, epochs // evaluations),
    )
    return training, DriveAugmentation(queue=queue, skip=False, photometric=False, grid_mask=False)
