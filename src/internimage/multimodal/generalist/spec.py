"""Several tasks with one model, as seen from outside this folder (:class:`internimage.contracts.TaskSpec`).

Imports no torch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from internimage.contracts import Amount, Findings, Pipeline, Prepared, Report, TaskSpec
from internimage.images import FitPreprocessing
from internimage.multimodal.generalist.reading import EXPECTED, estimate, read_parts, reads
from internimage.multimodal.generalist.settings import GeneralistAugmentation, default_settings, resized
from internimage.multimodal.results.everything import Everything
from internimage.settings.training import RunConfig, TrainingConfig
from internimage.settings.views import DisplayOptions, PredictionOptions, ReportOptions

if TYPE_CHECKING:
    from PIL.Image import Image

    from internimage.data.splits import Splits
    from internimage.multimodal.generalist.data import Sets
    from internimage.recipes import Recipe


def _recognise(root: Path) -> bool:
    """What it learns from is other tasks' too; this one is asked for by the model's name."""
    return False


def _defaults(amount: Amount) -> tuple[TrainingConfig, GeneralistAugmentation]:
    return default_settings(amount)


def _prepare(config: RunConfig, recipe: Recipe, splits: Splits[Any]) -> Prepared:
    from internimage.multimodal.generalist.prepare import prepare

    return prepare(config, recipe, splits)


def _pipeline(model: Any, options: PredictionOptions) -> Pipeline:
    from internimage.multimodal.generalist.pipeline import GeneralistPipeline

    return GeneralistPipeline(model, options)


def _report(pipeline: Pipeline, data: Sets, options: ReportOptions) -> Report:
    from internimage.multimodal.generalist.evaluation import GeneralistReport

    return GeneralistReport.on(pipeline, data, score_threshold=options.score_threshold)


def _check(data: Sets, progress: Callable[[Iterable[Any]], Iterable[Any]]) -> Findings:
    from internimage.multimodal.generalist.check import check_sets

    return check_sets(data, progress)


def _sheet(data: Sets) -> Image:
    from internimage.multimodal.generalist.check import sets_sheet

    return sets_sheet(data)


def _rows(result: Everything, options: DisplayOptions) -> Iterator[tuple[Any, ...]]:
    if result.words is not None and result.words.caption is not None:
        yield 1, "", result.words.caption, f"{result.words.score or 0.0:.6f}", "", "", "", ""
    for rank, one in enumerate([] if result.names is None else result.names.top(options.topk), 1):
        yield rank, one.index, one.label, f"{one.score:.6f}", "", "", "", ""
    shown = result.shown(options.score_threshold)
    for i in range(0 if shown is None else len(shown)):
        assert shown is not None
        box = [f"{value:.1f}" for value in shown.boxes[i]]
        yield i + 1, int(shown.labels[i]), shown.name(i), f"{shown.scores[i]:.6f}", *box


def _text(result: Everything, options: DisplayOptions) -> str:
    return "\n  ".join([result.source.name, *result.lines(options.score_threshold)])


def _to_dict(result: Everything, options: DisplayOptions) -> dict[str, Any]:
    return result.to_dict(options.score_threshold)


def _pictures(result: Everything, options: DisplayOptions) -> Mapping[str, Image]:
    return {".predicted.png": result.draw(options.score_threshold)}


SPEC = TaskSpec(
    name="generalist",
    model_noun="model of several tasks",
    data_noun="captions, questions, objects or classes",
    result=Everything,
    augmentation=GeneralistAugmentation,
    default_model="uniperceiver_v2_internimage_atto",
    preprocessing=FitPreprocessing(),
    recognise=_recognise,
    reads=reads,
    read_parts=read_parts,
    estimate=estimate,
    defaults=_defaults,
    resized=resized,
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
    without_classes=True,
    train_help=f"""Learn several tasks with one set of weights: captions, search, questions, classes, masks.

    $ internimage data world shapes/ --of shapes --boxes shapes

    $ internimage train --data shapes/ --model uniperceiver_v2_internimage_atto

    $ internimage train --data everything/ --model uniperceiver_v2_internimage_t --init internimage_t_1k_224

    The data is {EXPECTED}; see docs/multimodal.md. Each step learns one task of one data set. The trained model is a
    folder that other commands take: predict, evaluate, caption, ask, search --model runs/shapes/best.
    """,
)
