"""Training, predicting, evaluating lanes and traffic elements as users do, on drawn roads."""

import csv
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import torch
from helpers.commands import run
from helpers.driving import SMALL_LANES as SMALL
from helpers.driving import Goldens
from helpers.training import Silent
from PIL import Image

import internimage as ii
from internimage.checkpoints.layouts import from_ours
from internimage.driving.bev.inputs import RawLanes
from internimage.driving.data.frames import Camera, Frame
from internimage.driving.data.openlane import ATTRIBUTES, CAMERAS, annotation_of, as_measured
from internimage.driving.data.preparing import read_cameras
from internimage.driving.geometry.poses import Pose
from internimage.driving.lanes.curves import curve_points
from internimage.driving.models.topology import TopologyNetwork
from internimage.driving.results.lanes import Predictions
from internimage.driving.sequences.batch import make_views
from internimage.driving.sequences.dataset import see
from internimage.driving.topology.pipeline import sorted_graph
from internimage.driving.topology.reading import read_parts
from internimage.driving.topology.task import lane_targets
from internimage.driving.world.lane_writing import write_lanes
from internimage.factory import own_recipe
from internimage.images import FitPreprocessing
from internimage.recipes import get_recipe
from internimage.settings.data import DataOptions
from internimage.settings.training import RunConfig, TrainingConfig
from internimage.training.run import start_run

pytestmark = pytest.mark.usefixtures("one_thread")
LEARNING = TrainingConfig(track="none", epochs=1, batch_size=2, workers=0, warmup_epochs=0.5, ema_decay=0.5)


