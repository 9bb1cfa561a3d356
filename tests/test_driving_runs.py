"""Training, predicting, evaluating boxes in space as users do, on drawn roads: history, processes, what goes wrong."""

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.commands import run
from helpers.driving import SMALL
from helpers.training import Silent

import internimage as ii
from internimage.data.dataset import EvaluationDataset
from internimage.data.sampling.sampler import SequenceSampler
from internimage.driving.boxes3d.evaluation import BoxReport
from internimage.driving.data.frames import Frames
from internimage.driving.sequences.reading import read_parts
from internimage.driving.sequences.settings import DriveAugmentation
from internimage.driving.world.writing import VERSION, write_world
from internimage.errors import ConfigError, DataError, ImageReadError, InterruptedRunError
from internimage.factory import own_recipe
from internimage.inference.evaluation import measure
from internimage.settings.data import DataOptions
from internimage.settings.training import RunConfig, TrainingConfig
from internimage.settings.views import PredictionOptions
from internimage.training.run import resume_run, start_run
from internimage.training.trainer import Trainer

pytestmark = pytest.mark.usefixtures("one_thread", "small_recipes")

LEARNING = TrainingConfig(
    track="none", epochs=1, batch_size=3, workers=0, warmup_epochs=0.5, lr=2e-3, drop_path=0.1, ema_decay=0.5
)
VARIED = DriveAugmentation(queue=3)
PLAIN = DriveAugmentation(queue=2, photometric=False, grid_mask=False)
Rows = list[dict[str, Any]]


