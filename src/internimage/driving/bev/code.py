"""Boxes as the ten numbers that a network predicts, and back."""

from __future__ import annotations

import torch
from torch import Tensor

CODE = 10
"""Numbers of a box: x, y, log width, log length, z, log height, sine and cosine of the angle, velocity along x, y."""

PLACES = [0, 1, 4]
"""Where x, y and z of the volume's centre stand among them."""


def code_of(boxes: Tensor) -> Tensor:
    """Boxes (..., 9) as codes (..., 10).

    The angle of a code is that of old mmdetection3d: clockwise from the y axis turned back, -yaw - pi/2.
    """
    x, y, z, width, length, height, yaw, vx, vy = boxes.unbind(-1)
    return torch.stack([x, y, width.log(), length.log(), z, height.log(), -yaw.cos(), -yaw.sin(), vx, vy], dim=-1)


def boxes_of(codes: Tensor) -> Tensor:
    """Codes (..., 10) as boxes (..., 9): centre of the volume, width, length, height, yaw in [-pi, pi], velocity.

    Yaw is counter-clockwise from the x axis, see :class:`internimage.driving.bev.inputs.BoxTargets`.
    """
    x, y, width, length, z, height, sine, cosine, vx, vy = codes.unbind(-1)
    yaw = torch.atan2(-cosine, -sine)
    return torch.stack([x, y, z, width.exp(), length.exp(), height.exp(), yaw, vx, vy], dim=-1)
