"""InternImage: deformable-convolution vision models that install with pip and run on any machine.

::

    import internimage as ii

    ii.list_models("*_1k_*")
    model = ii.create_model("internimage_t_1k_224", pretrained=True)
    predict = ii.Predictor("internimage_t_1k_224")

Importing this package imports nothing else; each public name is loaded when it is first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from internimage.factory import convert_checkpoint, create_model, load_model, save_model
    from internimage.images import Preprocessing, read_image
    from internimage.inference import Predictor
    from internimage.layers.segmentation import Window
    from internimage.recipes import get_recipe, list_models

__version__ = "0.1.0"

_PUBLIC = {
    "Predictor": "internimage.inference",
    "Preprocessing": "internimage.images",
    "Window": "internimage.layers.segmentation",
    "convert_checkpoint": "internimage.factory",
    "create_model": "internimage.factory",
    "get_recipe": "internimage.recipes",
    "list_models": "internimage.recipes",
    "load_model": "internimage.factory",
    "read_image": "internimage.images",
    "save_model": "internimage.factory",
}

__all__ = [
    "Predictor",
    "Preprocessing",
    "Window",
    "convert_checkpoint",
    "create_model",
    "get_recipe",
    "list_models",
    "load_model",
    "read_image",
    "save_model",
]


def __getattr__(name: str) -> Any:
    if name in _PUBLIC:
        return getattr(import_module(_PUBLIC[name]), name)
    raise AttributeError(f"module 'internimage' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
