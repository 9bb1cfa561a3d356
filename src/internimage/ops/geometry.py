"""Where a deformable operator samples: kernel, stride, padding, dilation and the shapes that follow from them."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from internimage.errors import OperatorError

IntPair = int | tuple[int, int]


def as_pair(value: IntPair, name: str) -> tuple[int, int]:
    """``3`` -> ``(3, 3)``; ``(kh, kw)`` stays.  Height first, as everywhere in PyTorch."""
    if isinstance(value, int):
        return value, value
    if isinstance(value, tuple | list) and len(value) == 2 and all(isinstance(v, int) for v in value):
        return value[0], value[1]
    raise OperatorError(f"{name} is {value!r}; expected an integer or a pair of integers (height, width)")


@dataclass(frozen=True)
class SamplingGeometry:
    """The sampling grid of one deformable convolution.  All pairs are (height, width), in input pixels.

    ``groups`` share one set of offsets each; ``offset_scale`` stretches the dilated kernel grid *and* the learned
    offsets around the kernel's centre; ``remove_center`` leaves the centre point out.
    """

    kernel_size: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[int, int]
    dilation: tuple[int, int]
    groups: int
    offset_scale: float
    remove_center: bool

    @property
    def points(self) -> int:
        """Sampling points of a group and an output pixel."""
        return self.kernel_size[0] * self.kernel_size[1] - int(self.remove_center)

    def output_size(self, height: int, width: int) -> tuple[int, int]:
        """Height and width of the output for an input of ``height`` x ``width`` (symbolic integers work)."""
        sizes = (
            (size + 2 * pad - dilation * (kernel - 1) - 1) // stride + 1
            for size, kernel, stride, pad, dilation in zip(
                (height, width), self.kernel_size, self.stride, self.padding, self.dilation, strict=True
            )
        )
        return next(sizes), next(sizes)

    def centre(self) -> tuple[int, int]:
        """Distance of the kernel's centre from its first tap; integer division for even kernels."""
        (kernel_h, kernel_w), (dilation_h, dilation_w) = self.kernel_size, self.dilation
        return dilation_h * (kernel_h - 1) // 2, dilation_w * (kernel_w - 1) // 2

    def kernel(self) -> list[tuple[int, int]]:
        """(row, column) in the kernel of each point: columns outside and rows inside."""
        height, width = self.kernel_size
        centre = (height // 2, width // 2) if self.remove_center else None
        return [(row, column) for column in range(width) for row in range(height) if (row, column) != centre]

    def taps(self, dtype: torch.dtype, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
        """Scaled tap positions (y, x) relative to the kernel's centre, each of shape (points,).

        Points run x-major, columns outside and rows inside: point ``i * kernel_h + j`` is column i, row j.
        """
        centre_y, centre_x = self.centre()
        grid = [
            (row * self.dilation[0] - centre_y, column * self.dilation[1] - centre_x) for row, column in self.kernel()
        ]
        y, x = torch.tensor(grid, dtype=dtype, device=device).unbind(-1)
        return y * self.offset_scale, x * self.offset_scale

    def check(self) -> None:
        """Raise :class:`OperatorError` for a geometry that no tensor fits."""
        for name, pair, least in (
            ("kernel_size", self.kernel_size, 1),
            ("stride", self.stride, 1),
            ("dilation", self.dilation, 1),
            ("padding", self.padding, 0),
        ):
            if min(pair) < least:
                raise OperatorError(f"{name} is {pair}; both values must be at least {least}")
        if not isinstance(self.groups, int) or self.groups < 1:
            raise OperatorError(f"groups is {self.groups}; expected an integer, at least 1")
        if self.points < 1:
            raise OperatorError("remove_center with a 1x1 kernel leaves no point to sample; use a larger kernel")
