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
from internimage.multimodal.search.encoders.encoder import WITH_WORDS, Array, Encoder, fingerprint, normalised

if TYPE_CHECKING:
    from PIL import Image


def load_ours(name: str, device: str) -> Encoder:
    """A model by name or folder; the folder's name becomes absolute.

    Raises:
        ConfigError: it takes no colour pictures, or gives no vectors.
    """
    module: Any = load_for_inference(name, None, None, device, torch.float32)
    name = lasting_name(name)
    # ---- Uni-Perceivers join here: whatever has these two methods makes vectors of pictures and of words. ----
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
    """A model of ours with ``encode_pictures`` and ``encode_texts``, both to (N, D)."""

    def __init__(self, name: str, model: Any) -> None:
        self.name, self.weights = name, fingerprint(model)
        self._model = model.eval()
        self.width = self.texts(["a picture"]).shape[1]

    @torch.inference_mode()
    def pictures(self, pictures: Sequence[Image.Image]) -> Array:
        return normalised(torch.as_tensor(self._model.encode_pictures(list(pictures))).cpu().numpy(), self.name)

    @torch.inference_mode()
    def texts(self, texts: Sequence[str]) -> Array:
        return normalised(torch.as_tensor(self._model.encode_texts(list(texts))).cpu().numpy(), self.name)
