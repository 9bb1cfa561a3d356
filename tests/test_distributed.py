"""Two processes against one: losses, counts, interruptions, full disks; and strategies that cannot be had."""

import copy
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from helpers.distributed_worker import BY_CLASS, CONFIG, ONE, TWO, VAL, Data, Task, Toy, cut_within_an_epoch, trainer
from torch import nn

from internimage import create_model
from internimage.data.sampling.orders import ByClass
from internimage.data.sampling.sampler import EpochSampler, SampleKey
from internimage.errors import ConfigError, TrainingError
from internimage.inference.evaluation import measure
from internimage.settings.training import TrainingConfig
from internimage.training.distributed import deepspeed_config, synchronise_batch_norm
from internimage.training.division import Change, divide, divide_anew, going_on
from internimage.training.interruption import told_of_lost_processes
from internimage.training.processes import leave_processes, make_accelerator
from internimage.training.state import Division, Processes, load_state, saved_by

pytestmark = [
    pytest.mark.usefixtures("one_thread"),
    pytest.mark.xdist_group("distributed"),
]

DIVIDED = ("fsdp", "deepspeed-zero3", "deepspeed-zero3-offload")
STRATEGIES = ("ddp", "fsdp", "deepspeed-zero1", "deepspeed-zero3", "deepspeed-zero3-offload")
each_strategy = pytest.mark.parametrize(
    "strategy",
    [pytest.param(name, marks=[pytest.mark.full] if name in STRATEGIES[2:] else []) for name in STRATEGIES],
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("distributed")


@pytest.fixture(scope="module")
def results(request: pytest.FixtureRequest, folder: Path) -> dict[str, Any]:
    """Everything that two processes do, once, with the strategies of the selected tests."""
    asked = {
        item.callspec.params["strategy"]
        for item in request.session.items
        if isinstance(item, pytest.Function) and "results" in item.fixturenames and hasattr(item, "callspec")
    }
    cut_within_an_epoch(ONE, folder / "one, then two", batches=1)
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    launcher += ["-m", "helpers.distributed_worker"]
    done = subprocess.run(
        [*launcher, str(folder), *STRATEGIES[:2], *(name for name in STRATEGIES[2:] if name in asked)],
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parent)},
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-6000:]
    return json.loads((folder / "results.json").read_text())


