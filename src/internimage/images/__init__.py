"""Reading pictures and preparing them for a model.  Each name is loaded on first use."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from internimage.images.members import ArchiveMember
    from internimage.images.reader import (
        IMAGE_SUFFIXES,
        ImageInput,
        ImageInputs,
        ImageSource,
        list_images,
        read_image,
        show_image,
    )
    from internimage.images.scaling import FitPreprocessing
    from internimage.images.transforms import Preprocessing
    from internimage.images.unread import Unread, left_out_of

__all__ = [
    "IMAGE_SUFFIXES",
    "ArchiveMember",
    "FitPreprocessing",
    "ImageInput",
    "ImageInputs",
    "ImageSource",
    "Preprocessing",
    "Unread",
    "left_out_of",
    "list_images",
    "read_image",
    "show_image",
]

_FILES = {
    "ArchiveMember": "members",
    "FitPreprocessing": "scaling",
    "Preprocessing": "transforms",
    "Unread": "unread",
    "left_out_of": "unread",
}


def __getattr__(name: str) -> Any:
    if name in __all__:
        return getattr(import_module(f"internimage.images.{_FILES.get(name, 'reader')}"), name)
    raise AttributeError(f"module 'internimage.images' has no attribute {name!r}")
