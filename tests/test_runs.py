"""Settings chosen from the data, frozen parts, and what a run leaves for people to look at."""

import csv
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.commands import run
from helpers.sources import KINDS, build
from helpers.training import COLOURS, SMALL, Silent, paint, prepare
from PIL import Image

import internimage as ii
from internimage.cli.main import main, parse
from internimage.contracts import Amount
from internimage.data.recognition import estimate
from internimage.drawing.canvas import ACCENT
from internimage.drawing.curves import curve_charts
from internimage.errors import ConfigError, DataError, MissingExtraError, TrainingError
from internimage.recipes import get_recipe, get_training_recipe
from internimage.settings.training import TrainingConfig, too_high
from internimage.tasks.classification.defaults import default_settings
from internimage.training.console import ConsoleReporter
from internimage.training.reporting import Clock, Moment
from internimage.training.usual import choose

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.mark.parametrize("kind", KINDS)
def test_images_are_counted_without_reading_them(tmp_path: Path, kind: str) -> None:
    root = build(kind, paint(tmp_path / "painted", COLOURS), tmp_path / "data")
    assert abs(estimate(root) - 12) <= 1  # a table's heading counts
    assert estimate(tmp_path / "nothing") == 0


def test_settings_follow_the_amount_of_data(tmp_path: Path) -> None:
    """Few images: those of the model in the package; many: the published ones; options on top."""
    few, many = (
        default_settings(Amount(500, "scratch", 224, "image_classifier")),
        default_settings(Amount(1_281_167, "scratch", 224, "image_classifier")),
    )
    assert (few[0].epochs, few[0].batch_size, few[0].lr, few[1].mixup) == (100, 16, 8e-4, 0.1)
    published = get_training_recipe("internimage_t_1k_224")
    assert (many[0].epochs, many[0].peak_lr(8), many[1]) == (300, pytest.approx(5e-4), published.augmentation)
    tuned = default_settings(Amount(1_281_167, "pretrained", 224, "image_classifier"))[0]
    assert (tuned.epochs, tuned.lr, tuned.layer_decay, tuned.deformable_lr_scale) == (20, 2e-5, 0.9, 0.1)
    data = paint(tmp_path / "data", COLOURS)
    train = parse(["train", "--data", str(data), "--init=pretrained", "--epochs", "7"])
    assert train.training == replace(default_settings(Amount(12, "pretrained", 224, "image_classifier"))[0], epochs=7)
    assert parse(["train", "--data", str(data), "--recipe", "internimage_t_1k_224"]).training == published.training


@pytest.mark.parametrize(
    ("lr", "batch", "usual", "times"),
    [
        (3e-3, 16, default_settings(Amount(500, "scratch", 224, "image_classifier"))[0], None),
        (8e-3, 16, default_settings(Amount(500, "scratch", 224, "image_classifier"))[0], 10),
        (8e-3, 64, default_settings(Amount(500, "scratch", 224, "image_classifier"))[0], None),
        (5e-4, 64, get_training_recipe("internimage_t_1k_224").training, 8),
    ],
)
def test_a_learning_rate_far_above_the_usual_is_named(lr: float, batch: int, usual: Any, times: int | None) -> None:
    warning = too_high(TrainingConfig(lr=lr, batch_size=batch), usual, 1)
    assert (warning is None) == (times is None)
    assert times is None or f"is {times} times what suits {batch} images an update" in str(warning)


