"""Results: what a prediction is, as typed data that can show itself."""

from internimage.results.classification import Classification, ScoredLabel
from internimage.results.detections import Detections
from internimage.results.segmentation import Region, Segmentation

__all__ = ["Classification", "Detections", "Region", "ScoredLabel", "Segmentation"]
