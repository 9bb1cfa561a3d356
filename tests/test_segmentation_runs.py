"""Training, evaluating and predicting with segmenters as users do, on painted pictures; the released schedules."""

import json
import math
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.commands import run
from helpers.segmenters import CONFIGS, SEGMENTERS, manifests
from helpers.training import Silent
from PIL import Image

import internimage as ii
from internimage.checkpoints.layouts import from_ours
from internimage.cli.main import parse
from internimage.cli.train import Train
from internimage.contracts import Amount
from internimage.drawing.objects import class_colour
from internimage.errors import ConfigError, InternImageError, MissingExtraError, TrainingError
from internimage.factory import convert_checkpoint, create_model, load_model, save_model
from internimage.recipes import get_training_recipe
from internimage.results.segmentation import Segmentation
from internimage.settings.segmentation import SegmentationAugmentation
from internimage.settings.training import RunConfig, TrainingConfig
from internimage.tasks.segmentation.defaults import default_settings
from internimage.tasks.segmentation.views import predict_views
from internimage.training.optimiser.schedule import warmup_power
from internimage.training.reporting import Moment
from internimage.training.run import resume_run, start_run
from internimage.training.trainer import Trainer

SMALL = TrainingConfig(track="none", epochs=2, batch_size=2, workers=0, warmup_epochs=0.5, drop_path=0.1, ema_decay=0.5)
COLOURS = {"sky": (90, 140, 250), "grass": (40, 160, 60), "brick": (170, 60, 40)}


pytestmark = pytest.mark.usefixtures("one_thread", "small_recipes")


def paint(root: Path, count: int = 6) -> Path:
    """Sky above grass with a brick in it, in pictures of two sizes; masks with a palette, a corner unknown."""
    rng = np.random.default_rng(0)
    for part in ("train", "val"):
        for number in range(count):
            height, width = (64, 96) if number % 2 else (96, 64)
            labels = np.zeros((height, width), np.uint8)
            labels[int(rng.integers(20, height - 20)) :] = 1
            y, x = int(rng.integers(0, height - 30)), int(rng.integers(0, width - 30))
            labels[y : y + 24, x : x + 24] = 2
            pixels = np.array(list(COLOURS.values()), np.uint8)[labels]
            labels[:6, :6] = 255
            for folder in ("images", "masks"):
                (root / part / folder).mkdir(parents=True, exist_ok=True)
            noise = rng.integers(-8, 8, pixels.shape)
            Image.fromarray((pixels + noise).clip(0, 255).astype(np.uint8)).save(
                root / part / "images" / f"{number}.png"
            )
            mask = Image.fromarray(labels, mode="P")
            mask.putpalette([0, 0, 0] * 256)
            mask.save(root / part / "masks" / f"{number}.png")
    content = {"classes": list(COLOURS), "palette": [list(colour) for colour in COLOURS.values()]}
    (root / "classes.json").write_text(json.dumps(content))
    return root


def prepare(
    data: Path, folder: Path, model: str = "small_upernet", reporter: Silent | None = None, **changes: Any
) -> Trainer:
    augmentation = SegmentationAugmentation((64, 64), 64, 256, photometric=False)
    settings = {"data": str(data), "model": model, "training": SMALL, "augmentation": augmentation, **changes}
    return start_run(RunConfig(**settings), folder, reporter or Silent(), device="cpu").trainer


