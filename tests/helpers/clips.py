"""Small videos of flat colours, one a frame."""

import struct
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from PIL import Image

COLOURS = [(red, green, blue) for red in (0, 128, 255) for green in (40, 215) for blue in (20, 235)]
CLOCKWISE = (0, 1, -1, 0)
MIRRORED = (-1, 0, 0, 1)


def clip(path: Path, codec: str = "libx264", times: Sequence[int] | None = None, frames: int = 12) -> Path:
    """64x48 pixels, 25 frames a second, or at ``times`` in milliseconds."""
    with av.open(str(path), "w", options={"movflags": "faststart"}) as container:
        stream: Any = container.add_stream(codec, rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.codec_context.time_base = Fraction(1, 1000 if times else 25)
        for number in range(frames):
            frame = av.VideoFrame.from_image(Image.new("RGB", (64, 48), COLOURS[number % len(COLOURS)]))
            frame.pts, frame.time_base = times[number] if times else number, stream.codec_context.time_base
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def turned(path: Path, matrix: Sequence[int]) -> Path:
    """A video whose header says how to turn it, as that of phones; red in its upper left corner as it is stored."""
    pixels = np.zeros((48, 64, 3), np.uint8)
    pixels[:24, :32, 0] = 255
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels)))
        container.mux(stream.encode(None))
    content = bytearray(path.read_bytes())
    start = content.index(b"tkhd") + 44
    a, b, c, d = (value << 16 for value in matrix)
    content[start : start + 36] = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)
    path.write_bytes(content)
    return path
