"""Fitting the tensors of a file to a model: strict, with one message that says all that does not fit."""

from __future__ import annotations

import re
import warnings
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from internimage.checkpoints.files import NamedClasses, TensorFile, TensorSpec, batches, open_checkpoint
from internimage.checkpoints.layouts import layout_of, names_of, second_copies, to_ours
from internimage.errors import CheckpointMismatchError
from internimage.layers.finite import is_finite
from internimage.registry import ARCHITECTURES, architecture_of

_LISTED = 6
_FIRST = "stem.conv1.weight"


@dataclass(frozen=True)
class ClassTensors:
    """Which tensors of an architecture depend on the classes, as :class:`internimage.models.model.Model` declares it.

    Attributes:
        patterns: see ``Model.class_tensors``.
        background: see ``Model.background``.
        parts: see ``Model.classifier_parts``.
        interleaved: see ``Model.interleaved``.
    """

    patterns: tuple[str, ...]
    background: int = 0
    parts: tuple[str, ...] = ()
    interleaved: tuple[str, ...] = ()

    @classmethod
    def of(cls, model: Any) -> ClassTensors:
        """As a module, or its class, declares them."""
        return cls(model.class_tensors, model.background, model.classifier_parts, model.interleaved)

    def useless(self, name: str) -> bool:
        """Whether a tensor is of no use with other classes or without a classifier."""
        return any(_matches(pattern, name) for pattern in (*self.patterns, *self.parts))

    def include(self, name: str) -> bool:
        """Whether one of our names stands for such a tensor."""
        return any(_matches(pattern, name) for pattern in self.patterns)

    @torch.no_grad()
    def carry(
        self, before: Mapping[str, Tensor], model: nn.Module, names: Sequence[str], classes: Sequence[str]
    ) -> int:
        """Give a model that starts anew with other classes what was known of those of the same name; how many.

        Names go together whatever their case.

        Args:
            before: the parameters that the model had for ``names``.
            model: with new ones for ``classes``, which change in place.
            names, classes: the earlier classes and those of now.
        """
        place = {name.strip().casefold(): number for number, name in reversed(list(enumerate(names)))}
        pairs = [(place.get(name.strip().casefold()), number) for number, name in enumerate(classes)]
        known = [(old, new) for old, new in pairs if old is not None]
        for name, tensor in model.named_parameters():
            former = before.get(name)
            if former is None or former is tensor or not self.include(name):
                continue
            each = 1 if len(former) == len(names) + self.background else len(former) // len(names)
            if any(_matches(pattern, name) for pattern in self.interleaved):
                rows, earlier = tensor.unflatten(0, (each, -1)), former.unflatten(0, (each, -1))
                for old, new in known:
                    rows[:, new] = earlier[:, old]
                continue
            for old, new in known:
                tensor[each * new : each * (new + 1)] = former[each * old : each * (old + 1)]
            tail = len(former) - each * len(names)
            tensor[len(tensor) - tail :] = former[len(former) - tail :]  # the background
        return len(known)

    def count(self, file: TensorFile, mapping: Mapping[str, str]) -> int:
        """Classes that a file tells apart, background aside; 0 if it has no classifier."""
        first = self.patterns[0].removesuffix("*") + "weight" if self.patterns else ""
        for theirs, ours in mapping.items():
            if _matches(first, ours):
                return file.specs[theirs].shape[0] - self.background
        return 0


@cache
def _expression(pattern: str) -> re.Pattern[str]:
    return re.compile(re.escape(pattern).replace(r"\#", r"\d+").replace(r"\*", ".+"))


def _matches(pattern: str, name: str) -> bool:
    return _expression(pattern).fullmatch(name) is not None


def model_specs(model: nn.Module) -> dict[str, TensorSpec]:
    """Names, shapes and dtypes of a model's parameters and buffers; the model may be on the meta device."""
    return {name: TensorSpec(tuple(t.shape), t.dtype) for name, t in model.state_dict().items()}


class _InMemory:
    """Tensors as a file of them."""

    def __init__(self, path: Path, tensors: Mapping[str, Tensor], classes: NamedClasses | None) -> None:
        self.path, self.classes, self._tensors = path, classes, tensors
        self.specs = {name: TensorSpec(tuple(tensor.shape), tensor.dtype) for name, tensor in tensors.items()}

    def read(self, names: Iterable[str]) -> Iterator[tuple[str, Tensor]]:
        yield from ((name, self._tensors[name]) for name in names)


def open_for(path: str | Path, config: Any) -> TensorFile:
    """A file or model folder with tensors for such a model, in one of its layouts; see :func:`open_checkpoint`."""
    return as_released(open_checkpoint(path), config)


def as_released(file: TensorFile, config: Any) -> TensorFile:
    """The file; one that training wrote with other tensors than released ones have is read whole, and has theirs."""
    has_others = ARCHITECTURES[architecture_of(type(config))].names is not None
    as_trained = names_of(config).as_trained if has_others else None
    if as_trained is None or not any(name.startswith(as_trained[0]) for name in file.specs):
        return file
    tensors = {name: tensor.clone() for name, tensor in file.read(file.specs)}
    return _InMemory(file.path, as_trained[1](tensors), file.classes)


