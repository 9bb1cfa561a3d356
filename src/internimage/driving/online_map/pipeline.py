"""From frames to maps."""

from __future__ import annotations

from collections.abc import Sequence

from internimage.driving.data.frames import Frame
from internimage.driving.geometry.vector_map import VectorMap
from internimage.driving.results.maps import FoundMap
from internimage.driving.sequences.pipeline import SequencePipeline
from internimage.images import ImageSource
from internimage.labels import class_names


class MapPipeline(SequencePipeline):
    """Of a :class:`internimage.driving.models.online_map.OnlineMap`."""

    def result(self, found: Sequence[VectorMap], frame: Frame, source: ImageSource) -> FoundMap:
        return FoundMap(found[0], tuple(class_names(self.labels, self.classes)), frame, source)
