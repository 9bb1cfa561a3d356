"""Recipes of the benchmark sets: as the released configurations say, and by the command; which images are taken."""

import json
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.commands import run
from helpers.detectors import CONFIGURATIONS, FILES
from helpers.goldens import GOLDENS

from internimage.data.objects import ObjectImages
from internimage.data.recognition import find_format
from internimage.data.samples import Part
from internimage.data.sampling.orders import Order, repeat_factors, training_order
from internimage.data.sampling.sampler import EpochSampler, SampleKey
from internimage.errors import ConfigError
from internimage.images import FitPreprocessing
from internimage.recipes import get_recipe, get_training_recipe
from internimage.settings.data import DataOptions
from internimage.settings.detection import DetectionAugmentation
from internimage.settings.training import TrainingConfig
from internimage.tasks.detection.augmentation import object_transform
from internimage.tasks.detection.dataset import DetectionDataset
from internimage.training.optimiser.schedule import make_schedule

pytestmark = pytest.mark.usefixtures("one_thread", "small_recipes")

PUBLISHED: dict[str, Any] = json.loads((GOLDENS / "set_recipes.json").read_text())
CB_H = "dino_4scale_cbinternimage_h_objects365"


def facts(given: dict[str, Any]) -> dict[str, Any]:
    """What a released configuration says of a training and how its result is measured."""
    data, network = given["data"], given["architecture"]
    train, sampler = data["train"], data.get("train_dataloader", {}).get("class_aware_sampler")
    wrapper = {key: train[key] for key in ("type", "times", "oversample_thr") if "dataset" in train and key in train}
    steps = {step["type"]: step for step in train.get("pipeline") or train["dataset"]["pipeline"]}
    resize = steps["AutoAugment"]["policies"][0][0] if "AutoAugment" in steps else steps["Resize"]
    tests, box = network["test_cfg"], network.get("bbox_head") or network["roi_head"]["bbox_head"][0]
    return {
        "optimizer": {key: given["optimizer"][key] for key in ("lr", "weight_decay", "paramwise_cfg")},
        "schedule": [given[key] for key in ("optimizer_config", "lr_config", "runner")],
        "start": given["runtime"]["load_from"] or (network["backbone"]["init_cfg"] or {}).get("checkpoint"),
        "images": [data["samples_per_gpu"], wrapper, sampler],
        "resize": [resize["img_scale"], resize["multiscale_mode"], steps["RandomFlip"]["flip_ratio"]],
        "test": [data["test"]["pipeline"][1]["img_scale"], tests.get("max_per_img") or tests["rcnn"]["max_per_img"]],
        "drop_path": network["backbone"]["drop_path_rate"],
        "classes": box["num_classes"],
    }


@pytest.mark.full
def test_configurations_are_copies(shared: Path) -> None:
    for stem, known in PUBLISHED.items():
        assert facts(json.loads((shared / CONFIGURATIONS / f"{stem}.json").read_text())) == known


