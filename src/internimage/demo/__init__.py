"""The demonstration: what each stage of the network makes of real photos.  Offline, with photos of the package."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.resources import as_file, files
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from internimage.drawing import grid
from internimage.drawing.features import principal_components
from internimage.errors import ImageReadError
from internimage.factory import create_model
from internimage.inference import extract_features
from internimage.models.classifier import ImageClassifier

MODEL = "internimage_t_1k_224"
_SEED = 0
_STAGES = ("stage1", "stage2", "stage3", "stage4")


def feature_sheet() -> Image.Image:
    """Photo and stage-wise principal components of a deterministic, untrained InternImage-T, one row a photo."""
    model = _untrained()
    rows = []
    for photo, maps in _features(model):
        components = [principal_components(torch.from_numpy(maps[stage])) for stage in _STAGES]
        rows.append([photo, *components])
    return grid(
        rows,
        headings=("photo", "stage 1", "stage 2", "stage 3", "stage 4"),
        title="InternImage-T: three principal components of each stage's features",
        footer="Untrained: random weights from a fixed seed. This shows the network at work, not what it has learned.",
    )


def _untrained() -> ImageClassifier:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(_SEED)
        model = create_model(MODEL)
    assert isinstance(model, ImageClassifier)
    return model


def _features(model: ImageClassifier) -> Iterator[tuple[Image.Image, dict[str, np.ndarray]]]:
    with as_file(files(__name__).joinpath("photos")) as folder:
        for source, features in extract_features(model, Path(folder), _STAGES, batch_size=2):
            if isinstance(features, ImageReadError):
                raise features
            photo = source.read()
            side = min(photo.size)
            left, top = (photo.width - side) // 2, (photo.height - side) // 2
            yield photo.crop((left, top, left + side, top + side)), features
