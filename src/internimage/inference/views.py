"""What a model sees of a picture: one view of it, or several, whose results are merged (test-time augmentation)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, TypeVar

from torch import Tensor

from internimage.errors import ConfigError
from internimage.images import FitPreprocessing, Preprocessing
from internimage.images.channels import AnyImage
from internimage.settings.views import PredictionOptions, TestTimeAugmentation

P = TypeVar("P", Preprocessing, FitPreprocessing)


@dataclass(frozen=True)
class Views:
    """A picture as a model sees it: images (C, H_i, W_i), and the (height, width) of the original."""

    images: tuple[Tensor, ...]
    original: tuple[int, int]


def preparation(model: Any, options: PredictionOptions, kind: type[P]) -> P:
    """How a model's pictures are prepared, with the depth that was asked for.

    Raises:
        ConfigError: the model does not say.
    """
    preprocessing = None if model.description is None else model.description.preprocessing
    if preprocessing is None:
        raise ConfigError("the model does not say how its images are prepared; give a name or a model folder")
    assert isinstance(preprocessing, kind)
    return preprocessing.seen_with(options.depth)


class MakeViews:
    """From a picture to its :class:`Views`."""

    def __init__(self, preprocessing: FitPreprocessing, augmentation: TestTimeAugmentation | None) -> None:
        sides = (augmentation.short_sides if augmentation else ()) or (preprocessing.short,)
        ratio = preprocessing.long / preprocessing.short
        self.preparations = [replace(preprocessing, short=side, long=round(side * ratio)) for side in sides]

    def __call__(self, image: AnyImage) -> Views:
        return Views(tuple(prepare(image) for prepare in self.preparations), (image.height, image.width))
