"""What a model sees of a picture: one view of it, or several, whose results are merged (test-time augmentation)."""

from __future__ import annotations

from dataclasses import dataclass, replace

from PIL import Image
from torch import Tensor

from internimage.images import FitPreprocessing
from internimage.settings.views import TestTimeAugmentation


@dataclass(frozen=True)
class Views:
    """A picture as a model sees it: images (3, H_i, W_i), and the (height, width) of the original."""

    images: tuple[Tensor, ...]
    original: tuple[int, int]


class MakeViews:
    """From a picture (RGB) to its :class:`Views`."""

    def __init__(self, preprocessing: FitPreprocessing, augmentation: TestTimeAugmentation | None) -> None:
        sides = (augmentation.short_sides if augmentation else ()) or (preprocessing.short,)
        ratio = preprocessing.long / preprocessing.short
        self.preparations = [replace(preprocessing, short=side, long=round(side * ratio)) for side in sides]

    def __call__(self, image: Image.Image) -> Views:
        return Views(tuple(prepare(image) for prepare in self.preparations), (image.height, image.width))
