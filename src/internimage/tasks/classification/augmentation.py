"""Training transforms, made of torchvision's."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from internimage.settings.classification import ClassificationAugmentation

if TYPE_CHECKING:
    import torch
    from PIL import Image
    from torch import Tensor

    from internimage.images import Preprocessing


def training_transform(
    augmentation: ClassificationAugmentation, preprocessing: Preprocessing
) -> Callable[[Image.Image], Tensor]:
    """Random crop to the evaluation size, flip, RandAugment, normalise, erase: a picture to (3, S, S) float32."""
    import torch
    from torchvision.transforms import InterpolationMode, v2

    interpolation = InterpolationMode(preprocessing.interpolation)
    size = preprocessing.crop or preprocessing.resize
    steps: list[torch.nn.Module] = [
        v2.RandomResizedCrop(size, scale=(augmentation.min_scale, 1.0), interpolation=interpolation, antialias=True),
        v2.RandomHorizontalFlip(augmentation.flip),
    ]
    if augmentation.rand_augment:
        fill = [round(255 * value) for value in preprocessing.mean]
        steps.append(v2.RandAugment(2, augmentation.rand_augment, interpolation=interpolation, fill=fill))
    elif augmentation.colour_jitter:
        strength = augmentation.colour_jitter
        steps.append(v2.ColorJitter(strength, strength, strength))
    steps += [
        v2.PILToTensor(),
        v2.ToDtype(torch.float32, scale=True),
        v2.Normalize(list(preprocessing.mean), list(preprocessing.std)),
    ]
    if augmentation.erasing:
        steps.append(v2.RandomErasing(augmentation.erasing))
    return v2.Compose(steps)


def batch_mixing(
    augmentation: ClassificationAugmentation, num_classes: int
) -> Callable[[Tensor, Tensor], tuple[Tensor, Tensor]] | None:
    """Mixup and cutmix for images (N, 3, S, S) and labels (N,), giving labels (N, K); None if neither is wanted."""
    from torchvision.transforms import v2

    choices: list[torch.nn.Module] = []
    if num_classes > 1:  # mixing one class with itself changes nothing, and torchvision refuses it
        choices += [v2.MixUp(alpha=augmentation.mixup, num_classes=num_classes)] if augmentation.mixup else []
        choices += [v2.CutMix(alpha=augmentation.cutmix, num_classes=num_classes)] if augmentation.cutmix else []
    return v2.RandomChoice(choices) if choices else None
