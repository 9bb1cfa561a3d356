"""The demonstration: the packaged model on photos that it has never seen.  Offline, with weights of the package."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

from PIL import Image

from internimage.drawing.canvas import BAD, GOOD, INK
from internimage.drawing.charts import sheet
from internimage.errors import ImageReadError
from internimage.inference import Predictor
from internimage.inference.evaluation import read_part
from internimage.recipes import get_recipe
from internimage.results import Classification

MODEL = "internimage_atto_clothing_128"


def predict_photos() -> list[tuple[str, Classification]]:
    """True class and prediction of each of the package's photos, which come from the test part of the data."""
    data = read_part(Path(str(files(__name__).joinpath("photos"))), "all")
    outcomes = Predictor(MODEL).stream([sample.file for sample in data.samples])
    results = []
    for sample, (_, outcome) in zip(data.samples, outcomes, strict=True):
        if isinstance(outcome, ImageReadError):
            raise outcome
        assert isinstance(outcome, Classification)
        results.append((data.classes[sample.label], outcome))
    return results


def prediction_sheet(results: list[tuple[str, Classification]]) -> Image.Image:
    """A contact sheet of photos, truth and prediction; mistakes are red."""
    pictures = []
    for truth, result in results:
        colour = GOOD if result.label == truth else BAD
        captions = [(f"is: {truth}", INK), (f"says: {result.label} {result.score:.0%}", colour)]
        pictures.append((result.source.read(), captions))
    right = sum(result.label == truth for truth, result in results)
    measured = get_recipe(MODEL).measured
    assert measured is not None
    return sheet(
        pictures,
        title=f"{MODEL}: {right} of {len(results)} photos right",
        footer=f"Held-out photos, not chosen by hand. Of all test photos {measured.shipped:.1f} % are predicted right.",
    )
