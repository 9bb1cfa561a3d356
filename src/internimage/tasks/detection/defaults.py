"""Settings that suit the amount of data, for those who bring nothing but a folder."""

from __future__ import annotations

from dataclasses import replace

from internimage.contracts import Amount
from internimage.recipes import get_training_recipe
from internimage.settings.detection import DetectionAugmentation
from internimage.settings.training import FEW, MANY, TrainingConfig

_UPDATES = 3_000  # of four images: several times what docs/detection.md needed for small sets


def default_settings(amount: Amount) -> tuple[TrainingConfig, DetectionAugmentation]:
    """Settings of a detector for an amount of data; training takes 60 to 100 % of its size.

    From 100,000 images on they are the published ones of T: the schedule of 36 epochs, or of 12 for DINO.
    """
    queries = amount.architecture in ("dino", "mask_dino")
    published = get_training_recipe(
        "dino_4scale_internimage_t_1x_coco" if queries else "mask_rcnn_internimage_t_fpn_3x_coco"
    )
    sides = tuple(sorted({max(1, round(amount.size * share / 100)) for share in (60, 68, 76, 84, 92, 100)}))
    augmentation = DetectionAugmentation(short_sides=sides, long=round(amount.size * 1333 / 800), crop=True)
    if amount.images >= MANY:
        return published.training, augmentation
    scratch = amount.init == "scratch"
    epochs = max(12, min(100, round(_UPDATES / max(1, amount.images) * 4)))
    training = TrainingConfig(
        epochs=epochs,
        batch_size=4,
        lr=1e-3 if scratch else 1e-4,
        warmup_epochs=min(2.0, epochs / 10),
        layer_decay=1.0 if scratch else 0.9,
        deformable_lr_scale=1.0,
        drop_path=0.0 if scratch else 0.1,
        clip_norm=0.1 if queries else 5.0,
        ema_decay=0.99 if amount.images < FEW else 0.999,
    )
    return training, augmentation


def resized(augmentation: DetectionAugmentation, size: int) -> DetectionAugmentation:
    """A published augmentation for a shorter side of ``size`` pixels instead of its greatest."""
    share = size / max(augmentation.short_sides)
    sides = tuple(max(1, round(share * side)) for side in augmentation.short_sides)
    return replace(augmentation, short_sides=sides, long=max(sides[-1], round(share * augmentation.long)))
