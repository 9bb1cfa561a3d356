"""Two views of a picture, and where the one is in the other."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from internimage.data.transforms import pixel_tensor, vary_intensity
from internimage.images import Preprocessing
from internimage.images.channels import AnyImage
from internimage.multimodal.pretraining.settings import ViewsAugmentation

_RATIO = (3 / 4, 4 / 3)
_VARIED = 0.5


class Crop(NamedTuple):
    """What a view shows of a picture, in pixels.

    Attributes:
        top, left, height, width: of what is cut out.
        mirrored: whether left and right are exchanged afterwards.
    """

    top: float
    left: float
    height: float
    width: float
    mirrored: bool = False


def placement(view: Crop, other: Crop, cells: int) -> tuple[float, float, float, float]:
    """Where another view of a picture is in an input view of ``cells`` x ``cells``, the other one having as many.

    Returns:
        See :func:`internimage.multimodal.information.mixing.other_places`.
    """
    row = (other.top - view.top) / view.height * cells
    rows = other.height / view.height
    column = (other.left - view.left) / view.width * cells
    columns = other.width / view.width
    if view.mirrored:
        column, columns = cells - column, -columns
    if other.mirrored:  # its first column is where the last would be
        column, columns = column + columns * cells, -columns
    return row, column, rows, columns


class TwoViews:
    """A picture to an input view and another one.

    Args:
        augmentation: how they are made.
        preprocessing: their size and normalisation.
        cell: side of a cell in pixels.
    """

    def __init__(self, augmentation: ViewsAugmentation, preprocessing: Preprocessing, cell: int) -> None:
        from torchvision.transforms import v2

        self.augmentation = augmentation
        self.side, self.cell = preprocessing.side, cell
        self.filter = v2.InterpolationMode(preprocessing.interpolation)
        self.mean, self.std = (torch.tensor(one)[:, None, None] for one in (preprocessing.mean, preprocessing.std))
        self.vary = v2.ColorJitter(*(augmentation.colour,) * 3)

    def __call__(self, picture: AnyImage) -> tuple[Tensor, Tensor, Tensor]:
        """The views (C, S, S) float32, normalised, and the :func:`placement` of the second one, (4,)."""
        pixels = pixel_tensor(picture)
        view, other = self._crop(pixels), self._crop(pixels)
        place = torch.tensor(placement(view, other, self.side // self.cell))
        return self._shown(pixels, view), self._shown(pixels, other), place

    def _crop(self, pixels: Tensor) -> Crop:
        from torchvision.transforms import RandomResizedCrop

        scale = [self.augmentation.min_scale, 1.0]
        top, left, height, width = RandomResizedCrop.get_params(pixels, scale, list(_RATIO))
        return Crop(top, left, height, width, bool(torch.rand(()) < self.augmentation.flip))

    def _shown(self, pixels: Tensor, crop: Crop) -> Tensor:
        from torchvision.transforms.v2 import functional

        place = (int(crop.top), int(crop.left), int(crop.height), int(crop.width))
        shown = functional.resized_crop(pixels, *place, [self.side, self.side], self.filter, antialias=True)
        shown = shown.flip(-1) if crop.mirrored else shown
        if self.augmentation.colour and torch.rand(()) < _VARIED:
            strength = min(1.0, self.augmentation.colour)
            shown = self.vary(shown) if len(shown) in (1, 3) else vary_intensity(shown, strength, strength)
        return (shown.float() / 255 - self.mean) / self.std
