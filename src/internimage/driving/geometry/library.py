"""The library of plane geometry, which only those need whose model or labels have outlines on the ground."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from internimage.errors import MissingExtraError


def geometry_library() -> Any:
    """Shapely.

    Raises:
        MissingExtraError: it is not installed.
    """
    try:
        return import_module("shapely")
    except ImportError as error:
        raise MissingExtraError("outlines on the ground need shapely: pip install 'internimage[driving]'") from error
