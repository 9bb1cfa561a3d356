"""Networks that see several moments, trained and measured as users do, on drawn roads."""

import json
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.commands import run
from helpers.driving import SMALL_MOMENTS as SMALL
from helpers.training import Silent

import internimage as ii
from internimage.driving.augmentation.settings import GroundVariation, SceneAugmentation, Shown
from internimage.driving.boxes3d.moments import Shows, cameras_of, see_moments, varied_targets, views_of
from internimage.driving.models.bevformer_v2 import BEVFormerV2Config
from internimage.driving.sequences.reading import read_parts
from internimage.driving.sequences.settings import DriveAugmentation
from internimage.driving.world.writing import write_world
from internimage.errors import ConfigError
from internimage.factory import own_recipe
from internimage.images import FitPreprocessing
from internimage.settings.data import DataOptions
from internimage.settings.training import RunConfig, TrainingConfig
from internimage.training.run import start_run

pytestmark = pytest.mark.usefixtures("one_thread")
LEARNING = TrainingConfig(track="none", epochs=1, batch_size=2, workers=0, warmup_epochs=0.5, ema_decay=0.5)
SCENE = SceneAugmentation(0.5, (0.75, 1.0, 1.25), 20.0, (0.9, 1.1), 0.5)
FIT = FitPreprocessing(27, 64)


@pytest.fixture(scope="module")
def roads(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two drives to learn from, one to measure with, of three frames."""
    root = tmp_path_factory.mktemp("moments") / "roads"
    write_world(root, {"train": range(2), "val": (103,)}, frames=3, width=64)
    return root


@pytest.fixture(scope="module")
def trained(roads: Path) -> Path:
    """The folder of a run with every variation of pictures and ground."""
    folder = roads.parent / "run"
    plain = {"architecture": "bevformer_v2", "config": dict(own_recipe(SMALL).plain)}
    settings = {"data": str(roads), "model": plain, "size": 36, "training": LEARNING}
    augmentation = DriveAugmentation(queue=1, scene=SCENE)
    start_run(RunConfig(**settings, augmentation=augmentation), folder, Silent(), device="cpu").trainer.fit()
    return folder


def test_evaluation_and_own_submission_give_the_same_numbers(
    roads: Path, trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    measured = ["evaluate", "--data", roads, "--json"]
    assert run([*measured, "--model", trained / "final"]) == 0
    report = json.loads(capsys.readouterr().out)
    written = ["predict", f"{roads}#val", "--model", trained / "final", "--format", "nuscenes", "--output", tmp_path]
    assert run(written) == 0
    assert run([*measured, "--predictions", tmp_path / "results_nusc.json"]) == 0
    again = json.loads(capsys.readouterr().out)
    names = ("nds", "map", "mate", "mase", "maoe", "mave", "maae", "frames")
    assert {name: again[name] for name in names} == pytest.approx({name: report[name] for name in names}, abs=1e-6)
    assert report["frames"] == 3


def test_frames_before_and_after_are_seen_and_no_order_is_needed(roads: Path, trained: Path) -> None:
    """A frame is the same whatever was predicted before it, and another one without its neighbours."""
    predict = ii.Predictor(trained, device="cpu")
    sources = predict.listed(f"{roads}#val")
    in_order = predict(f"{roads}#val")
    backwards = predict(sources[::-1])[::-1]
    for one, other in zip(in_order, backwards, strict=True):
        assert np.array_equal(one.boxes.centres, other.boxes.centres)
    middle = sources[1]
    assert [(middle.near(offset) or middle.moment).token for offset in (-2, -1, 0, 1, 2)] == [
        middle.moment.token, sources[0].moment.token, middle.moment.token, sources[2].moment.token, middle.moment.token
    ]  # fmt: skip
    alone = type(middle)(middle.name, middle.value, moment=middle.moment, number=1)
    assert not np.array_equal(predict(alone).boxes.centres, in_order[1].boxes.centres)


def test_all_moments_are_seen_from_the_present(roads: Path) -> None:
    """A place that stands still is, in the pictures of every moment, where its camera saw it then."""
    part = read_parts(roads, "val", DataOptions())["val"]
    now = part.frames[1]
    moments = see_moments(now, partial(part.near, now), SMALL, FIT)
    views = views_of([moments], SMALL)
    place = now.lidar_to_global(np.array([[1.0, 15.0, -1.0]]))
    for then, one in zip(part.frames, views, strict=True):
        camera = then.cameras[0]
        there = then.lidar_to_global.inverse(place)[0]
        u, v, depth = (camera.lidar_to_pixels @ (*there, 1.0))[:3]
        found = one.lidar_to_pixels[0, 0].double() @ torch.tensor([1.0, 15.0, -1.0, 1.0]).double()
        framing = Shows(FIT, SMALL.above)(camera)
        expected = [(u / depth) * framing.scale, (v / depth - framing.crop[1]) * framing.scale]
        assert (found[:2] / found[2]).tolist() == pytest.approx(expected, abs=1e-3)
        assert tuple(one.sizes[0, 0].tolist()) == framing.size
    cameras = cameras_of([moments], SMALL.cameras)
    seen = cameras.to_lidar[0, 0].inverse().double() @ torch.tensor([1.0, 15.0, -1.0, 1.0]).double()
    pixel = cameras.intrinsics[0, 0].double() @ seen[:3]
    whole = views[1].lidar_to_pixels[0, 0].double() @ torch.tensor([1.0, 15.0, -1.0, 1.0]).double()
    assert (pixel / pixel[2]).tolist() == pytest.approx((whole[:3] / whole[2]).tolist(), abs=1e-2)
    first = see_moments(part.frames[0], partial(part.near, part.frames[0]), SMALL, FIT)
    assert [bool(one.present.any()) for one in views_of([first], SMALL)] == [False, True, True]


def test_boxes_that_leave_the_grid_are_not_learnt(roads: Path) -> None:
    frame = read_parts(roads, "val", DataOptions())["val"].frames[0]
    whole = varied_targets(frame, SMALL.grid, Shown())
    smaller = varied_targets(frame, SMALL.grid, Shown(ground=GroundVariation(scale=3.0)))
    far = (whole.boxes[:, :2].abs() * 3 < 51.2).all(1)
    assert 0 < len(smaller.boxes) == int(far.sum()) < len(whole.boxes)
    assert smaller.boxes[:, :2].numpy() == pytest.approx(whole.boxes[far][:, :2].numpy() * 3, abs=1e-4)


def test_classes_begin_with_the_sizes_of_the_data(roads: Path, trained: Path) -> None:
    part = read_parts(roads, "train", DataOptions())["train"]
    config: Any = ii.Predictor(trained, device="cpu").model.config
    assert len(config.perspective.sizes) == config.num_classes
    cars = np.concatenate([frame.truth.sizes[frame.truth.labels == 0] for frame in part.frames if frame.truth])
    assert config.perspective.sizes[0] == pytest.approx(cars.mean(0).tolist())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"mirrored": 1.5}, "mirrored is 1.5"),
        ({"zooms": ()}, "zooms are"),
        ({"scales": (1.0, 0.5)}, "the least first"),
    ],
)
def test_variations_that_cannot_be_say_why(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        SceneAugmentation(**settings)
    with pytest.raises(ConfigError, match="above is 1"):
        BEVFormerV2Config(SMALL.backbone, above=1.0)
