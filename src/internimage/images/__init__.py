"""Reading pictures and preparing them for a model.  Each name is loaded on first use."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from internimage.images.inputs.listing import list_images
    from internimage.images.inputs.pages import read_pages
    from internimage.images.inputs.unread import Unread, left_out_of
    from internimage.images.inputs.video import read_video
    from internimage.images.lazy import Frame
    from internimage.images.matlab import MatlabArray
    from internimage.images.members import ArchiveMember, Member
    from internimage.images.reader import (
        IMAGE_SUFFIXES,
        ImageInput,
        ImageInputs,
        ImageSource,
        read_image,
        show_image,
    )
    from internimage.images.scaling import FitPreprocessing
    from internimage.images.transforms import Preprocessing

__all__ = [
    "IMAGE_SUFFIXES",
    "ArchiveMember",
    "FitPreprocessing",
    "Frame",
    "ImageInput",
    "ImageInputs",
    "ImageSource",
    "MatlabArray",
    "Member",
    "Preprocessing",
    "Unread",
    "left_out_of",
    "list_images",
    "read_image",
    "read_pages",
    "read_video",
    "show_image",
]

_FILES = {
    "ArchiveMember": "members",
    "FitPreprocessing": "scaling",
    "Frame": "lazy",
    "MatlabArray": "matlab",
    "Member": "members",
    "Preprocessing": "transforms",
    "Unread": "inputs.unread",
    "left_out_of": "inputs.unread",
    "list_images": "inputs.listing",
    "read_pages": "inputs.pages",
    "read_video": "inputs.video",
}


def __getattr__(name: str) -> Any:
    if name in __all__:
        return getattr(import_module(f"internimage.images.{_FILES.get(name, 'reader')}"), name)
    raise AttributeError(f"module 'internimage.images' has no attribute {name!r}")
