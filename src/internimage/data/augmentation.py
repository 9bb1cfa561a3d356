"""Training transforms, made of torchvision's."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from internimage.errors import ConfigError

if TYPE_CHECKING:
    import torch
    from PIL import Image
    from torch import Tensor

    from internimage.images import Preprocessing


@dataclass(frozen=True)
class Augmentation:
    """How training images are varied.

    Attributes:
        min_scale: smallest share of the picture's area that a random crop shows.
        flip: probability of a horizontal flip.
        rand_augment: magnitude of RandAugment (two operations, 0 to 30); 0 for none.
        colour_jitter: strength of brightness, contrast and saturation changes, used where there is no RandAugment.
        erasing: probability of blanking a random rectangle.
        mixup: strength (beta parameter) of mixing two images and their labels; 0 for none.
        cutmix: strength of pasting a rectangle of another image; 0 for none.  With both, each batch gets one of them.
        label_smoothing: share of the target that is spread over all classes.
    """

    min_scale: float = 0.35
    flip: float = 0.5
    rand_augment: int = 9
    colour_jitter: float = 0.4
    erasing: float = 0.25
    mixup: float = 0.8
    cutmix: float = 1.0
    label_smoothing: float = 0.1

    def __post_init__(self) -> None:
        shares = (self.min_scale, self.flip, self.erasing, self.label_smoothing)
        if not all(0 <= share <= 1 for share in shares) or self.min_scale == 0:
            raise ConfigError("min_scale, flip, erasing and label_smoothing are shares between 0 and 1")
        if min(self.mixup, self.cutmix, self.colour_jitter) < 0 or not 0 <= self.rand_augment <= 30:
            raise ConfigError("mixup, cutmix and colour_jitter are 0 or more, rand_augment is 0 to 30")


def training_transform(augmentation: Augmentation, preprocessing: Preprocessing) -> Callable[[Image.Image], Tensor]:
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
    augmentation: Augmentation, num_classes: int
) -> Callable[[Tensor, Tensor], tuple[Tensor, Tensor]] | None:
    """Mixup and cutmix for images (N, 3, S, S) and labels (N,), giving labels (N, K); None if neither is wanted."""
    from torchvision.transforms import v2

    choices: list[torch.nn.Module] = []
    if num_classes > 1:  # mixing one class with itself changes nothing, and torchvision refuses it
        choices += [v2.MixUp(alpha=augmentation.mixup, num_classes=num_classes)] if augmentation.mixup else []
        choices += [v2.CutMix(alpha=augmentation.cutmix, num_classes=num_classes)] if augmentation.cutmix else []
    return v2.RandomChoice(choices) if choices else None


def vary_colours(image: Tensor) -> Tensor:
    """Brightness, contrast, saturation and hue of half of the images, in the ranges of SSD (Liu et al., 2016).

    Without its exchange of channels: classes are often told apart by their colour.
    """
    from torchvision.transforms import v2

    varied: Tensor = v2.RandomApply([v2.ColorJitter((0.875, 1.125), (0.5, 1.5), (0.5, 1.5), (-0.05, 0.05))], 0.5)(image)
    return varied
