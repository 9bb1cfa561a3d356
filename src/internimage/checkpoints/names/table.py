"""What a table of names is.

``#`` stands for a number, a trailing ``*`` for the rest of a name (``weight``, ``bias``, ``running_mean`` ...).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from torch import Tensor

Rows: TypeAlias = tuple[tuple[str, str], ...]
"""Pairs of our name and the released one."""


@dataclass(frozen=True)
class Names:
    """How an architecture's tensors are called in files of others.

    Attributes:
        rows: from a configuration to its table.
        key: what released files keep the tensors under; those with "state_dict" also list the classes.
        hugging_face: whether there is a layout of the Hugging Face models.
        bare_backbone: whether a model folder of the backbone alone counts as a part of the model.
        copies: released names to others under which files hold the same tensors again.
        as_trained: a beginning of names that only files written in training have, and what makes released tensors of
            theirs; None where such files are the same.
    """

    rows: Callable[[Any], Rows]
    key: Literal["model", "state_dict"] = "state_dict"
    hugging_face: bool = False
    bare_backbone: bool = False
    copies: Mapping[str, str] = field(default_factory=dict)
    as_trained: tuple[str, Callable[[Mapping[str, Tensor]], dict[str, Tensor]]] | None = None


def within(ours: str, theirs: str, rows: Rows) -> Rows:
    """The rows of a part, below its place in the whole."""
    return tuple((ours + first, theirs + second) for first, second in rows)