@pytest.fixture(scope="module")
def alone(folder: Path) -> dict[int, list[dict[str, Any]]]:
    """What one process makes of the same images an update, by the number of accumulated batches."""
    histories = {}
    for accumulate in (1, 2):
        config = replace(CONFIG, batch_size=8 // accumulate, accumulate=accumulate)
        run = trainer(config, folder / f"alone {accumulate}")
        run.fit()
        histories[accumulate] = run.progress.history
    return histories


@each_strategy
def test_two_processes_train_like_one(results: dict[str, Any], alone: dict[int, Any], strategy: str) -> None:
    """Losses and the evaluation of the average (each image counted once, see ``Report``) after every epoch."""
    for accumulate in (1, 2) if strategy in ("ddp", "fsdp") else (2,):
        for ours, one in zip(results[f"{strategy} {accumulate}"]["history"], alone[accumulate], strict=True):
            assert ours["loss"] == pytest.approx(one["loss"], rel=1e-5)
            assert ours["quality"] == pytest.approx(one["quality"], rel=1e-5)
    half = results[f"{strategy} bf16"]["history"][-1]
    assert half["loss"] == pytest.approx(alone[2][-1]["loss"], rel=0.1)
    assert half["loss"] != pytest.approx(alone[2][-1]["loss"], rel=1e-5)


def test_two_processes_take_classes_in_turn_like_one(results: dict[str, Any], folder: Path) -> None:
    run = trainer(replace(CONFIG, batch_size=8), folder / "by class, alone", order=BY_CLASS)
    run.fit()
    for ours, one in zip(results["by class"]["history"], run.progress.history, strict=True):
        assert ours["loss"] == pytest.approx(one["loss"], rel=1e-5)
        assert ours["quality"] == pytest.approx(one["quality"], rel=1e-5)
    assert run.summary()["images"] == 22


@pytest.mark.full
def test_one_process_may_leave_its_weights_in_main_memory(alone: dict[int, Any], tmp_path: Path) -> None:
    """DeepSpeed's offloading is of use to a single GPU; run apart, because it leaves its marks on the process."""
    script = (
        "import sys, json; from pathlib import Path; from dataclasses import replace\n"
        "import deepspeed.comm.torch; deepspeed.comm.torch.build_shm_op = lambda: None\n"
        "from helpers.distributed_worker import CONFIG, leave_processes, trainer\n"
        "config = replace(CONFIG, batch_size=8, strategy='deepspeed-zero3-offload')\n"
        "run = trainer(config, Path(sys.argv[1])); run.fit()\n"
        "Path(sys.argv[1], 'history.json').write_text(json.dumps(run.progress.history))\n"
        "del run; leave_processes()"
    )
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parent)}
    command = [sys.executable, "-c", script, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr[-3000:]
    for ours, one in zip(json.loads((tmp_path / "history.json").read_text()), alone[1], strict=True):
        assert ours["loss"] == pytest.approx(one["loss"], rel=1e-5)
        assert ours["quality"] == pytest.approx(one["quality"], rel=1e-5)


@each_strategy
def test_the_strategy_is_in_effect(results: dict[str, Any], strategy: str) -> None:
    """What each process keeps, counted: everything, or half of it (and what does not divide evenly)."""
    whole = sum(tensor.numel() for tensor in Toy().state_dict().values() if tensor.ndim)
    found = results[f"{strategy} 2"]
    assert found["kinds"] == (["DTensor"] if strategy == "fsdp" else ["Parameter"])
    share = 0.5 if strategy in DIVIDED else 1.0
    assert share * whole <= found["sizes"]["model"] <= share * whole * 1.01
    if "deepspeed" in strategy:  # its weights and two moments
        assert 1.5 * whole <= found["sizes"]["masters"] <= 1.5 * whole * 1.01
    else:
        assert 2 * share * whole <= found["sizes"]["optimizer"] <= 2 * share * whole * 1.01


@pytest.mark.full
def test_networks_are_sharded_block_by_block(tmp_path: Path) -> None:
    """Losses and gradients of two processes with slices are those of one with everything; decoders are divided too."""
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    done = subprocess.run(
        [*launcher, "-m", "helpers.sharding_worker", str(tmp_path / "report.json")],
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parent)},
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-6000:]
    report = json.loads((tmp_path / "report.json").read_text())
    for found in report.values():
        assert found["loss"] < 1e-5
        assert found["gradient"] < 1e-5
        assert sum("blocks" in name for name in found["divided"]) >= 4
    assert {"encoder.layers.0", "layers.0", "layers.1"} <= set(report["small_dino"]["divided"])
    assert {"pixel_decoder.layers.0", "layers.0", "layers.2"} <= set(report["small_mask2former"]["divided"])


@each_strategy
def test_resuming_two_processes_changes_nothing(results: dict[str, Any], strategy: str) -> None:
    assert results[f"{strategy} resumed"]["same"] is True
    assert results[f"{strategy} resumed"]["history"] == results[f"{strategy} 2"]["history"]


def test_a_run_goes_on_with_another_number_of_processes(results: dict[str, Any], alone: Any, folder: Path) -> None:
    """From within an epoch, whose last update is shorter in one of the runs: as if it had stayed where it began.

    Sums are made in another order: weights differ by less than a thousandth of the learning rate's 0.005.
    """
    saved = saved_by(folder / "two, then one")
    assert saved is not None
    assert (saved.folder.name, saved.world) == ("update-000000004", 2)
    moved = trainer(TWO, folder / "two, then one")
    moved.fit(resume=True)
    assert (moved.division.batch_size, moved.division.accumulate, moved.division.batches) == (2, 4, 10)
    for there, stayed, history, expected in (
        ("two, then one", "ddp 2", moved.progress.history, results["ddp 2"]["history"]),
        ("one, then two", "alone 1", results["one, then two"]["history"], alone[1]),
    ):
        weights = [torch.load(folder / name / "final" / "weights.pt") for name in (there, stayed)]
        for name, tensor in weights[0].items():
            torch.testing.assert_close(tensor, weights[1][name], rtol=0, atol=5e-6)
        for row, other in zip(history, expected, strict=True):
            assert row["loss"] == pytest.approx(other["loss"], rel=1e-5)
            assert row["lr"] == other["lr"]


