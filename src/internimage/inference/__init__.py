"""Inference: from pictures to results and features."""

from internimage.inference.features import extract_features, layer_names
from internimage.inference.predictor import Predictor

__all__ = ["Predictor", "extract_features", "layer_names"]
