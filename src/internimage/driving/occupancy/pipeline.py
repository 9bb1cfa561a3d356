"""From frames to filled space."""

from __future__ import annotations

import numpy as np
from torch import Tensor

from internimage.driving.data.frames import Frame
from internimage.driving.results.space import FoundSpace
from internimage.driving.sequences.pipeline import SequencePipeline
from internimage.images import ImageSource
from internimage.labels import class_names


class SpacePipeline(SequencePipeline):
    """Of a :class:`internimage.driving.models.occupancy.OccupancyNetwork`."""

    def result(self, found: Tensor, frame: Frame, source: ImageSource) -> FoundSpace:
        logits = found[0].float()
        best, labels = logits.max(-1)
        chances = (best - logits.logsumexp(-1)).exp()
        names = tuple(class_names(self.labels, self.classes))
        grid = self.model.config.voxels
        return FoundSpace(_array(labels, np.uint8), _array(chances, np.float16), grid, names, frame, source)


def _array(values: Tensor, dtype: type) -> np.ndarray:  # type: ignore[type-arg]
    return values.cpu().numpy().astype(dtype)
