"""Image classification, as seen from outside this folder (:class:`internimage.contracts.TaskSpec`).

Imports no torch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from internimage.contracts import Amount, Findings, OtherResults, Pipeline, Prepared, Report, TaskSpec
from internimage.images import Preprocessing
from internimage.results.classification import Classification
from internimage.results.file_writers import SortedWriter
from internimage.settings.classification import ClassificationAugmentation
from internimage.settings.data import DataOptions
from internimage.settings.training import RunConfig, TrainingConfig
from internimage.settings.views import DisplayOptions, PredictionOptions, ReportOptions, refuse_score_threshold

if TYPE_CHECKING:
    from PIL.Image import Image

    from internimage.data.samples import LabelledImages
    from internimage.data.splits import Splits
    from internimage.recipes import Recipe


def _recognise(root: Path) -> bool:
    from internimage.data.recognition import has_kind

    return has_kind(root, "labels")


def _read_parts(root: Path, wanted: str | None, options: DataOptions) -> Mapping[str, LabelledImages]:
    from internimage.data.recognition import read_kinds

    return read_kinds(root, wanted, options, "labels")[1]


def _estimate(root: Path) -> int:
    from internimage.data.recognition import estimate

    return estimate(root)


def _resized(augmentation: ClassificationAugmentation, size: int) -> ClassificationAugmentation:
    """It is given in shares of the image."""
    return augmentation


def _defaults(amount: Amount) -> tuple[TrainingConfig, ClassificationAugmentation]:
    from internimage.tasks.classification.defaults import default_settings

    return default_settings(amount)


def _prepare(config: RunConfig, recipe: Recipe, splits: Splits[Any]) -> Prepared:
    from internimage.tasks.classification.prepare import prepare

    return prepare(config, recipe, splits)


def _pipeline(model: Any, options: PredictionOptions) -> Pipeline:
    from internimage.tasks.classification.pipeline import ClassificationPipeline

    return ClassificationPipeline(model, options)


def _report(pipeline: Pipeline, data: LabelledImages, options: ReportOptions) -> Report:
    from internimage.tasks.classification.evaluation import ClassificationReport

    refuse_score_threshold(options)
    return ClassificationReport.on(pipeline, data)


def _measure(data: LabelledImages, file: Path, options: ReportOptions) -> Report:
    from internimage.tasks.classification.predictions import measure_table

    return measure_table(data, file, options)


def _check(data: LabelledImages, progress: Callable[[Iterable[Any]], Iterable[Any]]) -> Findings:
    from internimage.tasks.classification.check import check_images

    return check_images(data, progress)


def _sheet(data: LabelledImages) -> Image:
    from internimage.tasks.classification.check import image_sheet

    return image_sheet(data)


def _rows(result: Classification, options: DisplayOptions) -> Iterator[tuple[Any, ...]]:
    for rank, scored in enumerate(result.top(options.topk), 1):
        yield rank, scored.index, scored.label, f"{scored.score:.6f}"


def _text(result: Classification, options: DisplayOptions) -> str:
    lines = [f"  {scored.score:6.1%}  {scored.label}" for scored in result.top(options.topk)]
    return "\n".join([result.source.name, *lines])


def _to_dict(result: Classification, options: DisplayOptions) -> dict[str, Any]:
    return result.to_dict(options.topk)


def _pictures(result: Classification, options: DisplayOptions) -> Mapping[str, Image]:
    return {".predicted.png": result.draw(options.topk)}


SPEC = TaskSpec(
    name="classification",
    model_noun="classifier",
    data_noun="a class for each image",
    result=Classification,
    augmentation=ClassificationAugmentation,
    default_model="internimage_atto",
    preprocessing=Preprocessing(resize=224, crop=224),
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
    columns=(),
    rows=_rows,
    text=_text,
    to_dict=_to_dict,
    pictures=_pictures,
    shown=("topk",),
    writers={"sorted": SortedWriter},
    others=OtherResults(
        "a table with the columns path and label (.csv)",
        lambda path: path.suffix.lower() == ".csv",
        _read_parts,
        _measure,
    ),
    without_classes=True,
    several_views=False,
    export="internimage.tasks.classification.export:EXPORT",
    train_help="""Train or fine-tune a classifier, a detector, a segmenter or a 3D detector on your own images.

    $ internimage train --data photos/

    $ internimage train --data photos/ --model internimage_t_1k_224 --init pretrained --epochs 20 --lr 1e-4

    $ internimage train --data imagenet/ --recipe internimage_t_1k_224

    $ internimage train --data cells/ --model mask_rcnn_internimage_t_fpn_3x_coco --init pretrained

    $ internimage train --data streets/ --model upernet_internimage_t_512_160k_ade20k --init pretrained

    $ internimage train --resume runs/photos

    The data is a folder with one folder a class (or train/ and val/ with such folders, a CSV file with the columns path
    and label, zip archives, WebDataset shards or iNaturalist's JSON), or for detectors one with COCO's annotations, or
    for segmenters one with images/ and masks/, or for 3D detectors one of nuScenes' tables; see docs/training.md. The
    trained model is a folder that every other command takes: --model runs/photos/best. These are the options for
    classifiers; with the --data or --model of another kind, --help shows its own.
    """,
)
