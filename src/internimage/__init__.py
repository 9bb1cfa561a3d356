"""InternImage: deformable-convolution vision models that install with pip and run on any machine.

::

    import internimage as ii

    ii.list_models("*_1k_*")
    model = ii.create_model("internimage_t_1k_224", pretrained=True)
    result = ii.Predictor("mask_rcnn_internimage_t_fpn_3x_coco")("street.jpg")
    run = ii.train("cells/", model="mask_rcnn_internimage_t_fpn_3x_coco", init="pretrained")
    report = ii.evaluate("cells/", model=run.best, part="val")

Importing this package imports nothing else; each public name is loaded when it is first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from internimage import errors
    from internimage.data.converting.convert import convert_data
    from internimage.data.converting.mend import mend_data
    from internimage.exporting.export import export
    from internimage.exporting.features import ExportedFeatures
    from internimage.exporting.predictor import ExportedPredictor
    from internimage.factory import convert_checkpoint, create_model, load_model, save_model
    from internimage.images import FitPreprocessing, Preprocessing, read_image
    from internimage.inference.evaluation import evaluate
    from internimage.inference.features import extract_features
    from internimage.inference.predictor import Predictor
    from internimage.recipes import get_recipe, list_models
    from internimage.results.classification import Classification
    from internimage.results.detections import Detections
    from internimage.results.segmentation import Segmentation
    from internimage.settings.data import DataOptions
    from internimage.settings.depth import Depth
    from internimage.settings.training import TrainingConfig
    from internimage.settings.views import TestTimeAugmentation, Tiles, Window
    from internimage.training.run import Run, resume, train

__version__ = "0.1.0"

_PUBLIC = {
    "Classification": "internimage.results.classification",
    "DataOptions": "internimage.settings.data",
    "Depth": "internimage.settings.depth",
    "Detections": "internimage.results.detections",
    "ExportedFeatures": "internimage.exporting.features",
    "ExportedPredictor": "internimage.exporting.predictor",
    "FitPreprocessing": "internimage.images",
    "Predictor": "internimage.inference.predictor",
    "Preprocessing": "internimage.images",
    "Run": "internimage.training.run",
    "Segmentation": "internimage.results.segmentation",
    "TestTimeAugmentation": "internimage.settings.views",
    "Tiles": "internimage.settings.views",
    "TrainingConfig": "internimage.settings.training",
    "Window": "internimage.settings.views",
    "convert_checkpoint": "internimage.factory",
    "convert_data": "internimage.data.converting.convert",
    "create_model": "internimage.factory",
    "evaluate": "internimage.inference.evaluation",
    "export": "internimage.exporting.export",
    "extract_features": "internimage.inference.features",
    "get_recipe": "internimage.recipes",
    "list_models": "internimage.recipes",
    "load_model": "internimage.factory",
    "mend_data": "internimage.data.converting.mend",
    "read_image": "internimage.images",
    "resume": "internimage.training.run",
    "save_model": "internimage.factory",
    "train": "internimage.training.run",
}

__all__ = [
    "Classification",
    "DataOptions",
    "Depth",
    "Detections",
    "ExportedFeatures",
    "ExportedPredictor",
    "FitPreprocessing",
    "Predictor",
    "Preprocessing",
    "Run",
    "Segmentation",
    "TestTimeAugmentation",
    "Tiles",
    "TrainingConfig",
    "Window",
    "convert_checkpoint",
    "convert_data",
    "create_model",
    "errors",
    "evaluate",
    "export",
    "extract_features",
    "get_recipe",
    "list_models",
    "load_model",
    "mend_data",
    "read_image",
    "resume",
    "save_model",
    "train",
]


def __getattr__(name: str) -> Any:
    if name == "errors":
        return import_module("internimage.errors")
    if name in _PUBLIC:
        return getattr(import_module(_PUBLIC[name]), name)
    raise AttributeError(f"module 'internimage' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
