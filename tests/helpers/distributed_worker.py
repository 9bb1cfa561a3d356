"""Training by several processes, for test_distributed.py: started by torchrun, it tells what happened as JSON."""

import contextlib
import json
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from accelerate.utils import gather_object
from torch import Tensor, nn

from helpers.training import Silent
from internimage.backbones.config import InternImageConfig
from internimage.backbones.internimage import InternImage
from internimage.data.samples import EvaluationSample, Measured
from internimage.data.sampling.orders import ByClass, Order
from internimage.data.sampling.sampler import SampleKey
from internimage.errors import ImageReadError, InternImageError
from internimage.images import ImageSource
from internimage.models.model import Model
from internimage.settings.training import TrainingConfig
from internimage.training.division import going_on
from internimage.training.processes import from_main, leave_processes, started_processes
from internimage.training.state import newest_checkpoint
from internimage.training.trainer import Trainer

CONFIG = TrainingConfig(
    epochs=2, workers=0, lr=0.005, warmup_epochs=0.5, drop_path=0, clip_norm=0.5, ema_decay=0.9, track="none"
)
TRAIN, VAL = 22, 5
BY_CLASS = ByClass((torch.arange(20), torch.arange(20, TRAIN)), TRAIN)  # two of the images half of the time
ONE, TWO = replace(CONFIG, batch_size=8), replace(CONFIG, batch_size=2, accumulate=2)  # of a run's first processes


class Toy(Model):
    """A backbone with a head: two batches of different statistics are enough to see whether gradients are averaged."""

    def __init__(self, norm: str = "layer") -> None:
        super().__init__()
        self.backbone = InternImage(InternImageConfig(channels=8, depths=(1, 1, 2, 1), groups=(1, 2, 4, 8)))
        self.norm = nn.BatchNorm1d(64) if norm == "batch" else nn.Identity()
        self.head = nn.Linear(64, 1)
        self.log_scale = nn.Parameter(torch.tensor(0.0))  # a number, as temperatures are

    def forward(self, x: Tensor) -> Tensor:
        return self.log_scale.exp() * self.head(self.norm(self.backbone(x)[-1].mean((2, 3))))

    def losses(self, x: Tensor, y: Tensor) -> dict[str, Tensor]:  # type: ignore[override]
        return {"mse": (self(x)[:, 0] - y).square().mean()}


@dataclass(frozen=True)
class Batch:
    x: Tensor
    y: Tensor
    unreadable: tuple[str, ...] = ()

    def to(self, device: torch.device) -> "Batch":
        return self


class Data(torch.utils.data.Dataset[Any]):
    """Noise and its mean; ``measured`` as evaluation takes them."""

    def __init__(self, length: int, measured: bool = False) -> None:
        generator = torch.Generator().manual_seed(length)
        self.x = torch.randn(length, 3, 32, 32, generator=generator)
        self.y = self.x[:, 0].mean((1, 2)) * 8
        self.measured = measured

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, key: SampleKey) -> Any:
        x, y = self.x[key.index], self.y[key.index]
        source = ImageSource(str(key.index), b"")
        return EvaluationSample(key.index, source, x, Measured(float(y))) if self.measured else (x, y)


class Report:
    """The error of each image that was counted, by its number."""

    def __init__(self) -> None:
        self.errors: list[tuple[int, float]] = []

    def add(self, result: float, sample: EvaluationSample) -> None:
        self.errors.append((sample.entry, abs(result - sample.measured.truth)))

    def state(self) -> list[tuple[int, float]]:
        return self.errors

    def merge(self, states: Sequence[list[tuple[int, float]]]) -> None:
        self.errors = [error for state in states for error in state]

    def compute(self) -> dict[str, float]:
        assert sorted(index for index, _ in self.errors) == list(range(VAL)), self.errors
        return {"quality": -sum(error for _, error in self.errors)}


class Pipeline:
    def __init__(self, model: nn.Module) -> None:
        self.model = model

    def predict(self, prepared: Sequence[Tensor], sources: Any, known: Any) -> list[float]:
        with torch.inference_mode():
            return self.model(torch.stack(list(prepared)))[:, 0].tolist()


class Task:
    best = "quality"
    headline = ("quality",)
    ragged = False

    def __init__(self, stop_after: int = 0) -> None:
        self.calls, self.stop_after = 0, stop_after

    def collate(self, samples: Sequence[tuple[Tensor, Tensor]]) -> Batch:
        x, y = zip(*samples, strict=True)
        return Batch(torch.stack(x), torch.stack(y))

    def losses(self, losses: Any, batch: Batch) -> dict[str, Tensor]:
        self.calls += 1
        if self.calls == self.stop_after:
            raise KeyError("power cut")
        return losses(batch.x, batch.y)

    def pipeline(self, model: nn.Module, *, in_step: bool = False) -> Any:
        return Pipeline(model)

    def report(self, pipeline: Any) -> Any:
        return Report()


