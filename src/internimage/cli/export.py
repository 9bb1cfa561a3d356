"""internimage export"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import FlagCreatePairsOff, Positional, arg

from internimage.cli.common import progress


@dataclass(frozen=True)
class Export:
    """Write a model as a file that runs without PyTorch, and check that it gives the same results.

    $ internimage export runs/cells --to onnx --output cells.onnx

    $ internimage export internimage_t_1k_224 --to openvino

    $ internimage predict photos/ --model cells.onnx

    The file takes images of any size, unless you say which. It is run on photos of this package, and on --images, and
    is not written if its results are not the model's. For another layout of weights there is `internimage convert`.
    """

    model: Annotated[
        Positional[str], arg(metavar="MODEL", help="Name (see `internimage models`), a model folder or a run.")
    ]
    to: Literal["onnx", "openvino", "tensorrt", "torch-export"] = "onnx"
    """What runs it: ONNX Runtime (.onnx), OpenVINO (.xml and .bin), TensorRT (.onnx without GridSample, which is
    compared in ONNX Runtime and not run in TensorRT), or a program of your own in PyTorch (.pt2)."""
    output: Annotated[Path | None, arg(metavar="FILE", help_behavior_hint="(default: the model's name, here)")] = None
    """The file."""
    checkpoint: Annotated[Path | None, arg(metavar="FILE", help_behavior_hint="(default: released weights)")] = None
    """Weights to load, in any layout."""
    layers: Annotated[tuple[str, ...], arg(metavar="LAYER...", help_behavior_hint="")] = ()
    """Write features instead of predictions: stage1 stage2 stage3 stage4 are the backbone's maps; others are those of
    `internimage features`, which takes the file."""
    max_objects: Annotated[int | None, arg(metavar="N", help_behavior_hint="(default: the model's, often 100)")] = None
    """Detectors: greatest number of objects of an image."""
    plain: FlagCreatePairsOff[bool] = False
    """Write no deformable operators, but standard ones: for readers of ONNX that know no functions, and for programs
    (.pt2) that are loaded without this package. Slower."""
    pixels: FlagCreatePairsOff[bool] = False
    """ONNX: take the 8-bit RGB pixels of a picture (height, width, 3) as they are and give results in its pixels, for
    programs without this package. Reading, scaling and what follows the network are in the file."""
    size: Annotated[str | None, arg(metavar="HxW", help_behavior_hint="(default: any)")] = None
    """Take images of this height and width alone, such as 800x1216, for runtimes that want to know it: pictures are
    scaled to fit, and what is left is filled up. Of a classifier it is the side of its squares, such as 224."""
    int8: Annotated[Path | None, arg(metavar="DATA", help_behavior_hint="")] = None
    """Compute products in 8 bits, for CPUs: labelled pictures, on which ranges and the loss of accuracy are measured.
    The file is refused if it loses more than a point."""
    half: Annotated[Path | None, arg(metavar="DATA", help_behavior_hint="")] = None
    """Compute in float16, for GPUs: labelled pictures, on which the loss of accuracy is measured."""
    dynamic: FlagCreatePairsOff[bool] = False
    """With --int8: measure ranges each time the file runs, and leave convolutions in float."""
    accept: FlagCreatePairsOff[bool] = False
    """With --int8 or --half: write the file whatever it loses."""
    images: Annotated[tuple[str, ...], arg(metavar="IMAGE...", help_behavior_hint="")] = ()
    """Pictures to check with, beside those of this package: files, folders or quoted patterns."""

    def run(self) -> int:
        from internimage.errors import ConfigError
        from internimage.exporting.accuracy import LowPrecision
        from internimage.exporting.export import export

        if self.int8 and self.half:
            raise ConfigError("--int8 and --half contradict each other; leave one out")
        if (self.dynamic and not self.int8) or (self.accept and not (self.int8 or self.half)):
            raise ConfigError("--dynamic belongs to --int8 DATA, --accept to --int8 or --half DATA")
        precision = None
        if data := self.int8 or self.half:
            dtype: Literal["int8", "float16"] = "int8" if self.int8 else "float16"
            precision = LowPrecision(dtype, data, dynamic=self.dynamic, accept=self.accept)
        written = export(
            self.model,
            self.output,
            to=self.to,
            checkpoint=self.checkpoint,
            layers=self.layers,
            max_objects=self.max_objects,
            plain=self.plain,
            pixels=self.pixels,
            size=None if self.size is None else _size(self.size),
            precision=precision,
            images=list(self.images) or None,
            tell=lambda text: print(f"internimage: {text}", file=sys.stderr),
            follow=progress,
        )
        print(written.comparison.table())
        for file in written.files:
            print(f"written: {file}, {file.stat().st_size / 1e6:.1f} MB")
        if written.remark:
            print(f"internimage: {written.remark}", file=sys.stderr)
        if self.to != "torch-export":
            print(f"run it: internimage {'features' if self.layers else 'predict'} IMAGE --model {written.file}")
        return 0


def _size(text: str) -> tuple[int, int]:
    """(height, width) of "800x1216", or "224" for both."""
    from internimage.errors import ConfigError

    sides = text.lower().split("x")
    if len(sides) > 2 or not all(side.isascii() and side.isdigit() for side in sides):
        raise ConfigError(f"--size is {text}; expected height x width in pixels, such as 800x1216")
    return int(sides[0]), int(sides[-1])
