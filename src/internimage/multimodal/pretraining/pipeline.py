"""From pictures to what a pre-trained backbone makes of them: what predictor, trainer and ``evaluate`` run alike."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from internimage.errors import ConfigError
from internimage.images import ImageSource, Preprocessing
from internimage.inference.blame import finite
from internimage.inference.views import preparation
from internimage.multimodal.information.mixing import tokens_of
from internimage.multimodal.models.m3i import M3I
from internimage.multimodal.pretraining.pictures import Sight
from internimage.multimodal.results.pretrained import PretrainedPicture
from internimage.settings.views import PredictionOptions, refuse_for_detectors
from internimage.text.clip import ClipTokenizer

_MARGIN = 8  # the other view of evaluation leaves out an eighth at each side


class ViewsPipeline:
    """See :class:`internimage.contracts.Pipeline`; ``known`` are a picture's texts, or None.

    Hidden cells are those of a chessboard, which show the picture upside down, and the other view is the picture's
    middle, so that a result depends on nothing but the picture.
    """

    def __init__(self, model: M3I, options: PredictionOptions = PredictionOptions()) -> None:  # noqa: B008
        if options.augmentation is not None or options.keep_scores or options.window != "model":
            raise ConfigError("test-time augmentation, windows and scores of pixels are for detectors and segmenters")
        refuse_for_detectors(options, "a backbone sees a picture as a whole")
        self.prepare = preparation(model, options, Preprocessing)
        self.read = self.prepare.read
        self.model = model
        self.labels = model.description.labels if model.description else None
        self.classes = model.config.num_classes
        self.tokenizer = ClipTokenizer() if model.texts is not None else None
        self.words = frozenset(model.texts.vocabulary.ids if model.texts is not None else ())

    @torch.inference_mode()
    def predict(
        self, prepared: Sequence[Tensor], sources: Sequence[ImageSource], known: Sequence[Sight | None]
    ) -> list[PretrainedPicture]:
        weight = next(self.model.parameters())
        images = torch.stack(list(prepared)).to(weight.device, weight.dtype)
        features = tokens_of(finite(self.model, partial(self.model.backbone, images))[-1]).mean(1)
        scores = self.model.class_scores(features).float().cpu().numpy()
        errors = self._errors(images).float().tolist()
        shared = self.model.compared(features).float().cpu().numpy()
        pooled = features.float().cpu().numpy()
        texts = [self._texts(one) for one in known]
        return [
            PretrainedPicture(source, pooled[row], own, other, scores[row], self.labels or (), shared[row], text)
            for row, (source, text, (own, other)) in enumerate(zip(sources, texts, errors, strict=True))
        ]

    def _errors(self, images: Tensor) -> Tensor:
        count, _, height, width = images.shape
        cell, margin = self.model.cell, width // _MARGIN
        rows, columns = height // cell, width // cell
        board = torch.arange(rows)[:, None] + torch.arange(columns)
        cells = (board % 2 == 0).to(images.device).expand(count, -1, -1)
        middle = images[..., height // _MARGIN : height - height // _MARGIN, margin : width - margin]
        others = F.interpolate(middle, (height, width), mode="bilinear", align_corners=False)
        step = 1 - 2 * margin / width
        place = torch.tensor([rows * margin / width, columns * margin / width, step, step], device=images.device)
        return self.model.errors(images, images.flip(2, 3), cells, others, place.expand(count, 4))

    def _texts(self, known: Sight | None) -> np.ndarray[Any, Any] | None:
        if known is None or not known.texts or self.tokenizer is None:
            return None
        ids = [self.tokenizer.encode(text, self.model.config.longest) for text in known.texts]
        found = self.model.encode_texts([[one for one in text if one in self.words] for text in ids])
        return found.float().cpu().numpy()  # type: ignore[no-any-return]
