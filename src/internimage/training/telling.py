"""What a person is told before a run starts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from internimage.data.checking import pages_notes, pixel_notes
from internimage.data.splits import describe, left_out_lines
from internimage.factory import recipe_of
from internimage.models.model import Model
from internimage.recipes import get_recipe, list_models, packaged_models
from internimage.settings.training import FEW, RunConfig, TrainingConfig, too_high
from internimage.training.initial import what_is_taken
from internimage.writing import counted

if TYPE_CHECKING:
    from internimage.training.run import Started


def tell(started: Started, usual: TrainingConfig | None) -> None:
    """Say what was understood and what will be trained, and warn of a learning rate far above the ``usual`` one."""
    trainer, splits, reporter = started.trainer, started.prepared.splits, started.trainer.reporter
    if not trainer.accelerator.is_main_process:
        return
    config, processes = trainer.config, trainer.accelerator.num_processes
    parts = {"train": splits.train, "val": splits.val}
    for line in (*describe(started.noun, parts), *splits.notes, *left_out_lines(parts)):
        reporter.note(line)
    length = f"{trainer.epochs} epochs of {trainer.schedule.updates_per_epoch} updates"
    if config.updates:
        length = f"{trainer.schedule.updates} updates, {trainer.schedule.updates_per_epoch} an epoch"
    sizes = f"{len(splits.train)} training, {len(splits.val)} validation images"
    classes = len(splits.train.classes)  # none where names of classes are words
    reporter.note("; ".join([*([f"{classes} classes"] if classes else []), sizes, length]))
    for note in (*([trainer.order.told] if trainer.order.told else []), *started.prepared.notes):
        reporter.note(note)
    description: Any = trainer.model.description
    preprocessing = description.preprocessing
    for note in (*pages_notes(splits, preprocessing), *pixel_notes(splits.train.files, preprocessing)):
        reporter.note(note)
    for note in _about_the_model(started):
        reporter.note(note)
    reporter.note(learning_rate(config, processes))
    warning = too_high(config, usual, processes) if usual is not None else None
    if warning:
        reporter.warn(f"{warning}; training may diverge")
    if trainer.change and trainer.change.told:
        reporter.note(trainer.change.told)
    reporter.note(f"run: {started.folder}")


def learning_rate(config: TrainingConfig, processes: int) -> str:
    """``learning rate 0.000125 = 0.0005 x 128 / 512; 128 images an update (128 x 1 x 1 processes)``."""
    images, text = config.images_an_update(processes), f"learning rate {config.peak_lr(processes):.3g}"
    if config.lr_batch_size:
        text += f" = {config.lr:g} x {images} / {config.lr_batch_size}"
    return f"{text}; {images} images an update ({config.batch_size} x {config.accumulate} x {processes} processes)"


def _about_the_model(started: Started) -> list[str]:
    """Which model of which size, where it runs, and where its weights come from."""
    config, trainer = started.config, started.trainer
    name = config.model if isinstance(config.model, str) else f"a {config.model['architecture']} of your own"
    description: Any = trainer.model.description
    device = trainer.accelerator.device
    threads = counted(torch.get_num_threads(), "thread")
    place = f"cpu, {threads}" if device.type == "cpu" else torch.cuda.get_device_name(device)
    size = f"{trainer.parameters / 1e6:.1f} M parameters, pictures of {description.preprocessing.side} pixels"
    lines = [f"{name}: {size}, on {place}"]
    if started.resumed:
        return lines
    lines.append(f"weights: {_weights(config, trainer.model)}")
    if config.init == "scratch" and len(started.prepared.splits.train) < FEW:
        lines += _better_start(recipe_of(config.model).task)
    return lines


def _weights(config: RunConfig, model: Model) -> str:
    if config.init == "scratch":
        return "random, from scratch"
    if config.init == "pretrained":
        return f"those released for {config.model}"
    taken = what_is_taken(config.init, model)
    return f"{config.init}{f': {taken}' * bool(taken)}"


def _better_start(task: str) -> list[str]:
    """Weights that few pictures are better trained from: packaged ones, without a network, and released ones."""
    recipes = [get_recipe(name) for name in list_models() if get_recipe(name).task == task]
    packaged = packaged_models(task)
    released = [recipe.name for recipe in recipes if recipe.weights and recipe.name not in packaged]
    near = f"--model {packaged[0]} --init pretrained (in this package)" if packaged else ""
    far = f"--model {released[0]} --init pretrained (downloaded once)" if released else ""
    named = " or ".join(one for one in (near, far) if one)
    return [f"few pictures are learnt better from trained weights: {named}"] if named else []
