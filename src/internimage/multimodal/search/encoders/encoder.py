"""Models that turn pictures, and some of them words, into vectors: one protocol, one file a kind."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

import numpy as np
from torch import nn

from internimage.errors import NonFiniteError
from internimage.multimodal.search.entries import Array

if TYPE_CHECKING:
    from PIL import Image

WITH_WORDS = "transformers:NAME_OR_FOLDER (CLIP, SigLIP), open_clip:ARCHITECTURE:WEIGHTS, or a Uni-Perceiver"
TRANSFORMERS, OPEN_CLIP = "transformers:", "open_clip:"


class Encoder(Protocol):
    """What makes the vectors of an index.

    Attributes:
        name: what :func:`load_encoder` takes.
        weights: which weights these are, see :func:`fingerprint`.
        width: numbers of a vector.
    """

    name: str
    weights: str
    width: int

    def pictures(self, pictures: Sequence[Image.Image]) -> Array:
        """Vectors (N, D) float32 of length 1, of upright RGB pictures."""

    def texts(self, texts: Sequence[str]) -> Array:
        """Vectors (N, D) float32 of length 1, of sentences.

        Raises:
            ConfigError: the model knows no words.
        """


def load_encoder(name: str, device: str = "auto") -> Encoder:
    """A model that makes vectors.

    Args:
        name: of a model of ours, or its folder: a classifier, detector or segmenter knows no words, and its vector is
            "pooled" of :func:`internimage.inference.features.extract_features`.  It was not trained to compare
            pictures: all its cosines are high, their order is what counts, and nothing is subtracted from it.
            ``transformers:NAME_OR_FOLDER``: CLIP, SigLIP and their like.  ``open_clip:ARCHITECTURE:TAG_OR_FILE``.
        device: auto, cpu, cuda, cuda:1 ...

    Raises:
        ConfigError, CheckpointError, MissingExtraError: it cannot be loaded.
    """
    if name.startswith(TRANSFORMERS):
        from internimage.multimodal.search.encoders.from_transformers import TransformersEncoder

        return TransformersEncoder(name, device)
    if name.startswith(OPEN_CLIP):
        from internimage.multimodal.search.encoders.from_open_clip import OpenClipEncoder

        return OpenClipEncoder(name, device)
    from internimage.multimodal.search.encoders.ours import load_ours

    return load_ours(name, device)


def fingerprint(module: nn.Module) -> str:
    """12 hexadecimal digits that differ between different weights, names included."""
    digest = hashlib.blake2b(digest_size=6)
    for name, tensor in sorted(module.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().float().cpu().contiguous().numpy().data)
    return digest.hexdigest()


def normalised(rows: Array, name: str) -> Array:
    """Rows (N, D) scaled to length 1, float32.

    Raises:
        NonFiniteError: one is not finite, or zero, and has no direction.
    """
    wide = np.asarray(rows, np.float64)
    lengths = np.linalg.norm(wide, axis=-1, keepdims=True)
    if not np.isfinite(lengths).all() or not lengths.all():
        raise NonFiniteError(f"{name} gives a vector without direction: zero, or not finite; its weights are damaged")
    return (wide / lengths).astype(np.float32)