@pytest.mark.parametrize(
    ("length", "before", "world", "now"),
    [
        (100, (2, 8, 1), 1, (8, 2, 12)),
        (100, (1, 8, 1), 2, (4, 1, 12)),
        (100, (1, 8, 3), 2, (6, 2, 8)),
        (22, (2, 2, 2), 1, (2, 4, 10)),
        (5, (2, 4, 1), 3, (2, 1, 1)),  # six places for five images
        (100, (8, 2, 1), 4, (2, 2, 12)),
    ],
)
def test_updates_take_the_same_images_however_they_are_divided(
    length: int, before: tuple[int, int, int], world: int, now: tuple[int, int, int]
) -> None:
    config = replace(CONFIG, batch_size=before[1], accumulate=before[2])
    order: int | ByClass = length
    if length == 100:  # the images of two classes in turn, one of them rare
        order = ByClass((torch.arange(60), torch.arange(60, 63)), length)

    def updates(division: Division) -> list[list[Any]]:
        share, size = division.batches * division.batch_size, division.batch_size * division.accumulate
        orders = [
            list(EpochSampler(order, 3, shuffle=True, rank=rank, world=division.world, share=share))
            for rank in range(division.world)
        ]
        return [
            sorted((key.index, key.turn) for one in orders for key in one[at : at + size])
            for at in range(0, share, size)
        ]

    old = divide(length, config, before[0])
    new = divide_anew(old, world, before[1])
    assert (new.batch_size, new.accumulate, new.batches) == now
    assert updates(new) == updates(old)
    assert divide_anew(new, before[0], before[1]) == old
    assert new.lr == config.peak_lr(before[0])
    assert Change(old, new).settings(config).peak_lr(world) == new.lr


def test_what_does_not_divide_is_refused_with_the_numbers_that_do(results: dict[str, Any], folder: Path) -> None:
    two = divide(22, TWO, 2)
    with pytest.raises(TrainingError, match=r"takes 8 images an update and 20 an epoch.*divide both: 1, 2, 4$"):
        divide_anew(two, 3, 2)
    assert Change(two, divide_anew(two, 1, 2)).told == (
        "resumed with 1 process instead of 2: 4 batches of 2 are accumulated, an update takes 8 images as before"
    )
    assert results["fsdp 2"]["history"]
    with pytest.raises(TrainingError, match=r"saved by 2 processes with strategy fsdp.*; resume with 2, or"):
        going_on(folder / "fsdp 2", 22, replace(TWO, strategy="fsdp"), 4)


@each_strategy
def test_what_is_kept_is_whole_and_is_what_was_evaluated(results: dict[str, Any], folder: Path, strategy: str) -> None:
    for name, norm in [(f"{strategy} 2", "layer"), ("norm", "batch")][: 1 + (strategy == "ddp")]:
        model, task, data = Toy(norm), Task(), Data(VAL, measured=True)
        model.load_state_dict(torch.load(folder / name / "final" / "weights.pt", weights_only=True))
        pipeline = task.pipeline(model.eval())
        report = task.report(pipeline)
        measure(pipeline, [[data[SampleKey(0, index)] for index in range(VAL)]], report)
        assert report.compute()["quality"] == pytest.approx(results[name]["history"][-1]["quality"], rel=1e-5)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_leaving_waits_for_the_threads_that_exchange() -> None:
    def threads() -> int:
        return sum("gloo" in name.read_text() for name in Path("/proc/self/task").glob("*/comm"))

    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    circular: list[Any] = [nn.parallel.DistributedDataParallel(nn.Linear(2, 2))]
    circular.append(circular)
    del circular
    assert threads() > 0
    leave_processes()
    assert threads() == 0
    assert not dist.is_initialized()


def test_processes_end_together_and_share_what_the_main_one_found(results: dict[str, Any]) -> None:
    said = "another process stopped: 3.png is torn"
    assert results["unreadable"] == [f"TrainingError: {said}", "ImageReadError: 3.png is torn"]
    assert results["main"] == "0"


@pytest.mark.parametrize(
    ("text", "lost"), [("pair.cc:561] Connection closed by peer [127.0.0.1]:9", True), ("x", False)]
)
def test_the_end_of_another_process_is_told(text: str, lost: bool, tmp_path: Path) -> None:
    with (
        pytest.raises(
            TrainingError if lost else RuntimeError, match="another process of the run ended" if lost else "x"
        ),
        told_of_lost_processes(tmp_path),
    ):
        raise RuntimeError(text)


