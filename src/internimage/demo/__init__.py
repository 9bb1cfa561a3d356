"""The demonstration: the packaged models on pictures that they have never seen, offline."""

from __future__ import annotations

from collections import Counter
from importlib.resources import files
from pathlib import Path

import numpy as np
from PIL import Image

from internimage.data.formats.class_folders import read_image_folder
from internimage.data.formats.coco import read_coco
from internimage.data.objects import ObjectImages, bitmap
from internimage.drawing.canvas import BAD, GOOD, INK, MUTED, PAPER
from internimage.drawing.charts import contact_sheet
from internimage.inference.predictor import Predictor
from internimage.recipes import get_recipe
from internimage.results.classification import Classification
from internimage.results.detections import Detections
from internimage.results.segmentation import Segmentation

MODEL = "internimage_atto_clothing_128"
DETECTORS = {"bccd": "faster_rcnn_internimage_atto_bccd_320", "nuclei": "mask_rcnn_internimage_atto_nuclei_320"}
SEGMENTER, SEGMENTED = "segformer_internimage_zepto_nuclei_384", "nuclei"
SCORE = 0.5


def predict_photos() -> list[tuple[str, Classification]]:
    """True class and prediction of each of the package's photos, which come from the test part of the data."""
    data = read_image_folder(Path(str(files(__name__).joinpath("photos"))))
    results = Predictor(MODEL)([sample.file for sample in data.samples])
    return [(data.classes[sample.label], result) for sample, result in zip(data.samples, results, strict=True)]


def predict_cells(name: str) -> list[tuple[Counter[str], Detections]]:
    """How many objects of each class are labelled, and those found, in each of the package's pictures of ``name``."""
    data = _cells(name)
    results = Predictor(DETECTORS[name])([image.file for image in data.images])
    labelled = [Counter(data.classes[one.label] for one in image.objects) for image in data.images]
    return [(counts, result.filter(SCORE)) for counts, result in zip(labelled, results, strict=True)]


def predict_masks() -> list[tuple[float, Segmentation]]:
    """Share of nuclei as labelled, and the classes of pixels, in each of the package's pictures of them."""
    data = _cells(SEGMENTED)
    results = Predictor(SEGMENTER)([image.file for image in data.images])
    shares = []
    for image in data.images:
        covered = np.zeros(image.size, bool)
        for one in image.objects:
            covered |= bitmap(one, image.size)
        shares.append(float(covered.mean()))
    return list(zip(shares, results, strict=True))


def _cells(name: str) -> ObjectImages:
    folder = Path(str(files(__name__).joinpath("cells", name)))
    return read_coco(folder / "annotations.json", folder / "images")


def covered_share(result: Segmentation) -> float:
    """The share of a picture that is anything but background."""
    return 1.0 - float(result.mask("background").mean())


def found_classes(result: Detections) -> Counter[str]:
    """How many objects of each class were found."""
    return Counter(result.name(index) for index in range(len(result)))


def prediction_sheet(results: list[tuple[str, Classification]]) -> Image.Image:
    """A contact sheet of photos, truth and prediction; mistakes are red."""
    pictures = []
    for truth, result in results:
        colour = GOOD if result.label == truth else BAD
        captions = [(f"is: {truth}", INK), (f"says: {result.label} {result.score:.0%}", colour)]
        pictures.append((result.source.show(), captions))
    right = sum(result.label == truth for truth, result in results)
    measured = get_recipe(MODEL).measured
    assert measured is not None
    return contact_sheet(
        pictures,
        title=f"{MODEL}: {right} of {len(results)} photos right",
        footer=f"Held-out photos, not chosen by hand. Of all test photos {measured.shipped:.1f} % are predicted right.",
    )


def cell_sheet(name: str, results: list[tuple[Counter[str], Detections]]) -> Image.Image:
    """Pictures with the objects found; below each how many were labelled and found of every class."""
    pictures = []
    for labelled, result in results:
        found = found_classes(result)
        classes = sorted(labelled | found)
        captions = [(f"{label}: {found[label]} found, {labelled[label]} labelled", INK) for label in classes]
        pictures.append((result.draw(SCORE), captions or [("nothing labelled, nothing found", MUTED)]))
    measured = get_recipe(DETECTORS[name]).measured
    assert measured is not None
    return contact_sheet(
        pictures,
        title=DETECTORS[name],
        footer=f"Held-out pictures, not chosen by hand. {measured.shipped:.1f} {measured.metric}.",
        columns=4,
        cell=292,
    )


def mask_sheet(results: list[tuple[float, Segmentation]]) -> Image.Image:
    """Pictures with the class of every pixel; below each what share nuclei cover, as said and as labelled."""
    pictures = [
        (result.draw(legend=False), [(f"nuclei cover {covered_share(result):.1%}, labelled {labelled:.1%}", INK)])
        for labelled, result in results
    ]
    measured = get_recipe(SEGMENTER).measured
    assert measured is not None
    return contact_sheet(
        pictures,
        title=SEGMENTER,
        footer=f"Held-out pictures, not chosen by hand. {measured.shipped:.1f} {measured.metric}.",
        columns=4,
        cell=292,
    )


def stack(pictures: list[Image.Image]) -> Image.Image:
    """Sheets below each other."""
    whole = Image.new("RGB", (max(p.width for p in pictures), sum(p.height for p in pictures)), PAPER)
    top = 0
    for picture in pictures:
        whole.paste(picture, (0, top))
        top += picture.height
    return whole