@pytest.mark.parametrize(
    ("changes", "trained"),
    [
        (
            {"freeze": 2},
            ("backbone.stages.1.downsample", "backbone.stages.2", "backbone.stages.3", "head", "classifier"),
        ),
        ({"linear_probe": True}, ("classifier",)),
    ],
)
def test_what_is_frozen_stays(tmp_path: Path, changes: dict[str, Any], trained: tuple[str, ...]) -> None:
    """Parameters, and the running statistics of BatchNorm, which have no gradient that could be switched off."""
    data = paint(tmp_path / "data", COLOURS)
    prepare(data, tmp_path / "first").fit()
    before = ii.load_model(tmp_path / "first" / "final").state_dict()
    trainer = prepare(data, tmp_path / "second", init=str(tmp_path / "first" / "final"), **changes)
    trainer.fit()
    after = trainer.model.state_dict()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed == {name for name in before if name.startswith(trained)}
    with pytest.raises(ConfigError, match="linear probe of random features"):
        prepare(data, tmp_path / "third", linear_probe=True)


def test_a_process_may_train_twice_with_other_settings(tmp_path: Path) -> None:
    """As in a notebook; the third run has the numbers of the first."""
    data = paint(tmp_path / "data", COLOURS)
    losses = []
    for number, precision in enumerate(("no", "bf16", "no")):
        training = replace(SMALL, epochs=1, precision=precision)
        run = ii.train(data, size=32, training=training, output=tmp_path / str(number), device="cpu")
        losses.append(run.history[-1]["loss"])
    assert losses[0] == losses[2] != losses[1]
    assert losses[0] == pytest.approx(losses[1], rel=0.1)


