"""Models of ours as makers of vectors."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from internimage.checkpoints.folder import find_model
from internimage.errors import ConfigError
from internimage.images import FitPreprocessing, ImageSource, Preprocessing
from internimage.inference.blame import finite
from internimage.inference.features import layer_outputs
from internimage.inference.predictor import load_for_inference
from internimage.models.model import Model
from internimage.multimodal.describing.dataset import LONGEST_CAPTION
from internimage.multimodal.describing.pipeline import WordsPipeline
from internimage.multimodal.search.encoders.encoder import WITH_WORDS, Array, Encoder, fingerprint, normalised

if TYPE_CHECKING:
    from PIL import Image

    from internimage.multimodal.models.words import WordModel


def load_ours(name: str, device: str) -> Encoder:
    """A model by name or folder; the folder's name becomes absolute.

    Raises:
        ConfigError: it takes no colour pictures, or gives no vectors.
    """
    module: Any = load_for_inference(name, None, None, device, torch.float32)
    name = lasting_name(name)
    if {"encode_pictures", "encode_texts"} <= set(dir(module)):
        return WordsEncoder(name, module)
    preprocessing = None
    if {"vectors", "description"} <= set(dir(module)) and module.description is not None:
        preprocessing = module.description.preprocessing
    if preprocessing is None:
        raise ConfigError(
            f"{name} gives no vectors of pictures; expected a classifier, detector, segmenter, {WITH_WORDS}"
        )
    if preprocessing.channels != 3:
        raise ConfigError(
            f"{name} takes pictures of {preprocessing.channels} channels; an album is searched in colour (RGB)"
        )
    return PooledEncoder(name, module, preprocessing)


def lasting_name(name: str) -> str:
    """A folder's absolute path, so that an index finds it from everywhere; other names as they are."""
    return name if find_model(name) is None else str(Path(name).expanduser().resolve())


class PooledEncoder:
    """A backbone with something on it: the vector before the classifier, or the mean over the last map."""

    def __init__(self, name: str, model: Model, prepare: Preprocessing | FitPreprocessing) -> None:
        self.name, self.weights = name, fingerprint(model)
        self._model, self._prepare = model.eval(), prepare
        self._place = next(model.parameters()).device
        probe = torch.zeros(1, 3, 64, 64, device=self._place)
        self.width = int(layer_outputs(model, probe, ["pooled"])["pooled"].shape[1])

    def pictures(self, pictures: Sequence[Image.Image]) -> Array:
        prepared = [self._prepare(self._prepare.read(ImageSource("picture", picture))) for picture in pictures]
        rows = np.zeros((len(prepared), self.width), np.float32)
        places: dict[tuple[int, ...], list[int]] = {}
        for place, tensor in enumerate(prepared):
            places.setdefault(tuple(tensor.shape), []).append(place)
        for same in places.values():  # detectors see pictures in their own shapes
            batch = torch.stack([prepared[place] for place in same]).to(self._place)
            outputs = finite(self._model, partial(layer_outputs, self._model, batch, ["pooled"]))
            rows[same] = outputs["pooled"].cpu().numpy()
        return normalised(rows, self.name)

    def texts(self, texts: Sequence[str]) -> Array:
        raise ConfigError(f"{self.name} knows no words; ask with a picture, or index with one of these: {WITH_WORDS}")


class WordsEncoder:
    """A :class:`internimage.multimodal.models.words.WordModel` that has learnt to compare.

    Raises:
        ConfigError: it has not.
    """

    def __init__(self, name: str, model: WordModel) -> None:
        if "pairs" not in model.config.learnt:
            raise ConfigError(
                f"{name} has learnt {', '.join(model.config.learnt)}, not to compare pictures and captions; expected "
                "a model that learnt from captions"
            )
        self.name, self.weights, self.width = name, fingerprint(model), model.config.width
        self._model = model.for_words().eval()
        self._pipeline = WordsPipeline(self._model)
        self._place = next(model.parameters()).device

    @torch.inference_mode()
    def pictures(self, pictures: Sequence[Image.Image]) -> Array:
        batch = torch.stack([self._pipeline.prepare(picture) for picture in pictures]).to(self._place)
        return normalised(finite(self._model, partial(self._model.encode_pictures, batch)).cpu().numpy(), self.name)

    @torch.inference_mode()
    def texts(self, texts: Sequence[str]) -> Array:
        """See :class:`internimage.multimodal.search.encoders.encoder.Encoder`.

        Raises:
            DataError: the model does not know a word.
        """
        ids = [self._pipeline.tokenizer.encode(text, LONGEST_CAPTION) for text in texts]
        return normalised(self._model.encode_texts(ids).cpu().numpy(), self.name)
