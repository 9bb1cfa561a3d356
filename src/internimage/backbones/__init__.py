"""Backbones: images in, feature maps out."""

from internimage.backbones.composite import CompositeBackbone, CompositeConfig
from internimage.backbones.internimage import InternImage, InternImageConfig

__all__ = ["CompositeBackbone", "CompositeConfig", "InternImage", "InternImageConfig"]
