"""Backbones: images in, feature maps out."""

from internimage.backbones.composite import CompositeBackbone, CompositeConfig
from internimage.backbones.config import InternImageConfig
from internimage.backbones.internimage import InternImage

__all__ = ["CompositeBackbone", "CompositeConfig", "InternImage", "InternImageConfig"]
