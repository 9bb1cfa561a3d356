"""M3I: closed forms, what is mixed and where it lies, who learns, collapse, runs and what they start."""

import json
import math
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from helpers import fill
from helpers.goldens import golden
from helpers.pretraining import SMALL, TEXT, WHOLE, clouds, told, views, views_of
from helpers.sources import pack_tar, pictures
from helpers.training import COLOURS, Silent, paint
from PIL import Image
from torch import Tensor

import internimage as ii
from internimage.errors import CheckpointMismatchError, InternImageError
from internimage.images import Preprocessing
from internimage.multimodal.information.losses import (
    averaging,
    choice_loss,
    dense_loss,
    spread_loss,
    spread_terms,
)
from internimage.multimodal.information.mixing import draw_cells, mix, other_places, tokens_of
from internimage.multimodal.metrics.neighbours import neighbour_accuracy
from internimage.multimodal.models.m3i import M3I
from internimage.multimodal.pretraining.reading import read_parts
from internimage.multimodal.pretraining.settings import ViewsAugmentation
from internimage.multimodal.pretraining.views import Crop, TwoViews, placement
from internimage.multimodal.world.scene import Scene, scene
from internimage.recipes import get_recipe
from internimage.settings.data import DataOptions
from internimage.settings.training import RunConfig, TrainingConfig
from internimage.training.initial import initial_model, what_is_taken

pytestmark = pytest.mark.usefixtures("one_thread")
GOLDEN = golden("m3i")
SCALE = torch.tensor(math.log(1 / 0.07), dtype=torch.float64)


def given(name: str, shape: tuple[int, ...]) -> Tensor:
    return torch.from_numpy(fill.uniform(f"m3i.{name}", shape) * np.float32(math.sqrt(3.0))).double()


def dense(predicted: Tensor) -> Tensor:
    return dense_loss(predicted, given("target", (2, 9, 16)), GOLDEN["hidden"])


def of_texts(pictures: Tensor) -> Tensor:
    return choice_loss(pictures, given("text", (5, 12)), torch.arange(5), SCALE)


def of_classes(pictures: Tensor) -> Tensor:
    return choice_loss(pictures, given("classes", (7, 12)), GOLDEN["class.labels"], SCALE)


@pytest.mark.parametrize(
    ("name", "loss", "at"),
    [
        ("gaussian", dense, given("prediction", (2, 9, 16))),
        ("boltzmann", of_texts, given("image", (5, 12))),
        ("class", of_classes, given("image", (5, 12))),
    ],
)
def test_losses_are_the_closed_forms(name: str, loss: Callable[[Tensor], Tensor], at: Tensor) -> None:
    at = at.clone().requires_grad_()
    found = loss(at)
    torch.testing.assert_close(found, GOLDEN[f"{name}.loss"], atol=1e-12, rtol=1e-12)
    found.backward()
    if f"{name}.grad" in GOLDEN.arrays:
        torch.testing.assert_close(at.grad, GOLDEN[f"{name}.grad"], atol=1e-12, rtol=1e-12)


def test_the_term_against_collapse_is_the_closed_form() -> None:
    """Its parts; a batch that is all alike costs 1 less the root of 1e-4, one of independent unit channels nothing."""
    batch = 0.4 * given("batch", (24, 6))
    for found, name in zip(spread_terms(batch), ("variance", "covariance"), strict=True):
        torch.testing.assert_close(found, GOLDEN[f"regulariser.{name}"], atol=1e-12, rtol=1e-12)
    assert float(spread_loss(torch.ones(8, 3, dtype=torch.float64))) == pytest.approx(0.99)
    corners = torch.tensor([[x, y] for x in (-2.0, 2.0) for y in (-2.0, 2.0)])
    assert float(spread_loss(corners)) == 0


def test_pictures_are_mixed_cell_by_cell() -> None:
    cells = GOLDEN["mix.cells"][None]
    first, second = (given(name, (1, 3, 96, 64)).float() for name in "AB")
    mixed = mix(first, second, cells, 32)
    torch.testing.assert_close(mixed.double().sum((2, 3)), GOLDEN["mix.image_sums"], atol=1e-9, rtol=1e-12)
    tokens = [tokens_of(F.avg_pool2d(one, 32)) for one in (mixed, first, second)]
    torch.testing.assert_close(tokens[0], torch.where(cells.flatten(1)[..., None] > 0, *tokens[1:]))


