"""Pre-training of backbones, as seen from outside this folder (:class:`internimage.contracts.TaskSpec`).

Imports no torch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from internimage.contracts import Amount, Findings, Pipeline, Prepared, Report, TaskSpec
from internimage.images import Preprocessing
from internimage.multimodal.pretraining.check import check_sights
from internimage.multimodal.pretraining.reading import EXPECTED, estimate, read_parts, reads
from internimage.multimodal.pretraining.settings import ViewsAugmentation, default_settings
from internimage.multimodal.results.pretrained import PretrainedPicture
from internimage.settings.training import RunConfig, TrainingConfig
from internimage.settings.views import DisplayOptions, PredictionOptions, ReportOptions, refuse_score_threshold

if TYPE_CHECKING:
    from PIL.Image import Image

    from internimage.data.splits import Splits
    from internimage.multimodal.pretraining.pictures import Sights
    from internimage.recipes import Recipe


def _recognise(root: Path) -> bool:
    """Every folder of pictures is some task's; this one is asked for by the model's name."""
    return False


def _defaults(amount: Amount) -> tuple[TrainingConfig, ViewsAugmentation]:
    return default_settings(amount)


def _resized(augmentation: ViewsAugmentation, size: int) -> ViewsAugmentation:
    return augmentation  # nothing of it is in pixels


def _prepare(config: RunConfig, recipe: Recipe, splits: Splits[Any]) -> Prepared:
    from internimage.multimodal.pretraining.prepare import prepare

    return prepare(config, recipe, splits)


def _pipeline(model: Any, options: PredictionOptions) -> Pipeline:
    from internimage.multimodal.pretraining.pipeline import ViewsPipeline

    return ViewsPipeline(model, options)


def _report(pipeline: Pipeline, data: Sights, options: ReportOptions) -> Report:
    from internimage.multimodal.pretraining.evaluation import ViewsReport

    refuse_score_threshold(options)
    return ViewsReport.on(pipeline, data)


def _check(data: Sights, progress: Callable[[Iterable[Any]], Iterable[Any]]) -> Findings:
    return check_sights(data, progress)


def _sheet(data: Sights) -> Image:
    from internimage.multimodal.pretraining.check import sights_sheet

    return sights_sheet(data)


def _rows(result: PretrainedPicture, options: DisplayOptions) -> Iterator[tuple[Any, ...]]:
    if result.nearest is not None:
        index, label, cosine = result.nearest
        yield 1, index, label, f"{cosine:.6f}"


def _text(result: PretrainedPicture, options: DisplayOptions) -> str:
    lines = [] if result.nearest is None else [f"  nearest class {result.nearest[1]}, cosine {result.nearest[2]:.3f}"]
    return "\n".join([result.source.name, *lines, f"  hidden cells {result.intra:.3f}, other view {result.inter:.3f}"])


def _to_dict(result: PretrainedPicture, options: DisplayOptions) -> dict[str, Any]:
    return result.to_dict()


def _pictures(result: PretrainedPicture, options: DisplayOptions) -> Mapping[str, Image]:
    return {".predicted.png": result.draw()}


SPEC = TaskSpec(
    name="pretraining",
    model_noun="backbone in pre-training",
    data_noun="pictures, with classes, texts or nothing",
    result=PretrainedPicture,
    augmentation=ViewsAugmentation,
    default_model="m3i_internimage_atto",
    preprocessing=Preprocessing(224, 224),
    recognise=_recognise,
    reads=reads,
    read_parts=read_parts,
    estimate=estimate,
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
    shown=(),
    without_classes=True,
    several_views=False,
    train_help=f"""Train a backbone on pictures before any task: from classes, texts, and the pictures themselves.

    $ internimage train --data photos/ --model m3i_internimage_t

    $ internimage train --data cells/ --model internimage_t_1k_224 --init runs/photos/best

    The data is {EXPECTED}. What a picture lacks is not learnt from it. The backbone of the trained model starts every
    classifier, detector and segmenter on a backbone of its size: --init runs/photos.
    """,
)