def test_a_full_disk_of_one_process_stops_all_and_keeps_the_last_state(results: dict[str, Any]) -> None:
    own, other = results["disk"]
    assert own.startswith("TrainingError: cannot write")
    assert "the disk is full" in own
    assert other.startswith("TrainingError: another process could not save")
    for text in results["disk"]:
        assert "update-000000002 is intact; make room" in text
        assert text.endswith("['update-000000002']")


@pytest.mark.parametrize(
    ("changes", "environment", "message"),
    [
        ({"strategy": "fsdp"}, {}, "nothing to shard in one process; start several with torchrun"),
        ({"strategy": "fsdp", "precision": "fp16"}, {}, "precision fp16 works with strategy ddp"),
        ({"precision": "fp16"}, {}, "precision fp16 needs a GPU"),
        ({}, {"ACCELERATE_USE_FSDP": "true"}, "turns on FSDP; turn it off there and pass --strategy"),
        ({}, {"ACCELERATE_USE_DEEPSPEED": "true"}, "turns on DeepSpeed; turn it off there and pass --strategy"),
    ],
)
def test_a_strategy_that_would_not_be_in_effect_is_refused(
    monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any], environment: dict[str, str], message: str
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError, match=message):
        make_accelerator(replace(CONFIG, **changes), Path(), device="cpu")


@torch.no_grad()
@pytest.mark.parametrize("name", ["internimage_atto", "internimage_t_1k_224"])
def test_batch_norm_over_all_processes_has_the_same_names_and_numbers(name: str) -> None:
    """As far as a CPU can tell: PyTorch synchronises statistics on GPUs alone, in evaluation there is nothing to do."""
    torch.manual_seed(0)
    model = create_model(name, num_classes=3).eval()
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.running_mean, module.running_var = torch.rand(module.num_features), torch.rand(module.num_features)
    images = torch.randn(2, 3, 64, 96)
    before, weights = model(images), {name: tensor.clone() for name, tensor in model.state_dict().items()}
    converted = synchronise_batch_norm(model)
    kinds = {type(module) for module in converted.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)}
    assert all(issubclass(kind, nn.SyncBatchNorm) for kind in kinds)
    assert len(kinds) == (2 if name == "internimage_atto" else 1)
    assert torch.equal(converted(images), before)
    after = converted.state_dict()
    assert list(after) == list(weights)
    assert all(torch.equal(after[name], weights[name]) for name in weights)


def test_compiling_what_is_sharded_is_refused() -> None:
    with pytest.raises(ConfigError, match="compile works with strategy ddp, not with fsdp"):
        TrainingConfig(strategy="fsdp", compile=True)


def test_other_processes_than_those_that_saved_are_refused(results: dict[str, Any], folder: Path) -> None:
    del results
    for world, strategy in ((1, "fsdp"), (2, "ddp")):
        with pytest.raises(TrainingError, match=f"saved by 2 processes with strategy fsdp, this is {world} with"):
            load_state(folder / "fsdp 2", Processes(0, world, strategy, lambda mine: mine))


@pytest.mark.parametrize("strategy", STRATEGIES[2:])
@pytest.mark.parametrize("precision", ["no", "bf16"])
def test_deepspeed_knows_every_word_of_its_configuration(strategy: Any, precision: Any) -> None:
    """Its schema of the ZeRO part refuses unknown names; the rest is read by the names that it lists."""
    from deepspeed.runtime import constants
    from deepspeed.runtime.config import DeepSpeedConfig
    from deepspeed.runtime.zero.config import DeepSpeedZeroConfig

    config = deepspeed_config(replace(CONFIG, strategy=strategy, precision=precision))
    zero = DeepSpeedZeroConfig(**config["zero_optimization"])
    assert zero.stage == (1 if strategy == "deepspeed-zero1" else 3)
    assert ((zero.offload_param and zero.offload_param.device) == "cpu") == strategy.endswith("offload")
    read = DeepSpeedConfig(copy.deepcopy(config))
    assert read.gradient_clipping == CONFIG.clip_norm
    assert read.train_micro_batch_size_per_gpu == CONFIG.batch_size
    assert read.torch_autocast_enabled == (precision == "bf16")
    words = {value for name, value in vars(constants).items() if name.isupper() and isinstance(value, str)}
    assert set(config) <= words | {"zero_optimization", "zero_allow_untested_optimizer", "zero_force_ds_cpu_optimizer"}
