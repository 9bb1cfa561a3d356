"""The released training configurations against the released files, and what the command line makes of them."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import GOLDENS
from test_checkpoints import IMAGES, equal, state_of
from test_checkpoints import small_recipes as small_recipes

from internimage import create_model
from internimage.checkpoints.hub import HubFile
from internimage.cli.main import parse
from internimage.cli.train import _learning_rate
from internimage.errors import ConfigError
from internimage.labels import imagenet1k_wnids, imagenet22k_to_1k
from internimage.training import run
from internimage.training.config import TrainingConfig
from internimage.training.recipes import TRAINING_RECIPES
from internimage.training.schedule import warmup_cosine

PUBLISHED = json.loads((GOLDENS / "training_configs.json").read_text())
RANDOM_MAGNITUDE = {"rand-m9-mstd0.5-inc1": 27}  # 9 of 10 is 27 of 30


def test_every_released_configuration_is_there() -> None:
    assert set(TRAINING_RECIPES) == {Path(name).stem for name in PUBLISHED}


@pytest.mark.parametrize("file", PUBLISHED)
def test_values_are_those_published(file: str) -> None:
    recipe, given = TRAINING_RECIPES[Path(file).stem], PUBLISHED[file]
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
    recipe = TRAINING_RECIPES[name]
    for arguments in (["--recipe", name, "--epochs", "3"], ["--epochs", "3", f"--recipe={name}"]):
        train = parse(["train", "--data", "x", *arguments])
        assert (train.model, train.init, train.augmentation) == (name, recipe.init, recipe.augmentation)
        assert train.training.epochs == 3
        assert train.training.layer_decay == recipe.training.layer_decay
    assert parse(["train", "--data", "x"]).training == TrainingConfig()


def test_learning_rate_follows_the_images_of_an_update() -> None:
    config = TrainingConfig(lr=5e-4, lr_batch_size=512, batch_size=8, accumulate=4)
    assert config.peak_lr(2) == pytest.approx(6.25e-5)
    assert (
        _learning_rate(config, 2)
        == "learning rate 6.25e-05 = 0.0005 x 64 / 512; 64 images an update (8 x 4 x 2 processes)"
    )
    assert TrainingConfig(lr=0.1, batch_size=3).peak_lr(7) == 0.1


def test_schedule_of_the_tiny_model() -> None:
    """1,281,167 images, 1,024 an update: 1251 updates an epoch; learning rates worked out by hand."""
    config = TRAINING_RECIPES["internimage_t_1k_224"].training
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
    assert isinstance(run.get_recipe("small_22k").weights, HubFile)
    same = run._from_other("small", "small_22k", imagenet1k_wnids())
    torch.testing.assert_close(same(IMAGES), whole(IMAGES)[:, list(imagenet22k_to_1k())], rtol=0, atol=1e-6)
    with pytest.warns(UserWarning, match="classifier"):
        anew = run._from_other("small", "small_22k", ("cat", "dog"))
    assert anew(IMAGES).shape == (1, 2)
    assert equal(anew.backbone.state_dict(), whole.backbone.state_dict())
    with pytest.raises(ConfigError, match="small_h has another architecture than small"):
        run._from_other("small", "small_h", ("cat", "dog"))
