"""Pictures to learn from, each in two views, with one of its texts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from internimage.data.dataset import OnCorrupt, PictureDataset
from internimage.images import ImageSource, Preprocessing
from internimage.images.channels import AnyImage
from internimage.multimodal.information.mixing import draw_cells
from internimage.multimodal.pretraining.pictures import Sight, Sights
from internimage.multimodal.pretraining.settings import ViewsAugmentation
from internimage.multimodal.pretraining.views import TwoViews
from internimage.text.clip import ClipTokenizer


@dataclass(frozen=True)
class ViewSample:
    """A picture, ready for a batch.

    Attributes:
        image, other: (C, S, S) float32, normalised, an input view and another one.
        placement: (4,), where that is, see :func:`internimage.multimodal.pretraining.views.placement`.
        cells: (h, w) bool, where an input shows this picture.
        label: number of its class, -1 for none.
        text: ids, with the end token; None for none.
        unreadable: files that could not be read and that this sample stands in for.
    """

    image: Tensor
    other: Tensor
    placement: Tensor
    cells: Tensor
    label: int = -1
    text: tuple[int, ...] | None = None
    unreadable: tuple[str, ...] = ()


class ViewDataset(PictureDataset[Sight, ViewSample]):
    """Reads pictures and makes views.

    Args:
        data: the pictures.
        preprocessing: size and normalisation of views.
        augmentation: how they are made.
        cell: side of a cell in pixels.
        words: CLIP's ids that the model knows; None for all, and empty where texts are not learnt.
        longest: ids of a text at most.
        seed, on_corrupt: see :class:`PictureDataset`.
    """

    def __init__(
        self,
        data: Sights,
        preprocessing: Preprocessing,
        augmentation: ViewsAugmentation,
        cell: int,
        words: Sequence[int] | None = (),
        longest: int = 1,
        seed: int = 0,
        on_corrupt: OnCorrupt = "error",
    ) -> None:
        super().__init__(data.name, data.entries, seed, on_corrupt, preprocessing.read)
        self.views = TwoViews(augmentation, preprocessing, cell)
        self.cells = preprocessing.side // cell
        self.words = None if words is None else frozenset(words)
        self.longest = longest
        self.tokenizer = ClipTokenizer() if words is None or words else None

    def prepare(self, entry: Sight, source: ImageSource, picture: AnyImage, unreadable: tuple[str, ...]) -> ViewSample:
        views = self.views(picture)
        cells = draw_cells(self.cells, self.cells)
        label = -1 if entry.label is None else entry.label
        return ViewSample(*views, cells, label, self._text(entry), unreadable)

    def _text(self, entry: Sight) -> tuple[int, ...] | None:
        if self.tokenizer is None or not entry.texts:
            return None
        text = entry.texts[int(torch.randint(len(entry.texts), ()))]
        ids = self.tokenizer.encode(text, self.longest)
        known = tuple(one for one in ids if self.words is None or one in self.words)
        return known if len(known) > 1 else None
