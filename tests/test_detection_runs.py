"""Training, evaluating and checking detectors as users do, on painted pictures; the released schedules and groups."""

import json
import math
import re
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.commands import run
from helpers.detectors import FILES, build
from helpers.training import Silent
from PIL import Image

import internimage as ii
from internimage.checkpoints.layouts import from_ours
from internimage.cli.main import parse
from internimage.contracts import Amount
from internimage.errors import CheckpointMismatchError, ConfigError, DataError, ImageReadError, InterruptedRunError
from internimage.recipes import get_recipe, get_training_recipe, list_models
from internimage.settings.detection import DetectionAugmentation
from internimage.settings.training import RunConfig, TrainingConfig
from internimage.tasks.detection.defaults import default_settings
from internimage.training.optimiser.groups import parameter_rules
from internimage.training.optimiser.schedule import warmup_cosine, warmup_drops
from internimage.training.run import resume_run, start_run
from internimage.training.trainer import Trainer

pytestmark = pytest.mark.usefixtures("one_thread", "small_recipes")

SMALL = TrainingConfig(track="none", epochs=2, batch_size=2, workers=0, warmup_epochs=0.5, drop_path=0.1, ema_decay=0.5)
COLOURS = {"blue": (30, 40, 220), "red": (220, 30, 40)}


def paint(folder: Path, masks: bool = True, count: int = 6) -> Path:
    """Rectangles of two colours on grey, one or two a picture, as COCO's annotations."""
    rng = np.random.default_rng(0)
    (folder / "annotations").mkdir(parents=True)
    for part in ("train", "val"):
        (folder / part).mkdir()
        images, annotations = [], []
        for number in range(count):
            pixels = np.full((64, 96, 3), 128, np.uint8)
            for label, colour in enumerate(COLOURS.values()):
                if number % 3 == label:
                    continue
                (x, y), (w, h) = rng.integers(1, 5, 2).tolist(), rng.integers(36, 44, 2).tolist()
                x += 48 * label
                pixels[y : y + h, x : x + w] = colour
                corners = [x, y, x + w, y, x + w, y + h, x, y + h, x, y + h - 1]  # more than the box's outline
                one = {"id": len(annotations) + 1, "image_id": number + 1, "category_id": 5 + label, "iscrowd": 0}
                one |= {"bbox": [x, y, w, h], "area": w * h}
                annotations.append(one | ({"segmentation": [corners]} if masks else {}))
            Image.fromarray(pixels).save(folder / part / f"{number}.png")
            images.append({"id": number + 1, "file_name": f"{number}.png", "width": 96, "height": 64})
        categories = [{"id": 5 + label, "name": name} for label, name in enumerate(COLOURS)]
        content = {"images": images, "annotations": annotations, "categories": categories}
        (folder / "annotations" / f"{part}.json").write_text(json.dumps(content))
    return folder


def prepare(data: Path, folder: Path, model: str = "small_mask", **changes: Any) -> Trainer:
    augmentation = DetectionAugmentation(short_sides=(64, 96), long=160, crop=True)
    settings = {"data": str(data), "model": model, "training": SMALL, "augmentation": augmentation, **changes}
    return start_run(RunConfig(**settings), folder, Silent(), device="cpu").trainer


