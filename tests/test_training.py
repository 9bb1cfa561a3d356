"""The trainer against a plain PyTorch loop, the published optimiser groups, and every kind of interruption."""

import copy
import csv
import gzip
import json
import math
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.training import COLOURS, SMALL, Silent, paint, prepare
from torch import Tensor, nn

import internimage as ii
from internimage.checkpoints.layouts import from_ours
from internimage.data.samples import EvaluationSample, Measured
from internimage.data.sampling.sampler import EpochSampler, SampleKey, SequenceSampler
from internimage.errors import ConfigError, ImageReadError, InterruptedRunError, TrainingError
from internimage.images.reader import ImageSource
from internimage.metrics.accuracy import Accuracy
from internimage.models.classifier import ImageClassifier
from internimage.models.model import Model
from internimage.settings.classification import ClassificationAugmentation
from internimage.settings.training import TrainingConfig
from internimage.tasks.classification.dataset import ClassificationDataset
from internimage.training import state as states
from internimage.training.optimiser.ema import MovingAverage
from internimage.training.optimiser.groups import parameter_groups, parameter_rules
from internimage.training.optimiser.schedule import warmup_cosine
from internimage.training.run import resume_run
from internimage.training.state import newest_checkpoint
from internimage.training.trainer import Trainer

pytestmark = pytest.mark.usefixtures("one_thread")

GOLDEN = json.loads(gzip.decompress((Path(__file__).parent / "goldens" / "lr_decay.json.gz").read_bytes()))
TOY = TrainingConfig(
    track="none", epochs=3, batch_size=4, workers=0, lr=0.05, warmup_epochs=1, drop_path=0, clip_norm=0.5
)


@dataclass(frozen=True)
class ToyBatch:
    x: Tensor
    y: Tensor
    unreadable: tuple[str, ...] = ()

    def to(self, device: torch.device) -> "ToyBatch":
        return self


class ToyData(torch.utils.data.Dataset[Any]):
    """Five numbers and one that follows from them; ``measured`` as evaluation takes them."""

    def __init__(self, measured: bool = False) -> None:
        generator = torch.Generator().manual_seed(0)
        self.x, self.y = torch.randn(16, 5, generator=generator), torch.randn(16, generator=generator)
        self.measured = measured

    def __len__(self) -> int:
        return 16

    def __getitem__(self, key: SampleKey) -> Any:
        x, y = self.x[key.index], self.y[key.index]
        source = ImageSource("toy", b"")
        return EvaluationSample(None, source, x, Measured(float(y))) if self.measured else (x, y)


class ToyReport:
    """Counts what it sees; its value is the negative mean squared error."""

    def __init__(self) -> None:
        self.errors: list[float] = []

    def add(self, result: float, sample: EvaluationSample) -> None:
        self.errors.append((result - sample.measured.truth) ** 2)

    def state(self) -> list[float]:
        return self.errors

    def merge(self, states: Sequence[list[float]]) -> None:
        self.errors = [error for state in states for error in state]

    def compute(self) -> dict[str, float]:
        return {"quality": -sum(self.errors) / len(self.errors), "seen": float(len(self.errors))}


class ToyPipeline:
    def __init__(self, model: nn.Module) -> None:
        self.model = model

    def predict(self, prepared: Sequence[Tensor], sources: Any, known: Any) -> list[float]:
        with torch.no_grad():
            return self.model(torch.stack(list(prepared)))[:, 0].tolist()


class ToyTask:
    """Regression, which the trainer knows nothing of; ``crash`` is called before every loss."""

    best = "quality"
    headline = ("quality",)
    ragged = False

    def __init__(self, crash: Any = None) -> None:
        self.crash = crash
        self.calls = 0

    def collate(self, samples: Sequence[tuple[Tensor, Tensor]]) -> ToyBatch:
        return ToyBatch(torch.stack([x for x, _ in samples]), torch.stack([y for _, y in samples]))

    def losses(self, losses: Any, batch: ToyBatch) -> dict[str, Tensor]:
        self.calls += 1
        if self.crash:
            self.crash(self.calls)
        return losses(batch.x, batch.y, torch.rand(()))  # the run's random numbers matter to the result

    def pipeline(self, model: nn.Module, *, in_step: bool = False) -> Any:
        return ToyPipeline(model)

    def report(self, pipeline: Any) -> Any:
        return ToyReport()


