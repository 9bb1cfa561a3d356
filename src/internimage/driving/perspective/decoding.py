"""From what cells say to boxes in front of a camera, and where these are (Park et al., DD3D, ICCV 2021, section 3.2).

Camera frames: x to the right, y down, z ahead, metres.  A box's own frame: x along its length, y to its left, z up.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from internimage.driving.perspective.head import PerspectiveMaps
from internimage.driving.perspective.settings import PerspectiveConfig

_ALONG = (1, 1, 1, 1, -1, -1, -1, -1)
_ACROSS = (1, -1, -1, 1, 1, -1, -1, 1)
_UP = (1, 1, -1, -1, 1, 1, -1, -1)
TOP = (0, 1, 5, 4)
"""Corners of a box's upper face, one beside the other."""


@dataclass(frozen=True)
class CameraBoxes:
    """Boxes in front of cameras.

    Attributes:
        rotations: (B, 3, 3) box to camera.
        centres: (B, 2) x and y of the centre of the volume in pixels.
        depths: (B,) metres along the camera's axis.
        sizes: (B, 3) width, length, height in metres.
        from_pixels: (B, 3, 3) pixels (u, v, 1) to (x/z, y/z, 1), the inverse of each camera's intrinsics.
    """

    rotations: Tensor
    centres: Tensor
    depths: Tensor
    sizes: Tensor
    from_pixels: Tensor

    def __len__(self) -> int:
        return len(self.depths)

    def chosen(self, which: Tensor) -> CameraBoxes:
        """Some of them, by a mask or by their numbers."""
        return CameraBoxes(*(getattr(self, one.name)[which] for one in fields(self)))

    def positions(self) -> Tensor:
        """(B, 3) centres of the volumes in the camera's frame."""
        return _rays(self.centres, self.from_pixels) * self.depths[:, None]

    def corners(self) -> Tensor:
        """(B, 8, 3) in the camera's frame: the front four (left top, right top, right bottom, left bottom), then the
        rear four alike."""
        width, length, height = (side[:, None] / 2 for side in self.sizes.unbind(-1))
        signs = self.sizes.new_tensor([_ALONG, _ACROSS, _UP])
        local = torch.stack([length * signs[0], width * signs[1], height * signs[2]], dim=-1)
        return product(local, self.rotations.transpose(1, 2)) + self.positions()[:, None]


def cell_places(shape: tuple[int, int], stride: int, device: torch.device | None = None) -> Tensor:
    """(H * W, 2) x and y in pixels that the cells of a map stand for, row by row; the first one for the corner."""
    y, x = (torch.arange(side, dtype=torch.float32, device=device) * stride for side in shape)
    rows, columns = torch.meshgrid(y, x, indexing="ij")
    return torch.stack([columns, rows], dim=-1).reshape(-1, 2)


def product(first: Tensor, second: Tensor) -> Tensor:
    """(..., i, k) of matrices (..., i, j) and (..., j, k), in full precision whatever autocast or a device may do."""
    return (first[..., None] * second[..., None, :, :]).sum(-2)


def rotations(quaternions: Tensor) -> Tensor:
    """(..., 3, 3) of quaternions (..., 4), w, x, y, z of any length."""
    w, x, y, z = F.normalize(quaternions, dim=-1).unbind(-1)
    rows = (
        (1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)),
        (2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)),
        (2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)),
    )
    return torch.stack([torch.stack(row, dim=-1) for row in rows], dim=-2)


def towards(rays: Tensor) -> Tensor:
    """(B, 3, 3) rotations that turn a camera to look along ``rays`` (B, 3) without rolling.

    What looks alike in the middle of the picture and at its edge is turned differently: a network says how a box looks
    from where the camera is, and this makes of it how the box stands.
    """
    ahead = F.normalize(rays, dim=-1)
    vertical = ahead.new_tensor([0.0, 1.0, 0.0])
    down = F.normalize(vertical - ahead[:, 1:2] * ahead, dim=-1)
    return torch.stack([torch.linalg.cross(down, ahead), down, ahead], dim=-1)


def chosen_boxes(
    rows: PerspectiveMaps,
    cells: Tensor,
    labels: Tensor,
    places: Tensor,
    from_pixels: Tensor,
    config: PerspectiveConfig,
) -> CameraBoxes:
    """The boxes of some cells.

    Args:
        rows: see :func:`internimage.driving.perspective.head.cell_rows`.
        cells: (B,) numbers of rows.
        labels: (B,) the class that each is of.
        places: (B, 2) of each cell, see :func:`cell_places`.
        from_pixels: (B, 3, 3) of each cell's camera.
        config: of the head.
    """
    pick = torch.arange(len(cells), device=cells.device)
    quaternions, offsets, sizes = (
        getattr(rows, name)[cells].unflatten(-1, (-1, rows.logits.shape[1]))[pick, :, labels]
        for name in ("quaternions", "centres", "sizes")
    )
    depths = rows.depths[cells, labels]
    return decoded(quaternions, places + offsets, depths, sizes, labels, from_pixels, config)


def decoded(
    quaternions: Tensor,
    centres: Tensor,
    depths: Tensor,
    sizes: Tensor,
    labels: Tensor,
    from_pixels: Tensor,
    config: PerspectiveConfig,
) -> CameraBoxes:
    """Boxes of predicted numbers; a camera of twice the focal length sees the same from twice as far.

    Args:
        quaternions: (B, 4) as it looks from where the camera is.
        centres: (B, 2) in pixels of the picture.
        depths: (B,) at the head's focal length.
        sizes: (B, 3) before the tangent hyperbolic.
        labels, from_pixels, config: see :func:`chosen_boxes`.
    """
    pixel = (from_pixels[:, 0, 0].square() + from_pixels[:, 1, 1].square()).sqrt()
    metres = (depths / (pixel * config.focal_length)).clamp(config.nearest, config.farthest)
    usual = sizes.new_tensor(config.sizes)[labels]
    turned = product(towards(_rays(centres, from_pixels)), rotations(quaternions))
    return CameraBoxes(turned, centres, metres, (sizes.tanh() + 1) * usual, from_pixels)


def in_one_part(truth: CameraBoxes, found: CameraBoxes, part: str) -> CameraBoxes:
    """True boxes with one of "rotations", "centres", "depths" and "sizes" as it was found."""
    return replace(truth, **{part: getattr(found, part)})


def stacked(boxes: Sequence[CameraBoxes]) -> CameraBoxes:
    """Several of them as one."""
    return CameraBoxes(*(torch.cat([getattr(part, one.name) for part in boxes]) for one in fields(CameraBoxes)))


def _rays(centres: Tensor, from_pixels: Tensor) -> Tensor:
    """(B, 3) directions (x/z, y/z, 1) of pixels (B, 2)."""
    whole = torch.cat([centres, torch.ones_like(centres[:, :1])], dim=-1)
    return (from_pixels * whole[:, None]).sum(-1)
