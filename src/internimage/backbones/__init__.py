"""Backbones: images in, feature maps out."""

from internimage.backbones.internimage import InternImage, InternImageConfig

__all__ = ["InternImage", "InternImageConfig"]
