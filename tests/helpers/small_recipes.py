"""Recipes at a size that tests can afford, each made like a released one."""

import dataclasses
from typing import Any

from helpers import classifiers, detectors, driving, generalists, perceivers, pretraining, segmenters
from internimage.driving.recipes import boxes3d, occupancy, online_map, topology
from internimage.images import FitPreprocessing, Preprocessing
from internimage.models.classifier import ClassifierConfig
from internimage.multimodal import recipes as describing
from internimage.recipes import Recipe, classification, detection, segmentation

LISTS = (classification, detection, segmentation, occupancy, online_map, topology, boxes3d, describing)
RELEASED = {one.name: one for recipes in LISTS for one in recipes.RECIPES}
RELEASED |= {one.name: one for one in (*describing.PRETRAINING, *describing.GENERALISTS)}


def small(name: str, config: Any, like: str, **changes: Any) -> Recipe:
    return dataclasses.replace(RELEASED[like], name=name, plain=dataclasses.asdict(config), training=None, **changes)


CLASSIFICATION = (
    *(small(name, config, like) for name, (config, like) in classifiers.CONFIGS.items()),
    small("small_plain", ClassifierConfig(detectors.SMALL, 1000), "internimage_atto"),  # with the detectors' backbone
)

# classes are COCO's first; of one there are all
COCO = dataclasses.replace(detectors.SMALL_MASK, num_classes=80)
DETECTION = (
    *(
        small(name, config, like, labels=None, preprocessing=FitPreprocessing(96, 160))
        for name, (config, like) in detectors.CONFIGS.items()
    ),
    small("small_coco", COCO, detectors.CONFIGS["small_mask"][1], preprocessing=FitPreprocessing(96, 160)),
)

SEGMENTATION = tuple(
    small(
        name,
        config,
        "upernet_internimage_atto",
        architecture=name.removeprefix("small_"),
        preprocessing=FitPreprocessing(64, 256),
    )
    for name, config in segmenters.CONFIGS.items()
)

OCCUPANCY = (
    small(
        "small_occupancy",
        driving.SMALL_SPACE,
        "occupancy_internimage_atto",
        preprocessing=FitPreprocessing(36, 64),
    ),
)

ONLINE_MAP = (
    small("small_map", driving.SMALL_MAP, "online_map_internimage_atto", preprocessing=FitPreprocessing(36, 64)),
)

TOPOLOGY = (
    small("small_topology", driving.SMALL_LANES, "topology_internimage_atto", preprocessing=FitPreprocessing(48, 64)),
)

BOXES3D = (
    small(
        "small_bevformer",
        driving.SMALL,
        "bevformer_internimage_atto",
        preprocessing=FitPreprocessing(36, 64),
    ),
    small(
        "small_moments", driving.SMALL_MOMENTS, "bevformer_v2_internimage_atto", preprocessing=FitPreprocessing(36, 64)
    ),
)

DESCRIBING = (
    small("small_perceiver", perceivers.SMALL, "uniperceiver_internimage_atto", preprocessing=Preprocessing(32, 32)),
)

GENERALIST = (
    small(
        "small_generalist",
        generalists.SMALL,
        "uniperceiver_v2_internimage_atto",
        preprocessing=FitPreprocessing(64, 64),
    ),
)

PRETRAINING = (
    small("small_m3i", pretraining.WHOLE, "m3i_internimage_atto", preprocessing=Preprocessing(64, 64)),
)  # with the detectors' backbone