@pytest.fixture(scope="module")
def lanes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two drives to learn from, one to measure with, of two frames."""
    root = tmp_path_factory.mktemp("lanes") / "lanes"
    write_lanes(root, {"train": range(2), "val": (103,)}, frames=2, width=96)
    return root


@pytest.fixture(scope="module")
def trained(lanes: Path) -> Path:
    """The folder of a run."""
    folder = lanes.parent / "run"
    plain = {"architecture": "topology", "config": dict(own_recipe(SMALL).plain)}
    settings = {"data": str(lanes), "model": plain, "size": 48, "training": LEARNING}
    start_run(RunConfig(**settings), folder, Silent(), device="cpu").trainer.fit()
    return folder


def test_trainer_evaluation_and_own_submission_give_the_same_numbers(
    lanes: Path, trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with (trained / "metrics.csv").open() as file:
        last = {name: float(value) for name, value in list(csv.DictReader(file))[-1].items() if value}
    measured = ["evaluate", "--data", lanes, "--json"]
    assert run([*measured, "--model", trained / "final", "--save", tmp_path / "report"]) == 0
    report = json.loads(capsys.readouterr().out)
    names = ("ols", "det_l", "det_t", "top_ll", "top_lt", "frames")
    assert {name: report[name] for name in names} == pytest.approx({name: last[name] for name in names}, abs=1e-9)
    assert {path.name for path in (tmp_path / "report").iterdir()} == {"metrics.json", "table.txt", "worst.png"}
    written = ["predict", f"{lanes}#val", "--model", trained / "final", "--output", tmp_path / "out"]
    assert run([*written, "--format", "openlane"]) == 0
    assert run([*measured, "--predictions", tmp_path / "out"]) == 0
    again = json.loads(capsys.readouterr().out)
    for name in (*names, "ols_1.0", "element_ap", "lane_ap"):
        assert again[name] == pytest.approx(report[name], abs=1e-9), name


def test_the_truth_as_prediction_scores_one(lanes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    part = read_parts(lanes, "val", DataOptions())["val"]
    assert any(len(part.graph_of(frame).elements) for frame in part.frames)
    for frame in part.frames:
        file = tmp_path / f"{frame.token}.json"
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(msgspec.json.encode(Predictions(annotation_of(as_measured(part.graph_of(frame))))))
    assert run(["evaluate", "--data", lanes, "--predictions", tmp_path, "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    names = ("ols", "det_l", "det_t", "top_ll", "top_lt")
    assert [report[name] for name in (*names, *(f"{name}_1.0" for name in names))] == pytest.approx([1.0] * 10)


def test_results_are_written_and_drawn(lanes: Path, trained: Path, tmp_path: Path) -> None:
    (first, _) = ii.Predictor(trained, device="cpu")(f"{lanes}#val")
    graph = first.graph
    assert (len(first), len(graph.elements)) == (SMALL.queries, SMALL.element_queries)
    assert (np.diff(graph.scores) <= 0).all()
    assert (np.diff(graph.element_scores) <= 0).all()
    least = float(np.median(graph.scores))
    assert len(first.filter(least)) == (graph.scores >= least).sum()
    data = first.to_dict()
    assert {one["label"] for one in data["traffic_element"]} <= set(ATTRIBUTES)
    assert [one["confidence"] for one in data["lane_centerline"]] == pytest.approx(graph.scores.tolist())
    for kind in ("csv", "json"):
        assert run(["predict", f"{lanes}#val", "--model", trained, "--format", kind, "--output", tmp_path]) == 0
    assert run(["predict", f"{lanes}#scene-0103", "--model", trained, "--save", tmp_path / "drawn"]) == 0
    assert len([*(tmp_path / "drawn").rglob("*.predicted.png")]) == 2
    assert run(["data", "check", lanes, "--sheet", tmp_path / "sheet.png"]) == 0
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.width > 1000


def test_an_element_lies_in_the_stretched_picture_where_it_is_drawn(lanes: Path) -> None:
    """The upright picture of the front camera is as wide and high as the others; shares of its sides stay."""
    part = read_parts(lanes, "val", DataOptions())["val"]
    frame = next(frame for frame in part.frames if len(part.graph_of(frame).elements))
    seen = see(frame, CAMERAS, FitPreprocessing(48, 64))
    assert {tuple(image.shape) for image in seen.images if image is not None} == {(3, 48, 63)}
    graph, front = part.graph_of(frame), frame.cameras[0]
    targets = lane_targets(graph, front.size)
    x, y, wide, high = (targets.elements * torch.tensor([front.size[1], front.size[0]] * 2)).unbind(1)
    corners = torch.stack([x - wide / 2, y - high / 2, x + wide / 2, y + high / 2], 1)
    assert corners.numpy() == pytest.approx(graph.elements, abs=1e-3)
    for lane, curve in zip(graph.lanes, targets.curves.numpy(), strict=True):
        assert curve_points(curve.astype(float))[[0, -1]] == pytest.approx(lane[[0, -1]], abs=1e-3)
    views = make_views([seen], [None], SMALL)
    place = (12.0, 1.0, 0.5, 1.0)
    whole = front.lidar_to_pixels @ place
    u, v, depth, _ = views.lidar_to_pixels[0, 0].double() @ torch.tensor(place).double()
    expected = [whole[0] / whole[2] * 63 / front.size[1], whole[1] / whole[2] * 48 / front.size[0]]
    assert [float(u / depth), float(v / depth)] == pytest.approx(expected, abs=1e-3)


def test_the_released_network_is_told_the_place_and_sees_without_padding(lanes: Path) -> None:
    frame = read_parts(lanes, "val", DataOptions())["val"].frames[1]
    seen = see(frame, CAMERAS, FitPreprocessing(48, 64))
    views, released = (make_views([seen], [None], replace(SMALL, released=flag)) for flag in (False, True))
    assert views.can_bus[0, :3].tolist() == [0, 0, 0]
    assert released.can_bus[0, :3].tolist() == pytest.approx(frame.ego.translation.tolist(), abs=1e-3)
    height, width = views.images.shape[-2:]
    scales = released.lidar_to_pixels[0] / views.lidar_to_pixels[0]
    assert scales[:, 0].nanmean() == pytest.approx(width / 63)
    assert scales[:, 1].nanmean() == pytest.approx(height / 48)


# The released code


@pytest.mark.full
def test_the_released_file_fits(shared: Path) -> None:
    """All its keys and shapes, and no other."""
    keys = json.loads((shared / "goldens/driving/manifests/openlane_internimage_s.json").read_text())["keys"]
    with torch.device("meta"):
        model = TopologyNetwork(get_recipe("topology_internimage_s").config)
    state = model.state_dict()
    names = from_ours(state, "official", model.config)
    assert {theirs: list(state[ours].shape) for ours, theirs in names.items()} == keys


@pytest.mark.full
def test_the_front_camera_and_its_boxes_are_the_released_code_s(shared: Path, tmp_path: Path) -> None:
    goldens = Goldens(shared, "openlane_pipeline")
    file = tmp_path / "picture.png"
    cameras = []
    for name, size in (("ring_front_center", (2048, 1550)), ("ring_front_left", (1550, 2048))):
        Image.new("RGB", size[::-1]).save(file.with_stem(name))
        pose = Pose(
            goldens["front.rotation_sensor2ego_f64"].numpy(), goldens["front.translation_sensor2ego_f64"].numpy()
        )
        cameras.append(Camera(name, file.with_stem(name), goldens["front.K_before_f64"].numpy(), pose, size, 0))
    frame = Frame("a/1", "a", 1, Pose.identity(), Pose.identity(), tuple(cameras))
    pictures, matrices = read_cameras(frame, CAMERAS[:1], FitPreprocessing(1550, 2048))
    assert pictures[0] is not None
    assert pictures[0].shape[1:] == tuple(goldens.meta["front"]["img_shape"][:2])
    assert matrices[0] == pytest.approx(goldens["front.lidar2img_f64"].numpy(), rel=1e-9, abs=1e-6)
    chances, attributes = goldens["te.cls"].sigmoid().max(-1)
    queries = len(chances)
    found = RawLanes(
        *(torch.zeros(0, 5, 3), torch.zeros(0), goldens["te.box_cxcywh"], chances, attributes),
        *(torch.zeros(0, 0), torch.zeros(0, queries)),
    )
    graph = sorted_graph(found, (2048, 1550))
    order = np.argsort(-goldens["te.scores"].numpy(), kind="stable")
    assert graph.element_scores == pytest.approx(goldens["te.scores"].numpy()[order], abs=1e-6)
    assert graph.elements == pytest.approx(goldens["te.dets_rescale_True"].numpy()[order, :4], abs=2e-3)


# What people bring


def changed(root: Path, change: Callable[[dict[str, Any]], None], copy: Path) -> Path:
    """The data with another record of the first frame that is measured."""
    shutil.copytree(root, copy)
    file = min((copy / "val" / "scene-0103" / "info").iterdir())
    record = json.loads(file.read_text())
    change(record)
    file.write_text(json.dumps(record))
    return copy


def turned(record: dict[str, Any]) -> None:
    """Lanes in another order than their matrices."""
    record["annotation"]["lane_centerline"].reverse()


def hidden(record: dict[str, Any]) -> None:
    record.pop("annotation")


def flat(record: dict[str, Any]) -> None:
    element = {"attribute": 1, "points": [[5.0, 5.0], [4.0, 9.0]]}
    record["annotation"]["traffic_element"] = [element]
    record["annotation"]["topology_lcte"] = [[0] for _ in record["annotation"]["lane_centerline"]]


def lame(record: dict[str, Any]) -> None:
    record["annotation"]["topology_lclc"] = []


@pytest.mark.parametrize(
    ("change", "status", "said"),
    [
        (turned, 1, "are rows and columns in the lanes' order?: 1 frames"),
        (hidden, 0, "nobody says what is true: 1 frames"),
        (flat, 0, "traffic elements of no area or outside the picture: 1 frames"),
        (lame, 1, "topology_lclc has 0 rows"),
    ],
)
def test_the_check_finds_what_teaches_nonsense(
    lanes: Path, change: Any, status: int, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = changed(lanes, change, tmp_path / "data")
    assert run(["data", "check", data]) == status
    assert said in capsys.readouterr().out


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("evaluate --data {hidden} --model {model}", "has no annotation; expected a part that has some"),
        ("evaluate --data {lanes} --model {model} --part test", "has no part 'test'"),
        ("evaluate --data {lanes} --predictions {out}", "json cannot be read: No such file"),
        ("predict {lanes}#scene-0007 --model {model}", "has no segment or part 'scene-0007'"),
        ("train --data {lanes} --model bevformer_internimage_atto", "has OpenLane-V2's records, for a lane topology"),
        ("train --data {lanes} --boxes corners", "--boxes corners is for objects in pictures"),
        ("data world {out} --of lanes --pictures 3", "--pictures belongs to --of shapes"),
        ("data world {lanes} --of lanes", "is not empty"),
    ],
)
def test_mistakes_end_in_one_sentence(
    lanes: Path, trained: Path, command: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    (out / "scene-0103").mkdir(parents=True)
    (out / "scene-0103" / "1.json").write_text('{"predictions": {}}')
    places = {"hidden": changed(lanes, hidden, tmp_path / "data"), "lanes": lanes, "model": trained, "out": out}
    assert run(command.format(**places).split()) == 1
    assert said in capsys.readouterr().err


def test_a_list_says_which_frames_are_a_part(lanes: Path, tmp_path: Path) -> None:
    """Of two subsets one is chosen; a name that is not there is said."""
    data = tmp_path / "data"
    shutil.copytree(lanes, data)
    files = sorted((data / "train" / "scene-0000" / "info").iterdir())
    listed = {"train": {"scene-0000": [files[0].name]}, "val": {}}
    (data / "data_dict_subset_A.json").write_text(json.dumps(listed))
    parts = read_parts(data, None, DataOptions())
    assert [(name, [frame.token for frame in part.frames]) for name, part in parts.items()] == [
        ("train", [f"scene-0000/{files[0].stem}"])
    ]
    (data / "data_dict_subset_B.json").write_text(json.dumps({"train": {"scene-0001": ["1.json"]}}))
    with pytest.raises(ii.errors.DataError, match="has the subsets A, B; choose one: --reading A"):
        read_parts(data, None, DataOptions())
    with pytest.raises(ii.errors.DataError, match="names no record that is there"):
        read_parts(data, None, DataOptions(reading="B"))


def test_other_cameras_are_learnt_from(lanes: Path, tmp_path: Path) -> None:
    """As subset B's, with nuScenes' names: the front one is the first where none is called as the model's."""
    names = ("CAM_FRONT", "CAM_FRONT_LEFT", "CAM_FRONT_RIGHT", "CAM_BACK", "CAM_BACK_LEFT", "CAM_BACK_RIGHT")
    data = tmp_path / "data"
    shutil.copytree(lanes, data)
    for file in data.glob("*/*/info/*.json"):
        record = json.loads(file.read_text())
        sensors = [record["sensor"][name] for name in CAMERAS]
        record["sensor"] = dict(zip(names, sensors, strict=False))
        file.write_text(json.dumps(record))
    frame = read_parts(data, "val", DataOptions())["val"].frames[0]
    assert frame.cameras[0].channel == "CAM_FRONT"  # in which elements are checked and drawn
    plain = {"architecture": "topology", "config": dict(own_recipe(SMALL).plain)}
    config = RunConfig(data=str(data), model=plain, size=48, training=LEARNING)
    trainer = start_run(config, tmp_path / "run", Silent(), device="cpu").trainer
    assert set(trainer.model.config.cameras) == set(names)
    assert trainer.model.config.front == "CAM_FRONT"
    trainer.fit()
