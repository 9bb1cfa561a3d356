"""Backbones: images in, feature maps out."""

from internimage.registry import moved

__getattr__ = moved(
    __name__,
    {
        "CompositeBackbone": "internimage.backbones.composite:CompositeBackbone",
        "CompositeConfig": "internimage.backbones.composite:CompositeConfig",
        "InternImageConfig": "internimage.backbones.config:InternImageConfig",
        "InternImage": "internimage.backbones.internimage:InternImage",
    },
)
