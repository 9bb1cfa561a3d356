"""From frames to boxes in space."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from internimage.driving.bev.inputs import RawBoxes3D
from internimage.driving.data.frames import Frame
from internimage.driving.geometry.boxes import Boxes
from internimage.driving.results.boxes3d import FoundBoxes
from internimage.driving.sequences.pipeline import SequencePipeline
from internimage.images import ImageSource
from internimage.labels import class_names


class BoxPipeline(SequencePipeline):
    """Of a :class:`internimage.driving.models.bevformer.BEVFormer`."""

    def result(self, found: Sequence[RawBoxes3D], frame: Frame, source: ImageSource) -> FoundBoxes:
        return FoundBoxes(upright_boxes(found[0]), tuple(class_names(self.labels, self.classes)), frame, source)


def upright_boxes(found: RawBoxes3D) -> Boxes:
    """Boxes of a network as columns of NumPy."""
    columns = found.boxes.detach().double().cpu().numpy()
    return Boxes(
        columns[:, :3],
        columns[:, 3:6],
        columns[:, 6],
        columns[:, 7:],
        found.labels.cpu().numpy(),
        np.asarray(found.scores.detach().double().cpu().numpy()),
    )