class ToyModel(Model):
    """No backbone, so nothing of what the contract says of one."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(5, 8), nn.Tanh(), nn.Linear(8, 1))

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)

    def losses(self, x: Tensor, y: Tensor, noise: Tensor) -> dict[str, Tensor]:  # type: ignore[override]
        return {"mse": (self(x)[:, 0] - y).square().mean(), "noise": noise * self(x).square().mean()}

    def backbones(self) -> dict[str, Any]:
        return {}

    def layer_prefixes(self) -> list[tuple[str, ...]]:
        return []

    def set_drop_path_rate(self, rate: float) -> None: ...
    def set_gradient_checkpointing(self, enabled: bool = True) -> None: ...


def toy_model() -> ToyModel:
    torch.manual_seed(1)
    return ToyModel()


@pytest.fixture
def toy(tmp_path: Path) -> Any:
    """Builds toy trainers; saving a model writes its weights, since a toy is no architecture of ours."""

    def save(model: nn.Module, folder: Path, weights: Mapping[str, Tensor]) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        torch.save(dict(weights), folder / "weights.pt")

    def build(name: str, config: TrainingConfig = TOY, crash: Any = None) -> Trainer:
        data, val, folder = ToyData(), ToyData(measured=True), tmp_path / name
        return Trainer(ToyTask(crash), toy_model(), data, val, config, folder, Silent(), device="cpu", save=save)  # type: ignore[arg-type]

    return build


def weights(trainer: Trainer) -> list[Tensor]:
    average = trainer.average.tensors if trainer.average else {}
    return [*trainer.model.state_dict().values(), *average.values()]


def same(first: Trainer, second: Trainer) -> bool:
    history = first.progress.history == second.progress.history
    return history and all(torch.equal(a, b) for a, b in zip(weights(first), weights(second), strict=True))


@pytest.mark.parametrize("accumulate", [1, 2])
def test_training_equals_a_plain_loop(toy: Any, accumulate: int) -> None:
    config = replace(TOY, batch_size=4 // accumulate, accumulate=accumulate, ema_decay=0.9, betas=(0.8, 0.98))
    trainer = toy("a", config)
    trainer.fit()

    from internimage.data.sampling.sampler import mix_seed

    model, data, task = toy_model(), ToyData(), ToyTask()
    matrices = [p for p in model.parameters() if p.ndim > 1]
    vectors = [p for p in model.parameters() if p.ndim <= 1]
    optimizer = torch.optim.AdamW(
        [{"params": matrices, "weight_decay": 0.05}, {"params": vectors, "weight_decay": 0.0}], betas=(0.8, 0.98)
    )
    average, step = [p.detach().clone() for p in model.parameters()], 0
    for epoch in range(3):
        sampler = EpochSampler(16, 0, shuffle=True)
        sampler.epoch = epoch
        samples = [data[key] for key in sampler]
        for start in range(0, 16, 4):
            cosine = 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * step / 12))
            for group in optimizer.param_groups:
                group["lr"] = 0.05 * (0.001 + 0.999 * step / 4 if step < 4 else cosine)
            optimizer.zero_grad()
            for part in range(accumulate):
                size = 4 // accumulate
                torch.manual_seed(mix_seed(0, epoch, 1 + start // size + part))
                batch = task.collate(samples[start + part * size : start + (part + 1) * size])
                (sum(task.losses(model.losses, batch).values()) / accumulate).backward()  # type: ignore[union-attr]
            nn.utils.clip_grad_norm_(model.parameters(), 0.5)
            optimizer.step()
            step += 1
            decay = min(0.9, (1 + step) / (10 + step))
            average = [a * decay + p.detach() * (1 - decay) for a, p in zip(average, model.parameters(), strict=True)]
    for ours, theirs in zip(weights(trainer), [*model.parameters(), *average], strict=True):
        torch.testing.assert_close(ours, theirs.detach(), atol=2e-7, rtol=1e-6)
    assert [row["seen"] for row in trainer.progress.history] == [16.0] * 3


@pytest.mark.parametrize("when", [1, 2, 4, 5, 6, 7, 8, 9, 11, 12])
def test_a_crash_at_any_moment_then_resume_changes_nothing(toy: Any, when: int) -> None:
    config = replace(TOY, checkpoint_minutes=1e-9 if when % 2 else 15.0)  # every batch, or every epoch
    whole = toy("whole", config)
    whole.fit()

    def crash(call: int) -> None:
        if call == when:
            raise KeyError("power cut")

    with pytest.raises(KeyError):
        toy("cut", config, crash).fit()
    resumed = toy("cut", config)
    resumed.fit(resume=newest_checkpoint(resumed.folder) is not None)
    assert same(whole, resumed)
    rows = list(csv.DictReader((resumed.folder / "metrics.csv").open()))
    assert [row["epoch"] for row in rows] == ["1", "2", "3"]


@pytest.mark.parametrize("accumulate", [1, 2])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_saves_and_the_rest_follows(toy: Any, number: signal.Signals, accumulate: int) -> None:
    config = replace(TOY, accumulate=accumulate)
    whole = toy("whole", config)
    whole.fit()
    before = signal.getsignal(number)

    def interrupt(call: int) -> None:
        if call == 5:
            os.kill(os.getpid(), number)

    with pytest.raises(InterruptedRunError, match=number.name):
        toy("cut", config, interrupt).fit()
    assert signal.getsignal(number) == before
    resumed = toy("cut", config)
    resumed.fit(resume=True)
    assert same(whole, resumed)


def test_a_full_disk_leaves_the_previous_state(toy: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    saves = 0
    real = torch.save

    def full(content: Any, file: Any) -> None:
        nonlocal saves
        if isinstance(content, dict) and "progress" in content:
            saves += 1
            if saves == 2:
                file.write(b"half of it")
                raise OSError(28, "No space left on device")
        real(content, file)

    monkeypatch.setattr(torch, "save", full)
    trainer = toy("disk")
    with pytest.raises(TrainingError, match=r"the disk is full.*is intact"):
        trainer.fit()
    assert sorted(p.name for p in trainer.folder.iterdir()) == [
        "best",
        "checkpoints",
        "curves.png",
        "metrics.csv",
        "summary.json",
    ]
    assert states.load_state(trainer.folder, trainer.processes)[0].epoch == 1
    resumed = toy("disk")
    resumed.fit(resume=True)
    whole = toy("whole")
    whole.fit()
    assert same(whole, resumed)


@pytest.mark.parametrize("accumulate", [1, 2])
def test_steps_that_are_not_finite_are_left_out_and_counted(toy: Any, accumulate: int) -> None:
    """A poisoned batch changes neither weights nor averages nor the reported loss; twenty in a row stop the run."""
    config = replace(TOY, accumulate=accumulate, epochs=1, ema_decay=0.9)
    trainer = toy("one", config)
    losses, states_seen = trainer.task.losses, []

    def poisoned(model: nn.Module, batch: ToyBatch) -> dict[str, Tensor]:
        states_seen.append([tensor.clone() for tensor in weights(trainer)])
        result = losses(model, batch)
        return {**result, "mse": result["mse"] * math.inf} if trainer.task.calls == 2 else result

    trainer.task.losses = poisoned
    row = trainer.fit()
    assert row["skipped"] == 1
    assert math.isfinite(row["loss"])
    before, after = states_seen[1], states_seen[2]
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))
    assert trainer.progress.update == 4 // accumulate
    assert not any(torch.equal(a, b) for a, b in zip(before[:2], weights(trainer)[:2], strict=True))

    trainer = toy("all", replace(config, epochs=99))
    trainer.task.losses = lambda model, batch: {"nan": losses(model, batch)["mse"] * math.nan}
    with pytest.raises(TrainingError, match="not finite 20 updates in a row"):
        trainer.fit()


@pytest.mark.parametrize("case", list(GOLDEN))
def test_optimiser_groups_are_the_published_ones(case: str) -> None:
    golden = GOLDEN[case]
    with torch.device("meta"):
        model = ii.create_model(case.split()[0], device="meta")
    assert isinstance(model, ImageClassifier)
    rules = parameter_rules(
        model,
        weight_decay=golden["weight_decay"],
        layer_decay=golden["lr_layer_decay_ratio"] if golden["lr_layer_decay"] else 1.0,
        deformable_lr_scale=golden["dcn_lr_mul"] or 1.0,
        as_published=True,
    )
    names = from_ours(rules, "official", model.config)
    assert [names[name] for name in rules] == list(golden["params"])
    for name, rule in rules.items():
        assert (rule.lr_scale, rule.weight_decay) == pytest.approx(golden["params"][names[name]], rel=1e-12)
    groups = parameter_groups(model, rules, 2.0)
    assert sum(len(group["params"]) for group in groups) == len(rules)  # type: ignore[arg-type]
    assert len(groups) == len(set(rules.values()))
    assert groups[0]["lr"] == 2.0 * next(iter(rules.values())).lr_scale


def test_groups_by_default_follow_the_block_and_spare_the_frozen() -> None:
    with torch.device("meta"):
        model = ii.create_model("internimage_h_22kto1k_640", device="meta")
    model.freeze(1)  # type: ignore[operator]
    rules = parameter_rules(model, weight_decay=0.05, layer_decay=0.9, deformable_lr_scale=0.1)
    block = rules["backbone.stages.2.blocks.5.mlp.fc1.weight"].lr_scale
    assert rules["backbone.stages.2.post_norms.0.weight"].lr_scale == block == pytest.approx(0.9 ** (49 - 17))
    assert rules["backbone.stages.2.blocks.5.dcn.offset.weight"].lr_scale == pytest.approx(0.1 * block)
    assert not any(name.startswith(("backbone.stem", "backbone.stages.0.blocks")) for name in rules)


def test_schedule_and_average_follow_their_formulas() -> None:
    factor = warmup_cosine(100, 10, start=0.1, end=0.02)
    values = [factor(step) for step in (0, 5, 10, 50, 100, 200)]
    ten = 0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * 0.1))
    assert values == pytest.approx([0.1, 0.55, ten, 0.51, 0.02, 0.02])
    model = nn.BatchNorm1d(2)
    for warmup in (True, False):
        model.reset_running_stats()
        average, expected = MovingAverage(model, 0.3, warmup=warmup), np.zeros(2)
        for step in range(1, 6):
            model.running_mean = torch.tensor([1.0 * step, -2.0 * step])
            average.update()
            decay = min(0.3, (1 + step) / (10 + step)) if warmup else 0.3
            expected = decay * expected + (1 - decay) * np.array([1.0 * step, -2.0 * step])
        with average.applied():
            np.testing.assert_allclose(model.running_mean.numpy(), expected, rtol=1e-6)
        assert model.running_mean.tolist() == [5.0, -10.0]


# --- real pictures -------------------------------------------------------------------------------------------------


def test_pictures_of_two_colours_are_learned_and_kept(tmp_path: Path) -> None:
    training = replace(SMALL, epochs=12, lr=2e-3, ema_decay=0.8, workers=1)
    mild = ClassificationAugmentation(rand_augment=0, colour_jitter=0, mixup=0, cutmix=0, erasing=0)
    trainer = prepare(paint(tmp_path / "data", COLOURS), tmp_path / "run", training=training, augmentation=mild)
    row = trainer.fit()
    assert not multiprocessing.active_children()  # those that read have ended
    assert row["top1"] == 1.0
    predict = ii.Predictor(tmp_path / "run" / "best")
    for name in COLOURS:
        assert {result.label for result in predict(str(tmp_path / "data" / name))} == {name}  # type: ignore[union-attr]
    with pytest.raises(TrainingError, match="already holds a run"):
        prepare(tmp_path / "data", tmp_path / "run")


def test_fine_tuning_to_other_classes_keeps_the_backbone(tmp_path: Path) -> None:
    data = paint(tmp_path / "data", COLOURS)
    prepare(data, tmp_path / "first").fit()
    other = paint(tmp_path / "other", {"a": (0, 0, 0), "b": (99, 99, 99), "c": (255, 255, 255)})
    with pytest.warns(UserWarning, match="has other classes: the classifier starts anew"):
        trainer = prepare(other, tmp_path / "second", init=str(tmp_path / "first" / "final"))
    first = ii.load_model(tmp_path / "first" / "final").state_dict()
    now = trainer.model.state_dict()
    assert all(torch.equal(first[name], now[name]) for name in now if not name.startswith("classifier."))
    assert now["classifier.weight"].shape[0] == 3
    trainer.fit()
    assert ii.Predictor(tmp_path / "second" / "best").labels == ("a", "b", "c")


def test_a_run_goes_on_without_the_weights_that_it_started_from(tmp_path: Path) -> None:
    """Model and weights are one folder, which is gone; classes, their order and the size of pictures stay."""
    data, first, folder = paint(tmp_path / "data", COLOURS), tmp_path / "first", tmp_path / "run"
    prepare(data, first, training=replace(SMALL, epochs=1)).fit()
    prepare(data, folder, init=str(first / "final"), training=replace(SMALL, epochs=1)).fit()
    kept = (folder / "final" / "model.json").read_text()
    shutil.rmtree(first)
    run = ii.resume(folder, device="cpu", epochs=2, reporter=Silent())
    assert [row["epoch"] for row in run.history] == [1, 2]
    assert (run.final / "model.json").read_text() == kept


@pytest.mark.parametrize(
    ("mode", "count"),
    [("L", 5), ("RGBA", 2), ("1", 9)],
)
def test_odd_data_trains(tmp_path: Path, mode: str, count: int) -> None:
    row = prepare(paint(tmp_path / "data", COLOURS, count, mode), tmp_path / "run").fit()
    assert math.isfinite(row["loss"])
    assert row["images"] == len(COLOURS) * max(1, round(0.2 * count))


def test_corrupt_files_stop_the_run_or_are_counted(tmp_path: Path) -> None:
    data = tmp_path / "data"
    paint(data / "train", COLOURS)
    paint(data / "val", COLOURS, 2)
    (data / "train" / "red" / "zzz.jpg").write_bytes(b"\xff\xd8\xffbroken")
    with pytest.raises(ConfigError, match="single value"):
        prepare(data, tmp_path / "one", training=replace(SMALL, batch_size=1))
    with pytest.raises(ImageReadError, match=r"zzz\.jpg.*--on-corrupt skip"):
        prepare(data, tmp_path / "error").fit()
    trainer = prepare(data, tmp_path / "skip", on_corrupt="skip", training=replace(SMALL, batch_size=13))
    trainer.fit()
    assert [row["unreadable"] for row in trainer.progress.history] == [1, 1]


def test_batches_do_not_depend_on_workers(tmp_path: Path) -> None:
    data = paint(tmp_path / "data", COLOURS)
    batches = []
    for workers in (0, 2):
        trainer = prepare(data, tmp_path / str(workers), training=replace(SMALL, workers=workers))
        trainer.sampler.epoch = 1
        batches.append([batch.images for batch in trainer.loader])
    assert all(torch.equal(a, b) for a, b in zip(*batches, strict=True))
    dataset = trainer.loader.dataset
    assert isinstance(dataset, ClassificationDataset)
    state = torch.random.get_rng_state()
    assert torch.equal(dataset[SampleKey(3, 1)].image, dataset[SampleKey(3, 1)].image)
    assert not torch.equal(dataset[SampleKey(3, 1)].image, dataset[SampleKey(4, 1)].image)
    assert torch.equal(torch.random.get_rng_state(), state)


def test_sampler_parts_are_disjoint_and_complete() -> None:
    parts = [list(EpochSampler(11, 0, shuffle=True, rank=rank, world=3)) for rank in range(3)]
    assert sorted(key.index for part in parts for key in part) == list(range(11))
    assert [len(EpochSampler(11, 0, shuffle=True, rank=rank, world=3)) for rank in range(3)] == [len(p) for p in parts]


@pytest.mark.parametrize("lengths", [[3, 1, 5, 2, 2], [4], [2, 2], []])
def test_sequences_stay_whole_and_in_order(lengths: list[int]) -> None:
    """Each with one process, of which none has more than the longest above another."""
    starts = [sum(lengths[:place]) for place in range(len(lengths))]
    sequences = [list(range(start, start + length)) for start, length in zip(starts, lengths, strict=True)]
    taken = [[key.index for key in SequenceSampler(lengths, rank=rank, world=3)] for rank in range(3)]
    for sequence in sequences:
        part = next(part for part in taken if sequence[0] in part)
        place = part.index(sequence[0])
        assert part[place : place + len(sequence)] == sequence
    assert sorted(number for part in taken for number in part) == list(range(sum(lengths)))
    assert [len(SequenceSampler(lengths, rank=rank, world=3)) for rank in range(3)] == list(map(len, taken))
    assert max(map(len, taken)) - min(map(len, taken)) <= max(lengths, default=0)


def test_accuracy_equals_counting(tmp_path: Path) -> None:
    from internimage.images import ImageSource
    from internimage.results.classification import Classification

    rng = np.random.default_rng(0)
    probabilities = rng.dirichlet(np.ones(7), 50).astype(np.float32)
    labels = rng.integers(0, 6, 50)  # the last class has no images
    names = tuple("abcdefg")
    halves = []
    for part in (slice(0, 20), slice(20, 50)):
        half = Accuracy(7)
        for row, label in zip(probabilities[part], labels[part], strict=True):
            half.add(Classification(row, names, ImageSource("x", "x")), int(label))
        halves.append(half)
    merged = Accuracy(7)
    merged.merge([copy.deepcopy(half.state()) for half in halves])
    best = probabilities.argmax(1)
    recalls = [(best[labels == c] == c).mean() for c in range(6)]
    rank = (probabilities > probabilities[np.arange(50), labels][:, None]).sum(1)
    assert merged.compute() == pytest.approx(
        {
            "top1": (best == labels).mean(),
            "top5": (rank < 5).mean(),
            "mean_class": np.mean(recalls),
            "cross_entropy": -np.log(probabilities[np.arange(50), labels]).mean(),
            "images": 50.0,
        },
        rel=1e-6,
    )


@pytest.mark.parametrize(
    ("changes", "fragment"),
    [
        ({"epochs": 0}, "epochs is 0"),
        ({"lr": -1.0}, "lr is -1"),
        ({"ema_decay": 1.0}, "ema_decay is 1"),
        ({"betas": (0.9, 1.0)}, "betas are"),
        ({"workers": -1}, "workers is -1"),
    ],
)
def test_impossible_settings(changes: dict[str, Any], fragment: str) -> None:
    with pytest.raises(ConfigError, match=fragment):
        TrainingConfig(**changes)


@pytest.mark.parametrize(
    ("content", "fragment"),
    [(None, "holds no run.json"), ("{", "is damaged"), ('{"data": "x", "speed": 9}', "unknown field 'speed'")],
)
def test_a_folder_that_is_no_run(tmp_path: Path, content: str | None, fragment: str) -> None:
    if content is not None:
        (tmp_path / "run.json").write_text(content)
    with pytest.raises(TrainingError, match=fragment):
        resume_run(tmp_path, Silent(), device="cpu")


@pytest.mark.full
def test_killed_ten_times_the_run_ends_in_the_same_numbers(tmp_path: Path) -> None:
    """The real thing: separate processes, SIGKILL at random moments, through the command line."""
    data = paint(tmp_path / "data", COLOURS, count=20)
    command = [sys.executable, "-m", "internimage", "train", "--cpu"]
    settings = [
        "--size",
        "32",
        "--epochs",
        "120",
        "--batch-size",
        "4",
        "--workers",
        "0",
        "--checkpoint-minutes",
        "0.01",
    ]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    first = [*command, "--data", str(data), *settings, "--output"]
    subprocess.run([*first, str(tmp_path / "whole")], check=True, env=environment, capture_output=True)
    rng, kills = np.random.default_rng(0), 0
    folder = tmp_path / "cut"
    while kills < 10:
        started, before = (folder / "run.json").exists(), newest_checkpoint(folder)
        process = subprocess.Popen(
            [*command, "--resume", str(folder)] if started else [*first, str(folder)], env=environment
        )
        while newest_checkpoint(folder) == before:  # however fast the machine is, each life gets a little further
            assert process.poll() is None, "the run ended before it could be killed ten times"
            time.sleep(0.05)
        time.sleep(float(rng.uniform(0, 1)))
        process.kill()
        process.wait()
        kills += 1
    subprocess.run([*command, "--resume", str(folder)], check=True, env=environment)
    assert (folder / "metrics.csv").read_text() == (tmp_path / "whole" / "metrics.csv").read_text()
    files = [(place / "final" / "model.safetensors").read_bytes() for place in (folder, tmp_path / "whole")]
    assert files[0] == files[1]
