"""Pictures with words, as seen from outside this folder (:class:`internimage.contracts.TaskSpec`).

Imports no torch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from internimage.contracts import Amount, Findings, Pipeline, Prepared, Report, TaskSpec
from internimage.images import Preprocessing
from internimage.multimodal.data.checking import check_pairs
from internimage.multimodal.data.reading import EXPECTED, estimate, read_parts, reads, recognise
from internimage.multimodal.describing.settings import WordsAugmentation
from internimage.multimodal.results.words import PictureWords
from internimage.settings.training import RunConfig, TrainingConfig
from internimage.settings.views import DisplayOptions, PredictionOptions, ReportOptions, refuse_score_threshold

if TYPE_CHECKING:
    from PIL.Image import Image

    from internimage.data.splits import Splits
    from internimage.multimodal.data.pairs import Pairs
    from internimage.recipes import Recipe


def _defaults(amount: Amount) -> tuple[TrainingConfig, WordsAugmentation]:
    from internimage.multimodal.describing.defaults import default_settings

    return default_settings(amount)


def _resized(augmentation: WordsAugmentation, size: int) -> WordsAugmentation:
    return augmentation  # nothing of it is in pixels


def _prepare(config: RunConfig, recipe: Recipe, splits: Splits[Any]) -> Prepared:
    from internimage.multimodal.describing.prepare import prepare

    return prepare(config, recipe, splits)


def _pipeline(model: Any, options: PredictionOptions) -> Pipeline:
    from internimage.multimodal.describing.pipeline import WordsPipeline

    return WordsPipeline(model, options)


def _report(pipeline: Pipeline, data: Pairs, options: ReportOptions) -> Report:
    from internimage.multimodal.describing.evaluation import WordsReport

    refuse_score_threshold(options)
    return WordsReport.on(data)


def _check(data: Pairs, progress: Callable[[Iterable[Any]], Iterable[Any]]) -> Findings:
    return check_pairs(data, progress)


def _sheet(data: Pairs) -> Image:
    from internimage.multimodal.describing.check import words_sheet

    return words_sheet(data)


def _rows(result: PictureWords, options: DisplayOptions) -> Iterator[tuple[Any, ...]]:
    yield 1, "", result.caption, "" if result.score is None else f"{result.score:.6f}"


def _text(result: PictureWords, options: DisplayOptions) -> str:
    return f"{result.source.name}\n  {result.caption}"


def _to_dict(result: PictureWords, options: DisplayOptions) -> dict[str, Any]:
    return result.to_dict()


def _pictures(result: PictureWords, options: DisplayOptions) -> Mapping[str, Image]:
    return {".predicted.png": result.draw()}


SPEC = TaskSpec(
    name="describing",
    model_noun="model of pictures and words",
    data_noun="captions or questions about each picture",
    result=PictureWords,
    augmentation=WordsAugmentation,
    default_model="uniperceiver_internimage_atto",
    preprocessing=Preprocessing(224, 224),
    recognise=recognise,
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
    train_help=f"""Learn to describe pictures, to find them by words and words by them, and to answer questions.

    $ internimage data world shapes/ --of shapes

    $ internimage train --data shapes/

    $ internimage train --data flickr/ --model uniperceiver_internimage_t --init internimage_t_1k_224

    The data is {EXPECTED}; see docs/multimodal.md. What there are words for is learnt: captions, finding, answers.
    The trained model is a folder that other commands take: caption, ask, search --model runs/shapes/best.
    """,
)
