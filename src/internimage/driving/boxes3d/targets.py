"""What is learnt of the boxes of a frame."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from internimage.driving.bev.grid import BEVGrid
from internimage.driving.bev.inputs import BoxTargets
from internimage.driving.data.frames import Frame
from internimage.driving.data.preparing import training_boxes
from internimage.driving.geometry.boxes import Boxes


def box_targets(frame: Frame, grid: BEVGrid, varied: Callable[[Boxes], Boxes] | None = None) -> BoxTargets:
    """Boxes that a sensor hit, with the centre within the grid; ``varied`` changes where they stand."""
    x0, y0, _, x1, y1, _ = grid.extent
    boxes = training_boxes(frame, (x0, y0, x1, y1))
    if varied is not None:
        boxes = varied(boxes)
        places = boxes.centres[:, :2]
        boxes = boxes.chosen(((places > (x0, y0)) & (places < (x1, y1))).all(axis=1))
    columns = np.concatenate([boxes.centres, boxes.sizes, boxes.yaws[:, None], boxes.velocities], axis=1)
    return BoxTargets(torch.from_numpy(columns).float(), torch.from_numpy(boxes.labels))