@pytest.mark.parametrize(
    "name",
    [
        "small_mask_dino",
        *(pytest.param(name, marks=pytest.mark.full) for name in ("small_dino", "small_mask", "small_crowd")),
    ],
)
def test_a_run_ends_in_a_folder_that_predicts_and_is_measured(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The trainer's last numbers are those of the evaluate command, whatever batches the images came in."""
    data = paint(tmp_path / "data", masks=name != "small_crowd")
    learning = replace(SMALL, epochs=15, lr=2e-3, warmup_epochs=1, drop_path=0)
    plain = DetectionAugmentation((64,), 160, flip=0)
    trainer = prepare(data, tmp_path / "run", name, training=learning, augmentation=plain, size=64)
    row = trainer.fit()
    assert ("mask_ap" in row) == ("mask" in name)
    model = ii.load_model(tmp_path / "run" / "final")
    assert model.description is not None
    assert model.description.labels == tuple(COLOURS)  # type: ignore[union-attr]
    command: list[str | Path] = ["evaluate", "--data", data, "--part", "val", "--model", tmp_path / "run" / "final"]
    assert run([*command, "--json", "--save", tmp_path / "report"]) == 0
    report = json.loads(capsys.readouterr().out)
    measured = {key: value for key, value in report.items() if key.startswith(("box_", "mask_"))}
    assert measured == pytest.approx({key: row[key] for key in measured}, abs=1e-6)
    assert report["box_ap50"] > 0
    assert set(report["per_class"]) == set(COLOURS)
    assert (tmp_path / "report" / "precision_recall.png").is_file()
    assert run([*command, "--tta", "--tta-sides", "64", "96"]) == 0
    assert "box AP" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "sampling"),
    [
        ("small_mask", "class-aware"),
        pytest.param("small_mask", "uniform", marks=pytest.mark.full),
        pytest.param("small_composite", "repeat-factor", marks=pytest.mark.full),
    ],
)
def test_an_interrupted_run_ends_in_the_same_bits(name: str, sampling: Any, tmp_path: Path) -> None:
    data = paint(tmp_path / "data")
    training = replace(SMALL, sampling=sampling, repeat_threshold=0.9, repeat=1 + (sampling == "repeat-factor"))
    whole = prepare(data, tmp_path / "whole", name, training=training)
    whole.fit()
    stopped = prepare(data, tmp_path / "stopped", name, training=training)
    losses, calls = stopped.task.losses, iter(range(99))

    def stop(*arguments: Any) -> Any:
        if next(calls) == 4:
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


def test_what_a_detector_starts_from(tmp_path: Path) -> None:
    """A classifier gives its backbone, a detector of other classes all but its classes, boxes alone need no masks."""
    classifier = ii.create_model("small_plain", num_classes=3)
    ii.save_model(classifier, tmp_path / "classifier")
    data = paint(tmp_path / "data", masks=False)
    first = prepare(data, tmp_path / "first", init=str(tmp_path / "classifier")).model
    assert first.mask_head is None  # type: ignore[union-attr]
    for key, tensor in classifier.state_dict().items():
        if key.startswith("backbone."):
            assert torch.equal(first.state_dict()[key], tensor), key
    ii.save_model(ii.create_model("small_mask"), tmp_path / "detector")
    with pytest.warns(UserWarning, match="detector has other classes: the classifier starts anew"):
        second = prepare(data, tmp_path / "second", init=str(tmp_path / "detector"), size=48)
    before = ii.load_model(tmp_path / "detector").state_dict()
    after = second.model.state_dict()
    differ = {key.split(".")[1] for key in after if not torch.equal(after[key], before[key])}
    assert differ == {"classifier", "regressor"}
    assert second.model.description.preprocessing.short == 48  # type: ignore[union-attr]
    ii.convert_checkpoint(tmp_path / "classifier", tmp_path / "small_plain.pth", "official")
    ii.convert_checkpoint(tmp_path / "classifier", tmp_path / "unknown.pth", "official")
    for start in (
        "small_plain.pth",
        "classifier/model.safetensors",
    ):  # a file is known by its name, or by what lies beside
        again = prepare(data, tmp_path / f"{len(start)}", init=str(tmp_path / start)).model
        assert torch.equal(
            again.state_dict()["backbone.stem.conv1.weight"], first.state_dict()["backbone.stem.conv1.weight"]
        )
    with pytest.raises(CheckpointMismatchError, match="give the file the name of its release or convert it"):
        prepare(data, tmp_path / "lost", init=str(tmp_path / "unknown.pth"))
    third = prepare(data, tmp_path / "third", "small_cascade", init=str(tmp_path / "detector")).model
    for key in (key for key in before if key.startswith("backbone.")):  # a model of another kind gives its backbone
        assert torch.equal(third.state_dict()[key], before[key]), key
    composite = prepare(data, tmp_path / "composite", "small_composite", init=str(tmp_path / "detector")).model
    for number, branch in enumerate(composite.backbone.branches):  # type: ignore[union-attr, arg-type]
        for key, tensor in branch.state_dict().items():
            assert key.startswith("feed_scale") or torch.equal(tensor, before[f"backbone.{key}"]), key
        assert ("stem.conv1.weight" in branch.state_dict()) == (number == 0)
    ii.save_model(composite, tmp_path / "two")
    with pytest.raises(ConfigError, match="two has another architecture than small_dino"):
        prepare(data, tmp_path / "fifth", "small_dino", init=str(tmp_path / "two"))
    with pytest.raises(ConfigError, match="a linear probe is for classifiers"):
        prepare(data, tmp_path / "fourth", linear_probe=True, init=str(tmp_path / "detector"))