def test_both_pictures_are_always_seen() -> None:
    torch.manual_seed(0)
    drawn = torch.stack([draw_cells(1, 2) for _ in range(200)])
    assert (drawn.sum((1, 2)) == 1).all()
    assert 0.4 < float(torch.stack([draw_cells(6, 6) for _ in range(50)]).float().mean()) < 0.6


@pytest.mark.parametrize(
    ("mirrored", "columns"),
    [
        ((False, False), (0.75, 1.25)),
        ((True, False), (2.25, 1.75)),
        ((False, True), (2.25, 1.75)),
        ((True, True), (0.75, 1.25)),
    ],
)
def test_places_of_the_other_view_are_those_by_hand(mirrored: tuple[bool, bool], columns: tuple[float, float]) -> None:
    """Views of 4 x 4 cells: the other one begins a cell below and right of the corner, its cells are half as large."""
    view, other = Crop(10, 20, 40, 80, mirrored[0]), Crop(20, 40, 20, 40, mirrored[1])
    places = other_places(torch.tensor([placement(view, other, 4)]), 4, 4)[0].unflatten(0, (4, 4))
    torch.testing.assert_close(places[:, 0, 0], torch.tensor([0.75, 1.25, 1.75, 2.25]))
    torch.testing.assert_close(places[0, :2, 1], torch.tensor(columns))


def test_views_lie_where_they_are_said_to() -> None:
    """Colours are rows and columns of the picture: those of the input view, continued to a place, are the other's."""
    y, x = np.mgrid[:200, :240]
    picture = Image.fromarray(np.stack([y, x, 0 * x], axis=-1).astype(np.uint8))
    unit = Preprocessing(64, 64, mean=(0.0,) * 3, std=(1 / 255,) * 3)
    make = TwoViews(ViewsAugmentation(min_scale=0.2, colour=0), unit, 16)
    for seed in range(12):
        torch.manual_seed(seed)
        view, other, place = make(picture)
        shown, wanted = (F.avg_pool2d(one, 16)[:2] for one in (view, other))
        places = other_places(place[None], 4, 4)[0].unflatten(0, (4, 4))
        for axis, colour in enumerate(shown):
            line = colour.mean(1 - axis)
            step = (line[2] - line[1]).item()
            torch.testing.assert_close(line[1] + (places[..., axis] - 1) * step, wanted[axis], atol=2.5, rtol=0)


def batch(model: M3I) -> tuple[Tensor, Any]:
    images, targets = views_of(6, model.cell)
    return images, told(targets)


def small(**changes: Any) -> M3I:
    torch.manual_seed(0)
    return M3I(replace(SMALL, **changes)).train()


def test_the_moving_average_learns_nothing_and_follows() -> None:
    model = small()
    images, targets = batch(model)
    losses = model.losses(images, targets)
    assert tuple(losses) == ("intra", "inter", "spread", "labels", "texts")
    torch.stack(list(losses.values())).sum().backward()
    assert all(one.grad is None and not one.requires_grad for one in model.averaged.parameters())
    assert all(one.grad is not None for one in model.parameters() if one.requires_grad)
    model.double()
    own, average = model.backbone.stem.norm2.weight, model.averaged.stem.norm2.weight
    with torch.no_grad():
        average[:4] = given("ema", (4,))
        for number in range(3):
            own[:4] = given(f"online{number}", (4,))
            model.after_update(0.0)
            torch.testing.assert_close(average[:4].detach(), GOLDEN["ema"][number], atol=1e-12, rtol=1e-12)
    assert [averaging(0.996, share) for share in (0.0, 0.5, 1.0)] == pytest.approx([0.996, 0.998, 1.0])


