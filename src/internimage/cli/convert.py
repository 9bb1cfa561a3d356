"""internimage convert"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import FlagCreatePairsOff, Positional, arg


@dataclass(frozen=True)
class Convert:
    """Convert a checkpoint to another layout; the values stay the same, bit for bit.

    $ internimage convert internimage_t_1k_224.pth my_model --layout ours

    $ internimage convert my_model internimage_t.pth --layout official

    $ internimage convert run7.pth for_transformers --layout hf --model internimage_b_1k_224
    """

    source: Annotated[Positional[Path], arg(metavar="IN", help="File or folder in any layout.")]
    target: Annotated[Positional[Path], arg(metavar="OUT", help="A .pth file for official, otherwise a folder.")]
    layout: Literal["official", "hf", "ours"] = "ours"
    """Layout to write."""
    model: Annotated[str | None, arg(metavar="NAME", help_behavior_hint="")] = None
    """Name of the model in IN, if the file name does not give it."""
    ema: FlagCreatePairsOff[bool] = False
    """Convert the moving average of the weights in a training checkpoint."""

    def run(self) -> int:
        from internimage.factory import convert_checkpoint

        written = convert_checkpoint(self.source, self.target, self.layout, name=self.model, ema=self.ema)
        print(f"written: {written}")
        return 0