@pytest.mark.parametrize("name", ["small_mask", "small_dino", "small_mask_dino", "small_crowd"])
def test_classes_of_the_same_name_go_on(name: str, tmp_path: Path) -> None:
    """From Objects365's "Person" to COCO's "person": class, box and mask of it, and what is no object."""
    data = paint(tmp_path / "data", masks="mask" in name)
    before: Any = ii.create_model(name)
    names = ("green", "Red ", "grey")[: before.config.num_classes]
    if name == "small_crowd":
        names = ("RED",)
    ii.save_model(before, tmp_path / "start", labels=names)
    with pytest.warns(UserWarning, match="1 of 2 go on by their names, the classifier of others starts anew"):
        after = prepare(data, tmp_path / "run", name, init=str(tmp_path / "start")).model
    assert after.description is not None
    assert after.description.labels == ("blue", "red")  # type: ignore[union-attr]
    old, red = before.state_dict(), 0 if name == "small_crowd" else 1
    rows = {"classifier": 1, "classifiers": 1, "label_embedding": 1, "logits": 1, "regressor": 4}
    for key, tensor in after.state_dict().items():
        each = next((rows[part] for part in key.split(".") if part in rows), 0)
        if not each or tensor.shape == old[key].shape:
            assert torch.equal(tensor, old[key]), key  # boxes of small_crowd are of no class
            continue
        assert torch.equal(tensor[each : 2 * each], old[key][each * red : each * (red + 1)]), key
        assert torch.equal(tensor[2 * each :], old[key][each * len(names) :]), key  # the background
        assert not tensor.ndim > 1 or not torch.equal(tensor[:each], old[key][:each]), key


def edited(data: Path, part: str, change: Any) -> None:
    file = data / "annotations" / f"{part}.json"
    content = json.loads(file.read_text())
    change(content)
    file.write_text(json.dumps(content))


def crowds(content: dict[str, Any]) -> None:
    for one in content["annotations"]:
        one |= {"iscrowd": 1, "segmentation": {"size": [64, 96], "counts": [64 * 96]}}


def dots(content: dict[str, Any]) -> None:
    for one in content["annotations"]:
        one |= {"bbox": [*one["bbox"][:2], 0.5, 30], "segmentation": []}


@pytest.mark.parametrize(
    ("part", "change", "settings", "message"),
    [
        ("train", lambda content: content["annotations"].clear(), {}, "train.json has no objects; training needs some"),
        ("train", crowds, {}, "train.json: 8 of 8 objects left out: crowds"),
        ("val", lambda content: content["annotations"].clear(), {}, "val.json has no objects"),
        (
            "val",
            lambda content: content["images"][2].update(file_name="9.png"),
            {},
            "1 of 6 images are not there, such",
        ),
        (
            "train",
            dots,
            {},
            "train.json: 8 of 8 objects left out: boxes of less than a pixel",
        ),
        ("val", None, {"size": 0}, "size is 0; expected 32 pixels or more"),
        ("val", None, {"size": 32, "training": replace(SMALL, batch_size=1)}, "one image of 32 pixels a batch"),
        ("val", None, {"init": "mask_rcnn_internimage_atto_fpn"}, "has another architecture than small_mask"),
    ],
)
def test_runs_that_cannot_end_well_do_not_start(
    part: str, change: Any, settings: dict[str, Any], message: str, tmp_path: Path
) -> None:
    data = paint(tmp_path / "data")
    if change:
        edited(data, part, change)
    if "init" in settings:
        ii.save_model(ii.create_model(settings["init"]), tmp_path / "start")
        settings = {**settings, "init": str(tmp_path / "start")}
    with pytest.raises((ConfigError, DataError), match=message):
        prepare(data, tmp_path / "run", **settings)
    assert not (tmp_path / "run").exists()


