"""Training, predicting, evaluating maps of lines as users do, on drawn roads."""

import csv
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.commands import run
from helpers.driving import SMALL_MAP as SMALL
from helpers.training import Silent
from PIL import Image

import internimage as ii
from internimage.driving.maps.settings import GeneratorConfig, LineSelection
from internimage.driving.online_map.reading import read_parts
from internimage.driving.results.geojson import read_geojson, write_geojson
from internimage.driving.world.maps import vector_map_of
from internimage.driving.world.scene import FRAME_SECONDS, make_scene
from internimage.driving.world.writing import VERSION, write_world
from internimage.factory import own_recipe
from internimage.settings.data import DataOptions
from internimage.settings.training import RunConfig, TrainingConfig
from internimage.training.run import start_run

pytestmark = pytest.mark.usefixtures("one_thread")
LEARNING = TrainingConfig(track="none", epochs=1, batch_size=2, workers=0, warmup_epochs=0.5, ema_decay=0.5)
FINDS = replace(SMALL, detections=LineSelection(8, 0.0))  # networks that learnt for a second find something too


@pytest.fixture(scope="module")
def roads(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two drives to learn from, one to measure with, of two frames."""
    root = tmp_path_factory.mktemp("maps") / "roads"
    write_world(root, {"train": range(2), "val": (103,)}, frames=2, width=64)
    return root


def learnt(roads: Path, folder: Path, config: Any) -> Path:
    plain = {"architecture": "online_map", "config": dict(own_recipe(config).plain)}
    settings = {"data": str(roads), "model": plain, "size": 36, "training": LEARNING}
    start_run(RunConfig(**settings), folder, Silent(), device="cpu").trainer.fit()
    return folder


@pytest.fixture(scope="module")
def trained(roads: Path) -> Path:
    """The folder of a run."""
    return learnt(roads, roads.parent / "run", FINDS)


def test_trainer_evaluation_and_own_submission_give_the_same_numbers(
    roads: Path, trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with (trained / "metrics.csv").open() as file:
        last = {name: float(value) for name, value in list(csv.DictReader(file))[-1].items() if value}
    measured = ["evaluate", "--data", roads, "--json"]
    assert run([*measured, "--model", trained / "final", "--save", tmp_path / "report"]) == 0
    report = json.loads(capsys.readouterr().out)
    names = ("map", "ap50", "ap100", "ap150", "frames")
    assert {name: report[name] for name in names} == pytest.approx({name: last[name] for name in names}, abs=1e-9)
    assert {path.name for path in (tmp_path / "report").iterdir()} == {"metrics.json", "table.txt", "worst.png"}
    written = ["predict", f"{roads}#val", "--model", trained / "final", "--output", tmp_path / "out"]
    assert run([*written, "--format", "geojson"]) == 0
    assert run([*measured, "--predictions", tmp_path / "out"]) == 0
    again = json.loads(capsys.readouterr().out)
    assert {name: again[name] for name in names} == pytest.approx({name: report[name] for name in names}, abs=1e-6)


def test_maps_that_are_read_are_those_that_were_drawn(roads: Path) -> None:
    """Through files, places and poses of the world: the lines around the vehicle as the world has them."""
    part = read_parts(roads, "val", DataOptions())["val"]
    for number, frame in enumerate(part.frames):
        found, expected = part.map_of(frame), vector_map_of(make_scene(103), number * FRAME_SECONDS)
        assert sorted(found.labels.tolist()) == sorted(expected.labels.tolist())
        for label in range(3):
            extents = [
                np.sort([line.min(0).sum() + 2 * line.max(0).sum() for line in lines_of(one, label)])
                for one in (found, expected)
            ]
            assert extents[0] == pytest.approx(extents[1], abs=0.01)


def lines_of(whole: Any, label: int) -> list[Any]:
    return [line for line, own in zip(whole.lines, whole.labels.tolist(), strict=True) if own == label]


def test_the_truth_as_prediction_scores_one(roads: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    part = read_parts(roads, "val", DataOptions())["val"]
    for frame in part.frames:
        write_geojson(tmp_path / f"{frame.token}.geojson", part.map_of(frame), part.classes, frame.ego)
    assert run(["evaluate", "--data", roads, "--predictions", tmp_path, "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert [report[name] for name in ("map", "ap50", "ap100", "ap150")] == [1.0] * 4
    assert list(report["per_class"]) == ["ped_crossing", "divider", "boundary"]


@pytest.mark.parametrize("kind", ["one_stage", "two_stage"])
def test_results_are_written_and_drawn(roads: Path, trained: Path, kind: str, tmp_path: Path) -> None:
    model = trained
    if kind == "two_stage":
        drawing = GeneratorConfig(layers=1, dropout=0.0, vertices=6)
        model = learnt(roads, tmp_path / "run", replace(FINDS, kind="two_stage", generator=drawing))
    (first, _) = ii.Predictor(model, device="cpu")(f"{roads}#val")
    assert first.found.scores.tolist() == sorted(first.found.scores.tolist(), reverse=True)
    assert len(first) == 8
    data = first.to_dict()
    (tmp_path / "map.geojson").write_text(json.dumps(data))
    again = read_geojson(tmp_path / "map.geojson", first.names)
    assert all(np.abs(one - other).max() < 1e-3 for one, other in zip(again.lines, first.found.lines, strict=True))
    if kind == "one_stage":
        assert run(["predict", f"{roads}#val", "--model", model, "--format", "csv", "--output", tmp_path]) == 0
        assert run(["data", "check", roads, "--task", "online_map", "--sheet", tmp_path / "sheet.png"]) == 0
    assert run(["predict", f"{roads}#scene-0103", "--model", model, "--save", tmp_path / "drawn"]) == 0
    drawn = sorted((tmp_path / "drawn").rglob("*.predicted.png"))
    assert len(drawn) == 2
    with Image.open(drawn[0]) as picture:
        assert picture.width > 1200


def other(root: Path, copy: Path, change: Callable[[Path], Any]) -> Path:
    shutil.copytree(root, copy)
    change(copy)
    return copy


def moved(root: Path) -> None:
    """The map of another place."""
    for file in (root / "maps" / "expansion").iterdir():
        content = json.loads(file.read_text())
        for node in content["node"]:
            node["x"] += 1e5
        file.write_text(json.dumps(content))


def broken(root: Path) -> None:
    (root / "maps" / "expansion" / "drawn-scene-0103.json").write_text('{"node": []}')


def unnamed(root: Path) -> None:
    (root / VERSION / "log.json").write_text("[]")


def gone(root: Path) -> None:
    shutil.rmtree(root / "maps")


@pytest.mark.parametrize(
    ("change", "said"), [(moved, "is the map of another place?: 2 frames"), (broken, "drawn-scene-0103.json")]
)
def test_the_check_finds_what_teaches_nonsense(
    roads: Path, change: Any, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["data", "check", other(roads, tmp_path / "data", change), "--task", "online_map"]) == 1
    assert said in capsys.readouterr().out


@pytest.mark.parametrize(
    ("change", "command", "said"),
    [
        (unnamed, "evaluate --data {data} --model {model}", "no log names the place of scene-0103"),
        (broken, "evaluate --data {data} --model {model}", "drawn-scene-0103.json"),
        (
            gone,
            "train --data {data} --model online_map_internimage_atto",
            "a map network learns from data with",
        ),
        (moved, "evaluate --data {data} --predictions {out}", "geojson"),
    ],
)
def test_mistakes_end_in_one_sentence(
    roads: Path,
    trained: Path,
    change: Any,
    command: str,
    said: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "1.geojson").write_text("{}")
    places = {"data": other(roads, tmp_path / "data", change), "model": trained, "out": out}
    assert run(command.format(**places).split()) == 1
    assert said in capsys.readouterr().err
