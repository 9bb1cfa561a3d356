"""Reading pictures and preparing them for a model."""

from internimage.images.members import ArchiveMember
from internimage.images.reader import (
    IMAGE_SUFFIXES,
    ImageInput,
    ImageInputs,
    ImageSource,
    list_images,
    read_image,
)
from internimage.images.scaling import FitPreprocessing
from internimage.images.transforms import Preprocessing

__all__ = [
    "IMAGE_SUFFIXES",
    "ArchiveMember",
    "FitPreprocessing",
    "ImageInput",
    "ImageInputs",
    "ImageSource",
    "Preprocessing",
    "list_images",
    "read_image",
]
