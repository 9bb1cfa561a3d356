"""Dataclasses from plain JSON data."""

from __future__ import annotations

import dataclasses
import types
import typing
from typing import Any, TypeVar

from internimage.errors import ConfigError

T = TypeVar("T")


def from_plain(kind: type[T], data: Any) -> T:
    """Build a dataclass from plain JSON data; unknown, missing and mistyped fields raise :class:`ConfigError`."""
    return typing.cast(T, _convert(kind, data, kind.__name__))


def _most_like(data: dict[str, Any], kinds: list[Any]) -> Any:
    """Of several dataclasses the one that has such fields and all that it must have, else the one that shares most."""

    def likeness(kind: Any) -> tuple[bool, bool, int]:
        known, needed = _fields(kind), _fields(kind, needed=True)
        fits = set(data) <= known
        return fits, fits and needed <= set(data), len(known & set(data))

    best = max(filter(dataclasses.is_dataclass, kinds), key=likeness, default=None)
    if best is not None and set(data) <= _fields(best):
        return best
    return next((kind for kind in kinds if typing.get_origin(kind) is dict), best or kinds[0])


def _fields(kind: Any, *, needed: bool = False) -> set[str]:
    """Names of a dataclass's fields: all, or those without a default."""
    absent = dataclasses.MISSING
    return {
        field.name
        for field in dataclasses.fields(kind)
        if not needed or (field.default is absent and field.default_factory is absent)
    }


def _convert(kind: Any, data: Any, where: str) -> Any:
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if kind is Any:
        return data
    if origin in (typing.Union, types.UnionType):
        if data is None and type(None) in arguments:
            return None
        kinds = [kind for kind in arguments if kind is not type(None)]
        if isinstance(data, dict):
            return _convert(_most_like(data, kinds), data, where)
        told = (kind for kind in kinds if kind in (int, str) or dataclasses.is_dataclass(kind))
        return _convert(next((kind for kind in told if isinstance(data, kind)), kinds[0]), data, where)
    if origin is typing.Literal:
        if data in arguments:
            return data
    elif origin is tuple and isinstance(data, list | tuple):
        if arguments[-1] is Ellipsis:
            return tuple(_convert(arguments[0], value, where) for value in data)
        if len(data) == len(arguments):
            return tuple(_convert(a, value, where) for a, value in zip(arguments, data, strict=True))
    elif origin is dict and isinstance(data, dict):
        return data
    elif origin is list and isinstance(data, list):
        return [_convert(arguments[0], value, where) for value in data]
    elif dataclasses.is_dataclass(kind) and isinstance(data, dict):
        return _convert_fields(kind, data, where)
    elif kind is float and isinstance(data, int | float) and not isinstance(data, bool):
        return float(data)
    elif isinstance(kind, type) and isinstance(data, kind) and not (kind is int and isinstance(data, bool)):
        return data
    raise ConfigError(f"{where} is {data!r}; expected {kind}")


def _convert_fields(kind: Any, data: dict[str, Any], where: str) -> Any:
    hints = typing.get_type_hints(kind)
    unknown = sorted(set(data) - set(hints))
    if unknown:
        raise ConfigError(f"{where} has an unknown field {unknown[0]!r}; known: {', '.join(hints)}")
    try:
        return kind(**{name: _convert(hints[name], value, f"{where}.{name}") for name, value in data.items()})
    except TypeError as error:
        raise ConfigError(f"{where}: {error}") from error
