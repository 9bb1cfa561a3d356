"""Results: what a prediction is, as typed data that can show itself."""

from internimage.results.classification import Classification, ScoredLabel

__all__ = ["Classification", "ScoredLabel"]