def test_decoders_look_at_nothing_that_is_hidden() -> None:
    model = small().eval()
    torch.manual_seed(1)
    tokens, visible = torch.randn(2, 16, 32), torch.stack([draw_cells(4, 4).flatten() for _ in range(2)])
    changed = torch.where(visible[..., None], tokens, 9.0)
    places = torch.rand(2, 5, 2) * 4
    for decode in (
        lambda x: model.intra.fill(x, visible, (4, 4)),
        lambda x: model.inter.transfer(x, visible, (4, 4), places),
    ):
        torch.testing.assert_close(decode(changed), decode(tokens))
        assert not torch.allclose(decode(tokens + visible[..., None]), decode(tokens))
    moved = model.inter.transfer(tokens, visible, (4, 4), places + 1)
    assert not torch.allclose(moved, model.inter.transfer(tokens, visible, (4, 4), places))


def test_what_a_picture_lacks_is_dropped() -> None:
    """Losses of labels and texts are those of the pictures that have them; equal texts of others are no mistakes."""
    model = small().eval()
    images, targets = batch(model)
    found = model.losses(images, targets)
    mixed = model.backbone(mix(images, images[targets.partners], targets.cells, model.cell))[-1]
    tokens, visible = tokens_of(mixed), targets.cells.flatten(1)
    classes = F.normalize(model.classes.weight, dim=-1)
    texts = model.encode_texts([TEXT, (302, 49407)])
    of_labels, of_words = [], []
    for row in range(6):
        for picture, seen in ((row, visible[row]), (int(targets.partners[row]), ~visible[row])):
            shown = F.normalize(model.project(tokens[row, seen].mean(0)), dim=-1)
            if picture in (0, 1, 2, 4):
                of_labels.append(F.cross_entropy(classes @ shown / 0.07, targets.labels[picture]))
            if picture in (0, 4):  # the other one's equal text is no mistake, the third one's is
                of_words.append(F.cross_entropy(texts @ shown / 0.07, torch.tensor(0)))
            if picture == 2:  # both others are mistakes
                of_words.append(F.cross_entropy(texts[[0, 1, 0]] @ shown / 0.07, torch.tensor(1)))
    torch.testing.assert_close(found["labels"], torch.stack(of_labels).mean())
    torch.testing.assert_close(found["texts"], torch.stack(of_words).mean())
    nothing = replace(targets, labels=torch.full((6,), -1), texts=(None,) * 6)
    for name in ("labels", "texts"):
        assert model.losses(images, nothing)[name].item() == 0


def features_of(model: M3I, pictures: Tensor) -> Tensor:
    with torch.no_grad():
        return model.eval().backbone(pictures[..., :32, :32])[-1].mean((2, 3))


def learnt(model: M3I, pictures: Tensor, updates: int, spread: float, lr: float) -> None:
    """Some updates from the pictures alone, 16 at a time."""
    optimizer = torch.optim.AdamW([one for one in model.parameters() if one.requires_grad], lr=lr, weight_decay=0.05)
    for _ in range(updates):
        some = pictures[torch.randperm(len(pictures))[:16]]
        losses = model.train().losses(*views(some, model.cell, ("intra", "inter", "spread")))
        (losses["intra"] + losses["inter"] + spread * losses["spread"]).backward()
        optimizer.step()
        optimizer.zero_grad()
        model.after_update(0.0)


@pytest.mark.full
def test_features_collapse_without_what_keeps_them_apart() -> None:
    """With a target that moves fast (.9) and steps of 3e-3 features of new pictures are soon all alike, measured: a
    deviation of .07 of the start without the term, 1.3 with it."""
    deviations = []
    for spread in (0.0, 1.0):
        model = small(num_classes=0, texts=False, momentum=0.9)
        before = features_of(model, clouds(64, 1)).std(0).mean()
        learnt(model, clouds(64), 100, spread, 3e-3)
        deviations.append(float(features_of(model, clouds(64, 1)).std(0).mean() / before))
    assert deviations[0] < 0.1
    assert deviations[1] > 0.5


def test_other_channels_and_other_classes() -> None:
    model = small()
    model.take_channels(4)
    model.reset_classifier(7)
    assert model.averaged.config.in_channels == model.config.backbone.in_channels == 4
    assert not any(one.requires_grad for one in model.averaged.parameters())
    assert model.eval()(torch.zeros(2, 4, 32, 32)).scores.shape == (2, 7)