def save(model: nn.Module, folder: Path, weights: Mapping[str, Tensor]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    torch.save(dict(weights), folder / "weights.pt")


def trainer(
    config: TrainingConfig, folder: Path, task: Task | None = None, norm: str = "layer", order: Order | None = None
) -> Trainer:
    torch.manual_seed(0)
    data, val = Data(TRAIN), Data(VAL, measured=True)
    change = going_on(folder, TRAIN, config, started_processes())
    config = change.settings(config) if change else config
    runs = {"device": "cpu", "order": order, "change": change, "save": save}
    return Trainer(task or Task(), Toy(norm), data, val, config, folder, Silent(), **runs)


def cut_within_an_epoch(config: TrainingConfig, folder: Path, batches: int) -> None:
    """A run that saves after each update and ends without a word in its second epoch, after so many batches of it."""
    cut = trainer(replace(config, checkpoint_minutes=1e-9), folder)
    cut.task = Task(cut.batches + batches + 1)
    with contextlib.suppress(KeyError):
        cut.fit()


def report(run: Trainer) -> dict[str, Any]:
    """The history, and which kinds of tensors the parameters are."""
    kinds = sorted({type(parameter).__name__ for parameter in run.model.parameters()})
    state = run.distribution.state()
    sizes = {name: sum(tensor.numel() for tensor in flat(state[name])) for name in state if state[name] is not None}
    return {"history": run.progress.history, "kinds": kinds, "sizes": sizes, "updates": run.progress.update}


def flat(tree: Any) -> list[Tensor]:
    return [leaf for leaf in torch.utils._pytree.tree_leaves(tree) if isinstance(leaf, Tensor) and leaf.ndim]


def main(folder: Path, strategies: list[str]) -> None:
    torch.set_num_threads(1)
    if any("deepspeed" in strategy for strategy in strategies):
        import deepspeed.comm.torch

        deepspeed.comm.torch.build_shm_op = lambda: None  # a collective for inference, which would need a compiler
    results: dict[str, Any] = {}
    for strategy in strategies:
        for accumulate in (1, 2) if strategy in ("ddp", "fsdp") else (2,):
            config = replace(CONFIG, strategy=strategy, batch_size=4 // accumulate, accumulate=accumulate)
            name = f"{strategy} {accumulate}"
            whole = trainer(config, folder / name)
            whole.fit()
            results[name] = report(whole)
        # the second epoch is cut after its first batch, twice; then the run goes on to the end
        for stop in (whole.batches + 2, 1):
            cut = trainer(config, folder / f"{name} cut", Task(stop))
            with contextlib.suppress(KeyError):
                cut.fit(resume=newest_checkpoint(cut.folder) is not None)
        resumed = trainer(config, folder / f"{name} cut")
        resumed.fit(resume=True)
        results[f"{strategy} resumed"] = report(resumed)
        same = [torch.equal(a, b) for a, b in zip(tensors(whole), tensors(resumed), strict=True)]
        results[f"{strategy} resumed"]["same"] = all(same) and len(same) > 50
        half = trainer(TrainingConfig(**{**vars(config), "precision": "bf16"}), folder / f"{strategy} bf16")
        half.fit()
        results[f"{strategy} bf16"] = report(half)
    if "ddp" in strategies:
        batch = trainer(replace(CONFIG, batch_size=4), folder / "norm", norm="batch")
        batch.fit()
        results["norm"] = report(batch)
        by_class = trainer(replace(CONFIG, batch_size=4), folder / "by class", order=BY_CLASS)
        by_class.fit()
        results["by class"] = report(by_class)
        cut_within_an_epoch(TWO, folder / "two, then one", batches=3)
        moved = trainer(ONE, folder / "one, then two")
        moved.fit(resume=True)
        results["one, then two"] = report(moved)
        results["unreadable"] = unreadable(folder / "unreadable")
        results["main"] = from_main(moved.accelerator, lambda: os.environ["RANK"])
    results["disk"] = [trouble(folder / strategy, strategy) for strategy in strategies[:2]]
    if int(os.environ.get("RANK", "0")) == 0:
        (folder / "results.json").write_text(json.dumps(results))


class Torn(Data):
    """One of its images, which the second process reads, cannot be read."""

    def __getitem__(self, key: SampleKey) -> Any:
        if key.index == 3:
            raise ImageReadError("3.png is torn")
        return super().__getitem__(key)


def unreadable(folder: Path) -> list[str]:
    """What each process says to an image that one of them cannot read in evaluation."""
    run = trainer(replace(CONFIG, batch_size=4), folder)
    run.val_loader = torch.utils.data.DataLoader(
        Torn(VAL, measured=True), sampler=run.val_loader.sampler, collate_fn=list
    )
    said = "nothing"
    try:
        run.evaluate()
    except InternImageError as error:
        said = f"{type(error).__name__}: {error}"
    return gather_object([said])


def trouble(folder: Path, strategy: str) -> str:
    """What the main process says when the disk is full at the second save: another's, or its own if it saves alone."""
    run = trainer(replace(CONFIG, batch_size=4, strategy=strategy), folder)
    real, saves = torch.save, 0

    def full(content: Any, file: Any) -> None:
        nonlocal saves
        saves += "parts" in content
        if saves == 2 and int(os.environ["RANK"]) == (strategy != "ddp"):
            raise OSError(28, "No space left on device")
        real(content, file)

    torch.save = full
    try:
        run.fit()
    except InternImageError as error:
        left = sorted(path.name for path in (folder / "checkpoints").iterdir())
        return f"{type(error).__name__}: {error} {left}"
    finally:
        torch.save = real
    return "nothing"


def tensors(run: Trainer) -> list[Tensor]:
    assert run.average is not None
    return [*run.distribution.state().get("model", {}).values(), *run.average.tensors.values()]


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
    leave_processes()
