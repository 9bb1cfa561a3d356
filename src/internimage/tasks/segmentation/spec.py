"""Semantic segmentation, as seen from outside this folder (:class:`internimage.contracts.TaskSpec`).

Imports no torch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from internimage.contracts import Amount, Findings, OtherResults, Pipeline, Prepared, Report, TaskSpec
from internimage.images import FitPreprocessing
from internimage.results.coco_writer import CocoWriter
from internimage.results.file_writers import LabelmeWriter, MaskWriter
from internimage.results.segmentation import Segmentation
from internimage.settings.data import DataOptions
from internimage.settings.segmentation import SegmentationAugmentation
from internimage.settings.training import RunConfig, TrainingConfig
from internimage.settings.views import DisplayOptions, PredictionOptions, ReportOptions, refuse_score_threshold

if TYPE_CHECKING:
    from PIL.Image import Image

    from internimage.data.masks import SegmentedImages
    from internimage.data.splits import Splits
    from internimage.recipes import Recipe


def _recognise(root: Path) -> bool:
    from internimage.data.recognition import has_kind

    return has_kind(root, "masks")


def _reads(root: Path) -> bool:
    """Objects with masks are painted."""
    from internimage.data.recognition import has_kind

    return has_kind(root, "masks", "objects")


def _read_parts(root: Path, wanted: str | None, options: DataOptions) -> Mapping[str, SegmentedImages]:
    from internimage.data.masks import paint
    from internimage.data.recognition import read_kinds

    kind, parts = read_kinds(root, wanted, options, "masks", "objects")
    painted = replace(options, crowds="learn")  # the pixels of several objects are of their class
    return parts if kind == "masks" else {name: paint(part.usable(painted)) for name, part in parts.items()}


def _estimate(root: Path) -> int:
    from internimage.data.recognition import estimate

    return estimate(root)


def _resized(augmentation: SegmentationAugmentation, size: int) -> SegmentationAugmentation:
    from internimage.tasks.segmentation.defaults import resized

    return resized(augmentation, size)


def _defaults(amount: Amount) -> tuple[TrainingConfig, SegmentationAugmentation]:
    from internimage.tasks.segmentation.defaults import default_settings

    return default_settings(amount)


def _prepare(config: RunConfig, recipe: Recipe, splits: Splits[Any]) -> Prepared:
    from internimage.tasks.segmentation.prepare import prepare

    return prepare(config, recipe, splits)


def _pipeline(model: Any, options: PredictionOptions) -> Pipeline:
    from internimage.tasks.segmentation.pipeline import SegmentationPipeline

    return SegmentationPipeline(model, options)


def _report(pipeline: Pipeline, data: SegmentedImages, options: ReportOptions) -> Report:
    from internimage.tasks.segmentation.evaluation import SegmentationReport

    refuse_score_threshold(options)
    return SegmentationReport.on(pipeline, data)


def _measure(data: SegmentedImages, file: Path, options: ReportOptions) -> Report:
    from internimage.tasks.segmentation.evaluation import measure_masks

    return measure_masks(data, file, options)


def _check(data: SegmentedImages, progress: Callable[[Iterable[Any]], Iterable[Any]]) -> Findings:
    from internimage.tasks.segmentation.check import check_masks

    return check_masks(data, progress)


def _sheet(data: SegmentedImages) -> Image:
    from internimage.tasks.segmentation.check import mask_sheet

    return mask_sheet(data)


def _rows(result: Segmentation, options: DisplayOptions) -> Iterator[tuple[Any, ...]]:
    for rank, one in enumerate(result.regions(), 1):
        yield rank, one.index, one.label, f"{one.confidence:.6f}", one.pixels, f"{one.share:.6f}"


def _text(result: Segmentation, options: DisplayOptions) -> str:
    lines = [f"  {one.share:6.1%}  {one.label}" for one in result.regions()]
    return "\n".join([result.source.name, *lines])


def _to_dict(result: Segmentation, options: DisplayOptions) -> dict[str, Any]:
    return result.to_dict()


def _pictures(result: Segmentation, options: DisplayOptions) -> Mapping[str, Image]:
    return {".predicted.png": result.draw(legend=options.legend), ".classes.png": result.to_png()}


SPEC = TaskSpec(
    name="segmentation",
    model_noun="segmenter",
    data_noun="a mask for each image",
    result=Segmentation,
    augmentation=SegmentationAugmentation,
    default_model="upernet_internimage_atto",
    preprocessing=FitPreprocessing(512, 2048),
    recognise=_recognise,
    read_parts=_read_parts,
    estimate=_estimate,
    defaults=_defaults,
    resized=_resized,
    prepare=_prepare,
    pipeline=_pipeline,
    report=_report,
    check=_check,
    sheet=_sheet,
    columns=("pixels", "share"),
    rows=_rows,
    text=_text,
    to_dict=_to_dict,
    pictures=_pictures,
    reads=_reads,
    shown=(),
    writers={
        "masks": MaskWriter,
        "coco": lambda output: CocoWriter(output, Segmentation.shapes),
        "labelme": lambda output: LabelmeWriter(output, Segmentation.shapes),
    },
    export="internimage.tasks.segmentation.export:EXPORT",
    others=OtherResults("a folder of masks", Path.is_dir, _read_parts, _measure),
    train_help="""Train or fine-tune a segmenter on your own images with a mask for each.

    $ internimage train --data streets/

    $ internimage train --data streets/ --model upernet_internimage_t_512_160k_ade20k --init pretrained --size 512

    $ internimage train --data cells/ --model upernet_internimage_atto

    $ internimage train --data ADEChallengeData2016/ --recipe upernet_internimage_t_512_160k_ade20k

    $ internimage train --resume runs/streets

    The data is a folder with train/images and train/masks (and val/images, val/masks), images and masks of the same
    names; classes.json or classes.txt names the classes. Or COCO's annotations, whose objects are painted over a
    background; or ADE20K, Cityscapes, CamVid as they are; see docs/segmentation.md. Your own classes start anew.
    The trained model is a folder that every other command takes: --model runs/streets/best.
    """,
)