def test_files_that_cannot_be_read_end_in_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """In a worker process too; skipped if asked, in training and in evaluation, pictures of another size as well."""
    data = paint(tmp_path / "data")
    (data / "train" / "1.png").write_bytes(b"no picture")
    Image.new("RGB", (64, 96)).save(data / "val" / "2.png")
    training = replace(SMALL, epochs=1, workers=1)
    with pytest.raises(ImageReadError) as caught:
        prepare(data, tmp_path / "run", training=training).fit()
    assert re.fullmatch(r".*1\.png: .* \(--on-corrupt skip, .*, leaves such files out\)", str(caught.value))
    with pytest.warns(UserWarning, match=r"1 of 6 validation images cannot be read and are left out, such as .*2\.png"):
        skipping = prepare(data, tmp_path / "skipping", training=training, on_corrupt="skip")
    row = skipping.fit()
    assert (row["unreadable"], row["images"]) == (1, 5)
    command = ["evaluate", "--data", data, "--part", "val", "--model", tmp_path / "skipping" / "final"]
    assert run([*command, "--on-corrupt", "skip"]) == 0
    assert f"left out: {data / 'val' / '2.png'}" in capsys.readouterr().out
    assert run(command) == 1
    assert "the picture is 64x96, the annotations are for 96x64" in capsys.readouterr().err
    edited(data, "train", lambda content: content.pop("images"))  # the other part is not looked at
    assert run([*command, "--on-corrupt", "skip"]) == 0


def test_sizes_of_training_follow_those_of_evaluation(tmp_path: Path) -> None:
    data = paint(tmp_path / "data")
    model = ii.create_model("small_mask")
    ii.save_model(model, tmp_path / "start")  # 96 pixels
    by_folder = parse(["train", "--data", str(data), "--init", str(tmp_path / "start")])
    by_size = parse(["train", "--data", str(data), "--recipe", "mask_rcnn_internimage_s_fpn_3x_coco", "--size", "400"])
    assert max(by_folder.augmentation.short_sides) == 96
    assert (by_size.augmentation.short_sides[0], by_size.augmentation.short_sides[-1]) == (240, 400)
    assert by_size.augmentation.long == 666


def test_the_command_line_knows_detectors_by_model_or_data(tmp_path: Path) -> None:
    data = str(paint(tmp_path / "data"))
    by_data = parse(["train", "--data", data, "--epochs", "3"])
    by_model = parse(["train", "--data", "nowhere", "--model=mask_rcnn_internimage_t_fpn_3x_coco", "--size", "400"])
    assert isinstance(by_data.augmentation, DetectionAugmentation)
    assert by_data.model == "mask_rcnn_internimage_atto_fpn"
    assert by_data.training == replace(default_settings(Amount(6, "scratch", 320, "mask_rcnn"))[0], epochs=3)
    assert isinstance(by_model.augmentation, DetectionAugmentation)
    assert max(by_model.augmentation.short_sides) == 400
    dino = parse(["train", "--data", data, "--model", "dino_internimage_atto"])
    assert (by_data.training.clip_norm, dino.training.clip_norm) == (5.0, 0.1)
    large = parse(["train", "--data", data, "--recipe", "dino_4scale_internimage_h_objects365_coco"])
    assert (large.init, large.training.updates) == ("pretrained", 20_000)
    shorter = parse(
        ["train", "--data", data, "--recipe", "dino_4scale_internimage_h_objects365_coco", "--epochs", "12"]
    )
    assert (shorter.training.epochs, shorter.training.updates, shorter.training.warmup_updates) == (12, 0, 0)
    with pytest.raises(ConfigError, match="--epochs and --updates both say when a run ends"):
        parse(["train", "--data", data, "--epochs", "3", "--updates", "9"])
    recipe = parse(["train", "--data", data, "--recipe", "cascade_internimage_xl_fpn_3x_coco", "--flip", "0"])
    assert recipe.training == get_training_recipe("cascade_internimage_xl_fpn_3x_coco").training
    assert recipe.augmentation == DetectionAugmentation(tuple(range(480, 801, 32)), 1333, crop=True, flip=0)


def test_rates_fall_to_a_tenth() -> None:
    factor = warmup_drops([80, 110], 5, start=0.001)
    expected = [0.001, 0.2008, 1, 1, 0.1, 0.1, 0.01, 0.01]
    assert [factor(step) for step in (0, 1, 5, 79, 80, 109, 110, 999)] == pytest.approx(expected)


TRAINED = [name for name in list_models() if get_recipe(name).task == "detection" and get_recipe(name).training]
PAPER = [name for name in TRAINED if "of the paper" in get_recipe(name).note]  # no configuration was released
STEMS = [*FILES, *(name for name in TRAINED if name not in (*FILES.values(), *PAPER))]


