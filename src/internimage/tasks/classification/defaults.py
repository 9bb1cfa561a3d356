"""Settings that suit the amount of data, for those who bring nothing but a folder."""

from __future__ import annotations

from dataclasses import replace

from internimage.contracts import Amount
from internimage.recipes import get_training_recipe
from internimage.settings.classification import ClassificationAugmentation
from internimage.settings.training import FEW, MANY, TrainingConfig


def default_settings(amount: Amount) -> tuple[TrainingConfig, ClassificationAugmentation]:
    """Settings of a classifier for an amount of data.

    Up to 5,000 images these are the settings of the model in the package, which was trained on 500 from scratch, and
    gentler ones from weights; from 100,000 on they are the published ones of InternImage-T (from scratch) and -L (from
    weights), learning rates scaled to the images of an update.  Those between were not measured here.
    """
    images, scratch = amount.images, amount.init == "scratch"
    published = get_training_recipe("internimage_t_1k_224" if scratch else "internimage_l_22kto1k_384")
    assert isinstance(published.augmentation, ClassificationAugmentation)
    if images >= MANY:
        return replace(published.training, batch_size=64, gradient_checkpointing=False), published.augmentation
    few = images < FEW
    weak = ClassificationAugmentation(min_scale=0.35, rand_augment=4, mixup=0.1, cutmix=0.0, erasing=0.1)
    strong = replace(published.augmentation, min_scale=0.2, rand_augment=9)
    if scratch:
        training = TrainingConfig(
            epochs=100,
            batch_size=16 if few else 64,
            lr=8e-4 if few else 1e-3,
            drop_path=0.05 if few else 0.1,
            ema_decay=0.99 if few else 0.999,
        )
        return training, weak if few else strong
    training = TrainingConfig(
        epochs=30 if few else 20,
        batch_size=16 if few else 32,
        lr=1e-4,
        warmup_epochs=2,
        layer_decay=0.9,
        deformable_lr_scale=0.1,
        drop_path=0.1,
        ema_decay=0.99 if few else 0.999,
    )
    return training, replace(weak, mixup=0.0) if few else replace(strong, label_smoothing=0.1)
