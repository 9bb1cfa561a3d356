"""What several commands share: the model, how it is loaded, progress."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar

from tyro.conf import FlagCreatePairsOff, Positional, arg

if TYPE_CHECKING:
    import torch

    from internimage.contracts import TaskSpec
    from internimage.images import FitPreprocessing, ImageSource, Preprocessing
    from internimage.inference.runner import Runner
    from internimage.settings.depth import Depth
    from internimage.settings.views import TestTimeAugmentation, Tiles

T = TypeVar("T")

DeepRange = Annotated[tuple[float, float] | None, arg(metavar="LOW HIGH", help_behavior_hint="")]
DeepPercentiles = Annotated[tuple[float, float] | None, arg(metavar="LOW HIGH", help_behavior_hint="")]
Images = Annotated[
    Positional[tuple[str, ...]],
    arg(
        metavar="IMAGE...",
        help="Files, folders, URLs or quoted glob patterns such as 'photos/**/*.jpg'.",
        help_behavior_hint="(required)",
    ),
]


@dataclass(frozen=True)
class ViewOptions:
    """How a detector or segmenter looks at a picture: once as a whole, several times, or tile by tile."""

    tta: FlagCreatePairsOff[bool] = False
    """Detectors and segmenters: test-time augmentation with mirrored images and --tta-sides; slower, more exact."""
    tta_sides: Annotated[tuple[int, ...], arg(metavar="PIXELS...", help_behavior_hint="(default: the model's)")] = ()
    """Shorter sides of the image for --tta, such as 600 800 1000."""
    tta_merge: Literal["nms", "soft-nms", "wbf"] = "nms"
    """Detectors: what becomes of boxes of several views that overlap. nms keeps the best, soft-nms lowers the scores of
    the others, wbf (weighted box fusion) averages boxes and masks by score."""
    soft_nms: FlagCreatePairsOff[bool] = False
    """R-CNNs: in each view lower the scores of boxes that overlap a better one of their class, instead of dropping
    them, which finds more of objects that hide each other."""
    tile: Annotated[int | None, arg(metavar="PIXELS", help_behavior_hint="(default: the picture as a whole)")] = None
    """Detectors: see large pictures in square tiles of this side, such as 640, and as a whole; --batch-size tiles go
    through the model together. Tiles as large as the pictures that the model learnt from keep the objects' sizes."""
    overlap: Annotated[float | None, arg(metavar="SHARE", help_behavior_hint="(default: 0.2)")] = None
    """Share of a tile's side that the next tile repeats: objects that are smaller are whole in one of them."""
    tiles_only: FlagCreatePairsOff[bool] = False
    """With --tile, do not see the picture as a whole beside the tiles, for pictures without larger objects."""
    tile_merge: Annotated[
        Literal["seams", "greedy"] | None, arg(metavar="{seams,greedy}", help_behavior_hint="(default: seams)")
    ] = None
    """seams unites what a seam cuts; greedy unites all boxes of a class that share half of the smaller one's area, as
    other tools do, and may unite neighbours."""

    def augmentation(self) -> TestTimeAugmentation | None:
        """What ``--tta`` and its options ask for."""
        from internimage.errors import ConfigError
        from internimage.settings.views import TestTimeAugmentation

        for option, given in (("--tta-sides", self.tta_sides), ("--tta-merge", self.tta_merge != "nms")):
            if given and not self.tta:
                raise ConfigError(f"{option} belongs to --tta")
        return TestTimeAugmentation(self.tta_sides, merge=self.tta_merge) if self.tta else None

    def tiles(self) -> Tiles | None:
        """What ``--tile`` and its options ask for."""
        from internimage.errors import ConfigError
        from internimage.settings.views import Tiles

        if self.tile is None:
            given = {
                "--overlap": self.overlap,
                "--tiles-only": self.tiles_only or None,
                "--tile-merge": self.tile_merge,
            }
            if needless := [option for option, value in given.items() if value is not None]:
                raise ConfigError(f"{needless[0]} belongs to --tile")
            return None
        usual = Tiles(self.tile)
        overlap = usual.overlap if self.overlap is None else self.overlap
        return Tiles(self.tile, overlap, not self.tiles_only, self.tile_merge or usual.merge)


