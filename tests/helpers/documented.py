"""Small models under the names of released ones: what blocks of code in the documentation build, load and train."""

import dataclasses
from dataclasses import replace
from pathlib import Path
from typing import Any

import internimage as ii
from helpers import classifiers, detectors, driving, generalists, perceivers, pretraining, segmenters
from helpers.small_recipes import RELEASED
from internimage.checkpoints.hub import HubFile, PackagedModel
from internimage.images import FitPreprocessing
from internimage.recipes import Recipe

CONFIGS = {
    "image_classifier": classifiers.CONFIGS["small"][0],
    "mask_rcnn": detectors.SMALL_MASK,
    "cascade_rcnn": detectors.SMALL_CASCADE,
    "dino": detectors.SMALL_DINO,
    "mask_dino": detectors.SMALL_MASK_DINO,
    "bevformer": driving.SMALL,
    "bevformer_v2": driving.SMALL_MOMENTS,
    "occupancy": driving.SMALL_SPACE,
    "topology": driving.SMALL_LANES,
    "online_map": driving.SMALL_MAP,
    "uniperceiver": perceivers.SMALL,
    "uniperceiver_v2": generalists.SMALL,
    "m3i": pretraining.WHOLE,
    **{name.removeprefix("small_"): config for name, config in segmenters.CONFIGS.items()},
}


def stand_in(recipe: Recipe) -> Recipe:
    config: Any = replace(CONFIGS[recipe.architecture], num_classes=recipe.config.num_classes)
    square = recipe.task in ("classification", "describing", "pretraining")
    preprocessing = recipe.preprocessing if square else FitPreprocessing(64, 96)
    return replace(recipe, plain=dataclasses.asdict(config), preprocessing=preprocessing)


STAND_INS = {name: stand_in(one) for name, one in RELEASED.items() if not isinstance(one.weights, PackagedModel)}
_DRIVING = ("occupancy", "topology", "online_map", "boxes3d")
_WORDS = ("describing", "pretraining", "generalist")
(
    CLASSIFICATION,
    DETECTION,
    SEGMENTATION,
    OCCUPANCY,
    TOPOLOGY,
    ONLINE_MAP,
    BOXES3D,
    DESCRIBING,
    PRETRAINING,
    GENERALIST,
) = (
    tuple(one for one in STAND_INS.values() if one.task == task)
    for task in ("classification", "detection", "segmentation", *_DRIVING, *_WORDS)
)


class Hub:
    """Downloads that never leave the machine: weights of stand-ins, saved on first request."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def download(self, weights: HubFile) -> Path:
        name = next(name for name, one in STAND_INS.items() if one.weights == weights)
        if not (self.folder / name).exists():
            ii.save_model(ii.create_model(name), self.folder / name)
        return self.folder / name
