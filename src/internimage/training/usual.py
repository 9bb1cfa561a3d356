"""Defaults of a run: its task, its model, and settings that suit model and data."""

from __future__ import annotations

import dataclasses
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from internimage.checkpoints.folder import read_description
from internimage.contracts import Amount, TaskSpec, task_spec
from internimage.errors import ConfigError
from internimage.factory import own_recipe, recipe_of
from internimage.inference.evaluation import recognise
from internimage.recipes import Recipe, TrainingRecipe, get_recipe, get_training_recipe
from internimage.registry import ARCHITECTURES, TASKS
from internimage.settings.training import TrainingConfig
from internimage.training.initial import folder_of


@dataclass(frozen=True)
class Choice:
    """What is trained.

    Attributes:
        spec: the task.
        recipe: the model.
        published: how it was trained by its authors, if it is to be trained so.
    """

    spec: TaskSpec
    recipe: Recipe
    published: TrainingRecipe | None = None

    @property
    def init(self) -> str:
        """Weights to start from where nobody names any."""
        return self.published.init if self.published else "scratch"

    @property
    def plain(self) -> str | dict[str, Any]:
        """The model as a run's file has it: a name or folder, or a description as plain data."""
        if self.recipe.name:
            return self.recipe.name
        recipe = self.recipe
        return {
            "architecture": recipe.architecture,
            "config": dict(recipe.plain),
            "preprocessing": dataclasses.asdict(recipe.preprocessing),
        }


def choose(
    data: Path | None, model: str | os.PathLike[str] | Any | None, recipe: str | None, init: str | None = None
) -> Choice:
    """The model that is named, by itself, by a published training or by the weights, or the usual one for the data.

    Args:
        data: where images lie; None if nobody said.
        model: a name, a model folder, a configuration, or None.
        recipe: name of a published training, or None; its own model is trained so where no other of its task is named.
        init: weights to start from; a model folder of the data's task is the model too, where no other is named.

    Raises:
        UnknownModelError: no model, or no published training, is called so.
        ConfigError: the model is of another task than the published training.
    """
    if recipe is not None:
        published, own = get_training_recipe(recipe), get_recipe(recipe)
        found = own if model is None else _named(model)
        if found.task != own.task:
            nouns = [task_spec(one.task).model_noun for one in (own, found)]
            raise ConfigError(f"{recipe} is trained as a {nouns[0]}, the model is a {nouns[1]}; name one of its task")
        return Choice(task_spec(found.task), found, published)
    if model is None:
        spec = task_spec(next(iter(TASKS))) if data is None else recognise(data)
        if init is not None and _task_of_folder(init) == spec.name:
            return Choice(spec, recipe_of(folder_of(init) or init))
        return Choice(spec, get_recipe(spec.default_model))
    found = _named(model)
    return Choice(task_spec(found.task), found)


def usual_settings(choice: Choice, data: Path | None, init: str, size: int | None) -> tuple[TrainingConfig, Any]:
    """Training settings and augmentation: the published ones, or those that suit the amount of data.

    Args:
        choice: see :func:`choose`.
        data: where images lie; None for defaults that know of no data.
        init: weights to start from, or "scratch".
        size: side of the images in pixels; None for the model's own.
    """
    if choice.published is not None:
        augmentation = choice.published.augmentation
        if size is not None:
            augmentation = choice.spec.resized(augmentation, size)
        return choice.published.training, augmentation
    if data is None:
        return TrainingConfig(), choice.spec.augmentation()
    preprocessing = choice.recipe.preprocessing
    folder = folder_of(init)
    if folder is not None and _task_of_folder(init) == choice.spec.name:
        preprocessing = read_description(folder).preprocessing or preprocessing
    images = choice.spec.estimate(data)
    return choice.spec.defaults(Amount(images, init, size or preprocessing.side, choice.recipe.architecture))


def _named(model: str | os.PathLike[str] | Any) -> Recipe:
    return recipe_of(model) if isinstance(model, str | os.PathLike) else own_recipe(model)


def _task_of_folder(init: str) -> str | None:
    """The task of the model folder that weights may be; None if they are no whole model in a folder."""
    folder = folder_of(init)
    entry = None if folder is None else ARCHITECTURES.get(read_description(folder).architecture)
    return entry.task if entry is not None else None
