"""Recipes: a name and everything that belongs to it.  Pure data, without torch."""

from __future__ import annotations

import difflib
import fnmatch
from functools import cache
from pathlib import Path

from internimage.checkpoints.hub import PackagedModel
from internimage.errors import UnknownModelError
from internimage.recipes.recipe import MeasuredScore, PublishedScore, Recipe, TrainingRecipe
from internimage.registry import TASKS, TaskEntry, resolve

__all__ = [
    "MeasuredScore",
    "PublishedScore",
    "Recipe",
    "TrainingRecipe",
    "get_recipe",
    "get_training_recipe",
    "list_models",
    "packaged_models",
]


@cache
def _read(entries: tuple[TaskEntry, ...]) -> dict[str, Recipe]:
    return {recipe.name: recipe for entry in entries for place in entry.recipes for recipe in resolve(place)}


def _recipes() -> dict[str, Recipe]:
    """All recipes by name, task by task."""
    return _read(tuple(TASKS.values()))


def list_models(pattern: str = "*") -> list[str]:
    """Names of the models that match a shell pattern such as ``"*_1k_*"``, task by task."""
    return [name for name in _recipes() if fnmatch.fnmatchcase(name, pattern)]


def packaged_models(task: str) -> list[str]:
    """Names of the models of a task whose weights are part of this package."""
    return [one.name for one in _recipes().values() if one.task == task and isinstance(one.weights, PackagedModel)]


def get_recipe(name: str) -> Recipe:
    """The recipe of this name; :class:`UnknownModelError` suggests the nearest names."""
    known = _recipes()
    if name in known:
        return known[name]
    hub = [recipe.name for recipe in known.values() if recipe.hub_name in (name, f"OpenGVLab/{name}")]
    longer = [other for other in known if other.startswith(name)] if name else []
    close = hub or longer[:3] or difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(close)}?" if close else "see `internimage models`"
    there = Path(name).expanduser().is_dir()
    folder = "that folder holds none (no model.json, no best/model.json)" if there else "there is no such folder"
    raise UnknownModelError(f"no model is called {name!r}, and {folder}; {hint}")


def get_training_recipe(name: str) -> TrainingRecipe:
    """How the model of this name was trained.

    Raises:
        UnknownModelError: there is no such model, or its training was not published.
    """
    recipe = _recipes().get(name)
    if recipe is None or recipe.training is None:
        trained = ", ".join(one.name for one in _recipes().values() if one.training is not None)
        raise UnknownModelError(f"no training recipe was released for {name!r}; there are {trained}")
    return recipe.training
