"""The list of its models."""

from internimage.backbones.config import InternImageConfig
from internimage.images import Preprocessing
from internimage.recipes import Recipe

RECIPES = (
    Recipe(
        name="counter_internimage_mini",
        task="counting",
        architecture="counter",
        plain={"backbone": InternImageConfig(channels=8, depths=(1, 1, 1, 1), groups=(1, 2, 4, 8), linear_std=None)},
        preprocessing=Preprocessing(32, 32),
    ),
)