def test_what_is_named_is_what_is_trained(tmp_path: Path) -> None:
    """A recipe's settings with another model; nothing that is named is left out without a word."""
    data = paint(tmp_path / "data", COLOURS)
    choice = choose(data, "internimage_atto", "internimage_t_1k_224")
    assert (choice.recipe.name, choice.published) == ("internimage_atto", get_training_recipe("internimage_t_1k_224"))
    assert choose(data, None, "internimage_t_1k_224").recipe.name == "internimage_t_1k_224"
    with pytest.raises(ConfigError, match="is trained as a classifier, the model is a detector"):
        ii.train(data, model="mask_rcnn_internimage_atto_fpn", recipe="internimage_t_1k_224", output=tmp_path / "run")
    own = get_recipe("internimage_atto").config
    with pytest.raises(ConfigError, match="a configuration of your own has no released weights"):
        ii.train(data, model=own, init="pretrained", output=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_what_a_run_leaves(tmp_path: Path) -> None:
    """Table, summary, curves and TensorBoard's events tell the same numbers."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    data, folder = paint(tmp_path / "data", COLOURS), tmp_path / "run"
    trainer = prepare(data, folder, training=replace(SMALL, epochs=3, track="tensorboard"))
    trainer.fit()
    rows = list(csv.DictReader((folder / "metrics.csv").open()))
    summary = json.loads((folder / "summary.json").read_text())
    assert [float(row["top1"]) for row in rows] == [row["top1"] for row in trainer.progress.history]
    assert (summary["finished"], summary["epochs"], summary["last"]) == (True, 3, trainer.progress.history[-1])
    assert summary["best"]["top1"] == max(float(row["top1"]) for row in rows) == trainer.progress.best
    assert summary["parameters"] == sum(p.numel() for p in trainer.model.parameters())
    assert (summary["images"], summary["processes"], summary["images_an_update"]) == (10, 1, 4)
    assert Image.open(folder / "curves.png").size[0] > 300
    events = EventAccumulator(str(folder / "tensorboard"))
    events.Reload()
    logged = events.Scalars("loss")
    assert [event.step for event in logged] == [2, 4, 6]
    assert [event.value for event in logged] == pytest.approx([float(row["loss"]) for row in rows])


def test_a_dashboard_that_is_not_installed_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match="--track wandb needs its package: pip install wandb"):
        prepare(paint(tmp_path / "data", COLOURS), tmp_path / "run", training=replace(SMALL, track="wandb"))


def test_curves_go_where_their_values_are() -> None:
    """A straight line from 0 to 10: its right end is as far up as its left end is down; a gap stays empty."""
    series = [("a", [0.0, 5.0, 10.0]), ("b", [1.0, float("nan"), 2.0])]
    picture = np.asarray(curve_charts([1, 2, 3], series, axis="epoch"))
    found = (picture == np.array(ACCENT)).all(-1)
    ours = found[46:, :340]
    rows, columns = np.nonzero(ours)
    left, right = rows[columns <= columns.min() + 2].mean(), rows[columns >= columns.max() - 2].mean()
    middle = rows[abs(columns - (columns.min() + columns.max()) / 2) < 4].mean()
    assert left > right
    assert middle == pytest.approx((left + right) / 2, abs=3)
    assert found[46:, 340:].sum() < 80 < ours.sum()  # one marked point, no line


def test_ticks_of_curves_differ_and_large_charts_come_first() -> None:
    """Values that hardly move: without enough digits all texts beside the lines would be one."""
    series = [("still", [0.473912, 0.473914]), ("flat", [0.5, 0.5 + 1e-15]), ("best", [0.0, 1.0])]
    picture = np.asarray(curve_charts([1, 2], series, large=("best",), size=(340, 220)))
    assert picture.shape[:2] == (20 + 308 + 220 + 20, 2 * 20 + 2 * 340)
    rows, columns = np.nonzero((picture[46:308] == np.array(ACCENT)).all(-1))
    assert np.ptp(rows) > 200
    assert np.ptp(columns) > 600
    texts = {picture[y - 6 : y + 7, 20:70].tobytes() for y in _lines(picture, 328)}
    assert len(texts) == len(_lines(picture, 328)) > 2


def _lines(picture: np.ndarray[Any, Any], below: int) -> list[int]:
    """Rows of the grid of the first chart below a row."""
    return [y for y in range(below, picture.shape[0]) if (picture[y, 100:340] == (230, 231, 233)).all(-1).mean() > 0.7]


def test_the_console_says_what_is_going_on(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(range(0, 10_000, 100))
    monkeypatch.setattr("internimage.training.console.time.monotonic", lambda: next(clock))
    reporter = ConsoleReporter()
    reporter.live = False
    for batch in (20, 40):
        reporter.batch(Moment(0, 2, batch, 50, batch, 1.25, 1e-3, 0.246, 3 * 2**30, 60.0 * batch))
    reporter.epoch({"epoch": 1, "loss": 1.5, "top1": 0.5, "unreadable": 0, "skipped": 2}, True, ("top1",))
    lines = capsys.readouterr().out.splitlines()
    assert lines[-2].startswith("epoch   1  batch 40/50  loss 1.250  lr 1.00e-03  0.25 img/s  3.0 GiB  ")
    assert lines[-2].endswith("40 min left")
    assert lines[-1] == "epoch   1  loss 1.500  top1 50.0%  skipped 2  best"


def test_setting_images_aside_is_followed(tmp_path: Path) -> None:
    seen = []

    class Counting(Silent):
        def follow(self, items: Any, total: int, what: str) -> Any:  # type: ignore[override]
            looked_at = list(items)
            seen.append((what, len(looked_at), total))
            return looked_at

    data = paint(tmp_path / "data", COLOURS)
    ii.train(data, output=tmp_path / "run", size=32, training=replace(SMALL, epochs=1), reporter=Counting())
    assert seen == [("pictures that are there twice", 12, 12), ("what the pictures show", 12, 12)]


def test_a_run_moves_and_is_made_longer(tmp_path: Path) -> None:
    """The same images are set aside wherever the data lie; other images are not the same run."""
    data, folder, there = paint(tmp_path / "data", COLOURS), tmp_path / "run", tmp_path / "elsewhere" / "photos"
    prepare(data, folder, training=replace(SMALL, epochs=1)).fit()
    aside = json.loads((folder / "data.json").read_text())["set aside"]
    assert sorted(Path(name).parts[0] for name in aside) == ["blue", "red"]
    there.parent.mkdir()
    data.rename(there)
    with pytest.raises(DataError, match=r"data does not exist; expected a folder of pictures"):
        ii.resume(folder, device="cpu", reporter=Silent())
    other = paint(tmp_path / "other", {"red": COLOURS["red"], "pink": COLOURS["blue"]})
    for picture in (other / "red").iterdir():
        picture.rename(picture.with_name(f"new{picture.name}"))
    with pytest.raises(DataError, match=r"is not as it was when the run began: none of its images is one of the 2"):
        ii.resume(folder, device="cpu", data=other, reporter=Silent())
    with pytest.raises(TrainingError, match="is a run of 1 epochs; pass more of them, not 1"):
        ii.resume(folder, device="cpu", data=there, epochs=1, reporter=Silent())
    assert [
        row["epoch"] for row in ii.resume(folder, device="cpu", data=there, epochs=3, reporter=Silent()).history
    ] == [1, 2, 3]
    content = json.loads((folder / "run.json").read_text())
    assert (content["data"], content["training"]["epochs"]) == (str(there), 3)
    command = ["train", "--resume", folder, "--data", there, "--epochs", "4", "--device", "cpu"]
    assert run(command) == 0
    assert json.loads((folder / "summary.json").read_text())["epochs"] == 4
    (there / aside[0]).rename(there / "red" / "new.png")
    with pytest.raises(TrainingError, match=r"is not as it was when the run began: .* differ; put it back"):
        ii.resume(folder, device="cpu", reporter=Silent())


def test_the_time_left_knows_of_evaluations_and_forgets_what_was() -> None:
    clock = Clock(10)
    assert clock.left(5, 1) is None
    clock.trained(2, 60)
    assert clock.left(5, 1) == pytest.approx(5 * 30 + 0.4 * 10 * 30)
    clock.trained(4, 8)  # the first batches count no longer
    assert clock.left(5, 1) == pytest.approx(5 * 2 + 0.4 * 10 * 2)
    clock.measured(50)
    clock.measured(30)
    assert clock.left(5, 2) == pytest.approx(5 * 2 + 2 * 40)
    clock.trained(10, 60)  # a minute later the batches before count half
    assert clock.left(1, 0) == pytest.approx((4 + 60) / (2 + 10))


def test_a_run_without_progress_ends_early(tmp_path: Path) -> None:
    """A learning rate of nothing: the second evaluation is as good as the first, the third decides."""
    training = replace(SMALL, epochs=9, lr=1e-30, patience=2, ema_decay=0)
    trainer = prepare(paint(tmp_path / "data", COLOURS), tmp_path / "run", training=training)
    trainer.fit()
    assert [row["epoch"] for row in trainer.progress.history] == [1, 2, 3]
    assert trainer.summary()["finished"]


def test_training_from_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """From a folder to a model folder; the warning about the learning rate goes to stderr; a new run is refused."""
    data = paint(tmp_path / "data", COLOURS)
    options = ["--size", "32", "--epochs", "1", "--workers", "0", "--lr", "0.1", "--batch-size", "4", "--cpu"]
    command = ["train", "--data", str(data), "--output", str(tmp_path / "run"), *options]
    with pytest.raises(SystemExit) as done:
        main(command)
    out, err = capsys.readouterr()
    assert done.value.code == 0
    assert "2 classes; 10 training, 2 validation images" in out
    assert f"use it: internimage predict IMAGE --model {tmp_path / 'run' / 'best'}" in out
    assert "a learning rate of 0.1 is 125 times what suits 4 images an update (0.0008); training may diverge" in err
    with pytest.raises(SystemExit) as done:
        main(command)
    assert done.value.code == 1
    assert "already holds a run; resume it with --resume" in capsys.readouterr().err
    with pytest.raises(SystemExit) as done:
        main(["train", "--resume", str(tmp_path / "run"), "--size", "64"])
    assert done.value.code == 1
    assert "--resume continues a run with its own settings; leave out all others" in capsys.readouterr().err
