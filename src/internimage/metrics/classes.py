"""Classes of a model and classes of data: which is which."""

from __future__ import annotations

from collections.abc import Container
from typing import Any

import numpy as np

from internimage.errors import DataError


def match_classes(
    labels: tuple[str, ...] | None, count: int, classes: tuple[str, ...], shown: Container[int] | None = None
) -> tuple[str, ...]:
    """Names of a model's ``count`` outputs: its own, or those of the data if it has none and as many.

    Of the data's classes it has to know those ``shown``, by their numbers; None for all.

    Raises:
        DataError: the numbers differ, or the data has a class that the model does not know.
    """
    if labels is None and len(classes) == count:
        labels = classes
    if labels is None:
        raise DataError(f"the model has {count} classes without names, the data {len(classes)}; none can be matched")
    needed = [name for number, name in enumerate(classes) if shown is None or number in shown]
    if unknown := [name for name in needed if name not in labels]:
        raise DataError(
            f"the model does not know the classes {', '.join(unknown[:5])}; it knows {', '.join(labels[:8])}"
        )
    return labels


def percent(share: float) -> str:
    """A share for a table; a dash where there was nothing to divide by."""
    return f"{share:.1%}" if share == share else "-"


def class_numbers(
    labels: tuple[str, ...] | None,
    count: int,
    classes: tuple[str, ...],
    absent: int,
    shown: Container[int] | None = None,
) -> np.ndarray[Any, Any]:
    """For each output of a model the number of its class in the data, ``absent`` where the data lacks it.

    See :func:`match_classes`.
    """
    names = match_classes(labels, count, classes, shown)
    return np.array([classes.index(name) if name in classes else absent for name in names])