@pytest.mark.parametrize("how", ["checkpointing", "bf16"])
def test_memory_may_be_saved(how: str) -> None:
    """Recomputing changes nothing, half the precision little."""
    model = small().eval()
    images, targets = batch(model)
    expected = model.losses(images, targets)
    model.train()
    model.set_gradient_checkpointing(how == "checkpointing")
    with torch.autocast("cpu", torch.bfloat16, enabled=how == "bf16"):
        found = model.losses(images, targets)
    for name, loss in expected.items():
        torch.testing.assert_close(found[name], loss, rtol=0 if how == "checkpointing" else 0.03, atol=1e-6)
    gradients = []
    for losses in (expected, found):
        model.zero_grad()
        torch.stack(list(losses.values())).sum().backward()
        gradients.append(torch.cat([one.grad.flatten() for one in model.parameters() if one.grad is not None]))
    off = (gradients[1] - gradients[0]).norm() / gradients[0].norm()
    assert off < (1e-5 if how == "checkpointing" else 0.1)


def test_neighbours_vote() -> None:
    """Against all distances; two clusters are told apart, labels without meaning are not."""
    draw = np.random.default_rng(0)
    labels = draw.integers(0, 2, 60)
    features = draw.normal(size=(60, 5)) + 100
    apart = features + 8 * labels[:, None]
    assert neighbour_accuracy(apart, labels) == 1.0
    centred = features - features.mean(0)
    unit = centred / np.linalg.norm(centred, axis=1, keepdims=True)
    right = 0
    for row in range(60):
        nearest = [one for one in np.argsort(-(unit @ unit[row])) if one != row][:3]
        right += np.bincount(labels[nearest]).argmax() == labels[row]
    assert neighbour_accuracy(features, labels, 3) == right / 60
    assert math.isnan(neighbour_accuracy(features[:1], labels[:1]))


QUICK = TrainingConfig(
    track="none", epochs=2, batch_size=4, workers=0, warmup_epochs=0.5, lr=2e-3, drop_path=0.0, ema_decay=0.0
)


