"""Recipes: a name and everything that belongs to it.  Pure data."""

from __future__ import annotations

import difflib
import fnmatch

from internimage.errors import UnknownModelError
from internimage.recipes import classification, detection, segmentation
from internimage.recipes.recipe import MeasuredScore, PublishedScore, Recipe

__all__ = ["MeasuredScore", "PublishedScore", "Recipe", "get_recipe", "list_models"]

_RECIPES: dict[str, Recipe] = {
    recipe.name: recipe for recipe in (*classification.RECIPES, *detection.RECIPES, *segmentation.RECIPES)
}


def list_models(pattern: str = "*") -> list[str]:
    """Names of the models that match a shell pattern such as ``"*_1k_*"``, task by task."""
    return [name for name in _RECIPES if fnmatch.fnmatchcase(name, pattern)]


def get_recipe(name: str) -> Recipe:
    """The recipe of this name; :class:`UnknownModelError` suggests the nearest names."""
    if name in _RECIPES:
        return _RECIPES[name]
    hub = [recipe.name for recipe in _RECIPES.values() if recipe.hub_name in (name, f"OpenGVLab/{name}")]
    longer = [known for known in _RECIPES if known.startswith(name)] if name else []
    close = hub or longer[:3] or difflib.get_close_matches(name, _RECIPES, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(close)}?" if close else "see `internimage models`"
    raise UnknownModelError(f"no model is called {name!r}; {hint}")
