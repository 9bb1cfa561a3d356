"""Models: one architecture, one file.  Raw tensors in, raw tensors out."""

from internimage.registry import moved

__getattr__ = moved(
    __name__,
    {
        "ClassifierConfig": "internimage.models.classifier:ClassifierConfig",
        "ImageClassifier": "internimage.models.classifier:ImageClassifier",
    },
)