def names_in(file: TensorFile, config: Any) -> dict[str, str]:
    """Our name of every tensor of ``file`` that is part of such a model."""
    return to_ours(file.specs, layout_of(file.specs), config)


def channels_in(file: TensorFile, mapping: Mapping[str, str]) -> int | None:
    """Channels of the images that a file's model takes; None where it does not say."""
    shapes = [file.specs[theirs].shape for theirs, ours in mapping.items() if ours.endswith(_FIRST)]
    return shapes[0][1] if shapes else None


def match(
    file: TensorFile,
    mapping: Mapping[str, str],
    expected: Mapping[str, TensorSpec],
    *,
    unused: Collection[str] = (),
    absent: Collection[str] = (),
    classes: ClassTensors | None = None,
) -> dict[str, str]:
    """Select the tensors of ``file`` that fill a model.

    Args:
        file: the checkpoint.
        mapping: its names to ours.
        expected: what the model holds, by our names.
        unused: names (ours) that the file may hold in vain: a head, for a model without it.
        absent: names (ours) that the file need not hold: a classifier that starts anew.
        classes: which tensors depend on the classes, for the message.

    Returns:
        Name in the file -> our name, in the model's order.

    Raises:
        CheckpointMismatchError: a tensor is missing, left over or of another shape.
    """
    found = {ours: theirs for theirs, ours in mapping.items()}
    missing = [name for name in expected if name not in found and name not in absent]
    copies = second_copies(file.specs)
    leftover = [name for name in file.specs if name not in mapping and name not in copies]
    leftover += [theirs for ours, theirs in found.items() if ours not in expected and ours not in unused]
    selected = {found[name]: name for name in expected if name in found and name not in absent}
    reshaped = [
        f"{theirs} is {file.specs[theirs].shape}, the model has {expected[ours].shape}"
        for theirs, ours in selected.items()
        if file.specs[theirs].shape != expected[ours].shape
    ]
    problems = [
        f"{len(names)} {what}: {', '.join(names[:_LISTED])}{', ...' if len(names) > _LISTED else ''}"
        for what, names in (
            ("tensors of the model are missing from the file", missing),
            ("tensors of the file are not part of the model", leftover),
            ("tensors have another shape", reshaped),
        )
        if names
    ]
    if problems:
        hint = _hint(file.specs, expected, missing, selected)
        found_classes = classes.count(file, mapping) if classes else 0
        if classes and found_classes and not missing and not leftover:
            only_head = all(classes.include(mapping[text.split(" is ")[0]]) for text in reshaped)
            hint = f"the file has {found_classes} classes: pass num_classes={found_classes}" if only_head else hint
        if len(reshaped) == 1 and mapping[reshaped[0].split(" is ")[0]].endswith(_FIRST):
            hint = f"pass in_channels={channels_in(file, mapping)}"
        raise CheckpointMismatchError(f"{file.path} does not fit the model: {'; '.join(problems)}; {hint}")
    return selected


def _hint(names: Iterable[str], expected: Iterable[str], missing: Collection[str], selected: Collection[str]) -> str:
    """What else the file may be."""
    given, wanted = (any(".dcn.offset_mask." in name for name in group) for group in (names, expected))
    if given != wanted and any(".dcn.output_proj." in name for name in names):
        kinds = ("InternImage (DCNv3)", "FlashInternImage (DCNv4)")
        return f"the file's backbone is {kinds[given]}, the model's {kinds[wanted]}: give the name that belongs to it"
    if not selected:
        larger = any(name.startswith("backbone.") for name in names)
        kind = "detector's or segmenter's" if larger else "classifier's or backbone's"
        return f"the names are those of a {kind} file: give the name of that model"
    if missing and all(name.startswith("mask_head.") for name in missing):
        return "the file is of a detector that finds boxes alone: give its model folder, not a name (--model FOLDER)"
    return "check that the name belongs to the file"


def assign(
    model: nn.Module,
    file: TensorFile,
    selected: Mapping[str, str],
    device: torch.device,
    dtype: torch.dtype,
) -> None:
    """Move the selected tensors into a model on the meta device, batch by batch.

    Floating tensors become ``dtype``, others keep theirs; weights of convolutions become channels last.  At no time is
    more than the model and one batch resident.  Tensors that are not finite are loaded, with a warning that names them.
    """
    odd: list[str] = []
    for batch in batches(file, selected):
        state = {
            selected[name]: tensor.to(
                device,
                dtype if tensor.is_floating_point() else tensor.dtype,
                copy=True,
                memory_format=torch.channels_last if tensor.dim() == 4 else torch.preserve_format,
            )
            for name, tensor in file.read(batch)
        }
        model.load_state_dict(state, strict=False, assign=True)
        if not is_finite(state.values()):
            odd += [name for name in batch if not is_finite([state[selected[name]]])]
    for module in model.modules():  # buffers that are computed, not saved
        for name, buffer in module.named_buffers(recurse=False):
            if not buffer.is_meta and buffer.device != device:
                setattr(module, name, buffer.to(device))
    if odd:
        names = f"{', '.join(odd[:_LISTED])}{', ...' if len(odd) > _LISTED else ''}"
        warnings.warn(
            f"{file.path} holds {len(odd)} tensors that are NaN or infinite as {dtype}: {names}; such a model cannot "
            "predict, take other weights",
            stacklevel=4,
        )
