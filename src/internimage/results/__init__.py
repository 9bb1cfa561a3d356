"""Results: what a prediction is, as typed data that can show itself."""

from internimage.registry import moved

__getattr__ = moved(
    __name__,
    {
        "Classification": "internimage.results.classification:Classification",
        "ScoredLabel": "internimage.results.classification:ScoredLabel",
        "Detections": "internimage.results.detections:Detections",
        "Region": "internimage.results.segmentation:Region",
        "Segmentation": "internimage.results.segmentation:Segmentation",
    },
)
