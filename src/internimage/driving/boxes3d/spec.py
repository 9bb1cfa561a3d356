"""Boxes in space from several cameras, as seen from outside this folder (:class:`internimage.contracts.TaskSpec`).

Imports no torch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from internimage.contracts import Amount, Findings, OtherResults, Pipeline, Prepared, Report, TaskSpec
from internimage.driving.data import occ3d
from internimage.driving.data.nuscenes_map import EXPANSION
from internimage.driving.results.boxes3d import FoundBoxes
from internimage.driving.results.scenes import recordings, videos
from internimage.driving.results.submission import NuScenesWriter
from internimage.driving.results.submission_reading import is_submission
from internimage.driving.sequences.reading import EXPECTED, estimate, frame_sources, read_parts, recognise
from internimage.driving.sequences.settings import DriveAugmentation, same_whatever_size
from internimage.images import FitPreprocessing
from internimage.settings.data import DataOptions
from internimage.settings.training import RunConfig, TrainingConfig
from internimage.settings.views import DisplayOptions, PredictionOptions, ReportOptions

if TYPE_CHECKING:
    from PIL.Image import Image

    from internimage.data.splits import Splits
    from internimage.driving.data.frames import Frames
    from internimage.recipes import Recipe


_OF_MOMENTS = "bevformer_v2"  # the architecture that sees several moments together


def _defaults(amount: Amount) -> tuple[TrainingConfig, DriveAugmentation]:
    from internimage.driving.sequences.defaults import default_settings

    return default_settings(amount, DriveAugmentation(queue=4), updates=1_600, batch_size=8, queue=2, evaluations=10)


def _read_parts(root: Path, wanted: str | None, options: DataOptions) -> Mapping[str, Frames]:
    """The parts, with a word on what else there is."""
    parts = read_parts(root, wanted, options)
    there = {"occupancy": occ3d.recognise(root), "online_map": (root / EXPANSION).is_dir()}
    others = [task for task, is_there in there.items() if is_there]
    if not others:
        return parts
    models = " or ".join(f"{task}_internimage_atto" for task in others)
    note = f"read for boxes; there is more to learn: --model {models}"
    return {name: replace(part, notes=(*part.notes, note)) for name, part in parts.items()}


def _prepare(config: RunConfig, recipe: Recipe, splits: Splits[Any]) -> Prepared:
    from internimage.driving.boxes3d.moments_task import MomentsTask
    from internimage.driving.boxes3d.task import BoxTask
    from internimage.driving.sequences.prepare import prepare_sequences

    kind = MomentsTask if recipe.architecture == _OF_MOMENTS else BoxTask
    return prepare_sequences(kind, config, recipe, splits)


def _pipeline(model: Any, options: PredictionOptions) -> Pipeline:
    from internimage.driving.boxes3d.moments_task import MomentsPipeline
    from internimage.driving.boxes3d.pipeline import BoxPipeline

    kind = MomentsPipeline if model.description.architecture == _OF_MOMENTS else BoxPipeline
    return kind(model, options)


def _report(pipeline: Pipeline, data: Frames, options: ReportOptions) -> Report:
    from internimage.driving.boxes3d.evaluation import BoxReport

    return BoxReport.on(pipeline, data, score_threshold=options.score_threshold)


def _measure(data: Frames, file: Path, options: ReportOptions) -> Report:
    from internimage.driving.boxes3d.evaluation import measure_submission

    return measure_submission(data, file, options)


def _check(data: Frames, progress: Callable[[Iterable[Any]], Iterable[Any]]) -> Findings:
    from internimage.driving.boxes3d.check import check_frames

    return check_frames(data, progress)


def _sheet(data: Frames) -> Image:
    from internimage.driving.boxes3d.check import boxes_sheet

    return boxes_sheet(data)


def _rows(result: FoundBoxes, options: DisplayOptions) -> Iterator[tuple[Any, ...]]:
    shown = result.filter(options.score_threshold)
    boxes = shown.boxes
    for i in range(len(shown)):
        numbers = (*boxes.centres[i], *boxes.sizes[i], boxes.yaws[i], *boxes.velocities[i])
        yield i + 1, int(boxes.labels[i]), shown.name(i), f"{boxes.scores[i]:.6f}", *(f"{one:.3f}" for one in numbers)


def _text(result: FoundBoxes, options: DisplayOptions) -> str:
    return result.filter(options.score_threshold).text()


def _to_dict(result: FoundBoxes, options: DisplayOptions) -> dict[str, Any]:
    return result.filter(options.score_threshold).to_dict()


def _pictures(result: FoundBoxes, options: DisplayOptions) -> Mapping[str, Image]:
    return {".predicted.png": result.draw(options.score_threshold)}


SPEC = TaskSpec(
    name="boxes3d",
    model_noun="3D detector",
    data_noun="nuScenes' tables of drives",
    result=FoundBoxes,
    augmentation=DriveAugmentation,
    default_model="bevformer_internimage_atto",
    preprocessing=FitPreprocessing(450, 800),
    recognise=recognise,
    reads=recognise,
    read_parts=_read_parts,
    estimate=estimate,
    defaults=_defaults,
    resized=same_whatever_size,
    prepare=_prepare,
    pipeline=_pipeline,
    report=_report,
    check=_check,
    sheet=_sheet,
    columns=("x", "y", "z", "width", "length", "height", "yaw", "velocity_x", "velocity_y"),
    rows=_rows,
    text=_text,
    to_dict=_to_dict,
    pictures=_pictures,
    shown=("score_threshold",),
    several_views=False,
    writers={"nuscenes": NuScenesWriter, "video": videos, "recording": recordings},
    others=OtherResults("nuScenes' submission (.json)", is_submission, read_parts, _measure),
    inputs=frame_sources,
    train_help=f"""Learn to find boxes in space from several cameras of a vehicle.

    $ internimage data world roads/

    $ internimage train --data roads/

    $ internimage train --data nuscenes/ --model bevformer_internimage_t

    The data is a folder with {EXPECTED}; see docs/driving.md. Scenes without a list of
    parts are divided as wholes. The trained model is a folder that every other command takes: --model runs/roads/best.
    """,
)