@dataclass(frozen=True)
class ModelOptions:
    """Which model, with which weights, and where it runs."""

    name: Annotated[str, arg(name="model", metavar="NAME")] = "internimage_t_1k_224"
    """Name (see `internimage models`) or a folder: a model's, or a run's for its best model; a file of
    `internimage export`, which runs without PyTorch."""
    checkpoint: Annotated[Path | None, arg(metavar="FILE", help_behavior_hint="(default: released weights)")] = None
    """Weights to load: official .pth, Hugging Face, safetensors or a model folder. Released weights are downloaded once
    and cached."""
    labels: Annotated[Literal["imagenet1k"] | None, arg(metavar="imagenet1k", help_behavior_hint="")] = None
    """Reduce a classifier of 21,841 classes to those of ImageNet-1K."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:1 ..."""
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    """Precision of the weights; half precision takes half the memory."""
    batch_size: int = 8
    """Images, or with --tile tiles, per forward pass."""

    max_objects: Annotated[int | None, arg(metavar="N", help_behavior_hint="(default: the model's, often 100)")] = None
    """Detectors: greatest number of objects that are reported of an image, with --tile of a tile."""

    deep_range: DeepRange = None
    """Values of pixels of more than 8 bits that become black and white; by default as the model was trained."""
    deep_percentiles: DeepPercentiles = None
    """The same as percentiles of each image's values, such as 1 99."""

    def torch_dtype(self) -> torch.dtype:
        import torch

        return getattr(torch, self.dtype)

    def spec(self) -> TaskSpec | None:
        """The task of the model, without its weights; None of an exported file and of what is no model."""
        from internimage.description import is_exported

        if is_exported(self.name):
            return None
        from internimage.contracts import task_spec
        from internimage.errors import InternImageError
        from internimage.factory import recipe_of  # loads PyTorch, which exported files run without

        try:
            return task_spec(recipe_of(self.name).task)
        except InternImageError:  # said when it is loaded
            return None

    def predictor(self, views: ViewOptions) -> Runner:
        """The model behind :class:`internimage.Predictor`, or the exported file."""
        from internimage.description import is_exported

        if is_exported(self.name):
            return self._exported(views)
        from internimage.inference.predictor import Predictor

        return Predictor(
            self.name,
            checkpoint=self.checkpoint,
            labels=self.labels,
            device=self.device,
            dtype=self.torch_dtype(),
            batch_size=self.batch_size,
            augmentation=views.augmentation(),
            max_objects=self.max_objects,
            depth=depth(self.deep_range, self.deep_percentiles),
            tiles=views.tiles(),
            soft_nms=views.soft_nms,
        )

    def refuse_what_files_have(self) -> None:
        """Raise :class:`ConfigError` for options that say what an exported file has inside."""
        from internimage.errors import ConfigError

        given = {"--checkpoint": self.checkpoint, "--labels": self.labels, "--dtype": self.dtype != "float32"}
        if unknown := [option for option, value in given.items() if value]:
            raise ConfigError(f"{self.name} has its weights and precision inside; leave {' and '.join(unknown)} out")

    def _exported(self, views: ViewOptions) -> Runner:
        """What an exported file runs in."""
        from internimage.exporting.predictor import ExportedPredictor

        self.refuse_what_files_have()
        return ExportedPredictor(
            self.name,
            device=self.device,
            batch_size=self.batch_size,
            augmentation=views.augmentation(),
            max_objects=self.max_objects,
            depth=depth(self.deep_range, self.deep_percentiles),
            tiles=views.tiles(),
            soft_nms=views.soft_nms,
        )


def depth(given: tuple[float, float] | None, percentiles: tuple[float, float] | None) -> Depth | None:
    """What ``--deep-range`` and ``--deep-percentiles`` ask for."""
    from internimage.settings.depth import Depth

    return None if given is None and percentiles is None else Depth(given, percentiles)


def list_given(images: Sequence[str], spec: TaskSpec | None = None) -> list[ImageSource]:
    """The pictures that are meant, or what a task has instead; what a folder holds beside them is said on stderr."""
    from internimage.images import left_out_of, list_images
    from internimage.inference.runner import inputs_of

    if spec is not None and spec.inputs is not None:
        return inputs_of(spec, list(images))
    for folder in dict.fromkeys(one for one in images if os.path.isdir(one)):  # noqa: PTH112  no name is too long
        if (unread := left_out_of(folder)).files:
            print(f"internimage: {unread}", file=sys.stderr)
    return list_images(list(images))


def refuse_among(images: Sequence[str], **targets: Path | None) -> None:
    """Raise :class:`ConfigError` for what would be written where pictures are read; ``save=...`` is ``--save``."""
    from internimage.data.formats.pictures import refuse_inside
    from internimage.images.inputs.listing import folders_of

    drives = [place for one in images if not os.path.exists(one) and (place := one.rpartition("#")[0])]  # noqa: PTH110
    for name, target in targets.items():
        for folder in folders_of([*images, *drives]):
            refuse_inside(f"--{name}", target, folder)


MaxPixels = Annotated[
    int | None,
    arg(
        metavar="N",
        help="Read pictures of up to N pixels, where Pillow refuses more of those that may be made to fill the memory.",
        help_behavior_hint="(default: 89478485)",
    ),
]


def max_pixels(command: Any) -> int | None:
    """What ``--max-pixels`` says, wherever in a command it stands; None for one that has no such option."""
    return next((given for part in (command, *vars(command).values()) if (given := _own(part)) is not None), None)


def _own(part: object) -> int | None:
    return vars(part).get("max_pixels") if is_dataclass(part) else None


