"""From pictures to what a pre-trained backbone makes of them: what predictor, trainer and ``evaluate`` run alike."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from internimage.errors import ConfigError
from internimage.images import ImageSource, Preprocessing
from internimage.inference.blame import finite
from internimage.inference.views import preparation
from internimage.multimodal.models.m3i import M3I, Shown
from internimage.multimodal.pretraining.pictures import Sight
from internimage.multimodal.results.pretrained import PretrainedPicture
from internimage.settings.views import PredictionOptions, refuse_for_detectors
from internimage.text.clip import END, ClipTokenizer

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
        texts = [self._texts(one) for one in known]
        # one pass whatever there is, because processes that share a model wait for each other in it
        asked = [*(text for one in texts for text in one), (END,)] if self.tokenizer is not None else []
        out = finite(self.model, partial(self.model, images, self._shown(images), asked))
        features, scores, compared = (one.float().cpu().numpy() for one in (out.features, out.scores, out.compared))
        assert out.errors is not None
        said = None if out.texts is None else out.texts.float().cpu().numpy()
        results, place = [], 0
        errors = out.errors.float().tolist()
        for row, (source, text, (hidden, other)) in enumerate(zip(sources, texts, errors, strict=True)):
            own = None if said is None or not text else said[place : place + len(text)]
            place += len(text)
            results.append(
                PretrainedPicture(
                    source, features[row], hidden, other, scores[row], self.labels or (), compared[row], own
                )
            )
        return results

    def _shown(self, images: Tensor) -> Shown:
        count, _, height, width = images.shape
        cell, margin = self.model.cell, width // _MARGIN
        rows, columns = height // cell, width // cell
        board = torch.arange(rows)[:, None] + torch.arange(columns)
        cells = (board % 2 == 0).to(images.device).expand(count, -1, -1)
        middle = images[..., height // _MARGIN : height - height // _MARGIN, margin : width - margin]
        others = F.interpolate(middle, (height, width), mode="bilinear", align_corners=False)
        step = 1 - 2 * margin / width
        place = torch.tensor([rows * margin / width, columns * margin / width, step, step], device=images.device)
        return Shown(images.flip(2, 3), cells, others, place.expand(count, 4))

    def _texts(self, known: Sight | None) -> list[list[int]]:
        if known is None or self.tokenizer is None:
            return []
        ids = [self.tokenizer.encode(text, self.model.config.longest) for text in known.texts]
        return [[one for one in text if one in self.words] for text in ids]
