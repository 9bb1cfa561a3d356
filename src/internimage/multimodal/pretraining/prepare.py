"""A run that trains a backbone before any task: data, initial weights, what is learnt."""

from __future__ import annotations

from typing import Any

import torch

from internimage.checkpoints.folder import read_description
from internimage.contracts import Prepared
from internimage.data.splits import Splits
from internimage.errors import ConfigError, DataError
from internimage.images import Preprocessing
from internimage.multimodal.models.m3i import INTER, INTRA, LABELS, SPREAD, TEXTS
from internimage.multimodal.pretraining.dataset import ViewDataset
from internimage.multimodal.pretraining.pictures import Sights
from internimage.multimodal.pretraining.settings import ViewsAugmentation
from internimage.multimodal.pretraining.task import PretrainingTask
from internimage.recipes import Recipe
from internimage.settings.training import RunConfig
from internimage.text.clip import ClipTokenizer
from internimage.training.initial import SAVED_STATE, folder_of, initial_model


def prepare(config: RunConfig, recipe: Recipe, splits: Splits[Sights]) -> Prepared:
    """Everything that a backbone learns from."""
    augmentation, seed = config.augmentation, config.training.seed
    if not isinstance(augmentation, ViewsAugmentation):
        raise ConfigError(f"{config.model} learns from views; its augmentation is a {ViewsAugmentation.__name__}")
    if config.linear_probe:
        raise ConfigError("a linear probe is for classifiers; start one from this run with --init")
    if config.max_objects is not None:
        raise ConfigError("a greatest number of objects is for detectors; leave it out")
    asked, notes = _asked(splits.train, augmentation)
    torch.manual_seed(seed)
    model = initial_model(config, recipe, splits.train.classes if LABELS in asked else ())
    if TEXTS in asked:
        tokenizer = ClipTokenizer()
        texts = {text for one in splits.train.entries for text in one.texts}
        model.take_words({one for text in texts for one in tokenizer.encode(text)})
    if not _goes_on(config, recipe):
        model.start_average()
    model.freeze(config.freeze)
    preprocessing = model.description.preprocessing
    assert isinstance(preprocessing, Preprocessing)
    _check_sizes(config, len(splits.train), preprocessing.side, model)
    train = ViewDataset(
        splits.train,
        preprocessing,
        augmentation,
        model.cell,
        model.config.vocabulary if TEXTS in asked else (),
        model.config.longest,
        seed,
        config.on_corrupt,
    )
    return Prepared(PretrainingTask(asked, splits.val, augmentation), model, train, splits.val, splits, notes)


def _asked(train: Sights, augmentation: ViewsAugmentation) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """What is learnt, and what to say of it.

    Raises:
        DataError: nothing is.
    """
    labelled, described, count = train.labelled, train.described, len(train)
    there = {LABELS: labelled if len(train.classes) > 1 else 0, TEXTS: described, INTRA: count, INTER: count}
    asked = [name for name, number in there.items() if number and getattr(augmentation, name)]
    if not asked:
        wanted = " and ".join(name for name in there if getattr(augmentation, name))
        raise DataError(f"{train.name} has no {wanted} to learn from; give intra or inter a weight")
    notes = [f"learns {', '.join(_counted(name, there[name], count) for name in asked)}"]
    lacking = [name for name in (LABELS, TEXTS) if getattr(augmentation, name) and not there[name]]
    if lacking:
        why = f" ({len(train.classes)} class)" if LABELS in lacking and labelled else ""
        notes.append(f"the data has no {' and no '.join(lacking)}{why}: dropped from what is learnt")
    if augmentation.spread and {INTRA, INTER} & set(asked):
        asked.append(SPREAD)
    return tuple(asked), tuple(notes)


def _counted(name: str, number: int, count: int) -> str:
    return name if number == count else f"{name} (of {number} of {count} pictures, dropped for the others)"


def _goes_on(config: RunConfig, recipe: Recipe) -> bool:
    """Whether the weights that a run begins with have a moving average."""
    if config.init == SAVED_STATE:
        return True
    folder = folder_of(config.init)
    return folder is not None and read_description(folder).architecture == recipe.architecture


def _check_sizes(config: RunConfig, count: int, side: int, model: Any) -> None:
    if side % model.cell or side < 2 * model.cell:
        raise ConfigError(
            f"views are of {side} pixels; expected a multiple of {model.cell}, {2 * model.cell} or more: pictures are "
            "mixed in cells of that size (--size)"
        )
    if min(config.training.batch_size, count) < model.smallest_batch:
        raise ConfigError(
            f"a batch of {min(config.training.batch_size, count)} picture has nothing to be mixed with; expected "
            f"{model.smallest_batch} or more"
        )
