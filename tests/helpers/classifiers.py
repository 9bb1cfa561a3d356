"""Small classifiers of every kind."""

from collections.abc import Mapping
from functools import cache

import torch
from torch import Tensor

from helpers import fill
from helpers.goldens import filled, official_names
from internimage.backbones.config import InternImageConfig
from internimage.models.classifier import ClassifierConfig

State = Mapping[str, Tensor]

SMALL = InternImageConfig(16, (1, 1, 2, 1), (1, 2, 4, 8), post_norm=True, layer_scale=1e-5, offset_scale=2.0)


SMALL_H = InternImageConfig(
    16, (1, 1, 2, 1), (1, 2, 4, 8), res_post_norm=True, center_feature_scale=True, post_norm_blocks=(1,)
)


# Recipes of every kind, at a size that tests can afford: (configuration, the recipe that they are made like).
CONFIGS = {
    "small": (ClassifierConfig(SMALL, 1000), "internimage_s_1k_224"),
    "small_22k": (ClassifierConfig(SMALL, 21_841), "internimage_l_22k_192to384"),
    "small_h": (ClassifierConfig(SMALL_H, 1000, "attention_pool"), "internimage_h_22kto1k_640"),
    "small_inat": (ClassifierConfig(SMALL_H, 12, "attention_pool", 1.5, 8), "internimage_h_22ktoinat18_384"),
}


IMAGES = fill.make_input((1, 3, 64, 64), 0)


@cache
def state_of(name: str) -> State:
    """Tensors by their official names."""
    model = filled(CONFIGS[name][0])
    names = official_names(model)
    return {names[ours]: tensor for ours, tensor in model.state_dict().items()}


def equal(found: State, expected: State) -> bool:
    return list(found) == list(expected) and all(torch.equal(found[name], expected[name]) for name in expected)