@pytest.mark.parametrize("stem", PUBLISHED)
def test_values_are_those_published(stem: str) -> None:
    """Groups of parameters are compared one by one in test_detection_runs.py."""
    name, given = FILES.get(stem, stem), PUBLISHED[stem]
    recipe = get_recipe(name)
    training, augmentation = get_training_recipe(name).training, get_training_recipe(name).augmentation
    options, (clip, rates, runner) = given["optimizer"]["paramwise_cfg"], given["schedule"]
    assert (training.lr, training.weight_decay) == (given["optimizer"]["lr"], given["optimizer"]["weight_decay"])
    assert training.layer_decay == options["layer_decay_rate"]
    assert training.deformable_lr_scale == options.get("offset_lr_scale", 1.0)
    assert training.clip_norm == (clip["grad_clip"] or {"max_norm": 0.0})["max_norm"]
    assert training.drop_path == given["drop_path"]
    assert training.lr_drops == tuple(rates["step"])
    assert training.updates == runner.get("max_iters", 0)
    assert training.updates or training.epochs == runner["max_epochs"]
    schedule = make_schedule(replace(training, accumulate=1), 15_000 // 16 + 1)  # CrowdHuman's epoch
    ramp = [schedule.factor(update) for update in (0, rates["warmup_iters"] // 2, rates["warmup_iters"], 900)]
    middle = (1 + rates["warmup_ratio"]) / 2
    assert ramp == pytest.approx([rates["warmup_ratio"], middle, 1.0, 1.0], abs=2e-3)
    assert schedule.factor(schedule.updates - 1) == pytest.approx(0.1 ** len(rates["step"]))
    start = Path(given["start"]).stem if given["start"] else "pretrained"
    assert get_training_recipe(name).init == start
    size, wrapper, by_class = given["images"]
    assert training.batch_size == size
    kinds = {"ClassBalancedDataset": "repeat-factor"}
    assert training.sampling == ("class-aware" if by_class else kinds.get(wrapper.get("type"), "uniform"))
    assert (training.repeat, training.repeat_threshold) == (
        wrapper.get("times", 1),
        wrapper.get("oversample_thr", 1e-3),
    )
    scales, mode, flip = given["resize"]
    assert augmentation.every_side == (mode == "range")
    assert augmentation.short_sides == tuple(min(scale) for scale in scales)
    assert {augmentation.long} == {max(scale) for scale in scales}
    assert augmentation.flip == flip
    (long, short), most = given["test"]
    assert (recipe.preprocessing, recipe.config.detections.keep) == (FitPreprocessing(short, long), most)
    assert recipe.config.num_classes == given["classes"] == len(recipe.class_names or ())


def test_what_the_paper_alone_says() -> None:
    """No configuration was released of these: epochs, updates, rates and starts of benchmark_sets.md, section 2."""
    for size, start in (("h", "h_jointto22k_384"), ("g", "g_pretrainto22k_384"), ("cb", "h_jointto22k_384")):
        name = CB_H if size == "cb" else f"dino_4scale_internimage_{size}_objects365"
        recipe = get_training_recipe(name)
        assert recipe.init == f"internimage_{start}"
        training = recipe.training
        assert (training.epochs, training.updates, training.lr, training.lr_batch_size) == (26, 0, 2e-4, 256)
        assert (recipe.augmentation.short_sides, recipe.augmentation.every_side) == ((600, 1200), True)
        assert get_recipe(name).config.num_classes == 365
    bdd = get_training_recipe("dino_4scale_internimage_h_1x_bdd100k")
    assert (bdd.init, bdd.training.epochs, bdd.training.updates) == ("internimage_h_jointto22k_384", 12, 0)
    assert get_training_recipe(f"{CB_H}_crowd_human").training.updates == 3_750
    for places, classes in (("365", 365), ("205", 205)):
        name = f"internimage_h_22ktoplaces{places}_384"
        assert get_training_recipe(name) == get_training_recipe("internimage_h_22kto1k_384")
        assert get_recipe(name).config.num_classes == classes


# Which images an epoch takes

RNG = np.random.default_rng(0)
# 1,000 images and 40 classes, from one in each second image to one in a single one; some show nothing
SHOWN = RNG.random((1_000, 40)) < 0.5 / np.arange(1, 41) ** 1.8
SHOWN[RNG.permutation(1_000)[:40], np.arange(40)] = True
LABELS = [frozenset(np.flatnonzero(row).tolist()) for row in SHOWN]


@dataclass(frozen=True)
class Known(Part):
    """Numbers of images, of which is known what they show."""

    labels: tuple[frozenset[int], ...]
    name: str = "known"
    classes: tuple[str, ...] = ()

    @property
    def entries(self) -> range:
        return range(len(self.labels))

    def labels_of(self, entry: int) -> frozenset[int]:
        return self.labels[entry]


def order_of(sampling: Any, labels: Any = tuple(LABELS), **changes: Any) -> Order:
    return training_order(Known(labels), TrainingConfig(sampling=sampling, **changes))


def drawn(order: Order, seed: int = 0) -> list[int]:
    return order.draw(torch.Generator().manual_seed(seed)).tolist()


@pytest.mark.parametrize("threshold", [1e-3, 0.02, 0.3])
def test_repeat_factors_are_those_of_the_formula(threshold: float) -> None:
    """In float64 over a table of what each image shows; an epoch takes each image that factor, rounded up."""
    shown = SHOWN.any(1)
    factor = np.maximum(1, np.sqrt(threshold / SHOWN[shown].mean(0)))
    expected = np.where(SHOWN, factor, 0).max(1)
    assert repeat_factors(LABELS, threshold) == pytest.approx(expected, rel=1e-15)
    order = order_of("repeat-factor", repeat_threshold=threshold)
    assert (np.bincount(drawn(order), minlength=1_000) == np.ceil(expected)).all()
    assert len(drawn(order)) == order.length
    assert drawn(order) != drawn(order, 1)
    assert 0 < (~shown).sum() == int(str(order.told).rpartition("; ")[2].split()[0])
    assert order_of("repeat-factor", repeat_threshold=threshold, repeat=2).length == 2 * order.length


def test_classes_are_taken_in_turn_and_of_each_all_images() -> None:
    """A class in each round of all, an image in each round of its class's; shares are equal however rare a class is."""
    rare = np.repeat(np.arange(40), np.maximum(1, 2_000 // np.arange(1, 41) ** 2))
    labels = tuple(frozenset({int(label)}) for label in rare) + (frozenset(),) * 7
    order = order_of("class-aware", labels)
    numbers = np.array(drawn(order))
    assert len(numbers) == order.length == len(rare)  # those that show nothing left out
    classes = rare[numbers]
    counts = np.bincount(classes, minlength=40)
    assert counts.max() - counts.min() <= 1
    for at in range(0, len(numbers), 40):
        assert len(set(classes[at : at + 40])) == len(classes[at : at + 40])
    for label in range(40):
        own, images = numbers[classes == label], np.flatnonzero(rare == label)
        for at in range(0, len(own), len(images)):
            assert len(set(own[at : at + len(images)])) == min(len(images), len(own) - at)
    assert drawn(order) != drawn(order, 1)


def test_images_of_several_classes_stand_in_for_each() -> None:
    """Every class is at least as often in view as if each had one image at a time."""
    numbers = np.array(drawn(order_of("class-aware")))
    assert (SHOWN[numbers].sum(0) >= len(numbers) // 40).all()
    assert SHOWN[numbers].any(1).all()


def test_a_set_is_repeated() -> None:
    assert np.bincount(drawn(order_of("uniform", repeat=3))).tolist() == [3] * 1_000
    assert drawn(order_of("uniform")) == torch.randperm(1_000, generator=torch.Generator().manual_seed(0)).tolist()


def test_what_is_not_known_is_not_sampled_by() -> None:
    with pytest.raises(ConfigError, match=r"class-aware sampling needs to know .* use --sampling uniform"):
        order_of("class-aware", (frozenset(),) * 3)
    with pytest.raises(ConfigError, match=r"repeat_threshold is 0; expected a share"):
        TrainingConfig(repeat_threshold=0)


@pytest.mark.parametrize("sampling", ["class-aware", "repeat-factor", "uniform"])
def test_two_processes_and_a_run_that_goes_on_take_the_same_images(sampling: str) -> None:
    order = order_of(sampling, repeat=2, repeat_threshold=0.02)
    alone = EpochSampler(order, 5, shuffle=True)
    alone.epoch = 3
    keys = list(alone)
    assert len({(key.index, key.turn) for key in keys}) == len(keys) == len(alone)
    parts = []
    for rank in range(2):
        part = EpochSampler(order, 5, shuffle=True, rank=rank, world=2)
        part.epoch = 3
        parts.append(list(part))
        part.skip = 7
        assert list(part) == parts[-1][7:]
    assert [key for pair in zip_longest(*parts) for key in pair if key] == keys


@pytest.fixture
def unpacked(tmp_path: Path) -> Callable[[str], Path]:
    def unpack(name: str) -> Path:
        for file in ("objects.zip", "miniatures.zip"):
            with zipfile.ZipFile(GOLDENS / "sets" / "miniatures" / file) as archive:
                found = [one for one in archive.namelist() if one.startswith(f"{name.split('/')[0]}/")]
                archive.extractall(tmp_path / "sets", found)
        return tmp_path / "sets" / name

    return unpack


def test_an_image_that_comes_again_is_varied_anew(unpacked: Callable[[str], Path]) -> None:
    found = find_format(unpacked("lvis"))
    assert found is not None
    part: ObjectImages = found.read_parts(unpacked("lvis"), "train", DataOptions())["train"]
    assert part.shown() == [part.labels_of(entry) for entry in part.entries]
    transform = object_transform(DetectionAugmentation((60, 65), 200, every_side=True), FitPreprocessing())
    data = DetectionDataset(part, transform)
    sides = [min(data[SampleKey(0, 1, turn)].image.shape[1:]) for turn in range(40)]
    assert set(sides) == set(range(60, 66))  # all whole numbers between
    assert min(data[SampleKey(0, 1, 7)].image.shape[1:]) == sides[7]


# Two updates and an evaluation through the command, with networks of a few thousandths of the size

QUICK = [
    ("lvis", f"{CB_H}_lvis", "small_composite", "LVIS"),
    ("openimages", f"{CB_H}_openimages", "small_composite", "OpenImages"),
    ("places365", "internimage_h_22ktoplaces365_384", "small_h", "top-1"),
]
OTHERS = [
    ("voc", f"{CB_H}_voc0712", "small_composite", "VOC"),
    ("crowdhuman", "cascade_internimage_xl_fpn_3x_crowd_human", "small_crowd", "CrowdHuman"),
    ("objects365", CB_H, "small_composite", "box AP50"),
    ("bdd100k", "dino_4scale_internimage_h_1x_bdd100k", "small_dino", "BDD100K"),
    ("inaturalist2018", "internimage_h_22ktoinat18_384", "small_inat", "top-1"),
    ("mapillary_1.2", "segformer_internimage_l_512x1024_80k_mapillary", "small_segformer", "mIoU"),
    ("crowdhuman", f"{CB_H}_crowd_human", "small_composite", "CrowdHuman"),
    ("nuscenes", "dino_4scale_internimage_h_objects365_coco", "small_dino", "box AP50"),
    ("places205", "internimage_h_22ktoplaces205_384", "small_h", "top-1"),
    ("ade20k/ADEChallengeData2016", "mask2former_internimage_h_896_80k_cocostuff2ade20k", "small_mask2former", "mIoU"),
    ("coco_stuff_10k", "mask2former_internimage_h_512_40k_cocostuff164k_to_10k", "small_mask2former", "mIoU"),
    ("coco_stuff_164k", "mask2former_internimage_h_896_80k_cocostuff164k", "small_mask2former", "mIoU"),
    ("pascal_context", "mask2former_internimage_h_480_40k_pascal_context_59", "small_mask2former", "mIoU"),
    ("nyuv2", "mask2former_internimage_h_480_40k_nyu", "small_mask2former", "mIoU"),
    ("cityscapes", "upernet_internimage_l_512x1024_160k_mapillary2cityscapes", "small_upernet", "mIoU"),
]
SAMPLED = {"lvis": "repeat-factor sampling", "openimages": "class-aware sampling", "voc": "each of 4 pictures 3 times"}


@pytest.mark.parametrize(
    ("name", "recipe", "model", "metric"),
    [*QUICK, *(pytest.param(*row, marks=pytest.mark.full) for row in OTHERS)],
)
def test_a_set_is_trained_and_measured_by_name(
    name: str,
    recipe: str,
    model: str,
    metric: str,
    unpacked: Callable[[str], Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    data, output = unpacked(name), tmp_path / "run"
    command = ["train", "--data", data, "--recipe", recipe, "--model", model, "--init", "scratch", "--size", "64"]
    command += ["--updates", "2", "--warmup-updates", "1", "--batch-size", "2", "--output", output, "--workers", "0"]
    command += ["--clip-norm", "1"]
    assert run([*command, "--track", "none", "--device", "cpu", "--precision", "no"]) == 0
    told = capsys.readouterr().out
    assert "2 updates, " in told
    assert SAMPLED.get(name, "") in told
    assert json.loads((output / "summary.json").read_text())["updates"] == 2
    part = ["--part", "val"] if name != "nuscenes" else []  # images are set aside
    assert run(["evaluate", "--data", data, "--model", output / "best", *part]) == 0
    assert metric in capsys.readouterr().out


@pytest.mark.full
@pytest.mark.filterwarnings("always:.*the classifier of others starts anew")
def test_pre_training_goes_on_with_another_set(
    unpacked: Callable[[str], Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Objects365, then Pascal VOC: its "person" is known as "Person", of 20 classes."""
    common = ["--model", "small_composite", "--size", "64", "--updates", "2", "--batch-size", "2", "--workers", "0"]
    common += ["--track", "none", "--device", "cpu", "--allow-left-out"]
    command = ["train", "--data", unpacked("objects365"), "--recipe", CB_H, "--init", "scratch", *common]
    assert run([*command, "--output", tmp_path / "first"]) == 0
    command = ["train", "--data", unpacked("voc"), "--recipe", f"{CB_H}_voc0712", "--init", tmp_path / "first", *common]
    assert run([*command, "--output", tmp_path / "second"]) == 0
    assert "1 of 20 go on by their names, the classifier of others starts anew" in capsys.readouterr().err


@pytest.mark.full
@pytest.mark.parametrize(
    ("name", "recipe"),
    [
        ("crowdhuman", "cascade_internimage_xl_fpn_3x_crowd_human"),
        ("mapillary_1.2", "segformer_internimage_l_512x1024_80k_mapillary"),
    ],
)
def test_a_recipe_trains_its_own_network(
    name: str, recipe: str, unpacked: Callable[[str], Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """At full size; H has a thousand million parameters, of which Adam's state alone would fill the memory of most."""
    data, output = unpacked(name), tmp_path / "run"
    command = ["train", "--data", data, "--recipe", recipe, "--init", "scratch", "--size", "64", "--updates", "2"]
    command += ["--warmup-updates", "1", "--batch-size", "1", "--output", output, "--workers", "0", "--track", "none"]
    assert run([*command, "--device", "cpu", "--precision", "no"]) == 0
    assert json.loads((output / "summary.json").read_text())["updates"] == 2
    assert run(["evaluate", "--data", data, "--model", output / "best", "--part", "val"]) == 0
    assert {"crowdhuman": "CrowdHuman", "mapillary_1.2": "mIoU"}[name] in capsys.readouterr().out
