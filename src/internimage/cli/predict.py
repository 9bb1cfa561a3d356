"""internimage predict"""

from __future__ import annotations

import csv
import json
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from tyro.conf import FlagCreatePairsOff, arg

from internimage.cli.common import Images, ModelOptions, augmentation, progress, report_failures

if TYPE_CHECKING:
    from internimage.results import Classification, Detections, Segmentation

_DRAWN = ".predicted.png"


@dataclass(frozen=True)
class Predict:
    """Classify images, find the objects in them or the class of every pixel, whatever the model is made for.

    $ internimage predict photo.jpg

    $ internimage predict street.jpg --model mask_rcnn_internimage_t_fpn_3x_coco --save out/

    $ internimage predict street.jpg --model upernet_internimage_t_512_160k_ade20k --save out/

    $ internimage predict photos/ --model internimage_b_1k_224 --csv > photos.csv

    $ internimage predict 'in/**/*.png' --checkpoint weights.pth --save out/

    A run over many images goes on after one that cannot be read, reports it on stderr and exits with status 1.
    """

    images: Images
    model: ModelOptions = field(default_factory=ModelOptions)
    topk: int = 5
    """Classifiers: classes to print for each image."""
    score: float = 0.3
    """Detectors: least score of the objects that are printed and drawn, from 0.05 on."""
    tta: FlagCreatePairsOff[bool] = False
    """Detectors and segmenters: look at each picture mirrored too, and at --tta-sides; slower and more exact."""
    tta_sides: Annotated[tuple[int, ...], arg(metavar="PIXELS...", help_behavior_hint="(default: the model's)")] = ()
    """Shorter sides of the picture that --tta looks at, such as 600 800 1000."""
    json: FlagCreatePairsOff[bool] = False
    """Print one JSON object a line."""
    csv: FlagCreatePairsOff[bool] = False
    """Print comma-separated values: image, rank, index, label, score; of objects also x1, y1, x2, y2 in pixels, of
    segmenters for each class its pixels and share of the image."""
    save: Annotated[Path | None, arg(metavar="FOLDER", help_behavior_hint="")] = None
    """Folder to write the annotated pictures to; of segmenters also NAME.classes.png, numbers with a palette."""

    def run(self) -> int:
        from internimage.errors import ConfigError, ImageReadError
        from internimage.images import list_images
        from internimage.inference.views import Detector, Segmenter
        from internimage.results import Classification, Segmentation

        if self.json and self.csv:
            raise ConfigError("choose one of --json and --csv")
        if self.topk < 1:
            raise ConfigError(f"--topk is {self.topk}; expected at least 1")
        if not 0 <= self.score <= 1:
            raise ConfigError(f"--score is {self.score}; expected 0 to 1")
        if not self.images:
            raise ConfigError("no image given; name files, folders, URLs or quoted patterns")
        sources = list_images(list(self.images))
        predictor = self.model.predictor(augmentation(self.tta, self.tta_sides))
        if self.save:
            self.save.mkdir(parents=True, exist_ok=True)
            if any(Path(image).is_dir() and self.save.samefile(image) for image in self.images):
                raise ConfigError(f"--save {self.save} is the folder of the images; choose another for the results")
        writer = csv.writer(sys.stdout)
        if self.csv:
            more: tuple[str, ...] = ("x1", "y1", "x2", "y2") if isinstance(predictor.model, Detector) else ()
            more = ("pixels", "share") if isinstance(predictor.model, Segmenter) else more
            writer.writerow(("image", "rank", "index", "label", "score", *more))
        failures: list[str] = []
        names: set[str] = set()
        stream = predictor.stream(sources)
        for source, result in progress(stream, len(sources), "predicting"):
            if isinstance(result, ImageReadError):
                failures.append(source.name)
                print(f"internimage: {result}", file=sys.stderr)
                continue
            if isinstance(result, Classification):
                self._print_classes(result, writer)
            elif isinstance(result, Segmentation):
                self._print_regions(result, writer)
            else:
                self._print_objects(result.filter(self.score), writer)
            if self.save:
                target = self.save / _free_name(Path(source.name).stem, names)
                if isinstance(result, Segmentation):
                    result.draw().save(target)
                    result.to_png().save(target.with_name(target.name.removesuffix(_DRAWN) + ".classes.png"))
                else:
                    chosen = self.topk if isinstance(result, Classification) else self.score
                    result.draw(chosen).save(target)  # type: ignore[arg-type]
        if self.save and len(failures) < len(sources):
            print(f"annotated pictures: {self.save}", file=sys.stderr)
        return report_failures(failures, len(sources))

    def _print_classes(self, result: Classification, writer: Any) -> None:
        if self.json:
            print(json.dumps(result.to_dict(self.topk), ensure_ascii=False))
        elif self.csv:
            for rank, scored in enumerate(result.top(self.topk), 1):
                writer.writerow((result.source.name, rank, scored.index, scored.label, f"{scored.score:.6f}"))
        else:
            print(result.source.name)
            for scored in result.top(self.topk):
                print(f"  {scored.score:6.1%}  {scored.label}")

    def _print_regions(self, result: Segmentation, writer: Any) -> None:
        if self.json:
            print(json.dumps(result.to_dict(), ensure_ascii=False))
            return
        if not self.csv:
            print(result.source.name)
        for rank, one in enumerate(result.regions(), 1):
            if self.csv:
                score = f"{one.confidence:.6f}"
                writer.writerow((result.source.name, rank, one.index, one.label, score, one.pixels, f"{one.share:.6f}"))
            else:
                print(f"  {one.share:6.1%}  {one.label}")

    def _print_objects(self, result: Detections, writer: Any) -> None:
        if self.json:
            print(json.dumps(result.to_dict(), ensure_ascii=False))
            return
        if not self.csv:
            print(f"{result.source.name}: {len(result)} object{'' if len(result) == 1 else 's'}")
        for i in range(len(result)):
            box, score = [f"{value:.1f}" for value in result.boxes[i]], float(result.scores[i])
            if self.csv:
                writer.writerow(
                    (result.source.name, i + 1, int(result.labels[i]), result.name(i), f"{score:.6f}", *box)
                )
            else:
                print(f"  {score:6.1%}  {result.name(i)}  ({', '.join(box)})")


def _free_name(stem: str, taken: set[str]) -> str:
    """A file name for an annotated picture that this run has not used yet."""
    name, number = f"{stem}{_DRAWN}", 1
    while name in taken:
        number += 1
        name = f"{stem}.{number}{_DRAWN}"
    taken.add(name)
    return name
