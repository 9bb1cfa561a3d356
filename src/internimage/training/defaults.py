"""Settings that suit the amount of data, for those who bring nothing but a folder."""

from __future__ import annotations

from dataclasses import replace

from internimage.data.augmentation import Augmentation
from internimage.data.object_augmentation import ObjectAugmentation
from internimage.data.region_augmentation import RegionAugmentation
from internimage.training.config import TrainingConfig
from internimage.training.recipes import TRAINING_RECIPES

_FEW, _MANY = 5_000, 100_000
_OBJECT_UPDATES = 3_000  # of four images: several times what docs/detection.md needed for small sets
_REGION_UPDATES, _REGION_BATCH = 4_000, 8
_FAR_ABOVE = 4.0


def default_settings(images: int, init: str) -> tuple[TrainingConfig, Augmentation]:
    """Settings for about so many training images, from scratch or from weights.

    Up to 5,000 images these are the settings of the model in the package, which was trained on 500 from scratch, and
    gentler ones from weights; from 100,000 on they are the published ones of InternImage-T (from scratch) and -L (from
    weights), learning rates scaled to the images of an update.  Those between were not measured here.
    """
    published = TRAINING_RECIPES["internimage_t_1k_224" if init == "scratch" else "internimage_l_22kto1k_384"]
    assert isinstance(published.augmentation, Augmentation)
    if images >= _MANY:
        return replace(published.training, batch_size=64, gradient_checkpointing=False), published.augmentation
    few = images < _FEW
    weak = Augmentation(min_scale=0.35, rand_augment=4, mixup=0.1, cutmix=0.0, erasing=0.1)
    strong = replace(published.augmentation, min_scale=0.2, rand_augment=9)
    if init == "scratch":
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


def default_object_settings(
    images: int, init: str, size: int, architecture: str = "mask_rcnn"
) -> tuple[TrainingConfig, ObjectAugmentation]:
    """Settings of a detector for about so many training images, from scratch or from weights.

    Args:
        images: of the training part.
        init: "scratch" or weights to start from.
        size: shorter side in evaluation; training takes 60 to 100 % of it.
        architecture: of the model.

    From 100,000 images on they are the published ones of T: the schedule of 36 epochs, or of 12 for DINO.
    """
    dino = architecture == "dino"
    published = TRAINING_RECIPES["dino_4scale_internimage_t_1x_coco" if dino else "mask_rcnn_internimage_t_fpn_3x_coco"]
    sides = tuple(sorted({max(1, round(size * share / 100)) for share in (60, 68, 76, 84, 92, 100)}))
    augmentation = ObjectAugmentation(short_sides=sides, long=round(size * 1333 / 800), crop=True)
    if images >= _MANY:
        return published.training, augmentation
    scratch = init == "scratch"
    epochs = max(12, min(100, round(_OBJECT_UPDATES / max(1, images) * 4)))
    training = TrainingConfig(
        epochs=epochs,
        batch_size=4,
        lr=1e-3 if scratch else 1e-4,
        warmup_epochs=min(2.0, epochs / 10),
        layer_decay=1.0 if scratch else 0.9,
        deformable_lr_scale=1.0,
        drop_path=0.0 if scratch else 0.1,
        clip_norm=0.1 if dino else 5.0,
        ema_decay=0.99 if images < _FEW else 0.999,
    )
    return training, augmentation


def default_region_settings(images: int, init: str, size: int) -> tuple[TrainingConfig, RegionAugmentation]:
    """Settings of a segmenter for about so many training images, from scratch or from weights.

    Args:
        images: of the training part.
        init: "scratch" or weights to start from.
        size: shorter side in evaluation, and side of the crops.
    """
    scratch = init == "scratch"
    epochs = max(12, min(200, round(_REGION_UPDATES / max(1, images) * _REGION_BATCH)))
    training = TrainingConfig(
        epochs=epochs,
        batch_size=_REGION_BATCH,
        lr=1e-3 if scratch else 1e-4,
        warmup_epochs=min(2.0, epochs / 10),
        lr_power=1.0,
        layer_decay=1.0 if scratch else 0.9,
        drop_path=0.0 if scratch else 0.1,
        ema_decay=0.99 if images < _FEW else 0.999,
    )
    return training, RegionAugmentation(crop=(size, size), short=size, long=4 * size)


def too_high(config: TrainingConfig, usual: TrainingConfig, processes: int) -> str | None:
    """A warning if the learning rate is far above the ``usual`` one at as many images an update."""
    images = config.images_an_update(processes)
    if usual.lr_batch_size:
        suits = usual.lr * images / usual.lr_batch_size
    else:
        suits = usual.lr * max(1.0, images / usual.images_an_update(1))
    found = config.peak_lr(processes)
    if found <= _FAR_ABOVE * suits:
        return None
    times = f"{found / suits:.0f} times what suits {images} images an update ({suits:.3g})"
    return f"a learning rate of {found:.3g} is {times}"
