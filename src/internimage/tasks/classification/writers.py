"""Classes of images in the formats of other tools."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

from internimage.contracts import Writer
from internimage.results.classification import Classification
from internimage.results.output import Output, Picture, folder_name


class SortedWriter:
    """``CLASS/NAME``: a copy of each picture in the folder of its most probable class."""

    notes: tuple[str, ...] = ()

    def __init__(self, output: Output) -> None:
        self.output = output

    def add(self, picture: Picture, result: Classification) -> None:
        file, label = result.source.value, folder_name(result.label)
        if isinstance(file, str | Path) and Path(file).is_file():
            shutil.copyfile(file, self.output.place(f"{label}/{picture.name}"))
        else:
            result.source.read().save(self.output.place(f"{label}/{picture.stem}.png"))

    def close(self) -> list[Path]:
        return [self.output.folder]


WRITERS: Mapping[str, Callable[[Output], Writer]] = {"sorted": SortedWriter}