@pytest.mark.full
@pytest.mark.parametrize("stem", STEMS)
def test_published_schedules_and_groups(shared: Path, stem: str) -> None:
    """Every value, and the rate and decay of every parameter, as in the released configuration."""
    name = FILES.get(stem, stem)
    if "_rcnn_flash_" in name or name.startswith("cascade_flash_"):
        stem = name.replace("internimage", "intern_image")
    folder = "flash" if "_flash_" in name else "detection"
    given = json.loads((shared / f"spec/checkpoints/{folder}/{stem}.json").read_text())
    recipe, architecture = get_training_recipe(name), given["architecture"]
    training, options = recipe.training, given["optimizer"]["paramwise_cfg"]
    assert training.lr == given["optimizer"]["lr"]
    assert training.batch_size == given["data"]["samples_per_gpu"]
    assert training.lr_batch_size == (8 * training.batch_size if folder == "flash" else 16)
    if folder == "flash":
        assert training.deformable_lr_scale == options.get("offset_lr_scale", 1.0)
    assert training.weight_decay == given["optimizer"]["weight_decay"]
    assert training.clip_norm == (given["optimizer_config"]["grad_clip"] or {"max_norm": 0.0})["max_norm"]
    length = {"max_iters": training.updates} if training.updates else {"max_epochs": training.epochs}
    assert length == {key: value for key, value in given["runner"].items() if key != "type"}
    assert list(training.lr_drops) == given["lr_config"]["step"]
    assert training.lr_drops or warmup_cosine(20_000, 5, end=training.end_lr)(19_999) == 1.0
    assert training.warmup_start == given["lr_config"]["warmup_ratio"]
    pictures = 15_000 if name.endswith("crowd_human") else 117_266
    epoch = math.ceil(pictures / training.lr_batch_size)
    warmup = training.warmup_updates or training.warmup_epochs * epoch
    assert warmup == pytest.approx(given["lr_config"]["warmup_iters"])
    assert training.drop_path == architecture["backbone"]["drop_path_rate"]
    assert training.layer_decay == options.get("layer_decay_rate", 1.0)
    assert (
        training.backbone_lr_scale == options.get("custom_keys", {"backbone": {"lr_mult": 1.0}})["backbone"]["lr_mult"]
    )
    hooks = [hook for hook in given["runtime"]["custom_hooks"] if hook["type"] == "ExpMomentumEMAHook"]
    assert training.ema_decay == pytest.approx(1 - hooks[0]["momentum"] if hooks else 0.0)
    start = given["runtime"].get("load_from") or (architecture["backbone"]["init_cfg"] or {}).get("checkpoint")
    assert recipe.init == (Path(start).stem if start else "pretrained")
    train = given["data"]["train"]
    steps = {step["type"]: step for step in train.get("pipeline") or train["dataset"]["pipeline"]}
    assert isinstance(recipe.augmentation, DetectionAugmentation)
    assert recipe.augmentation.crop == ("AutoAugment" in steps)
    sides = recipe.augmentation.short_sides
    if training.updates:
        assert [(2000, sides[0]), (2000, sides[-1])] == [tuple(scale) for scale in steps["Resize"]["img_scale"]]
        assert (recipe.augmentation.long, recipe.augmentation.every_side) == (2000, True)
    else:
        scales = steps["AutoAugment"]["policies"][0][0]["img_scale"] if recipe.augmentation.crop else [(1333, 800)]
        assert sorted(min(scale) for scale in scales) == sorted(sides)
    model = build(name, "meta")
    rules = parameter_rules(
        model,
        weight_decay=training.weight_decay,
        layer_decay=training.layer_decay,
        deformable_lr_scale=training.deformable_lr_scale,
        backbone_lr_scale=training.backbone_lr_scale,
        as_published=True,
    )
    official = from_ours(rules, "official", model.config)
    for ours, rule in rules.items():
        scale = training.backbone_lr_scale if ours.startswith("backbone.") else 1.0
        plain = {"lr_scale": scale, "weight_decay": training.weight_decay}  # of the one that does without groups
        group = given["param_groups"].get(given["state_dict"][official[ours]][3], plain)
        assert (rule.lr_scale, rule.weight_decay) == pytest.approx((group["lr_scale"], group["weight_decay"])), ours