@pytest.mark.parametrize(
    ("name", "least"),
    [
        ("small_upernet", 0.7),
        pytest.param("small_segformer", 0.7, marks=pytest.mark.full),
        pytest.param("small_mask2former", 0.3, marks=pytest.mark.full),
    ],
)
def test_a_run_ends_in_a_folder_that_predicts_and_is_measured(
    name: str, least: float, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The trainer's last numbers are those of the evaluate command, whatever batches the images came in."""
    data = paint(tmp_path / "data")
    learning = replace(SMALL, epochs=16, lr=4e-3, warmup_epochs=1, drop_path=0, lr_power=1.0, evaluate_every=7)
    trainer = prepare(data, tmp_path / "run", name, training=learning)
    row = trainer.fit()
    assert [entry["epoch"] for entry in trainer.progress.history] == [7, 14, 16]
    model: Any = ii.load_model(tmp_path / "run" / "final")
    assert model.description.labels == tuple(COLOURS)
    assert model.description.palette == tuple(COLOURS.values())
    command: list[str | Path] = ["evaluate", "--data", data, "--part", "val", "--model", tmp_path / "run" / "final"]
    assert run([*command, "--json", "--save", tmp_path / "report", "--batch-size", "3"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert {key: report[key] for key in ("miou", "macc", "aacc")} == pytest.approx(
        {key: row[key] for key in ("miou", "macc", "aacc")}, abs=1e-6
    )
    assert report["miou"] > least
    assert set(report["per_class"]) == set(COLOURS)
    assert (tmp_path / "report" / "confusion.png").is_file()
    assert run([*command, "--tta", "--tta-sides", "48", "64"]) == 0
    assert "mIoU" in capsys.readouterr().out
    picture = data / "val" / "images" / "1.png"
    assert run(["predict", picture, "--model", tmp_path / "run" / "final", "--json", "--save", tmp_path / "out"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert (shown["height"], shown["width"]) == (64, 96)
    assert sum(one["pixels"] for one in shown["regions"]) == 64 * 96
    numbers = Image.open(tmp_path / "out" / "1.classes.png")
    assert (numbers.mode, numbers.size) == ("P", (96, 64))
    assert numbers.getpalette()[:9] == [part for colour in COLOURS.values() for part in colour]
    assert Image.open(tmp_path / "out" / "1.predicted.png").width > 96  # and a legend
    assert run(["predict", picture, "--model", tmp_path / "run" / "final", "--csv"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "image,rank,index,label,score,pixels,share"
    assert lines[1].split(",")[-1] == f"{shown['regions'][0]['share']:.6f}"


class Impatient(Silent):
    """Ends a run with the last batch of its second epoch."""

    def batch(self, now: Moment) -> None:
        if (now.epoch, now.batch) == (1, now.batches):
            raise KeyboardInterrupt


def test_resuming_between_evaluations_ends_in_the_same_bits(tmp_path: Path) -> None:
    data = paint(tmp_path / "data")
    training = replace(SMALL, epochs=3, evaluate_every=3)
    whole = prepare(data, tmp_path / "whole", training=training)
    whole.fit()
    first = prepare(data, tmp_path / "stopped", training=training, reporter=Impatient())
    with pytest.raises(KeyboardInterrupt):
        first.fit()
    assert not first.progress.history
    again = resume_run(tmp_path / "stopped", Silent(), device="cpu").trainer
    again.fit(resume=True)
    assert again.progress.history == whole.progress.history
    assert len(whole.progress.history) == 1
    for one, other in zip(again.model.state_dict().values(), whole.model.state_dict().values(), strict=True):
        assert torch.equal(one, other)


def test_processes_wait_for_the_one_with_most_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    """This one's picture is one part; another process has three."""
    monkeypatch.setattr(torch.distributed, "all_reduce", lambda count, _: count.fill_(3))
    model: Any = create_model("small_segformer")
    passes = []
    model.register_forward_hook(lambda *_: passes.append(1))
    (view,) = predict_views(model, torch.rand(1, 3, 64, 64), model.config.window, in_step=True)
    assert len(passes) == 3
    (alone,) = predict_views(model, torch.rand(1, 3, 64, 64), model.config.window)
    assert len(view.parts) == len(alone.parts) == 1
    assert len(passes) == 4


def test_one_class_and_images_of_which_nothing_is_known(tmp_path: Path) -> None:
    """One-class data trains to a finite loss; a mask without any known pixel teaches and breaks nothing."""
    data = paint(tmp_path / "data", 2)
    (data / "classes.json").write_text('{"classes": ["all"], "unknown": [1, 2, 255]}')
    Image.fromarray(np.full((96, 64), 255, np.uint8)).save(data / "train" / "masks" / "0.png")
    for name in CONFIGS:
        row = prepare(data, tmp_path / name, name, training=replace(SMALL, epochs=1)).fit()
        assert math.isfinite(row["loss"])
        assert row["miou"] == row["aacc"] == 1


@pytest.mark.parametrize(
    ("change", "settings", "message"),
    [
        (None, {"training": replace(SMALL, batch_size=1)}, "use a batch of 2 images or more"),
        (None, {"linear_probe": True}, "a linear probe is for classifiers"),
        (None, {"init": "upernet_internimage_atto_other"}, "upernet_internimage_atto_other"),
        ('{"classes": ["sky", "grass"]}', {}, "the numbers 2 stand for no class; expected 0, 1"),
    ],
)
def test_runs_that_cannot_end_well_do_not_start(
    change: str | None, settings: dict[str, Any], message: str, tmp_path: Path
) -> None:
    data = paint(tmp_path / "data", 2)
    if change:
        (data / "classes.json").write_text(change)
    with pytest.raises(InternImageError, match=message):
        prepare(data, tmp_path / "run", **settings)
    assert not (tmp_path / "run").exists()


def test_a_run_without_a_saved_state_starts_over_and_changed_data_stop_it(tmp_path: Path) -> None:
    data = paint(tmp_path / "data")
    expected = prepare(data, tmp_path / "whole").fit()
    prepare(data, tmp_path / "run")  # and killed
    again = resume_run(tmp_path / "run", Silent(), device="cpu").trainer.fit(resume=True)
    assert again == expected
    names = json.loads((data / "classes.json").read_text())
    (data / "classes.json").write_text(json.dumps({**names, "classes": names["classes"][::-1]}))
    with pytest.raises(TrainingError, match="is not as it was when the run began: classes differ; put it back"):
        resume_run(tmp_path / "run", Silent(), device="cpu")
    (data / "classes.json").write_text(json.dumps(names))
    (data / "train" / "images" / "0.png").unlink()
    with pytest.raises(TrainingError, match="numbers of training and validation images differ"):
        resume_run(tmp_path / "run", Silent(), device="cpu")


def test_runs_may_end_within_an_epoch(tmp_path: Path) -> None:
    """Five updates of three an epoch: the second epoch is cut short and evaluated; there is nothing left to resume."""
    data = paint(tmp_path / "data")
    training = replace(SMALL, epochs=9, updates=5, batch_size=2)
    trainer = prepare(data, tmp_path / "run", training=training)
    row = trainer.fit()
    assert (row["epoch"], trainer.progress.update, trainer.summary()["finished"]) == (2, 5, True)
    assert trainer.schedule.factor(5) == pytest.approx(SMALL.end_lr)
    resumed = resume_run(tmp_path / "run", Silent(), device="cpu").trainer
    assert resumed.fit(resume=True) == row
    assert resumed.progress.update == 5


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["predict", "{data}/train/images", "--model", "small_upernet", "--save", "{data}/train/images"],
            "is inside the data",
        ),
        (
            ["data", "check", "{data}", "--sheet", "{tmp}/a.xyz"],
            "a.xyz is no picture's name; expected one that ends in",
        ),
        (
            ["train", "--data", "{data}", "--model", "small_upernet", "--output", "{tmp}/file", "--epochs", "1"],
            "{tmp}/file",
        ),
        (
            ["train", "--data", "{data}/train", "--model", "internimage_atto"],
            "/train is read as masks; expected CLASS/IMAGE.jpg",
        ),
        (["evaluate", "--data", "{data}", "--model", "small_upernet", "--save", "{data}/new"], "is inside the data"),
        (["features", "{data}/**/*.png", "--sheet", "{data}/new.png", "--layers", "stage1"], "is inside the data"),
        (
            ["predict", "{data}/train/images", "--model", "small_upernet", "--topk", "3"],
            "--topk says nothing of the results of a segmenter",
        ),
        (["train", "--data", "{data}/train", "--boxes", "yolo"], "--boxes yolo is for a JSON like COCO's"),
        (["evaluate", "--data", "{data}/no", "--model", "internimage_atto_clothing_128"], "there is no folder or file"),
        (["predict", ""], "an argument is empty; expected a value"),
    ],
)
def test_mistakes_on_the_command_line_are_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    ii.save_model(ii.create_model("small_upernet"), tmp_path / "small_upernet")
    data = paint(tmp_path / "data")
    (tmp_path / "file").touch()
    filled = [one.format(data=data, tmp=tmp_path) for one in arguments]
    assert run([str(tmp_path / one) if one == "small_upernet" and "predict" in filled else one for one in filled]) == 1
    error = capsys.readouterr().err
    assert message.format(tmp=tmp_path) in error
    assert error.count("\n") == 1


def test_matching_needs_a_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "scipy.optimize", None)
    model: Any = create_model("small_mask2former")
    with pytest.raises(MissingExtraError, match=r"pip install 'internimage\[train\]'"):
        model.losses(torch.rand(1, 3, 64, 64), torch.zeros(1, 64, 64, dtype=torch.int64))


@pytest.mark.parametrize("name", CONFIGS)
def test_checkpoints_in_every_layout(name: str, tmp_path: Path) -> None:
    """Released names and back, the same bits; other classes start anew; the backbone alone."""
    torch.manual_seed(0)
    model: Any = create_model(name)
    path = tmp_path / f"{name}.pth"
    names = from_ours(model.state_dict(), "official", model.config)
    state = {names[ours]: tensor.clone() for ours, tensor in model.state_dict().items()}
    torch.save({"meta": {"CLASSES": tuple("abcde")}, "state_dict": state}, path)
    loaded = create_model(name, checkpoint=path)
    loaded.description = replace(loaded.description, palette=((1, 2, 3),) * 5, labels=tuple("abcde"))
    folder = save_model(loaded, tmp_path / "folder")
    assert create_model(name, checkpoint=folder).description.palette == ((1, 2, 3),) * 5  # type: ignore[union-attr]
    back = torch.load(convert_checkpoint(folder, tmp_path / "back.pth", "official"), weights_only=True)["state_dict"]
    assert back.keys() == state.keys()
    assert all(torch.equal(back[key], state[key]) for key in state)
    again: Any = load_model(folder)
    assert again.config == model.config
    with torch.no_grad():
        image = torch.rand(1, 3, 40, 72)
        torch.testing.assert_close(
            again(image), model(image), atol=1e-5, rtol=0
        )  # convolutions lie differently in memory
    with pytest.warns(UserWarning, match="has 5 classes, the model 3: the classifier starts anew"):
        other: Any = create_model(name, checkpoint=path, num_classes=3)
    assert other(image).shape == (1, 3, 40, 72)
    backbone = create_model(name, checkpoint=path, features_only=True)
    assert torch.equal(backbone.stem.conv1.weight, model.backbone.stem.conv1.weight)  # type: ignore[union-attr]


def test_what_a_predictor_takes(tmp_path: Path) -> None:
    """Grey, tiny and large pictures, batches of different sizes, parts of a picture, scores if asked for."""
    model: Any = create_model("small_segformer")
    pictures = [np.zeros(shape, np.uint8) for shape in ((1, 1), (5, 300), (40, 40, 3), (200, 90, 3))]
    results = ii.Predictor(model)(pictures)
    assert [one.size for one in results] == [(1, 1), (5, 300), (40, 40), (200, 90)]
    assert all(one.scores is None and one.names == tuple(f"class {i}" for i in range(5)) for one in results)
    assert results[0].draw().size[1] >= 1
    asked = ii.Predictor(model, window=None, keep_scores=True)(pictures[3])
    assert asked.scores.shape == (5, 200, 90)
    assert np.allclose(asked.scores.sum(0), 1, atol=1e-5)
    assert (asked.scores.max(0) == asked.confidence).all()
    with pytest.raises(ConfigError, match="window and keep_scores are for segmenters"):
        ii.Predictor("internimage_atto_clothing_128", keep_scores=True)


def test_a_result_shows_itself() -> None:
    labels = np.zeros((20, 40), np.uint8)
    labels[:, 30:] = 2
    picture = ii.images.ImageSource("white", Image.new("RGB", (40, 20), "white"))
    one = Segmentation(labels, np.full((20, 40), 0.5, np.float32), ("a", "b", "c"), picture, ((9, 9, 9), (0, 0, 0)))
    assert [(r.label, r.pixels, r.share, r.confidence) for r in one.regions()] == [
        ("a", 600, 0.75, 0.5),
        ("c", 200, 0.25, 0.5),
    ]
    assert one.mask("c").sum() == 200
    assert not one.mask("b").any()
    with pytest.raises(KeyError, match="no class is called d; there are a, b, c"):
        one.mask("d")
    assert one.colour(0) == (9, 9, 9)
    assert one.colour(2) == class_colour(2)  # beyond the palette
    drawn = np.asarray(one.draw(0.5))
    assert drawn[10, 10].tolist() == [132, 132, 132]
    assert one.draw().width > 40 == one.draw(legend=False).width
    back = np.asarray(one.to_png())
    assert (back == labels).all()
    many = Segmentation(labels.astype(np.int32) + 300, one.confidence, tuple(map(str, range(400))), picture)
    assert (np.asarray(many.to_png()) == labels.astype(np.int32) + 300).all()
    assert many.draw().height >= 20
    assert repr(one) == "Segmentation(white: a 75%, c 25%)"


def test_evaluating_with_other_classes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Classes go together by name; what the model alone knows is wrong wherever it is said."""
    data = paint(tmp_path / "data", 2)
    model = create_model("small_upernet")
    save_model(model, tmp_path / "named", labels=("brick", "x", "grass", "y", "sky"))
    command = ["evaluate", "--data", data, "--part", "val", "--model"]
    assert run([*command, tmp_path / "named", "--json"]) == 0
    assert 0 <= json.loads(capsys.readouterr().out)["aacc"] < 1
    save_model(model, tmp_path / "strange", labels=tuple("abcde"))
    assert run([*command, tmp_path / "strange"]) == 1
    assert "the model does not know the classes sky, grass, brick" in capsys.readouterr().err
    save_model(model, tmp_path / "nameless")
    assert run([*command, tmp_path / "nameless"]) == 1
    assert "5 classes without names, the data 3" in capsys.readouterr().err
    Image.new("L", (9, 9)).save(data / "val" / "masks" / "1.png")
    assert run([*command, tmp_path / "named"]) == 1
    assert "the picture is 96x64" in capsys.readouterr().err
    assert run([*command, tmp_path / "named", "--on-corrupt", "skip"]) == 0
    assert "left out: " in capsys.readouterr().out


def test_the_command_line_knows_segmenters_by_model_or_data(tmp_path: Path) -> None:
    data = str(paint(tmp_path / "data", 2))
    by_data = parse(["train", "--data", data, "--epochs", "3"])
    assert isinstance(by_data, Train)
    assert isinstance(by_data.augmentation, SegmentationAugmentation)
    assert by_data.training == replace(default_settings(Amount(2, "scratch", 320, "upernet"))[0], epochs=3)
    by_model = parse(["train", "--data", "nowhere", "--model", "mask2former_internimage_atto", "--size", "64"])
    assert by_model.augmentation.crop == (64, 64)
    recipe = parse(["train", "--data", data, "--recipe", "upernet_internimage_t_512_160k_ade20k", "--flip", "0"])
    assert recipe.training == get_training_recipe("upernet_internimage_t_512_160k_ade20k").training
    assert recipe.augmentation == SegmentationAugmentation(flip=0)
    smaller = parse(
        ["train", "--data", data, "--recipe", "upernet_internimage_t_512x1024_160k_cityscapes", "--size=256"]
    )
    assert (smaller.augmentation.crop, smaller.augmentation.short, smaller.augmentation.long) == ((128, 256), 256, 512)


def test_rates_fall_in_a_line() -> None:
    factor = warmup_power(100, 10, 1.0, start=0.0)
    assert [factor(step) for step in (0, 5, 10, 50, 100, 200)] == pytest.approx([0, 0.95 * 0.5, 0.9, 0.5, 0, 0])
    with pytest.raises(ConfigError, match="choose one"):
        TrainingConfig(lr_drops=(3,), lr_power=1.0)


@pytest.mark.full
@pytest.mark.parametrize("name", SEGMENTERS)
def test_published_schedules(shared: Path, name: str) -> None:
    """Every value as in the released configuration, updates as whole epochs of the data's published size."""
    sizes = {"ADE": 20_210, "COCOStuff": 118_287, "Pascal": 4_996, "NYU": 795, "Mapillary": 20_000, "Cityscapes": 2_975}
    for given in manifests(shared, name):
        recipe = get_training_recipe(name)
        training, options = recipe.training, given["optimizer"]["paramwise_cfg"]
        assert training.lr == given["optimizer"]["lr"]
        assert training.batch_size == given["dataset"]["samples_per_gpu"]
        assert training.weight_decay == given["optimizer"]["weight_decay"]
        assert training.layer_decay == options["layer_decay_rate"]
        assert training.drop_path == given["backbone"]["drop_path_rate"]
        assert training.clip_norm == given["optimizer_config"].get("grad_clip", {"max_norm": 0.0})["max_norm"]
        assert training.lr_power == given["lr_config"]["power"]
        assert training.warmup_start == given["lr_config"]["warmup_ratio"]
        kind = given["dataset"]["train"]
        images = next(size for prefix, size in sizes.items() if kind["type"].startswith(prefix))
        images = 22_973 if isinstance(kind["img_dir"], list) and images == 2_975 else images
        images = 9_000 if "coco_stuff10k" in kind["data_root"] else images
        epoch = images / 16
        assert abs(training.epochs * epoch - given["runner"]["max_iters"]) <= epoch / 2
        assert training.warmup_epochs * epoch == pytest.approx(given["lr_config"]["warmup_iters"])
        start = given["load_from"] or given["backbone"]["init_cfg"]["checkpoint"]
        assert Path(start).stem == recipe.init
        steps = {step["type"]: step for step in given["train_pipeline"]}
        short, long = sorted(steps["Resize"]["img_scale"])
        assert recipe.augmentation == SegmentationAugmentation(
            tuple(steps["RandomCrop"]["crop_size"]),
            short,
            long,
            tuple(steps["Resize"]["ratio_range"]),
            steps["RandomCrop"]["cat_max_ratio"],
            steps["RandomFlip"]["prob"],
            "PhotoMetricDistortion" in steps,
        )
