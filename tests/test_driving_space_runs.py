"""Training, predicting, evaluating filled space as users do, on drawn roads."""

import csv
import io
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import torch
from helpers.commands import run
from helpers.driving import BACKBONE
from helpers.driving import SMALL_SPACE as SMALL
from helpers.training import Silent
from PIL import Image

import internimage as ii
from internimage.driving.bev.grid import BEVGrid
from internimage.driving.data.occ3d import CLASSES, VoxelGrid, label_file, read_space, submission_bytes
from internimage.driving.metrics.occupancy import OccupancyScore
from internimage.driving.models.occupancy import OccupancyConfig, OccupancyNetwork
from internimage.driving.occupancy.reading import read_parts
from internimage.driving.occupancy.task import SpaceTask, class_shares
from internimage.driving.sequences.batch import make_views
from internimage.driving.sequences.dataset import see
from internimage.driving.sequences.settings import DriveAugmentation
from internimage.driving.voxels.settings import VoxelLosses
from internimage.driving.world.rig import NUSCENES_RIG
from internimage.driving.world.writing import VERSION, write_world
from internimage.factory import own_recipe
from internimage.images import FitPreprocessing
from internimage.settings.data import DataOptions
from internimage.settings.training import RunConfig, TrainingConfig
from internimage.training.run import start_run

pytestmark = pytest.mark.usefixtures("one_thread")

LEARNING = TrainingConfig(track="none", epochs=1, batch_size=2, workers=0, warmup_epochs=0.5, ema_decay=0.5)


