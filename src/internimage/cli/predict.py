"""internimage predict"""

from __future__ import annotations

import csv
import json
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from tyro.conf import FlagCreatePairsOff, arg

from internimage.cli.common import Images, ModelOptions, progress, report_failures

if TYPE_CHECKING:
    from internimage.results import Classification


@dataclass(frozen=True)
class Predict:
    """Classify images and print the most probable classes.

    $ internimage predict photo.jpg

    $ internimage predict photos/ --model internimage_b_1k_224 --csv > photos.csv

    $ internimage predict 'in/**/*.png' --checkpoint weights.pth --save out/

    A run over many images goes on after one that cannot be read, reports it on stderr and exits with status 1.
    """

    images: Images
    model: ModelOptions = field(default_factory=ModelOptions)
    topk: int = 5
    """Classes to print for each image."""
    json: FlagCreatePairsOff[bool] = False
    """Print one JSON object a line."""
    csv: FlagCreatePairsOff[bool] = False
    """Print comma-separated values: image, rank, index, label, score."""
    save: Annotated[Path | None, arg(metavar="FOLDER", help_behavior_hint="")] = None
    """Folder to write the annotated pictures to."""

    def run(self) -> int:
        from internimage.errors import ConfigError, ImageReadError
        from internimage.images import list_images

        if self.json and self.csv:
            raise ConfigError("choose one of --json and --csv")
        if self.topk < 1:
            raise ConfigError(f"--topk is {self.topk}; expected at least 1")
        if not self.images:
            raise ConfigError("no image given; name files, folders, URLs or quoted patterns")
        sources = list_images(list(self.images))
        predictor = self.model.predictor()
        if self.save:
            self.save.mkdir(parents=True, exist_ok=True)
        writer = csv.writer(sys.stdout)
        if self.csv:
            writer.writerow(("image", "rank", "index", "label", "score"))
        failures: list[str] = []
        names: set[str] = set()
        stream = predictor.stream(sources)
        for source, result in progress(stream, len(sources), "predicting"):
            if isinstance(result, ImageReadError):
                failures.append(source.name)
                print(f"internimage: {result}", file=sys.stderr)
                continue
            self._print(result, writer)
            if self.save:
                target = self.save / _free_name(Path(source.name).stem, names)
                result.draw(self.topk).save(target)
        if self.save and len(failures) < len(sources):
            print(f"annotated pictures: {self.save}", file=sys.stderr)
        return report_failures(failures, len(sources))

    def _print(self, result: Classification, writer: Any) -> None:
        if self.json:
            print(json.dumps(result.to_dict(self.topk), ensure_ascii=False))
        elif self.csv:
            for rank, scored in enumerate(result.top(self.topk), 1):
                writer.writerow((result.source.name, rank, scored.index, scored.label, f"{scored.score:.6f}"))
        else:
            print(result.source.name)
            for scored in result.top(self.topk):
                print(f"  {scored.score:6.1%}  {scored.label}")


def _free_name(stem: str, taken: set[str]) -> str:
    """A file name for an annotated picture that this run has not used yet."""
    name, number = f"{stem}.predicted.png", 1
    while name in taken:
        number += 1
        name = f"{stem}.{number}.predicted.png"
    taken.add(name)
    return name
