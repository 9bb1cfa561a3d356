"""Detection and instance segmentation, as seen from outside this folder (:class:`internimage.contracts.TaskSpec`).

Imports no torch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from internimage.contracts import Amount, Findings, OtherResults, Pipeline, Prepared, Report, TaskSpec
from internimage.data.formats.set_results import NOUN, are_results
from internimage.errors import DataError
from internimage.images import FitPreprocessing
from internimage.results.coco_writer import CocoWriter
from internimage.results.detections import Detections
from internimage.results.file_writers import CropsWriter, LabelmeWriter, VocWriter, YoloWriter
from internimage.results.tiled import unite
from internimage.settings.data import DataOptions
from internimage.settings.detection import DetectionAugmentation
from internimage.settings.training import RunConfig, TrainingConfig
from internimage.settings.views import DisplayOptions, PredictionOptions, ReportOptions
from internimage.writing import counted

if TYPE_CHECKING:
    from PIL.Image import Image

    from internimage.data.objects import ObjectImages
    from internimage.data.splits import Splits
    from internimage.recipes import Recipe


def _recognise(root: Path) -> bool:
    from internimage.data.recognition import has_kind

    return has_kind(root, "objects")


def _read_parts(root: Path, wanted: str | None, options: DataOptions) -> Mapping[str, ObjectImages]:
    from internimage.data.recognition import read_kinds

    return read_kinds(root, wanted, options, "objects")[1]


def _estimate(root: Path) -> int:
    from internimage.data.recognition import estimate

    return estimate(root)


def _resized(augmentation: DetectionAugmentation, size: int) -> DetectionAugmentation:
    from internimage.tasks.detection.defaults import resized

    return resized(augmentation, size)


def _defaults(amount: Amount) -> tuple[TrainingConfig, DetectionAugmentation]:
    from internimage.tasks.detection.defaults import default_settings

    return default_settings(amount)


def _prepare(config: RunConfig, recipe: Recipe, splits: Splits[Any]) -> Prepared:
    from internimage.tasks.detection.prepare import prepare

    return prepare(config, recipe, splits)


def _pipeline(model: Any, options: PredictionOptions) -> Pipeline:
    from internimage.tasks.detection.pipeline import DetectionPipeline

    return DetectionPipeline(model, options)


def _report(pipeline: Pipeline, data: ObjectImages, options: ReportOptions) -> Report:
    from internimage.tasks.detection.evaluation import DetectionReport

    return DetectionReport.on(pipeline, data, score_threshold=options.score_threshold)


def _read_annotations(root: Path, wanted: str | None, options: DataOptions) -> Mapping[str, ObjectImages]:
    """The parts; of one annotation file also where its pictures are not there."""
    from internimage.data.recognition import find_format

    try:
        return _read_parts(root, wanted, options)
    except DataError:
        found = find_format(root) if root.is_file() else None
        part = None if found is None else found.read_annotations(root, options)
        if part is None:  # what is wrong with the file itself is said again by the other
            raise
        return {"all": part}


def _measure(data: ObjectImages, file: Path, options: ReportOptions) -> Report:
    from internimage.tasks.detection.evaluation import measure_results

    return measure_results(data, file, options)


def _check(data: ObjectImages, progress: Callable[[Iterable[Any]], Iterable[Any]]) -> Findings:
    from internimage.tasks.detection.check import check_objects

    return check_objects(data, progress)


def _sheet(data: ObjectImages) -> Image:
    from internimage.tasks.detection.check import object_sheet

    return object_sheet(data)


def _rows(result: Detections, options: DisplayOptions) -> Iterator[tuple[Any, ...]]:
    shown = result.filter(options.score_threshold)
    for i in range(len(shown)):
        box = [f"{value:.1f}" for value in shown.boxes[i]]
        yield i + 1, int(shown.labels[i]), shown.name(i), f"{shown.scores[i]:.6f}", *box


def _text(result: Detections, options: DisplayOptions) -> str:
    shown = result.filter(options.score_threshold)
    lines = [f"{result.source.name}: {counted(len(shown), 'object')}"]
    for i in range(len(shown)):
        box = ", ".join(f"{value:.1f}" for value in shown.boxes[i])
        lines.append(f"  {shown.scores[i]:6.1%}  {shown.name(i)}  ({box})")
    return "\n".join(lines)


def _to_dict(result: Detections, options: DisplayOptions) -> dict[str, Any]:
    return result.filter(options.score_threshold).to_dict()


def _pictures(result: Detections, options: DisplayOptions) -> Mapping[str, Image]:
    return {".predicted.png": result.draw(options.score_threshold)}


SPEC = TaskSpec(
    name="detection",
    model_noun="detector",
    data_noun="COCO's annotations of objects",
    result=Detections,
    augmentation=DetectionAugmentation,
    default_model="mask_rcnn_internimage_atto_fpn",
    preprocessing=FitPreprocessing(),
    recognise=_recognise,
    reads=_recognise,  # nuScenes' tables, which another task takes, may have boxes in pictures beside them
    read_parts=_read_parts,
    estimate=_estimate,
    defaults=_defaults,
    resized=_resized,
    prepare=_prepare,
    pipeline=_pipeline,
    report=_report,
    check=_check,
    sheet=_sheet,
    columns=("x1", "y1", "x2", "y2"),
    rows=_rows,
    text=_text,
    to_dict=_to_dict,
    pictures=_pictures,
    shown=("score_threshold",),
    writers={
        "coco": lambda output: CocoWriter(output, Detections.shapes),
        "yolo": lambda output: YoloWriter(output, Detections.shapes),
        "voc": lambda output: VocWriter(output, Detections.shapes),
        "labelme": lambda output: LabelmeWriter(output, Detections.shapes),
        "crops": lambda output: CropsWriter(output, Detections.shapes),
    },
    others=OtherResults(NOUN, are_results, _read_annotations, _measure),
    merge=unite,
    export="internimage.tasks.detection.export:EXPORT",
    train_help="""Train or fine-tune a detector on your own images with COCO's annotations.

    $ internimage train --data cells/

    $ internimage train --data cells/ --model mask_rcnn_internimage_t_fpn_3x_coco --init pretrained --size 640

    $ internimage train --data cells/ --model dino_4scale_internimage_t_1x_coco --init pretrained --lr 1e-4

    $ internimage train --data coco/ --recipe cascade_internimage_l_fpn_3x_coco

    $ internimage train --resume runs/cells

    The data is a folder with annotations/train.json (and val.json) and the images in train/ (and val/), or laid out as
    COCO or Roboflow do; see docs/detection.md. Masks are learnt if every object has one. Your own classes start anew.
    The trained model is a folder that every other command takes: --model runs/cells/best.
    """,
)