class Told(Silent):
    """What a person was told."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def note(self, line: str, *args: Any) -> None:
        self.lines.append(line)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return paint(tmp_path_factory.mktemp("m3i") / "photos", COLOURS, 8)


@pytest.fixture(scope="module")
def trained(photos: Path) -> tuple[ii.Run, list[str]]:
    told = Told()
    run = ii.train(photos, model=WHOLE, size=64, training=QUICK, output=photos.parent / "run", reporter=told)
    return run, told.lines


def test_a_run_learns_is_measured_and_tells_what_it_learns(photos: Path, trained: tuple[ii.Run, list[str]]) -> None:
    run, told = trained
    assert "learns labels, intra, inter" in told
    assert "the data has no texts: dropped from what is learnt" in told
    first, last = run.history
    assert last["loss"] < first["loss"]
    numbers = ii.evaluate(photos, run.final, part="all").compute()
    assert {"intra", "inter", "deviation", "neighbours", "nearest_class"} <= set(numbers)
    assert numbers["score"] == numbers["neighbours"]
    result = ii.Predictor(run.final)(photos / "red" / "0.png")
    assert result.nearest is not None
    assert result.nearest[1] in COLOURS
    two = ii.Predictor(run.final, batch_size=2)([photos / "blue" / "0.png", photos / "red" / "0.png"])
    assert two[1].intra == pytest.approx(result.intra, rel=1e-4)  # whatever lies in the batch
    again = ii.train(photos, model=WHOLE, size=64, training=QUICK, output=photos.parent / "again", reporter=Silent())
    assert again.history == run.history


@pytest.mark.parametrize("name", ["small_plain", "small_mask", "small_dino", "small_upernet", "small_mask2former"])
def test_its_backbone_starts_every_task(
    name: str, photos: Path, trained: tuple[ii.Run, list[str]], small_recipes: None
) -> None:
    """The learning one, tensor by tensor; how many were taken and left out is said."""
    best: Any = ii.load_model(trained[0].best)
    given = best.backbone.state_dict()
    config = RunConfig(str(photos), name, init=str(trained[0].folder))
    model = initial_model(config, get_recipe(name), ("a", "b"))
    for key, tensor in model.backbone.state_dict().items():
        assert torch.equal(tensor, given[key])
    others = len(best.state_dict()) - len(given)
    assert what_is_taken(config.init, model) == (
        f"the backbone of a m3i, {len(given)} tensors; {others} others left out, what stands on it starts anew"
    )
    with pytest.raises(CheckpointMismatchError, match="the backbone does not fit"):
        initial_model(replace(config, model="internimage_atto"), get_recipe("internimage_atto"), ("a", "b"))


def test_a_classifier_goes_on_from_it(photos: Path, trained: tuple[ii.Run, list[str]], small_recipes: None) -> None:
    told = Told()
    ii.train(
        photos,
        model="small_plain",
        init=trained[0].best,
        size=64,
        training=replace(QUICK, epochs=1),
        output=photos.parent / "classifier",
        reporter=told,
    )
    assert any(line.startswith(f"weights: {trained[0].best}: the backbone of a m3i") for line in told.lines)


def shards(photos: Path, folder: Path) -> Path:
    """Of four pictures in turn one has class and text, one a class, one a text, one nothing; a key has no picture."""
    files: dict[str, bytes] = {"alone.txt": b"nothing to see"}
    for number, (name, path) in enumerate(pictures(photos)):
        files[f"{number}.png"] = path.read_bytes()
        if number % 4 == 0:
            files[f"{number}.json"] = json.dumps({"label": name}).encode()
        elif number % 4 == 1:
            files[f"{number}.cls"] = name.encode()
        elif number % 4 == 3:
            files[f"{number}.json"] = json.dumps({"width": 3}).encode()
        if number % 2 == 0:
            files[f"{number}.txt"] = f"a {name}\npicture".encode()
    data = folder / "shards"
    data.mkdir()
    pack_tar(data / "train-0.tar", files)
    pack_tar(data / "val-0.tar", {"x.png": files["0.png"], "x.txt": b"a blue picture"})
    return data


@pytest.mark.full
def test_two_processes_are_one(photos: Path, tmp_path: Path) -> None:
    """Losses, gradients and the moving average of DDP and FSDP2, with other numbers of labels and texts on each;
    and whole runs of both, in bfloat16 and recomputing blocks, are the same."""
    path = (Path(__file__).parent, *filter(None, [os.environ.get("PYTHONPATH")]))
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    done = subprocess.run(
        [*launcher, "-m", "helpers.pretraining_worker", str(tmp_path / "report.json"), str(shards(photos, tmp_path))],
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(map(str, path))},
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-6000:]
    report = json.loads((tmp_path / "report.json").read_text())
    for found in report.values():
        for ours, one in found["losses"].values():
            assert ours == pytest.approx(one, rel=1e-5)
        assert found["names"] == []
        assert found["gradient"] < 1e-4
        assert found["average"] < 1e-6
    for copied, sharded in zip(report["ddp"]["history"], report["fsdp"]["history"], strict=True):
        assert copied == pytest.approx(sharded, rel=1e-4)
        assert copied["image_to_text_r10"] == 1


def test_shards_say_what_they_say(photos: Path, tmp_path: Path) -> None:
    data = shards(photos, tmp_path)
    parts = read_parts(data, None, DataOptions())
    train = parts["train"]
    assert (len(train), train.labelled, train.described, train.classes) == (16, 8, 8, ("blue", "red"))
    assert [str(one) for one in train.left_out] == ["1 of 17 files left out: no picture (train-0.tar/alone)"]
    assert {one.texts for one in train.entries} == {(), ("a blue picture",), ("a red picture",)}
    told = Told()
    run = ii.train(data, model=WHOLE, size=64, training=QUICK, output=tmp_path / "run", reporter=told)
    assert (
        "learns labels (of 8 of 16 pictures, dropped for the others), texts (of 8 of 16 pictures, dropped for the "
        "others), intra, inter" in told.lines
    )
    assert run.history[-1]["image_to_text_r1"] == 1  # of one
    assert run.history[-1]["score"] == 1  # no class is known of it, so the last weights are kept
    more = ii.resume(run.folder, epochs=3, reporter=Silent())
    assert [row["epoch"] for row in more.history] == [1, 2, 3]


@pytest.mark.parametrize(
    ("kind", "read"), [("labels", (16, 0, 2)), ("pictures", (0, 0, 0)), ("captions", (0, 16, 0)), ("loose", (0, 0, 0))]
)
def test_whatever_pictures_lie_there_are_read(kind: str, read: tuple[int, ...], photos: Path, tmp_path: Path) -> None:
    data, options = photos, DataOptions(reading="pictures" if kind == "pictures" else None)
    if kind in ("captions", "loose"):
        data = tmp_path
        for number, (_, path) in enumerate(pictures(photos)):
            (data / f"{number}.png").write_bytes(path.read_bytes())
    if kind == "captions":
        lines = [json.dumps({"file": f"{number}.png", "captions": ["red or blue"]}) for number in range(16)]
        (data / "pictures.jsonl").write_text("\n".join(lines))
    part = read_parts(data, None, options)["all"]
    assert len(part) == 16
    assert (part.labelled, part.described, len(part.classes)) == read


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"size": 48}, "multiple of 32"),
        ({"size": 32}, "64 or more"),
        ({"training": replace(QUICK, batch_size=1)}, "nothing to be mixed with"),
        ({"augmentation": ViewsAugmentation(intra=0, inter=0, labels=0)}, "no texts to learn from"),
        ({"linear_probe": True}, "for classifiers"),
    ],
)
def test_runs_that_cannot_be(changes: dict[str, Any], message: str, photos: Path, tmp_path: Path) -> None:
    settings = {"size": 64, "training": QUICK, **changes}
    with pytest.raises(InternImageError, match=message):
        ii.train(photos, model=WHOLE, output=tmp_path / "run", reporter=Silent(), **settings)


def told_apart(model: Any, scenes: list[Scene]) -> float:
    """Shapes and colours that ridge regression on the backbone's means tells, of the second half from the first."""
    prepare = Preprocessing(64, 64)
    images = torch.stack([prepare(Image.fromarray(one.picture)) for one in scenes])
    with torch.no_grad():
        features = torch.cat([model.eval().backbone(some)[-1].mean((2, 3)) for some in images.split(50)]).double()
    half = len(scenes) // 2
    known = (features - features[:half].mean(0)) / features[:half].std(0)
    known = torch.cat([known, known.new_ones(len(known), 1)], dim=1)
    shares = []
    for names in ([one.objects[0].shape for one in scenes], [one.objects[0].colour for one in scenes]):
        labels = torch.tensor([sorted(set(names)).index(name) for name in names])
        wanted = F.one_hot(labels[:half]).double()
        weight = torch.linalg.solve(known[:half].T @ known[:half] + torch.eye(known.shape[1]), known[:half].T @ wanted)
        shares.append(float(((known[half:] @ weight).argmax(1) == labels[half:]).double().mean()))
    return sum(shares) / 2