@pytest.fixture(scope="module")
def roads(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two drives to learn from, one to measure with, of two frames."""
    root = tmp_path_factory.mktemp("space") / "roads"
    write_world(root, {"train": range(2), "val": (100,)}, frames=2, width=64)
    return root


@pytest.fixture(scope="module")
def trained(roads: Path) -> Path:
    """The folder of a run, with a frame of history."""
    folder = roads.parent / "run"
    plain = {"architecture": "occupancy", "config": dict(own_recipe(SMALL).plain)}
    augmentation = DriveAugmentation(queue=2)
    settings = {"data": str(roads), "model": plain, "size": 36, "training": LEARNING, "augmentation": augmentation}
    start_run(RunConfig(**settings), folder, Silent(), device="cpu").trainer.fit()
    return folder


def test_trainer_evaluation_and_own_submission_give_the_same_numbers(
    roads: Path, trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with (trained / "metrics.csv").open() as file:
        last = {name: float(value) for name, value in list(csv.DictReader(file))[-1].items() if value}
    measured = ["evaluate", "--data", roads, "--json"]
    assert run([*measured, "--model", trained / "final", "--save", tmp_path / "report"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert {name: report[name] for name in ("miou", "geometry", "frames")} == pytest.approx(
        {name: last[name] for name in ("miou", "geometry", "frames")}, abs=1e-9
    )
    assert {path.name for path in (tmp_path / "report").iterdir()} == {"metrics.json", "table.txt", "worst.png"}
    written = ["predict", f"{roads}#val", "--model", trained / "final", "--output", tmp_path / "out"]
    assert run([*written, "--format", "occ3d"]) == 0
    assert run([*measured, "--predictions", tmp_path / "out"]) == 0
    again = json.loads(capsys.readouterr().out)
    for name in ("miou", "geometry", "frames", "f1", "per_class"):
        assert again[name] == report[name], name


def test_the_truth_as_prediction_scores_one(roads: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    part = read_parts(roads, "val", DataOptions())["val"]
    for frame in part.frames:
        (tmp_path / f"{frame.token}.npz").write_bytes(submission_bytes(part.space_of(frame).labels))
    assert run(["evaluate", "--data", roads, "--predictions", tmp_path, "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert [report[name] for name in ("miou", "geometry", "accuracy", "completeness")] == [1.0] * 4


def test_results_are_written_and_drawn(roads: Path, trained: Path, tmp_path: Path) -> None:
    """Runs of JSON give the labels again; columns count voxels; pictures are there."""
    (first, _) = ii.Predictor(trained, device="cpu")(f"{roads}#val")
    assert first.names == CLASSES
    data = first.to_dict()
    labels = np.full(np.prod(data["grid"]["shape"]), len(CLASSES) - 1, np.uint8)
    for one in data["classes"]:
        for start, length in one["runs"]:
            labels[start : start + length] = one["index"]
    assert np.array_equal(labels.reshape(data["grid"]["shape"]), first.labels)
    counts = [one["voxels"] for one in data["classes"]]
    assert counts == sorted(counts, reverse=True)
    for kind in ("csv", "json"):
        assert run(["predict", f"{roads}#val", "--model", trained, "--format", kind, "--output", tmp_path]) == 0
    with (tmp_path / "predictions.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["image"].endswith("#000000")]
    assert [int(row["voxels"]) for row in rows] == counts
    assert run(["data", "check", roads, "--task", "occupancy", "--sheet", tmp_path / "sheet.png"]) == 0
    assert run(["predict", f"{roads}#val", "--model", trained, "--save", tmp_path / "drawn"]) == 0
    drawn = sorted(path.name for path in (tmp_path / "drawn").rglob("*.png"))
    assert len(drawn) == 4
    with Image.open(next((tmp_path / "drawn").rglob("*.predicted.png"))) as picture:
        assert picture.width == 1600


def test_a_place_around_the_vehicle_is_seen_where_the_camera_shows_it(roads: Path) -> None:
    """The grid stands in the vehicle's frame: ten metres ahead of the front camera is in the middle of its picture."""
    frame = read_parts(roads, "val", DataOptions())["val"].frames[1]
    seen = see(frame, SMALL.cameras, FitPreprocessing(36, 64))
    views = make_views([seen], [None], SMALL)
    camera = NUSCENES_RIG[0]
    u, v, depth, _ = views.lidar_to_pixels[0, 0].double() @ torch.tensor([*camera.place, 1.0]).double().add(
        torch.tensor([10.0, 0.0, 0.0, 0.0])
    )
    assert float(depth) == pytest.approx(10.0, abs=1e-4)
    expected = [centre * 64 / camera.size[0] for centre in camera.centre]
    assert [float(u / depth), float(v / depth)] == pytest.approx(expected, abs=0.1)


def test_history_moves_along_x_and_the_released_one_along_y(roads: Path) -> None:
    first, second = read_parts(roads, "val", DataOptions())["val"].frames
    seen = see(second, SMALL.cameras, FitPreprocessing(36, 64))
    driven = np.linalg.norm(second.ego.translation - first.ego.translation)
    for config, axis in ((SMALL, 0), (replace(SMALL, released_shift=True), 1)):
        shift = make_views([seen], [first], config).shift[0] * 80
        assert float(shift[axis]) == pytest.approx(driven, abs=0.05)
        assert abs(float(shift[1 - axis])) < 0.1 * driven


@pytest.mark.parametrize(("kind", "finer"), [("volume", 1), ("plane", 1), ("plane", 3), ("plane", 4)])
def test_chosen_voxels_have_the_logits_of_all(kind: Literal["volume", "plane"], finer: int) -> None:
    torch.manual_seed(0)
    grid = BEVGrid(5, 7, (0.0, 0.0, 0.0, 28.0, 20.0, 16.0), 4)
    config = OccupancyConfig(BACKBONE, channels=16, grid=grid, heads=2, points=4, decoder=kind, finer=finer)
    decoder = OccupancyNetwork(config).decoder.eval()
    for place in decoder.parameters():  # of biases and the last layer too
        torch.nn.init.normal_(place, std=0.3)
    cells, chosen = torch.randn(2, 35, 16), torch.rand(2, 7 * finer, 5 * finer, 16) < 0.2
    with torch.no_grad():
        whole = decoder(cells).flatten(0, 3)
        logits, places = decoder.chosen(cells, chosen, torch.arange(chosen.numel()).view(chosen.shape))
    assert sorted(places.tolist()) == chosen.flatten().nonzero()[:, 0].tolist()
    torch.testing.assert_close(logits, whole[places])


def test_shares_of_classes_are_those_of_the_voxels(roads: Path) -> None:
    part = read_parts(roads, "train", DataOptions())["train"]
    whole = np.stack([part.space_of(frame).labels for frame in part.frames])
    expected = np.stack([np.bincount(whole[..., z].ravel(), minlength=18) for z in range(16)]) / whole.size
    assert np.abs(class_shares(part, seen_only=False).numpy() - expected).max() < 1e-7


@pytest.mark.parametrize("kind", ["volume", "plane"])
def test_a_network_begins_with_how_frequent_classes_are(kind: Literal["volume", "plane"], roads: Path) -> None:
    part = read_parts(roads, "train", DataOptions())["train"]
    model = OccupancyNetwork(replace(SMALL, decoder=kind, finer=1, heights=16, learning=VoxelLosses()))
    SpaceTask.fit(model, part, anew=True)
    torch.nn.init.zeros_(model.decoder.classifier[2].weight)
    found = model.decoder(torch.randn(1, 400, 16)).softmax(-1)[0, 3, 5]  # (heights, classes)
    shares = class_shares(part, seen_only=True)
    shares = shares / shares.sum(1, keepdim=True).clamp(min=1e-12)
    shares = (shares if kind == "plane" else shares.mean(0, keepdim=True)).clamp(min=1e-4)
    torch.testing.assert_close(found, (shares / shares.sum(1, keepdim=True)).expand_as(found), rtol=1e-2, atol=1e-3)


def broken(root: Path, write: Callable[[Path], Any], copy: Path) -> Path:
    """The data with other labels of the first frame that is measured."""
    shutil.copytree(root, copy)
    write(next((copy / "gts" / "scene-0100").glob("*/labels.npz")))
    return copy


def zeros(**changes: Any) -> bytes:
    content, shape = io.BytesIO(), VoxelGrid().shape
    arrays = {name: np.zeros(shape, np.uint8) for name in ("semantics", "mask_lidar", "mask_camera")}
    np.savez_compressed(content, **{**arrays, **changes})
    return content.getvalue()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"none", "cannot be read as labels of voxels"),
        (zeros(semantics=np.full((200, 200, 16), 17, np.uint8)), "everything is free or unknown: 1 frames"),
        (zeros(), "the vehicle's own place is filled"),
    ],
)
def test_the_check_finds_what_teaches_nonsense(
    roads: Path, content: bytes, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = broken(roads, lambda file: file.write_bytes(content), tmp_path / "data")
    assert run(["data", "check", data, "--task", "occupancy"]) == int(said != "the vehicle's own place is filled")
    assert said in capsys.readouterr().out


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("evaluate --data {data} --model {model}", "cannot be read as labels of voxels"),
        ("evaluate --data {data} --model {model} --part test", "has no part 'test'"),
        (
            "evaluate --data {roads} --predictions {roads}/gts/scene-0100/{token}",
            "npz is not there; expected the labels",
        ),
        (
            "train --data {bare} --model occupancy_internimage_atto",
            "a 3D occupancy network learns from data with",
        ),
        ("data check {roads} --task voxels", "no task is called 'voxels'; there are classification"),
        ("predict {roads}#val --model {model} --tta", "are for single pictures"),
    ],
)
def test_mistakes_end_in_one_sentence(
    roads: Path, trained: Path, command: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = broken(roads, lambda file: file.write_bytes(b"none"), tmp_path / "data")
    bare = tmp_path / "bare"
    shutil.copytree(roads, bare, ignore=lambda folder, names: {"gts"} & set(names))
    token = next((roads / "gts" / "scene-0100").iterdir()).name
    places = {"data": data, "roads": roads, "bare": bare, "model": trained, "token": token}
    assert run(command.format(**places).split()) == 1
    assert said in capsys.readouterr().err


def test_frames_without_labels_are_left_out_and_said(roads: Path, tmp_path: Path) -> None:
    data = broken(roads, lambda file: shutil.rmtree(file.parent), tmp_path / "data")
    part = read_parts(data, "val", DataOptions())["val"]
    assert len(part) == 1
    assert [str(one) for one in part.left_out] == ["1 of 2 frames left out: no labels of voxels"]
    assert (data / VERSION).is_dir()


def test_the_score_is_over_what_a_camera_sees(roads: Path) -> None:
    part = read_parts(roads, "val", DataOptions())["val"]
    frame = part.frames[0]
    space = read_space(label_file(roads, frame.scene, frame.token))
    wrong = np.where(space.camera, space.labels, 3)
    score = OccupancyScore(CLASSES)
    score.add("a", space.labels, wrong, space.camera)
    assert score.compute()["miou"] == 1.0
