"""Models: one architecture, one file.  Raw tensors in, raw tensors out."""

from internimage.models.classifier import ClassifierConfig, ImageClassifier

__all__ = ["ClassifierConfig", "ImageClassifier"]