@pytest.fixture(scope="module")
def roads(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four drives to learn from, two to measure with, of three frames."""
    root = tmp_path_factory.mktemp("drives") / "roads"
    write_world(root, {"train": range(4), "val": (100, 101)}, frames=3, width=64)
    return root


@pytest.fixture(scope="module")
def trained(roads: Path) -> Path:
    """The folder of a run."""
    folder = roads.parent / "run"
    model = own_recipe(SMALL)
    plain = {"architecture": "bevformer", "config": dict(model.plain)}
    settings = {"data": str(roads), "model": plain, "size": 36, "training": LEARNING, "augmentation": VARIED}
    start_run(RunConfig(**settings), folder, Silent(), device="cpu").trainer.fit()
    return folder


def prepare(data: Path, folder: Path, **changes: Any) -> Trainer:
    settings = {"model": "small_bevformer", "training": LEARNING, "augmentation": VARIED, **changes}
    return start_run(RunConfig(data=str(data), **settings), folder, Silent(), device="cpu").trainer


def columns(result: Any) -> np.ndarray[Any, Any]:
    boxes = result.boxes
    return np.column_stack([boxes.scores, boxes.labels, boxes.centres, boxes.sizes, boxes.yaws, boxes.velocities])


def equal(one: Any, other: Any) -> bool:
    return len(one) == len(other) and bool(np.array_equal(columns(one), columns(other)))


def test_trainer_evaluation_and_own_submission_give_the_same_numbers(
    roads: Path, trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with (trained / "metrics.csv").open() as file:
        last = {name: float(value) for name, value in list(csv.DictReader(file))[-1].items() if value}
    measured = ["evaluate", "--data", roads, "--json"]
    assert run([*measured, "--model", trained / "final", "--save", tmp_path / "report"]) == 0
    report = json.loads(capsys.readouterr().out)
    shared = {name: last[name] for name in ("nds", "map", "mate", "mase", "maoe", "mave", "maae", "frames")}
    assert {name: report[name] for name in shared} == pytest.approx(shared, abs=1e-6)
    assert report["frames"] == 6
    assert {path.name for path in (tmp_path / "report").iterdir()} >= {"metrics.json", "table.txt", "worst.png"}
    written = ["predict", f"{roads}#val", "--model", trained / "final", "--format", "nuscenes", "--output", tmp_path]
    assert run(written) == 0
    assert run([*measured, "--predictions", tmp_path / "results_nusc.json"]) == 0
    again = json.loads(capsys.readouterr().out)
    assert {name: again[name] for name in shared} == pytest.approx(shared, abs=1e-6)
    in_python = ii.evaluate(roads, trained / "final", batch_size=1, device="cpu").compute()
    assert {name: in_python[name] for name in shared} == pytest.approx(shared, abs=1e-6)


@pytest.mark.parametrize(
    "training",
    [
        pytest.param(replace(LEARNING, gradient_checkpointing=True), id="float32"),
        pytest.param(replace(LEARNING, precision="bf16", ema_decay=0, epochs=2), id="bf16", marks=pytest.mark.full),
    ],
)
def test_an_interrupted_run_ends_in_the_same_bits(roads: Path, tmp_path: Path, training: TrainingConfig) -> None:
    """Queues, colours and grid masks are drawn again as they were."""
    whole = prepare(roads, tmp_path / "whole", training=training)
    whole.fit()
    stopped = prepare(roads, tmp_path / "stopped", training=training)
    losses, calls = stopped.task.losses, iter(range(99))

    def stop(*arguments: Any) -> Any:
        if next(calls) == 2:
            signal.raise_signal(signal.SIGTERM)
        return losses(*arguments)

    stopped.task.losses = stop  # type: ignore[method-assign]
    with pytest.raises(InterruptedRunError):
        stopped.fit()
    again = resume_run(tmp_path / "stopped", Silent(), device="cpu").trainer
    again.fit(resume=True)
    assert again.progress.history == whole.progress.history
    for one, other in zip(again.model.state_dict().values(), whole.model.state_dict().values(), strict=True):
        assert torch.equal(one, other)


def test_history_is_that_of_the_frame_before_in_the_same_drive(roads: Path, trained: Path) -> None:
    predict = ii.Predictor(trained, device="cpu")
    sources = predict.listed(f"{roads}#val")
    assert [one.name for one in sources[2:4]] == ["scene-0100#000002", "scene-0101#000000"]
    in_order = predict(f"{roads}#val")
    alone = [ii.Predictor(trained, device="cpu")(one) for one in sources]
    assert [equal(*pair) for pair in zip(in_order, alone, strict=True)] == [True, False, False, True, False, False]
    for batch_size in (1, 4):  # whatever was read together
        again = ii.Predictor(trained, device="cpu", batch_size=batch_size)(sources)
        assert all(map(equal, again, in_order))
    backwards = predict(sources[::-1])
    assert all(map(equal, backwards[::-1], alone))
    with_gap = predict([sources[0], sources[2]])
    assert equal(with_gap[1], alone[2])
    between = predict([sources[0], sources[3], sources[1]])  # another drive comes between
    assert all(map(equal, between, (alone[0], alone[3], alone[1])))
    one_by_one = [predict(one) for one in sources]  # as they come from a vehicle
    assert all(map(equal, one_by_one, in_order))
    second = predict(f"{roads}#scene-0101")
    assert all(map(equal, second, in_order[3:]))
    assert len(predict.listed([f"{roads}#scene-0101", roads])) == 3 + 18


def test_cameras_that_do_not_fit_are_told_once(roads: Path, trained: Path) -> None:
    sources = ii.Predictor(trained, device="cpu").listed(f"{roads}#scene-0100")
    for source in sources:
        front, back, *others = source.moment.cameras  # type: ignore[attr-defined]
        cameras = (front, replace(back, channel="CAM_ROOF"), *others)
        object.__setattr__(source, "moment", replace(source.moment, cameras=cameras))  # type: ignore[attr-defined]
    with pytest.warns(UserWarning, match="scene-0100") as told:
        ii.Predictor(trained, device="cpu")(sources)
    assert [str(one.message) for one in told] == [
        "scene-0100: the model has not learnt to look through CAM_ROOF: left out",
        "scene-0100: there are frames without CAM_FRONT_RIGHT: what only they see is not found",
    ]


def test_drives_are_measured_by_several_processes_as_by_one(roads: Path, trained: Path) -> None:
    data = read_parts(roads, "train", DataOptions())["train"]
    predict = ii.Predictor(trained, device="cpu")

    def part(rank: int, world: int) -> BoxReport:
        pipeline = predict.spec.pipeline(predict.model, PredictionOptions())
        entries = EvaluationDataset(data, pipeline.prepare, "error", pipeline.read)
        assert entries.sequences == [3, 3, 3, 3]
        report = BoxReport.on(pipeline, data)
        measure(
            pipeline, ([entries[key]] for key in SequenceSampler(entries.sequences, rank=rank, world=world)), report
        )
        return report

    whole, *parts = (part(rank, world) for rank, world in ((0, 1), (0, 3), (1, 3), (2, 3)))
    assert [len(one.metric.tokens) for one in parts] == [6, 3, 3]
    parts[0].merge([one.state() for one in parts])
    assert parts[0].compute() == pytest.approx(whole.compute(), abs=1e-9, nan_ok=True)
    assert set(parts[0].metric.tokens) == set(whole.metric.tokens)
    for token in whole.metric.tokens:
        one, other = (report.metric.sample(token).found for report in (parts[0], whole))
        assert np.array_equal(one.centres, other.centres)
        assert np.array_equal(one.scores, other.scores)


def test_commands_print_and_write_what_is_found(
    roads: Path, trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command: list[str | Path] = ["predict", f"{roads}#scene-0100", "--model", trained, "--score-threshold", "0.005"]
    assert run(command) == 0
    assert capsys.readouterr().out.startswith("scene-0100 ")
    assert run([*command, "--json", "--max-objects", "7", "--save", tmp_path / "drawn"]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    names = [f"scene-0100#{number:06d}" for number in range(3)]
    assert [line["image"] for line in lines] == names
    assert 0 < max(len(line["objects"]) for line in lines) <= 7
    assert sorted(path.name for path in (tmp_path / "drawn").iterdir()) == [f"{one}.predicted.png" for one in names]
    for form, file in (("csv", "predictions.csv"), ("json", "predictions.jsonl"), ("video", "scene-0100.mp4")):
        assert run([*command, "--format", form, "--output", tmp_path / "out"]) == 0
        assert f"written: {tmp_path / 'out' / file}" in capsys.readouterr().err
    with (tmp_path / "out" / "predictions.csv").open() as table:
        rows = list(csv.DictReader(table))
    assert {row["image"] for row in rows} <= set(names)
    assert {row["label"] for row in rows} <= set(ii.load_model(trained / "best").description.labels)  # type: ignore[union-attr, arg-type, operator]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("predict {roads}#nosuch", "roads has no scene or part 'nosuch'; it has the parts train, val and 6 scenes"),
        ("predict {roads}/samples/CAM_FRONT/scene-0100_00.jpg", "expected a folder of drives, all of them or FOLDER#"),
        ("predict {roads}/samples/*/*.jpg", "expected a folder of drives, all of them or FOLDER#SCENE"),
        ("predict http://nowhere/a.jpg", "http://nowhere/a.jpg: expected a folder of drives"),
        ("predict {roads}/samples", "samples holds no drives; expected nuScenes' tables"),
        ("predict {roads} --tta", "are for single pictures; leave them out"),
        ("predict {roads} --tile 64", "are for single pictures; leave them out"),
        ("predict {roads} --topk 3", "--topk says nothing of the results of a 3D detector"),
        ("predict {roads} --max-objects 0", "0 objects a frame; expected 1 to 140"),
        ("predict {roads} --format coco --output {new}", "are written as nuscenes, video, recording, csv, json, not"),
        ("predict {roads}#scene-0100 --save {roads}/drawn", "drawn is inside the data"),
        ("evaluate --data {roads} --part test", "roads has no part 'test'; it has train, val"),
        ("evaluate --data {roads}/samples", "a 3D detector is measured on nuScenes' tables of drives"),
        ("export {run} --output {new}/a.onnx", "a 3D detector cannot be exported"),
        ("data convert {roads} {new} --to csv", "roads has nuScenes' tables of drives; pictures with classes, boxes"),
        ("data check {roads} --fix {new}", "roads has nuScenes' tables of drives; pictures with classes, boxes or"),
        ("train --data {roads} --model internimage_atto --output {new}", "a classifier learns from data with a class"),
        ("train --data {roads} --model small_mask --output {new}", "a detector learns from data with COCO's"),
        ("train --data {roads} --boxes corners --output {new}", "--boxes corners is for a JSON like COCO's"),
        ("train --data {roads} --crowds learn --output {new}", "--crowds learn is for objects in pictures"),
        ("train --data {roads} --channels 1 --output {new}", "1 channels: networks that find boxes in space take RGB"),
        ("train --data {roads} --linear-probe --output {new}", "a linear probe is for classifiers"),
        ("train --data {roads} --queue 0 --output {new}", "queue is 0; expected 1 frame or more"),
    ],
)
def test_what_does_not_fit_is_one_sentence(
    arguments: str, message: str, roads: Path, trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = arguments.format(roads=roads, run=trained, new=tmp_path / "new").split()
    model = ["--model", str(trained)] if words[0] in ("predict", "evaluate") else []
    assert run([*words, *model]) == 1
    said = capsys.readouterr().err
    assert message in said
    assert said.startswith("internimage: ")
    assert said.count("\n") == 1
    assert not (tmp_path / "new").exists()


class Tables:
    """The tables of a copied world, changed one by one."""

    def __init__(self, roads: Path, root: Path) -> None:
        self.root = Path(shutil.copytree(roads, root))

    def change(self, table: str, change: Callable[[Rows], Rows | None]) -> None:
        path = self.root / VERSION / f"{table}.json"
        rows = json.loads(path.read_text())
        path.write_text(json.dumps(change(rows) or rows))

    def tokens(self, number: int) -> set[str]:
        """Of the frames with this number in their scenes."""
        rows = json.loads((self.root / VERSION / "sample.json").read_text())
        return {row["token"] for place, row in enumerate(rows) if place % 3 == number}

    def keep(self, tokens: set[str]) -> None:
        """These frames alone; each is its scene's only one, so that no velocity is known."""
        for table, name in (
            ("sample", "token"),
            ("sample_data", "sample_token"),
            ("sample_annotation", "sample_token"),
        ):
            self.change(
                table, lambda rows, name=name: [row | {"prev": "", "next": ""} for row in rows if row[name] in tokens]
            )  # type: ignore[misc]


def missing_cameras(tables: Tables) -> None:
    """One camera of the second frames of all scenes, and all but one of their third ones."""
    gone, blind = tables.tokens(1), tables.tokens(2)
    tables.change(
        "sample_data",
        lambda rows: [
            row
            for row in rows
            if not (row["sample_token"] in gone and "/CAM_BACK/" in row["filename"])
            and not (
                row["sample_token"] in blind and "/CAM" in row["filename"] and "/CAM_FRONT/" not in row["filename"]
            )
        ],
    )


def no_boxes(tables: Tables) -> None:
    """In the first and second frames of all scenes; nothing is known of velocities."""
    kept = tables.tokens(2)
    tables.change(
        "sample_annotation",
        lambda rows: [row | {"prev": "", "next": ""} for row in rows if row["sample_token"] in kept],
    )


def other_cameras(tables: Tables) -> None:
    tables.change("sensor", lambda rows: [row | {"channel": row["channel"].replace("CAM", "EYE")} for row in rows])


def four_cameras(tables: Tables) -> None:
    tables.change("sample_data", lambda rows: [row for row in rows if "_LEFT/" not in row["filename"]])


def whole_scenes(tables: Tables) -> None:
    tables.change("scene", lambda rows: [row | {"name": f"../{row['name']}"} for row in rows])
    (tables.root / "splits.json").unlink()


@pytest.mark.parametrize(
    "change",
    [
        missing_cameras,
        no_boxes,
        other_cameras,
        four_cameras,
        whole_scenes,
        lambda tables: tables.keep(tables.tokens(0)),
    ],
    ids=["missing cameras", "no boxes", "other cameras", "four cameras", "names and no parts", "single frames"],
)
@pytest.mark.filterwarnings("ignore:.*there are frames without CAM_BACK")
def test_drives_that_lack_something_are_learnt_from(
    change: Callable[[Tables], None], roads: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tables = Tables(roads, tmp_path / "drives")
    change(tables)
    trainer = prepare(tables.root, tmp_path / "run")
    row = trainer.fit()
    assert np.isfinite([row["loss"], row["nds"], row["mave"]]).all()
    assert row["skipped"] == 0
    seen = {camera.channel for frame in trainer.task.val.frames for camera in frame.cameras}
    assert set(trainer.model.config.cameras) == seen
    command = [
        "predict",
        f"{tables.root}#../scene-0000",
        "--model",
        tmp_path / "run",
        "--format",
        "video",
        "--output",
        tmp_path / "out",
    ]
    if change is whole_scenes:
        again = resume_run(tmp_path / "run", Silent(), device="cpu", epochs=2)
        assert again.prepared.splits.val.scenes == trainer.task.val.scenes
        assert len({*again.prepared.splits.train.scenes, *trainer.task.val.scenes}) == 6
        assert run(command) == 0
        assert len(list((tmp_path / "out").iterdir())) == 1  # within the folder, whatever scenes are called
    else:
        report = ii.evaluate(tables.root, tmp_path / "run" / "final", device="cpu").compute()
        assert report["nds"] == pytest.approx(row["nds"], abs=1e-6)


def wrong_rotation(tables: Tables) -> None:
    tables.change("ego_pose", lambda rows: [rows[0] | {"rotation": [0, 0, 0, 0]}, *rows[1:]])


def nothing_annotated(tables: Tables) -> None:
    (tables.root / VERSION / "sample_annotation.json").write_text("[]")


def one_scene(tables: Tables) -> None:
    (tables.root / "splits.json").write_text('{"train": ["scene-0000"]}')


def no_scene(tables: Tables) -> None:
    (tables.root / "splits.json").write_text('{"train": ["kitti"]}')


def other_eyes(tables: Tables) -> None:
    """Of the drives to measure with: their own calibrations, of sensors with other names."""

    def doubled(rows: Rows) -> Rows:
        return rows + [row | {"token": f"{row['token']}v", "channel": f"{row['channel']}_V"} for row in rows]

    tables.change("sensor", doubled)
    tables.change(
        "calibrated_sensor",
        lambda rows: (
            rows + [row | {"token": f"{row['token']}v", "sensor_token": f"{row['sensor_token']}v"} for row in rows]
        ),
    )
    tables.change(
        "sample_data",
        lambda rows: [
            row | {"calibrated_sensor_token": f"{row['calibrated_sensor_token']}v"}
            if "/scene-01" in row["filename"] and "/CAM" in row["filename"]
            else row
            for row in rows
        ],
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (wrong_rotation, r"is no rotation; expected a quaternion \(w, x, y, z\) of length 1"),
        (nothing_annotated, "nothing in it is of any class; expected annotations to learn from"),
        (one_scene, "has one sequence; expected two or more, of which one is set aside"),
        (no_scene, "splits.json names none of the scenes of v1.0-world, such as scene-0000"),
        (other_eyes, r"\(val\): scene-0100 has none of the cameras of .*\(train\): CAM_FRONT"),
    ],
)
def test_runs_that_cannot_end_well_do_not_start(
    change: Callable[[Tables], None], message: str, roads: Path, tmp_path: Path
) -> None:
    tables = Tables(roads, tmp_path / "drives")
    change(tables)
    with pytest.raises(DataError, match=message):
        prepare(tables.root, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_what_is_wrong_in_training_drives_is_no_matter_in_others(
    roads: Path, trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tables = Tables(roads, tmp_path / "drives")
    wrong_rotation(tables)
    assert ii.evaluate(tables.root, trained, device="cpu").compute()["frames"] == 6
    dropped = DataOptions(bad_entries="drop", allow_left_out=True)
    report = ii.evaluate(tables.root, trained, part="train", reading=dropped, device="cpu")
    assert report.compute()["frames"] == 11
    assert "1 of 12 frames left out" in report.left_out[0]
    predict = ii.Predictor(trained, device="cpu")
    assert capsys.readouterr().err.count("left out") == 0
    assert len(predict.listed(tables.root)) == 17
    assert "1 of 12 frames left out" in capsys.readouterr().err
    nothing_annotated(tables)
    with pytest.raises(DataError, match="has no annotations; expected a part that has some"):
        ii.evaluate(tables.root, trained, reading=dropped, on_corrupt="skip", device="cpu")
    other_cameras(tables)
    with pytest.raises(DataError, match=r"scene-0100: its cameras are EYE_BACK.*any of the network's: CAM_FRONT"):
        predict(f"{tables.root}#val")


def test_pictures_that_cannot_be_read(
    roads: Path, trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of one camera: the frame is left out if that is asked for, and the next one forgets what was before."""
    tables = Tables(roads, tmp_path / "drives")
    gone = tables.root / "samples" / "CAM_BACK"
    (gone / "scene-0100_01.jpg").unlink()
    (gone / "scene-0001_02.jpg").write_bytes(b"no picture")
    assert run(["predict", f"{tables.root}#scene-0100", "--model", trained, "--json"]) == 1
    shown = capsys.readouterr()
    assert [json.loads(line)["image"][-1] for line in shown.out.splitlines()] == ["0", "2"]
    assert "CAM_BACK/scene-0100_01.jpg: no such file" in shown.err
    with pytest.raises(ImageReadError, match=r"CAM_BACK/scene-0100_01.jpg: no such file \(--on-corrupt skip"):
        ii.evaluate(tables.root, trained, device="cpu")
    report = ii.evaluate(tables.root, trained, on_corrupt="skip", device="cpu")
    assert report.compute()["frames"] == 5
    assert report.unreadable == ["scene-0100#000001"]
    with pytest.raises(ImageReadError, match=r"CAM_BACK/scene-0001_02\.jpg: not an image"):
        prepare(tables.root, tmp_path / "stops", augmentation=PLAIN).fit()
    with pytest.warns(UserWarning, match="1 of 6 validation images cannot be read.*such as scene-0100#000001"):
        trainer = prepare(tables.root, tmp_path / "skips", augmentation=PLAIN, on_corrupt="skip")
    assert trainer.fit()["frames"] == 5


def test_classes_go_together_by_name(roads: Path, trained: Path, tmp_path: Path) -> None:
    tables = Tables(roads, tmp_path / "drives")
    tables.change("category", lambda rows: [row for row in rows if row["name"] != "movable_object.barrier"])
    fewer = DataOptions(bad_entries="drop", allow_left_out=True)
    assert "barrier" not in ii.evaluate(tables.root, trained, reading=fewer, device="cpu").to_dict()["per_class"]
    tables = Tables(roads, tmp_path / "others")
    tables.change(
        "category", lambda rows: [row | {"name": row["name"].replace("vehicle.car", "vehicle.trailer")} for row in rows]
    )
    with pytest.raises(DataError, match="the model does not know the classes trailer; it knows car"):
        ii.evaluate(tables.root, trained, device="cpu")
    with pytest.warns(UserWarning, match="go on by their names"):
        model = prepare(tables.root, tmp_path / "run", model=str(trained), init=str(trained)).model
    assert "trailer" in model.description.labels  # type: ignore[union-attr, operator]
    with pytest.raises(ConfigError, match="expected 1 to"):
        prepare(roads, tmp_path / "most", max_objects=999)


def test_drives_are_parts_of_scenes(roads: Path) -> None:
    part = read_parts(roads, "val", DataOptions())["val"]
    assert isinstance(part, Frames)
    assert [part.sequence_of(frame) for frame in part.frames] == ["scene-0100"] * 3 + ["scene-0101"] * 3
    sources = [part.source(frame) for frame in part.frames]
    assert [(one.moment.token, one.number) for one in sources if one.moment] == [
        (frame.token, place % 3) for place, frame in enumerate(part.frames)
    ]


@pytest.mark.full
@pytest.mark.parametrize("strategy", ["ddp", "fsdp"])
def test_two_processes_learn_like_one(strategy: str, roads: Path, trained: Path, tmp_path: Path) -> None:
    options = ["train", "--data", roads, "--model", trained, "--init", trained, "--epochs", "1", "--workers", "0"]
    options += ["--track", "none", "--no-grid-mask", "--no-photometric", "--warmup-epochs", "0.5", "--device", "cpu"]
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    for name, size, start in (("one", 4, [sys.executable]), ("two", 2, launcher)):
        command = [*start, "-m", "internimage", *options, "--batch-size", size, "--output", tmp_path / name]
        command += ["--strategy", strategy] if name == "two" else []
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        done = subprocess.run([str(one) for one in command], capture_output=True, text=True, env=environment)
        assert done.returncode == 0, done.stderr[-3000:]
    rows = []
    for name in ("one", "two"):
        with (tmp_path / name / "metrics.csv").open() as file:
            rows.append({key: float(value) for key, value in next(csv.DictReader(file)).items() if value})
    assert rows[1] == pytest.approx(rows[0], rel=1e-5)
