"""Drawing: pictures from plain data."""

from internimage.drawing.canvas import grid, with_bars

__all__ = ["grid", "with_bars"]
