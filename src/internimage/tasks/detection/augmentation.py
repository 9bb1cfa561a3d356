"""Transforms of pictures with objects, made of torchvision's: image, boxes and masks move together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from internimage.data.transforms import pixel_tensor, vary_colours
from internimage.images.scaling import FitPreprocessing
from internimage.settings.detection import DetectionAugmentation

if TYPE_CHECKING:
    import torch

    from internimage.images.channels import AnyImage
    from internimage.structures.detection import DetectionTarget

    ObjectTransform: TypeAlias = Callable[[AnyImage, DetectionTarget], tuple[torch.Tensor, DetectionTarget]]

# The released policy of a random crop, for pictures whose shorter side ends at 800 pixels at most.
_CROP_SHORT_SIDES = (400, 500, 600)
_CROP_SIDES = (384, 600)
_CROP_FOR = 800


def object_transform(augmentation: DetectionAugmentation, preprocessing: FitPreprocessing) -> ObjectTransform:
    """A transform for training: flip, scale, crop, normalise, with random numbers from PyTorch's global generator.

    It takes a picture and its objects in pixels of the picture, and gives a normalised image (C, H, W) float32
    and the objects in it; those that a crop cuts off or that end smaller than a pixel are left out.
    """
    return _TrainingTransform(augmentation, preprocessing)


@dataclass(frozen=True)
class _TrainingTransform:  # no function in a function: where processes are not forked, the data loader pickles it
    augmentation: DetectionAugmentation
    preprocessing: FitPreprocessing

    def __call__(self, picture: AnyImage, truth: DetectionTarget) -> tuple[torch.Tensor, DetectionTarget]:
        import torch
        from torchvision import tv_tensors
        from torchvision.transforms import v2
        from torchvision.transforms.v2 import functional

        from internimage.structures.detection import DetectionTarget

        augmentation = self.augmentation
        size = (picture.height, picture.width)
        parts: list[Any] = [
            tv_tensors.Image(pixel_tensor(picture)),
            tv_tensors.BoundingBoxes(truth.boxes, format="XYXY", canvas_size=size),
        ]
        if truth.masks is not None:
            parts.append(tv_tensors.Mask(truth.masks.to(torch.uint8)))  # bool would be scaled as float32
        parts = v2.RandomHorizontalFlip(augmentation.flip)(parts)
        labels = truth.labels
        if augmentation.jitter is not None:
            parts = _resize(parts, _jittered(size, augmentation.long, augmentation.jitter))
            parts, labels = _crop(parts, labels, augmentation.long, augmentation.long)
        else:
            if augmentation.crop and torch.rand(()) < 0.5:
                parts, labels = _released_crop(parts, labels, augmentation)
            short = _short_side(augmentation)
            parts = _resize(parts, FitPreprocessing(short, augmentation.long).size(_size(parts)))
        if augmentation.photometric:
            parts[0] = vary_colours(parts[0])
        kept = _extended(parts[1])
        plain = [part.as_subclass(torch.Tensor) for part in parts]
        image = functional.normalize(plain[0].float(), list(self.preprocessing.mean), list(self.preprocessing.std))
        masks = plain[2][kept].bool() if truth.masks is not None else None
        if augmentation.jitter is not None:  # after normalising, as a batch is padded
            frame = [0, 0, augmentation.long - image.shape[2], augmentation.long - image.shape[1]]
            image = functional.pad(image, frame)
            masks = None if masks is None else functional.pad(masks, frame)
        return image, DetectionTarget(plain[1][kept], labels[kept], masks)


def _released_crop(
    parts: list[Any], labels: torch.Tensor, augmentation: DetectionAugmentation
) -> tuple[list[Any], torch.Tensor]:
    import torch

    scale = max(augmentation.short_sides) / _CROP_FOR
    short = max(1, round(scale * _one_of(_CROP_SHORT_SIDES)))
    parts = _resize(parts, FitPreprocessing(short, max(short, augmentation.long)).size(_size(parts)))
    low, high = (max(1, round(scale * side)) for side in _CROP_SIDES)
    height, width = (int(torch.randint(min(side, low), min(side, high) + 1, ())) for side in _size(parts))
    return _crop(parts, labels, height, width)


def _crop(parts: list[Any], labels: torch.Tensor, height: int, width: int) -> tuple[list[Any], torch.Tensor]:
    """A part of this size at a random place, or all there is; objects that are not in it are left out."""
    import torch
    from torchvision import tv_tensors
    from torchvision.transforms.v2 import functional

    wanted = [min(side, most) for side, most in zip(_size(parts), (height, width), strict=True)]
    place = [int(torch.randint(side - most + 1, ())) for side, most in zip(_size(parts), wanted, strict=True)]
    parts = [functional.crop(part, *place, *wanted) for part in parts]
    kept = _extended(parts[1])
    if len(parts) > 2:  # a corner of the box may be left of which the object has nothing
        kept &= parts[2].flatten(1).any(1).bool()
    return [parts[0], *(tv_tensors.wrap(part[kept], like=part) for part in parts[1:])], labels[kept]


def _resize(parts: list[Any], size: tuple[int, int]) -> list[Any]:
    """Bilinear without antialiasing, as the released pipeline; of masks the nearest pixel."""
    from torchvision import tv_tensors
    from torchvision.transforms import InterpolationMode
    from torchvision.transforms.v2 import functional

    image, boxes, *masks = parts
    return [
        functional.resize(image, list(size), antialias=False),
        functional.resize(boxes, list(size)),
        # torchvision's own choice for masks, and OpenCV's, moves them by up to half a pixel against the image
        *(
            tv_tensors.wrap(functional.resize_image(one, list(size), InterpolationMode.NEAREST_EXACT), like=one)
            for one in masks
        ),
    ]


def _jittered(size: tuple[int, int], frame: int, factors: tuple[float, float]) -> tuple[int, int]:
    import torch

    factor = float(torch.empty(()).uniform_(*factors)) * frame / max(size)
    height, width = (max(1, int(side * factor + 0.5)) for side in size)
    return height, width


def _extended(boxes: torch.Tensor) -> torch.Tensor:
    """(G,) bool: which boxes are a pixel wide and high."""
    return (boxes[:, 2:] - boxes[:, :2] >= 1).all(1)


def _size(parts: list[Any]) -> tuple[int, int]:
    height, width = parts[0].shape[-2:]
    return height, width


def _short_side(augmentation: DetectionAugmentation) -> int:
    import torch

    sides = augmentation.short_sides
    if augmentation.every_side:
        return int(torch.randint(min(sides), max(sides) + 1, ()))
    return _one_of(sides)


def _one_of(values: Sequence[int]) -> int:
    import torch

    return values[int(torch.randint(len(values), ()))]
