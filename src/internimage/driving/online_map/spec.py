"""Maps of lines from several cameras, as seen from outside this folder (:class:`internimage.contracts.TaskSpec`).

Imports no torch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from internimage.contracts import Amount, Findings, OtherResults, Pipeline, Prepared, Report, TaskSpec
from internimage.driving.online_map.evaluation import MapReport, is_submission, measure_folder
from internimage.driving.online_map.reading import EXPECTED, MapFrames, read_parts, recognise
from internimage.driving.results.maps import FoundMap, GeoJSONWriter, length
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

    return default_settings(amount, DriveAugmentation(queue=1), updates=3_000, batch_size=4)


def _prepare(config: RunConfig, recipe: Recipe, splits: Splits[Any]) -> Prepared:
    from internimage.driving.online_map.task import MapTask
    from internimage.driving.sequences.prepare import prepare_sequences

    return prepare_sequences(MapTask, config, recipe, splits)


def _pipeline(model: Any, options: PredictionOptions) -> Pipeline:
    from internimage.driving.online_map.pipeline import MapPipeline

    return MapPipeline(model, options)


def _report(pipeline: Pipeline, data: MapFrames, options: ReportOptions) -> Report:
    return MapReport.on(pipeline, data)


def _measure(data: MapFrames, folder: Path, options: ReportOptions) -> Report:
    return measure_folder(data, folder, options)


def _check(data: MapFrames, progress: Callable[[Iterable[Any]], Iterable[Any]]) -> Findings:
    from internimage.driving.online_map.check import check_maps

    return check_maps(data, progress)


def _sheet(data: MapFrames) -> Image:
    from internimage.driving.online_map.check import map_sheet

    return map_sheet(data)


def _rows(result: FoundMap, options: DisplayOptions) -> Iterator[tuple[Any, ...]]:
    found = result.filter(options.score_threshold).found
    rows = zip(found.lines, found.labels.tolist(), found.scores.tolist(), strict=True)
    for rank, (line, label, score) in enumerate(rows, start=1):
        ends = (f"{one:.3f}" for one in (*line[0], *line[-1]))
        yield rank, label, result.names[label], f"{score:.6f}", len(line), f"{length(line):.3f}", *ends


def _text(result: FoundMap, options: DisplayOptions) -> str:
    return result.text(options.score_threshold)


def _to_dict(result: FoundMap, options: DisplayOptions) -> dict[str, Any]:
    return result.filter(options.score_threshold).to_dict()


def _pictures(result: FoundMap, options: DisplayOptions) -> Mapping[str, Image]:
    return {".predicted.png": result.draw(options.score_threshold)}


SPEC = TaskSpec(
    name="online_map",
    model_noun="map network",
    data_noun="nuScenes' map expansion beside its tables",
    result=FoundMap,
    augmentation=DriveAugmentation,
    default_model="online_map_internimage_atto",
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
    columns=("points", "metres", "x1", "y1", "x2", "y2"),
    rows=_rows,
    text=_text,
    to_dict=_to_dict,
    pictures=_pictures,
    shown=("score_threshold",),
    several_views=False,
    writers={"geojson": GeoJSONWriter},
    others=OtherResults("maps as GeoJSON (a folder of SAMPLE.geojson)", is_submission, read_parts, _measure),
    inputs=frame_sources,
    train_help=f"""Learn to draw the lines on the ground around a vehicle: crossings, dividers, where the road ends.

    $ internimage data world roads/

    $ internimage train --data roads/ --model online_map_internimage_atto

    The data is a folder with {EXPECTED}; see docs/driving.md.
    The trained model is a folder that every other command takes: --model runs/roads/best.
    """,
)
