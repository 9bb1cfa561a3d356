"""The released training configurations against the released files, and what the command line makes of them."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.classifiers import IMAGES, equal, state_of
from helpers.goldens import GOLDENS
from helpers.training import Silent, paint

from internimage import create_model, get_recipe
from internimage.backbones.parts import DropPath
from internimage.checkpoints.hub import HubFile
from internimage.cli.main import parse
from internimage.errors import ConfigError
from internimage.labels import imagenet1k_wnids, imagenet22k_to_1k
from internimage.recipes import TrainingRecipe, get_training_recipe, list_models
from internimage.settings.training import RunConfig, TrainingConfig
from internimage.tasks.classification.prepare import initial_classifier
from internimage.training.optimiser.schedule import warmup_cosine
from internimage.training.run import start_run
from internimage.training.telling import learning_rate

pytestmark = pytest.mark.usefixtures("one_thread", "small_recipes")

PUBLISHED = json.loads((GOLDENS / "training_configs.json").read_text())
FLASH = [*(f"flash_intern_image_{size}_1k_224" for size in "tsb"), "flash_internimage_l_22kto1k_384"]
RANDOM_MAGNITUDE = {"rand-m9-mstd0.5-inc1": 27}  # 9 of 10 is 27 of 30


def test_every_released_configuration_is_there() -> None:
    """Detectors' are compared in test_detection_runs.py, segmenters' in test_segmentation_runs.py."""
    classifiers = {
        name for name in list_models() if get_recipe(name).training and get_recipe(name).task == "classification"
    }
    places = {f"internimage_h_22ktoplaces{number}_384" for number in (205, 365)}  # of the paper, test_set_recipes.py
    assert classifiers == {Path(name).stem for name in PUBLISHED} | set(FLASH) | places


@pytest.mark.parametrize("file", PUBLISHED)
def test_values_are_those_published(file: str) -> None:
    values_agree(get_training_recipe(Path(file).stem), PUBLISHED[file])


@pytest.mark.full
@pytest.mark.parametrize("name", FLASH)
def test_values_of_flash_internimage_are_those_published(name: str, shared: Path) -> None:
    manifest = json.loads((shared / f"spec/checkpoints/flash/{name}.json").read_text())
    given = manifest["training"]
    values = {f"TRAIN.{key}": value for key, value in given["schedule"].items()}
    values |= {f"AUG.{key}": value for key, value in given["augmentation"].items()}
    values |= {
        "DATA.BATCH_SIZE": given["batch_per_gpu_default"],
        "MODEL.PRETRAINED": "flash_intern_image_l_22k_384" if "22kto1k" in name else "",
        "MODEL.DROP_PATH_RATE": manifest["config"]["drop_path_rate"],
        "MODEL.LABEL_SMOOTHING": given["label_smoothing"],
    }
    values_agree(get_training_recipe(name), values)


def values_agree(recipe: TrainingRecipe, given: dict[str, Any]) -> None:
    training, augmentation = recipe.training, recipe.augmentation
    lr = given["TRAIN.BASE_LR"]
    assert (recipe.init if recipe.init != "scratch" else "") == Path(given["MODEL.PRETRAINED"]).stem
    assert (training.epochs, training.batch_size) == (given["TRAIN.EPOCHS"], given["DATA.BATCH_SIZE"])
    assert (training.lr, training.lr_batch_size, training.weight_decay) == (lr, 512, given["TRAIN.WEIGHT_DECAY"])
    assert training.warmup_epochs == given["TRAIN.WARMUP_EPOCHS"]
    if training.warmup_epochs:
        assert training.warmup_start == pytest.approx(given["TRAIN.WARMUP_LR"] / lr)
    assert training.end_lr == pytest.approx(given["TRAIN.MIN_LR"] / lr)
    assert training.layer_decay == (given["TRAIN.LR_LAYER_DECAY_RATIO"] if given["TRAIN.LR_LAYER_DECAY"] else 1.0)
    assert training.deformable_lr_scale == (given["TRAIN.OPTIMIZER.DCN_LR_MUL"] or 1.0)
    assert training.drop_path == given["MODEL.DROP_PATH_RATE"]
    assert training.clip_norm == given["TRAIN.CLIP_GRAD"]
    assert training.ema_decay == (given["TRAIN.EMA.DECAY"] if given["TRAIN.EMA.ENABLE"] else 0.0)
    assert training.gradient_checkpointing == given["TRAIN.USE_CHECKPOINT"]
    assert augmentation.rand_augment == RANDOM_MAGNITUDE[given["AUG.AUTO_AUGMENT"]]
    assert augmentation.erasing == given["AUG.REPROB"]
    assert (augmentation.mixup, augmentation.cutmix) == (given["AUG.MIXUP"], given["AUG.CUTMIX"])
    assert augmentation.label_smoothing == given["MODEL.LABEL_SMOOTHING"]


@pytest.mark.full
def test_configurations_are_copies(shared: Path) -> None:
    whole = json.loads((shared / "spec/checkpoints/classification/training_configs.json").read_text())["yaml"]
    for file, given in PUBLISHED.items():
        for key, value in given.items():
            found: Any = whole[f"configs/{file}.yaml"]["merged"]
            for part in key.split("."):
                found = found[part]
            assert found == value, (file, key)


def test_a_recipe_on_the_command_line() -> None:
    """Its values are the defaults, wherever it stands; options change single ones."""
    name = "internimage_l_22kto1k_384"
    recipe = get_training_recipe(name)
    for arguments in (["--recipe", name, "--epochs", "3"], ["--epochs", "3", f"--recipe={name}"]):
        train = parse(["train", "--data", "x", *arguments])
        assert (train.model, train.init, train.augmentation) == (name, recipe.init, recipe.augmentation)
        assert train.training.epochs == 3
        assert train.training.layer_decay == recipe.training.layer_decay
    assert parse(["train", "--resume", "x"]).training == TrainingConfig()


def test_learning_rate_follows_the_images_of_an_update() -> None:
    config = TrainingConfig(lr=5e-4, lr_batch_size=512, batch_size=8, accumulate=4)
    assert config.peak_lr(2) == pytest.approx(6.25e-5)
    assert (
        learning_rate(config, 2)
        == "learning rate 6.25e-05 = 0.0005 x 64 / 512; 64 images an update (8 x 4 x 2 processes)"
    )
    assert TrainingConfig(lr=0.1, batch_size=3).peak_lr(7) == 0.1


def test_schedule_of_the_tiny_model() -> None:
    """1,281,167 images, 1,024 an update: 1251 updates an epoch; learning rates worked out by hand."""
    config = get_training_recipe("internimage_t_1k_224").training
    peak, updates = config.peak_lr(8), 1251
    assert peak == pytest.approx(1e-3)
    warmup, steps = int(config.warmup_epochs * updates), config.epochs * updates
    factor = warmup_cosine(steps, warmup, start=config.warmup_start, end=config.end_lr)
    by_hand = {0: 1e-6, 12_510: 5.005e-4, 25_020: 9.8916e-4, 187_650: 5.05e-4, 375_300: 1e-5}
    for step, lr in by_hand.items():
        assert peak * factor(step) == pytest.approx(lr, rel=1e-4), step


@torch.no_grad()
def test_starting_from_the_weights_of_another_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """For ImageNet-1K the 22K classifier keeps its rows; for other classes it starts anew, the rest is the same."""
    torch.save(state_of("small_22k"), tmp_path / "weights.pth")
    monkeypatch.setattr("internimage.checkpoints.hub.download", lambda weights: tmp_path / "weights.pth")
    whole = create_model("small_22k", pretrained=True)
    assert isinstance(get_recipe("small_22k").weights, HubFile)

    def start(init: str, classes: tuple[str, ...]) -> Any:
        return initial_classifier(RunConfig("", "small", init), get_recipe("small"), classes)

    same = start("small_22k", imagenet1k_wnids())
    torch.testing.assert_close(same(IMAGES), whole(IMAGES)[:, list(imagenet22k_to_1k())], rtol=0, atol=1e-6)
    with pytest.warns(UserWarning, match="classifier"):
        anew = start("small_22k", ("cat", "dog"))
    assert anew(IMAGES).shape == (1, 2)
    assert equal(anew.backbone.state_dict(), whole.backbone.state_dict())
    with pytest.raises(ConfigError, match="small_h has another architecture than small"):
        start("small_h", ("cat", "dog"))


@pytest.mark.full
@pytest.mark.parametrize("size", [64, 224])
def test_an_epoch_of_the_published_tiny_recipe(tmp_path: Path, size: int) -> None:
    """24 images of 12 classes named as ImageNet's, four an update: what the recipe says, worked out by hand.

    lr = 5e-4 x 4 / 512 at the peak, reached after 20 epochs of six updates from a thousandth of it; decay 0.9999 from
    the first update on; stochastic depth from 0 to 0.1 over 30 blocks; weight decay 0.05, none on vectors.
    """
    names = dict.fromkeys(imagenet1k_wnids()[:12], (90, 120, 60))
    for part, count in (("train", 2), ("val", 1)):
        paint(tmp_path / "imagenet" / part, names, count)
    recipe = get_training_recipe("internimage_t_1k_224")
    training = replace(recipe.training, batch_size=4, workers=0, track="none")
    config = RunConfig(
        str(tmp_path / "imagenet"),
        "internimage_t_1k_224",
        recipe.init,
        size,
        augmentation=recipe.augmentation,
        training=training,
    )
    trainer = start_run(config, tmp_path / "run", Silent(), device="cpu").trainer
    assert [module.rate for module in trainer.model.modules() if isinstance(module, DropPath)] == pytest.approx(
        [0.1 * block / 29 for block in range(30)]
    )
    rates, steps = [], []
    step = trainer.distribution.step

    def watched() -> bool:
        groups = trainer.distribution.optimizer.param_groups
        assert {(group["weight_decay"], parameter.ndim > 1) for group in groups for parameter in group["params"]} == {
            (0.05, True),
            (0.0, False),
        }
        rates.append({group["lr"] for group in groups})
        done = step()
        steps.append(trainer.model.state_dict()["classifier.weight"].clone())
        return done

    expected = trainer.model.state_dict()["classifier.weight"].double()
    trainer.distribution.step = watched  # type: ignore[method-assign]
    trainer.epochs = 1  # of the published 300, whose schedule it keeps
    trainer.fit()
    peak = 5e-4 * 4 / 512
    assert [rate for (rate,) in rates] == pytest.approx([peak * (1e-3 + 0.999 * k / 120) for k in range(6)], rel=1e-12)
    for weight in steps:
        expected = 0.9999 * expected + 0.0001 * weight.double()
    assert trainer.average is not None
    moved = (trainer.average.tensors["classifier.weight"].double() - expected).abs().max()
    assert moved < 1e-8 < (steps[-1].double() - expected).abs().max()
    assert trainer.progress.history[0]["images"] == 12
    assert trainer.progress.history[0]["lr"] == pytest.approx(peak * (1e-3 + 0.999 * 6 / 120))
