"""What a run begins with: settings, images, model; kept in its folder, and read again when it goes on."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from internimage.checkpoints.folder import description_in, write_description
from internimage.contracts import Prepared, TaskSpec, task_spec
from internimage.data.left_out import refuse_much
from internimage.data.splits import SET_ASIDE, Follow, Splits, identity, make_splits, unseen
from internimage.description import ModelDescription
from internimage.errors import ConfigError, TrainingError
from internimage.factory import recipe_of
from internimage.inference.evaluation import refuse_moments
from internimage.recipes import Recipe
from internimage.settings.data import SplitOptions
from internimage.settings.plain import from_plain
from internimage.settings.training import RunConfig
from internimage.training.processes import from_main
from internimage.training.reporting import Reporter
from internimage.training.state import newest_checkpoint
from internimage.writing import json_text, write_text

if TYPE_CHECKING:
    from accelerate import Accelerator

RUN_FILE = "run.json"
DATA_FILE = "data.json"
# The model's description, as in model.json; under that name the run would be a model's folder.
START_FILE = "start.json"
WEIGHTS_CLASSES = "classes of the initial weights"  # with which those of the data went together by name


def write_run(folder: Path, config: RunConfig) -> None:
    """Keep the settings of a run."""
    write_text(folder / RUN_FILE, json_text(dataclasses.asdict(config), indent=2) + "\n")


def read_run(folder: Path) -> RunConfig:
    """What the run in ``folder`` was asked to do.

    Raises:
        TrainingError: it is no run, or its file is damaged.
    """
    path = folder / RUN_FILE
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        config = from_plain(RunConfig, {"split_rule": 1, **content} if isinstance(content, dict) else content)
        kind = task_spec(run_recipe(folder, config).task).augmentation
        return replace(config, augmentation=from_plain(kind, config.augmentation))
    except FileNotFoundError:
        raise TrainingError(f"{folder} holds no {RUN_FILE}; it is not the folder of a run") from None
    except (ValueError, ConfigError) as error:
        raise TrainingError(f"{path} is damaged: {error}") from error


def write_beginning(folder: Path, prepared: Prepared, data: Path, classes: Sequence[str] | None) -> None:
    """Keep which images a run has, relative to its data, the classes of its initial weights, and what its model is."""
    content = {**identity(prepared.splits, data), WEIGHTS_CLASSES: classes}
    write_text(folder / DATA_FILE, json_text(content, indent=2) + "\n")
    model = prepared.model
    write_description(folder / START_FILE, replace(model.description, config=dataclasses.asdict(model.config)))


def known_data(folder: Path) -> dict[str, Any]:
    """What is known of a run's images, see :func:`internimage.data.splits.identity`; nothing in old versions."""
    file = folder / DATA_FILE
    content: dict[str, Any] = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    return content


def begun_with(folder: Path) -> ModelDescription | None:
    """The model of a run whose weights are in its saved state; None before there is one, and in old versions."""
    if newest_checkpoint(folder) is None or not (folder / START_FILE).is_file():
        return None
    return description_in(folder / START_FILE)


def run_recipe(folder: Path, config: RunConfig) -> Recipe:
    """The recipe of a run's model: as it began, where its weights are in a saved state, or as it is named."""
    began = begun_with(folder)
    return recipe_of(config.model if began is None else dataclasses.asdict(began))


def read_splits(
    config: RunConfig,
    spec: TaskSpec,
    known: tuple[str, ...] | None,
    chosen: Sequence[str] | None = None,
    follow: Follow = unseen,
) -> Splits[Any]:
    """The parts of a run's data, with one list of classes.

    Args:
        config: of the run.
        spec: of its task.
        known: classes of the weights to start from.
        chosen: names of the images that were set aside before.
        follow: shows the progress of setting images aside.

    Raises:
        DataError: they cannot be read, or more is left out of them than was asked for.
    """
    root = Path(config.data)
    refuse_moments(spec, root)
    parts = spec.read_parts(root, None, config.reading)
    names = None if chosen is None else tuple(chosen)
    split = SplitOptions(config.val_fraction, config.training.seed, config.split_rule, names)
    splits = make_splits(parts, root, split, config.reading, known, follow)
    for part in (splits.train, splits.val):
        refuse_much(part.name, part.left_out, config.reading.allow_left_out)
    return splits


def splits_of_all(
    config: RunConfig, spec: TaskSpec, known: tuple[str, ...] | None, accelerator: Accelerator, reporter: Reporter
) -> Splits[Any]:
    """:func:`read_splits` by several processes, of which the main one sets images aside and tells the others which."""
    read: list[Splits[Any]] = []

    def on_main() -> tuple[str, ...] | None:
        read.append(read_splits(config, spec, known, None, reporter.follow))
        return identity(read[0], Path(config.data)).get(SET_ASIDE)

    chosen = from_main(accelerator, on_main)
    return read[0] if read else read_splits(config, spec, known, chosen)
