"""internimage predict"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from tyro.conf import FlagCreatePairsOff, arg

from internimage.cli.common import (
    FrameOptions,
    Images,
    ModelOptions,
    Reading,
    ViewOptions,
    list_given,
    progress,
    refuse_among,
)
from internimage.cli.masks import MaskOptions

if TYPE_CHECKING:
    from internimage.contracts import TaskSpec, Writer
    from internimage.images import ImageSource
    from internimage.inference.runner import Runner
    from internimage.results.output import Picture
    from internimage.settings.views import DisplayOptions


@dataclass(frozen=True)
class Predict:
    """Classify images, detect objects or segment images and videos, depending on the model.

    $ internimage predict photo.jpg

    $ internimage predict street.jpg --model mask_rcnn_internimage_t_fpn_3x_coco --save out/

    $ internimage predict street.jpg --model upernet_internimage_t_512_160k_ade20k --save out/

    $ internimage predict slide.png --model runs/cells --tile 640 --overlap 0.2 --save out/

    $ internimage predict street.jpg --model faster_rcnn_internimage_atto_bccd_320 --masks-from sam2 --save out/

    $ internimage predict clip.mp4 --model mask_rcnn_internimage_t_fpn_3x_coco --every 2 --save out/

    $ internimage predict photos/ --model internimage_b_1k_224 --csv > photos.csv

    $ internimage predict photos/ --model runs/cells --format coco --output out/

    $ internimage predict 'in/**/*.png' --checkpoint weights.pth --save out/

    $ internimage predict 'roads/#scene-0100' --model runs/roads --format video --output out/

    3D detectors take folders of drives, as nuScenes lays them down, all of one or FOLDER#PART or FOLDER#SCENE.

    Images that cannot be read are reported on stderr and skipped; the exit status is then 1.
    """

    images: Images
    model: ModelOptions = field(default_factory=ModelOptions)
    frames: FrameOptions = field(default_factory=FrameOptions)
    topk: Annotated[int | None, arg(metavar="N", help_behavior_hint="(default: 5)")] = None
    """Classifiers: number of classes to print per image."""
    score_threshold: Annotated[float | None, arg(metavar="SCORE", help_behavior_hint="(default: 0.3)")] = None
    """Detectors: minimum score of the objects to print, draw and write; an R-CNN reports none below 0.05. Unless it is
    given, the results.json of --format coco has all objects, since average precision is measured on all."""
    views: ViewOptions = field(default_factory=ViewOptions)
    masks: MaskOptions = field(default_factory=MaskOptions)
    json: FlagCreatePairsOff[bool] = False
    """Print one JSON object per line."""
    csv: FlagCreatePairsOff[bool] = False
    """Print comma-separated values: image, rank, index, label, score; for detectors also x1, y1, x2, y2 in pixels, for
    segmenters the pixels of each class and their share of the image, for 3D detectors boxes in the lidar's frame."""
    format: Annotated[str | None, arg(metavar="NAME", help_behavior_hint="")] = None
    """Write all results into the folder --output: coco, yolo, voc, labelme, crops (detectors), masks, coco, labelme
    (segmenters), sorted (classifiers; copies into a folder a class), nuscenes, video, recording (3D detectors), csv,
    json (all)."""
    output: Annotated[Path | None, arg(metavar="FOLDER", help_behavior_hint="")] = None
    """Folder for --format."""
    annotations: Annotated[Path | None, arg(metavar="FILE", help_behavior_hint="")] = None
    """With --format coco: take the ids of images and categories from this file of COCO's annotations."""
    save: Annotated[Path | None, arg(metavar="FOLDER", help_behavior_hint="")] = None
    """Folder for the annotated images, NAME.predicted.png, and for a video NAME.predicted.mp4, without sound; for
    segmenters also NAME.classes.png, class numbers with a palette (of videos --format masks)."""

    def run(self) -> int:
        from internimage.inference.drawings import Drawings

        self._refuse_contradictions()
        reading = Reading(list_given(self.images, self.model.spec()), self.frames)
        predictor = self.masks.around(self.model.predictor(self.views), self.model.device)
        self._refuse_what_is_ignored(predictor.spec)
        if len(reading.sources) == 1:  # of several, the bar counts pictures
            predictor.follow = progress
        reading.look_at_pixels(predictor.preprocessing)
        writer, name_of = self._writer(predictor, reading.sources)
        for note in writer.notes:
            print(f"internimage: {note}", file=sys.stderr)
        with ExitStack() as stack:
            drawings = stack.enter_context(Drawings(self.save, predictor.spec, self._shown())) if self.save else None
            for source, result in reading.good(predictor.stream(reading.pictures()), "predicting"):
                writer.add(name_of(source), result)
                if drawings:
                    drawings.add(source, result)
        if len(reading.failures) < reading.count:
            for path in writer.close():
                print(f"written: {path}", file=sys.stderr)
            if drawings:
                for note in drawings.notes:
                    print(f"written: {note}", file=sys.stderr)
                print(f"annotated pictures: {self.save}", file=sys.stderr)
        return reading.report()

    def _shown(self) -> DisplayOptions:
        from internimage.settings.views import DisplayOptions

        usual, threshold = DisplayOptions(), self.score_threshold
        topk = usual.topk if self.topk is None else self.topk
        return DisplayOptions(topk, usual.score_threshold if threshold is None else threshold)

    def _refuse_what_is_ignored(self, spec: TaskSpec) -> None:
        from internimage.errors import ConfigError

        for name, value in (("topk", self.topk), ("score_threshold", self.score_threshold)):
            if value is not None and name not in spec.shown:
                option = name.replace("_", "-")
                raise ConfigError(f"--{option} says nothing of the results of a {spec.model_noun}; leave it out")

    def _refuse_contradictions(self) -> None:
        from internimage.errors import ConfigError

        if self.json + self.csv + (self.format is not None) > 1:
            raise ConfigError("choose one of --json, --csv and --format")
        if (self.format is None) != (self.output is None):
            raise ConfigError("--format NAME and --output FOLDER belong together; pass both or neither")
        if self.annotations and self.format != "coco":
            raise ConfigError("--annotations gives the ids of --format coco; leave it out")
        self._shown()
        if not self.images:
            raise ConfigError("no image given; name files, videos, folders, URLs or quoted patterns")
        refuse_among(self.images, save=self.save, output=self.output)

    def _writer(
        self, predictor: Runner, sources: Sequence[ImageSource]
    ) -> tuple[Writer, Callable[[ImageSource], Picture]]:
        """What writes or prints the results, and the names under which it takes them."""
        from internimage.inference.writing import LinesWriter, Names, open_writer
        from internimage.results.output import Picture

        if self.format is None or self.output is None:
            kind: Literal["csv", "json", "text"] = "csv" if self.csv else "json" if self.json else "text"
            printer = LinesWriter(predictor.spec, self._shown(), kind, sys.stdout)
            return printer, lambda source: Picture(source.name, source.name)
        writer, pictures = open_writer(
            predictor,
            sources,
            self.format,
            self.output,
            topk=self._shown().topk,
            score_threshold=self.score_threshold,
            annotations=self.annotations,
        )
        return writer, Names(sources, pictures).of
