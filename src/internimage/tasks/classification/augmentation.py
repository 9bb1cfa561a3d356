"""Training transforms, made of torchvision's."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from internimage.data.transforms import pixel_tensor, vary_intensity
from internimage.settings.classification import ClassificationAugmentation

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from internimage.images import Preprocessing
    from internimage.images.channels import AnyImage

_LARGEST = 31  # strength of RandAugment, at which it turns by 30 degrees, shears by 17 and shifts by 0.45 of the side
_AT_LARGEST = (30.0, 17.0, 0.45)


def training_transform(
    augmentation: ClassificationAugmentation, preprocessing: Preprocessing
) -> Callable[[AnyImage], Tensor]:
    """Random crop to the evaluation size, flip, RandAugment, normalise, erase: a picture to (C, S, S) float32.

    For pictures that are neither grey nor RGB, RandAugment's place is taken by what it has for them: rotation, shift
    and shear of its strength, brightness and contrast.
    """
    import torch
    from torchvision.transforms import InterpolationMode, v2

    interpolation = InterpolationMode(preprocessing.interpolation)
    size = preprocessing.crop or preprocessing.resize
    steps: list[torch.nn.Module] = [
        v2.RandomResizedCrop(size, scale=(augmentation.min_scale, 1.0), interpolation=interpolation, antialias=True),
        v2.RandomHorizontalFlip(augmentation.flip),
    ]
    fill = [round(255 * value) for value in preprocessing.mean]
    if preprocessing.channels not in (1, 3):
        steps = [v2.Lambda(pixel_tensor), *steps, *_any_channels(augmentation, fill)]
    elif augmentation.rand_augment:
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


def _any_channels(augmentation: ClassificationAugmentation, fill: list[int]) -> list[torch.nn.Module]:
    from torchvision.transforms import InterpolationMode, v2

    strength = augmentation.rand_augment / _LARGEST
    steps: list[torch.nn.Module] = []
    if strength:
        angle, shear, shift = _AT_LARGEST
        shifts, shears = (shift * strength, shift * strength), [shear * strength] * 2
        bilinear = InterpolationMode.BILINEAR  # bicubic is for PIL images alone
        move = v2.RandomAffine(angle * strength, shifts, shear=shears, interpolation=bilinear, fill=fill)
        steps.append(v2.RandomApply([move], 0.5))
    if varied := max(0.9 * strength, augmentation.colour_jitter):
        steps.append(v2.RandomApply([v2.Lambda(partial(vary_intensity, brightness=varied, contrast=varied))], 0.5))
    return steps


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