@pytest.mark.full
def test_what_is_learnt_tells_shapes_and_colours_apart(tmp_path: Path) -> None:
    """On the drawn world of one shape each, with captions: linear probes after M3I and of what it began with."""
    scenes = [scene(0, index, without=("pair", "count", "light", "sign")) for index in range(800)]
    for number, one in enumerate(scenes[:400]):
        Image.fromarray(one.picture).save(tmp_path / f"{number}.png")
    lines = [
        json.dumps({"file": f"{number}.png", "captions": [one.caption]}) for number, one in enumerate(scenes[:400])
    ]
    (tmp_path / "pictures.jsonl").write_text("\n".join(lines))
    backbone = replace(
        SMALL.backbone, depths=(1, 1, 1), groups=(1, 2, 4), norm_layer="batch", mask_softmax=False, random_filters=True
    )
    config = replace(WHOLE, backbone=backbone, width=64, feed_forward=128, shared=32, text_width=32, momentum=0.99)
    training = replace(QUICK, epochs=16, batch_size=32, warmup_epochs=1, evaluate_every=16)
    run = ii.train(tmp_path, model=config, size=64, training=training, output=tmp_path / "run", reporter=Silent())
    torch.manual_seed(0)
    before, after = told_apart(M3I(config), scenes), told_apart(ii.load_model(run.final), scenes)
    assert after > before + 0.1
