"""Filled space from several cameras, as seen from outside this folder (:class:`internimage.contracts.TaskSpec`).

Imports no torch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from internimage.contracts import Amount, Findings, OtherResults, Pipeline, Prepared, Report, TaskSpec
from internimage.driving.occupancy.evaluation import NEAR, SpaceReport, is_submission, measure_folder
from internimage.driving.occupancy.reading import EXPECTED, SpaceFrames, read_parts, recognise
from internimage.driving.results.space import FoundSpace, Occ3DWriter
from internimage.driving.sequences.reading import estimate, frame_sources
from internimage.driving.sequences.settings import DriveAugmentation, same_whatever_size
from internimage.images import FitPreprocessing
from internimage.settings.training import RunConfig, TrainingConfig
from internimage.settings.views import DisplayOptions, PredictionOptions, ReportOptions

if TYPE_CHECKING:
    from PIL.Image import Image

    from internimage.data.splits import Splits
    from internimage.recipes import Recipe


def _defaults(amount: Amount) -> tuple[TrainingConfig, DriveAugmentation]:
    from internimage.driving.sequences.defaults import default_settings

    return default_settings(amount, DriveAugmentation(queue=4), updates=3_000, batch_size=2)


def _prepare(config: RunConfig, recipe: Recipe, splits: Splits[Any]) -> Prepared:
    from internimage.driving.occupancy.task import SpaceTask
    from internimage.driving.sequences.prepare import prepare_sequences

    return prepare_sequences(SpaceTask, config, recipe, splits)


def _pipeline(model: Any, options: PredictionOptions) -> Pipeline:
    from internimage.driving.occupancy.pipeline import SpacePipeline

    return SpacePipeline(model, options)


def _report(pipeline: Pipeline, data: SpaceFrames, options: ReportOptions) -> Report:
    return SpaceReport.on(pipeline, data, distance=NEAR)


def _measure(data: SpaceFrames, folder: Path, options: ReportOptions) -> Report:
    return measure_folder(data, folder, options)


def _check(data: SpaceFrames, progress: Callable[[Iterable[Any]], Iterable[Any]]) -> Findings:
    from internimage.driving.occupancy.check import check_space

    return check_space(data, progress)


def _sheet(data: SpaceFrames) -> Image:
    from internimage.driving.occupancy.check import space_sheet

    return space_sheet(data)


def _rows(result: FoundSpace, options: DisplayOptions) -> Iterator[tuple[Any, ...]]:
    for rank, label in enumerate(result.filled(), start=1):
        count = int(result.counts[label])
        volume = f"{count * result.grid.side**3:.3f}"
        yield rank, label, result.names[label], f"{result.chance(label):.6f}", count, volume


def _text(result: FoundSpace, options: DisplayOptions) -> str:
    return result.text()


def _to_dict(result: FoundSpace, options: DisplayOptions) -> dict[str, Any]:
    return result.to_dict()


def _pictures(result: FoundSpace, options: DisplayOptions) -> Mapping[str, Image]:
    return {".predicted.png": result.draw(), ".layers.png": result.draw_layers()}


SPEC = TaskSpec(
    name="occupancy",
    model_noun="3D occupancy network",
    data_noun="Occ3D's labels of voxels beside nuScenes' tables",
    result=FoundSpace,
    augmentation=DriveAugmentation,
    default_model="occupancy_internimage_atto",
    preprocessing=FitPreprocessing(450, 800),
    recognise=recognise,
    reads=recognise,
    read_parts=read_parts,
    estimate=estimate,
    defaults=_defaults,
    resized=same_whatever_size,
    prepare=_prepare,
    pipeline=_pipeline,
    report=_report,
    check=_check,
    sheet=_sheet,
    columns=("voxels", "cubic_metres"),
    rows=_rows,
    text=_text,
    to_dict=_to_dict,
    pictures=_pictures,
    shown=(),
    several_views=False,
    writers={"occ3d": Occ3DWriter},
    others=OtherResults("Occ3D's submission (a folder of SAMPLE.npz)", is_submission, read_parts, _measure),
    inputs=frame_sources,
    train_help=f"""Learn to find what fills the space around a vehicle from its cameras.

    $ internimage data world roads/

    $ internimage train --data roads/ --model occupancy_internimage_atto

    The data is a folder with {EXPECTED}; see docs/driving.md.
    The trained model is a folder that every other command takes: --model runs/roads/best.
    """,
)
