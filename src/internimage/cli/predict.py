"""internimage predict"""

from __future__ import annotations

import csv
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from tyro.conf import FlagCreatePairsOff, arg

from internimage.cli.common import Images, ModelOptions, augmentation, print_json, progress, report_failures


@dataclass(frozen=True)
class Predict:
    """Classify images, detect objects or segment images, depending on the model.

    $ internimage predict photo.jpg

    $ internimage predict street.jpg --model mask_rcnn_internimage_t_fpn_3x_coco --save out/

    $ internimage predict street.jpg --model upernet_internimage_t_512_160k_ade20k --save out/

    $ internimage predict photos/ --model internimage_b_1k_224 --csv > photos.csv

    $ internimage predict 'in/**/*.png' --checkpoint weights.pth --save out/

    Images that cannot be read are reported on stderr and skipped; the exit status is then 1.
    """

    images: Images
    model: ModelOptions = field(default_factory=ModelOptions)
    topk: int = 5
    """Classifiers: number of classes to print per image."""
    score_threshold: float = 0.3
    """Detectors: minimum score of the objects to print and draw; an R-CNN reports none below 0.05."""
    tta: FlagCreatePairsOff[bool] = False
    """Detectors and segmenters: test-time augmentation with mirrored images and --tta-sides; slower, more exact."""
    tta_sides: Annotated[tuple[int, ...], arg(metavar="PIXELS...", help_behavior_hint="(default: the model's)")] = ()
    """Shorter sides of the image for --tta, such as 600 800 1000."""
    json: FlagCreatePairsOff[bool] = False
    """Print one JSON object per line."""
    csv: FlagCreatePairsOff[bool] = False
    """Print comma-separated values: image, rank, index, label, score; for detectors also x1, y1, x2, y2 in pixels, for
    segmenters the pixels of each class and their share of the image."""
    save: Annotated[Path | None, arg(metavar="FOLDER", help_behavior_hint="")] = None
    """Folder for the annotated images; for segmenters also NAME.classes.png, class numbers with a palette."""

    def run(self) -> int:
        from internimage.errors import ConfigError, ImageReadError
        from internimage.images import list_images
        from internimage.settings.views import DisplayOptions
        from internimage.writing import save_picture

        if self.json and self.csv:
            raise ConfigError("choose one of --json and --csv")
        shown = DisplayOptions(self.topk, self.score_threshold)
        if not self.images:
            raise ConfigError("no image given; name files, folders, URLs or quoted patterns")
        sources = list_images(list(self.images))
        predictor = self.model.predictor(augmentation(self.tta, self.tta_sides))
        spec = predictor.spec
        if self.save:
            self.save.mkdir(parents=True, exist_ok=True)
            if any(Path(image).is_dir() and self.save.samefile(image) for image in self.images):
                raise ConfigError(f"--save {self.save} is the folder of the images; choose another for the results")
        writer = csv.writer(sys.stdout)
        if self.csv:
            writer.writerow(("image", "rank", "index", "label", "score", *spec.columns))
        failures: list[str] = []
        names: set[str] = set()
        for source, result in progress(predictor.stream(sources), len(sources), "predicting"):
            if isinstance(result, ImageReadError):
                failures.append(source.name)
                print(f"internimage: {result}", file=sys.stderr)
                continue
            if self.json:
                print_json(spec.to_dict(result, shown))
            elif self.csv:
                writer.writerows((source.name, *row) for row in spec.rows(result, shown))
            else:
                print(spec.text(result, shown))
            if self.save:
                stem = _free_name(Path(source.name).stem, names)
                for end, picture in spec.pictures(result, shown).items():
                    save_picture(picture, self.save / f"{stem}{end}")
        if self.save and len(failures) < len(sources):
            print(f"annotated pictures: {self.save}", file=sys.stderr)
        return report_failures(failures, len(sources))


def _free_name(stem: str, taken: set[str]) -> str:
    """The start of a file's name that this run has not used yet."""
    name, number = stem, 1
    while name in taken:
        number += 1
        name = f"{stem}.{number}"
    taken.add(name)
    return name
