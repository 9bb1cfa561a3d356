"""Settings that suit the amount of data, for those who bring nothing but a folder."""

from __future__ import annotations

from dataclasses import replace

from internimage.contracts import Amount
from internimage.settings.segmentation import SegmentationAugmentation
from internimage.settings.training import FEW, TrainingConfig

_UPDATES, _BATCH = 4_000, 8


def default_settings(amount: Amount) -> tuple[TrainingConfig, SegmentationAugmentation]:
    """Settings of a segmenter for an amount of data; crops are squares of its size."""
    scratch, size = amount.init == "scratch", amount.size
    epochs = max(12, min(200, round(_UPDATES / max(1, amount.images) * _BATCH)))
    training = TrainingConfig(
        epochs=epochs,
        batch_size=_BATCH,
        lr=1e-3 if scratch else 1e-4,
        warmup_epochs=min(2.0, epochs / 10),
        lr_power=1.0,
        layer_decay=1.0 if scratch else 0.9,
        drop_path=0.0 if scratch else 0.1,
        ema_decay=0.99 if amount.images < FEW else 0.999,
    )
    return training, SegmentationAugmentation(crop=(size, size), short=size, long=4 * size)


def resized(augmentation: SegmentationAugmentation, size: int) -> SegmentationAugmentation:
    """A published augmentation for a shorter side of ``size`` pixels instead of its own."""
    high, wide = (max(1, round(size * side / augmentation.short)) for side in augmentation.crop)
    long = round(size * augmentation.long / augmentation.short)
    return replace(augmentation, crop=(high, wide), short=size, long=long)
