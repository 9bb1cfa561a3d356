"""Lanes and traffic elements, as seen from outside this folder (:class:`internimage.contracts.TaskSpec`).

Imports no torch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from internimage.contracts import Amount, Findings, OtherResults, Pipeline, Prepared, Report, TaskSpec
from internimage.driving.data.openlane import recognise
from internimage.driving.results.lanes import FoundLanes, OpenLaneWriter
from internimage.driving.sequences.settings import DriveAugmentation, same_whatever_size
from internimage.driving.topology.evaluation import LaneReport, is_submission, measure_folder
from internimage.driving.topology.reading import EXPECTED, LaneFrames, estimate, frame_sources, read_parts
from internimage.images import FitPreprocessing
from internimage.settings.training import RunConfig, TrainingConfig
from internimage.settings.views import DisplayOptions, PredictionOptions, ReportOptions

if TYPE_CHECKING:
    from PIL.Image import Image

    from internimage.data.splits import Splits
    from internimage.recipes import Recipe


def _defaults(amount: Amount) -> tuple[TrainingConfig, DriveAugmentation]:
    from internimage.driving.sequences.defaults import default_settings

    return default_settings(
        amount, DriveAugmentation(queue=1, grid_mask=False), updates=4_800, batch_size=4, evaluations=3
    )


def _prepare(config: RunConfig, recipe: Recipe, splits: Splits[Any]) -> Prepared:
    from internimage.driving.sequences.prepare import prepare_sequences
    from internimage.driving.topology.task import LaneTask

    return prepare_sequences(LaneTask, config, recipe, splits)


def _pipeline(model: Any, options: PredictionOptions) -> Pipeline:
    from internimage.driving.topology.pipeline import LanePipeline

    return LanePipeline(model, options)


def _report(pipeline: Pipeline, data: LaneFrames, options: ReportOptions) -> Report:
    return LaneReport.on(pipeline, data)


def _measure(data: LaneFrames, folder: Path, options: ReportOptions) -> Report:
    return measure_folder(data, folder, options)


def _check(data: LaneFrames, progress: Callable[[Iterable[Any]], Iterable[Any]]) -> Findings:
    from internimage.driving.topology.check import check_lanes

    return check_lanes(data, progress)


def _sheet(data: LaneFrames) -> Image:
    from internimage.driving.topology.check import lane_sheet

    return lane_sheet(data)


def _rows(result: FoundLanes, options: DisplayOptions) -> Iterator[tuple[Any, ...]]:
    graph = result.filter(options.score_threshold).graph
    for rank, (lane, score) in enumerate(zip(graph.lanes, graph.scores, strict=True), start=1):
        ends = (f"{one:.3f}" for one in (*lane[0], *lane[-1]))
        yield rank, "", "lane", f"{score:.6f}", *ends, "", "", "", ""
    elements = zip(graph.elements.tolist(), graph.attributes.tolist(), graph.element_scores, strict=True)
    for rank, (box, attribute, score) in enumerate(elements, start=1):
        pixels = (f"{one:.2f}" for one in box)
        yield rank, attribute, result.names[attribute], f"{score:.6f}", *[""] * 6, *pixels


def _text(result: FoundLanes, options: DisplayOptions) -> str:
    return result.text(options.score_threshold)


def _to_dict(result: FoundLanes, options: DisplayOptions) -> dict[str, Any]:
    return result.filter(options.score_threshold).to_dict()


def _pictures(result: FoundLanes, options: DisplayOptions) -> Mapping[str, Image]:
    return {".predicted.png": result.draw(options.score_threshold)}


SPEC = TaskSpec(
    name="topology",
    model_noun="lane topology network",
    data_noun="OpenLane-V2's records",
    result=FoundLanes,
    augmentation=DriveAugmentation,
    default_model="topology_internimage_atto",
    preprocessing=FitPreprocessing(450, 800),
    recognise=recognise,
    read_parts=read_parts,
    estimate=estimate,
    defaults=_defaults,
    resized=same_whatever_size,
    prepare=_prepare,
    pipeline=_pipeline,
    report=_report,
    check=_check,
    sheet=_sheet,
    columns=("x1", "y1", "z1", "x2", "y2", "z2", "left", "top", "right", "bottom"),
    rows=_rows,
    text=_text,
    to_dict=_to_dict,
    pictures=_pictures,
    shown=("score_threshold",),
    several_views=False,
    writers={"openlane": OpenLaneWriter},
    others=OtherResults("OpenLane-V2's predictions (SEGMENT/TIMESTAMP.json)", is_submission, read_parts, _measure),
    inputs=frame_sources,
    train_help=f"""Learn to find lanes, what they go on in, and the signs and lights that govern them.

    $ internimage data world lanes/ --of lanes

    $ internimage train --data lanes/

    The data is a folder with {EXPECTED}; see docs/driving.md.
    The trained model is a folder that every other command takes: --model runs/lanes/best.
    """,
)
