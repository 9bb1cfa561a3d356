"""Reading pictures and preparing them for a model.  Each name is loaded on first use."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from internimage.images.lazy import Frame
    from internimage.images.listing import list_images
    from internimage.images.members import ArchiveMember
    from internimage.images.pages import read_pages
    from internimage.images.reader import (
        IMAGE_SUFFIXES,
        ImageInput,
        ImageInputs,
        ImageSource,
        read_image,
    )
    from internimage.images.scaling import FitPreprocessing
    from internimage.images.transforms import Preprocessing
    from internimage.images.video import read_video

__all__ = [
    "IMAGE_SUFFIXES",
    "ArchiveMember",
    "FitPreprocessing",
    "Frame",
    "ImageInput",
    "ImageInputs",
    "ImageSource",
    "Preprocessing",
    "list_images",
    "read_image",
    "read_pages",
    "read_video",
]

_FILES = {
    "ArchiveMember": "members",
    "FitPreprocessing": "scaling",
    "Frame": "lazy",
    "Preprocessing": "transforms",
    "list_images": "listing",
    "read_pages": "pages",
    "read_video": "video",
}


def __getattr__(name: str) -> Any:
    if name in __all__:
        return getattr(import_module(f"internimage.images.{_FILES.get(name, 'reader')}"), name)
    raise AttributeError(f"module 'internimage.images' has no attribute {name!r}")