@contextmanager
def pixel_limit(most: int | None) -> Iterator[None]:
    """Within it pictures have at most so many pixels; None changes nothing."""
    from internimage.errors import ConfigError

    if most is None:
        yield
        return
    if most < 1:
        raise ConfigError(f"--max-pixels is {most}; expected 1 or more")
    from PIL import Image

    before = Image.MAX_IMAGE_PIXELS
    Image.MAX_IMAGE_PIXELS = most
    try:
        yield
    finally:
        Image.MAX_IMAGE_PIXELS = before


@dataclass(frozen=True)
class FrameOptions:
    """Videos, files of several pages, and large pictures."""

    every: Annotated[int, arg(metavar="N")] = 1
    """Of videos, and with --pages all of files of several pages, read each Nth frame or page alone."""
    pages: Literal["first", "all"] = "first"
    """Of a TIFF with several pages and of an animated GIF, PNG or WebP, read the first page or all."""
    max_pixels: MaxPixels = None

    def check(self, sources: Sequence[ImageSource]) -> None:
        """Raise :class:`ConfigError` for what does not fit the files."""
        from internimage.errors import ConfigError
        from internimage.images.inputs.video import is_video

        if self.every < 1:
            raise ConfigError(f"--every is {self.every}; expected 1 or more")
        if self.every > 1 and self.pages == "first" and not any(map(is_video, sources)):
            raise ConfigError("--every belongs to videos, and to files of several pages with --pages all")


class Reading:
    """The pictures of a command as they are read, with progress, and what is said of them in the end.

    Attributes:
        count: pictures, frames and pages so far.
        failures: names of those that cannot be read.
    """

    def __init__(self, sources: Sequence[ImageSource], options: FrameOptions) -> None:
        options.check(sources)
        self.sources, self.options = sources, options
        self.count = 0
        self.failures: list[str] = []
        self._several: list[str] = []
        self._channels = 3

    def look_at_pixels(self, preprocessing: Preprocessing | FitPreprocessing) -> None:
        """Tell on stderr how deep pixels are read and which channels are not, as far as some of the files tell."""
        from internimage.data.checking import pixel_notes

        self._channels = preprocessing.channels
        files = [Path(one.value) for one in self.sources if isinstance(one.value, str | Path)]
        for note in pixel_notes([file for file in files if file.is_file()], preprocessing):
            print(f"internimage: {note}", file=sys.stderr)

    def pictures(self) -> Iterator[ImageSource]:
        """Pictures, frames and pages in order."""
        from internimage.images.inputs.listing import unfold

        return unfold(self.sources, self.options.every, self.options.pages)

    def good(self, results: Iterable[tuple[ImageSource, Any]], what: str) -> Iterator[tuple[ImageSource, Any]]:
        """Results behind a progress bar; what cannot be read is told on stderr and counted."""
        from internimage.errors import ImageReadError
        from internimage.images.inputs.listing import count_unfolded
        from internimage.images.inputs.pages import has_several_pages

        total = count_unfolded(self.sources, self.options.every, self.options.pages)
        for source, result in progress(results, total, what):
            self.count += 1
            if isinstance(result, ImageReadError):
                self.failures.append(source.name)
                print(f"internimage: {result}", file=sys.stderr)
                continue
            if self.options.pages == "first" and source.frame is None and has_several_pages(source, self._channels):
                self._several.append(source.name)
            yield source, result

    def report(self) -> int:
        """Tell on stderr what was left out; the exit status."""
        from internimage.images.inputs.pages import first_pages_note

        if self._several:
            print(f"internimage: {first_pages_note(self._several)} (--pages all reads all)", file=sys.stderr)
        return report_failures(self.failures, self.count)


def progress(items: Iterable[T], total: int | None, what: str) -> Iterator[T]:
    """Pass ``items`` on behind a progress bar on stderr, if a person is watching and there is more than one.

    Where nobody knows the total, the bar counts.
    """
    if (total is not None and total < 2) or not sys.stderr.isatty():
        yield from items
        return
    from rich.console import Console
    from rich.progress import track

    yield from track(items, total=total, description=what, console=Console(stderr=True), transient=True)


class Bar:
    """A progress bar for work that tells how many of how many steps are done; the total is known with the first."""

    def __init__(self, what: str) -> None:
        self._what, self._done = what, 0
        self._steps: Iterator[int] = iter(())

    def __call__(self, done: int, total: int) -> None:
        if not self._done:
            self._steps = iter(progress(range(total), total, self._what))
        for _ in range(done - self._done):
            next(self._steps, None)
        self._done = done


def print_json(content: Any, *, indent: int | None = None) -> None:
    """Print JSON that stays JSON where the terminal or pipe lacks some characters."""
    from internimage.writing import json_text

    print(json_text(content, encoding=sys.stdout.encoding or "utf-8", indent=indent))


def report_failures(failures: list[str], total: int) -> int:
    """Tell on stderr how many images failed; the exit status."""
    if not failures:
        return 0
    print(f"internimage: {len(failures)} of {total} images could not be read", file=sys.stderr)
    return 1
