"""Faults of machines and processes: each ends in one sentence, and leaves nothing half-done."""

import errno
import io
import json
import multiprocessing
import os
import signal
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers import classifiers, old_data
from helpers.commands import run
from helpers.disks import small_files_only
from helpers.training import COLOURS, SMALL, Silent, paint, prepare
from PIL import Image, TiffImagePlugin

import internimage as ii
from internimage.errors import (
    CheckpointWriteError,
    ConfigError,
    FileWriteError,
    ImageReadError,
    InternImageError,
    NonFiniteError,
    ReaderKilledError,
    TrainingError,
)
from internimage.inference.blame import first_not_finite
from internimage.machine import check_compiler
from internimage.settings.training import RunConfig
from internimage.training.interruption import told_of_killed_readers
from internimage.training.run import default_folder, resume_run, start_run
from internimage.training.state import RunLock
from internimage.writing import json_text, save_picture, write_text, written_aside

pytestmark = pytest.mark.usefixtures("one_thread", "small_recipes")

NOT_UTF8 = "\udcff\udce9"  # how Python has the bytes ff e9 of a file's name
PICTURE = np.random.default_rng(0).integers(0, 255, (64, 96, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model folder with two classes."""
    config = replace(classifiers.CONFIGS["small"][0], num_classes=2)
    return ii.save_model(ii.create_model(config), tmp_path_factory.mktemp("model"), labels=("é", "red" + NOT_UTF8))


# --- devices and settings ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"device": "gpu"}, "device is 'gpu'; expected auto, cpu, cuda"),
        ({"device": "cuda:99"}, "device is 'cuda:99', and PyTorch finds no such device here"),
        ({"device": "hpu"}, "device is 'hpu', and PyTorch finds no such device here"),
        ({"dtype": torch.int8}, "dtype is torch.int8; expected torch.float32"),
        ({"dtype": "float16"}, "dtype is 'float16'; expected torch.float32"),
    ],
)
def test_what_the_machine_does_not_have_is_named(options: dict[str, Any], said: str, folder: Path) -> None:
    model = ii.create_model("internimage_atto", device="meta")
    for call in (
        lambda: ii.create_model("internimage_atto", **options),
        lambda: ii.load_model(folder, **options),
        lambda: ii.Predictor(model, **options),
        lambda: ii.evaluate(folder, folder, **options),
    ):
        with pytest.raises(ConfigError, match=said):
            call()


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (["predict", "x.png", "--device", "gpu"], "device is 'gpu'"),
        (["train", "--data", "DATA", "--device", "gpu"], "device is 'gpu'; training here runs on auto, cpu"),
        (["train", "--data", "DATA", "--epochs", "0"], "epochs is 0; expected at least 1"),
        (["train", "--data", "DATA", "--mixup", "-1"], "mixup, cutmix and colour_jitter are 0 or more"),
        (["demo", "--output", "demo.xyz"], "demo.xyz is no picture's name"),
        (["train", "--resume", "DATA", "--workers", "0"], "DATA holds no run.json"),
    ],
)
def test_commands_say_it_in_one_line(
    command: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    paint(tmp_path / "DATA", COLOURS, 2)
    assert run(command) in (1, 2)
    error = capsys.readouterr().err.splitlines()
    assert len(error) == 1
    assert error[0].startswith(f"internimage: {said}")


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--version"]) == 0
    assert capsys.readouterr().out == f"internimage {ii.__version__}\n"


@pytest.mark.parametrize(("device", "what"), [("cpu", r"a C\+\+ compiler"), ("cuda", "a C compiler")])
def test_compiling_without_a_compiler_is_refused_first(
    device: str, what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable in ("CC", "CXX"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ConfigError, match=f"torch.compile needs {what}.*leave --compile out"):
        check_compiler(torch.device(device))
    if device == "cpu":
        data = paint(tmp_path / "data", COLOURS, 2)
        with pytest.raises(ConfigError, match=r"torch\.compile needs"):
            prepare(data, tmp_path / "run", training=replace(SMALL, compile=True, batch_size=2))
        assert not (tmp_path / "run").exists()


# --- text and names ------------------------------------------------------------------------------------------------


def test_text_that_a_pipe_lacks_is_replaced(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    image = tmp_path / "\N{SNOWMAN}é.png"
    Image.fromarray(PICTURE).save(image)
    for command in (["--help"], ["predict", image, "--model", folder], ["models", "*atto*"], ["doctor", "--json"]):
        for encoding in ("cp1252", "ascii"):
            monkeypatch.setattr("sys.stdout", io.TextIOWrapper(io.BytesIO(), encoding=encoding))
            assert run(command) == 0
    monkeypatch.setattr("sys.stdout", io.TextIOWrapper(io.BytesIO(), encoding="cp1252"))
    assert run(["predict", image, "--model", folder, "--json"]) == 0
    said = json.loads(sys.stdout.buffer.getvalue())  # type: ignore[attr-defined]
    assert said["image"] == str(image)
    assert {one["label"] for one in said["predictions"]} == {"é", "red" + NOT_UTF8}
    assert json_text("é") == '"é"'


@pytest.mark.parametrize(
    "task",
    ["classification", *(pytest.param(task, marks=pytest.mark.full) for task in ("detection", "segmentation"))],
)
def test_names_that_are_not_utf8(task: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Of files, of their folder, of classes, of the run."""
    data = old_data.paint(task, tmp_path / f"data{NOT_UTF8}")
    for file in sorted(data.rglob("*.png"), reverse=True):
        file.rename(file.with_stem(file.stem + NOT_UTF8))
    for file in data.rglob("red"):
        file.rename(file.with_name("red" + NOT_UTF8))
    for file in data.rglob("*.json"):
        file.write_text(file.read_text().replace('.png"', '\\udcff\\udce9.png"').replace("red", "red\\udcff"))
    model = {"classification": "small", "detection": "small_mask", "segmentation": "small_upernet"}[task]
    folder = tmp_path / f"run{NOT_UTF8}"
    options = ["--size", 64, "--epochs", 1, "--batch-size", 4, "--workers", 0, "--device", "cpu", "--output", folder]
    assert run(["data", "check", data, "--sheet", tmp_path / f"{NOT_UTF8}.png"]) in (0, 1)
    assert run(["train", "--data", data, "--model", model, *options]) == 1
    assert "is not UTF-8, which tensorboard wants; choose another --output or --track none" in capsys.readouterr().err
    assert run(["train", "--data", data, "--model", model, *options, "--track", "none"]) == 0
    assert run(["evaluate", "--data", data, "--part", "val", "--model", folder / "best", "--save", tmp_path]) == 0
    assert run(["predict", data, "--model", folder / "best", "--save", tmp_path / f"out{NOT_UTF8}"]) == 0
    assert len(list((tmp_path / f"out{NOT_UTF8}").glob(f"0{NOT_UTF8}*"))) >= 2
    resume_run(folder, Silent(), device="cpu")
    str(default_folder(data)).encode()


# --- files ---------------------------------------------------------------------------------------------------------


def test_a_full_disk_leaves_nothing_half_written(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, out = paint(tmp_path / "data", COLOURS, 2), tmp_path / "out"
    model = ["--model", folder]
    commands = [
        (["predict", data, *model, "--save", out], "0.predicted.png"),
        (["data", "check", data, "--sheet", out / "sheet.jpg"], "sheet.jpg"),
        (["features", data, "--model", "small", "--checkpoint", folder, "--output", out / "all.npz"], "all.npz"),
        (["convert", folder, out / "model.pth", "--layout", "official"], "model.pth"),
    ]
    for command, name in commands:
        with small_files_only():
            assert run(command) == 1
        assert f"internimage: cannot write {out / name}: File too large; nothing was left" in capsys.readouterr().err
        assert not list(out.iterdir())
    link, file = tmp_path / "link.txt", tmp_path / "real.txt"
    write_text(file, "before")
    link.symlink_to(file)
    with small_files_only(3), pytest.raises(FileWriteError, match=r"link\.txt.*what was there before is intact"):
        write_text(link, "after")
    assert file.read_text() == "before"
    write_text(link, "after")
    assert (link.is_symlink(), file.read_text()) == (True, "after")
    long = tmp_path / f"{'x' * 250}.png"  # as long as a name may be
    save_picture(Image.fromarray(PICTURE), long)
    assert long.exists()


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "the disk is full"),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), "the disk is full"),
        (OSError(errno.EROFS, "Read-only file system"), "Read-only file system"),
        (None, "No such file or directory"),
    ],
)
def test_only_a_full_disk_is_said_to_be_full(error: OSError | None, said: str, tmp_path: Path) -> None:
    """Without an error: into a place whose size is 0 and where nothing can be made."""
    place = tmp_path / "x" if error else Path("/proc/none/x")
    with pytest.raises(FileWriteError, match=f": {said};"), written_aside(place):
        raise error or AssertionError


def test_a_model_is_not_saved_below_a_file(folder: Path, tmp_path: Path) -> None:
    write_text(tmp_path / "file", "")
    for place in ("file", "file/model"):
        with pytest.raises(CheckpointWriteError, match=r"cannot write .*nothing was left half-written"):
            ii.save_model(ii.load_model(folder), tmp_path / place)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_what_is_odd_in_a_tiff_stays_off_the_terminal(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    tags.tagtype[65000], tags[65000] = 2, "nobody knows"
    Image.fromarray(PICTURE).save(tmp_path / "a.tif", compression="tiff_adobe_deflate", tiffinfo=tags)
    assert (np.asarray(ii.read_image(tmp_path / "a.tif")) == PICTURE).all()
    content = bytearray((tmp_path / "a.tif").read_bytes())
    content[200:-200] = bytes(len(content) - 400)
    (tmp_path / "b.tif").write_bytes(content)
    with pytest.raises(ImageReadError, match=r"b\.tif: cannot be read"):
        ii.read_image(tmp_path / "b.tif")
    assert capfd.readouterr().err == ""


# --- runs ----------------------------------------------------------------------------------------------------------


def test_one_run_in_a_folder_at_a_time(tmp_path: Path) -> None:
    """The lock ends with its process, even a killed one, and not with those that it forked."""
    lock = RunLock(tmp_path)
    with pytest.raises(TrainingError, match=rf"is in use by a run \(process {os.getpid()} on .*another --output"):
        RunLock(tmp_path)
    reader, writer = os.pipe()
    if (child := os.fork()) == 0:
        os.write(writer, b"forked")
        signal.pause()
    os.read(reader, 6)
    lock.release()
    try:
        lock = RunLock(tmp_path)
    finally:
        os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    lock.release()
    if (child := os.fork()) == 0:
        RunLock(tmp_path)
        os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(child, 0)
    assert RunLock(tmp_path).kept


def test_runs_do_not_meet_and_one_that_saved_nothing_starts_anew(tmp_path: Path) -> None:
    data, folder = paint(tmp_path / "data", COLOURS, 2), tmp_path / "run"
    training = replace(SMALL, epochs=1, batch_size=2)
    config = RunConfig(data=str(data), model="small", size=32, training=training)
    first = start_run(config, folder, Silent(), device="cpu")
    for begin in (lambda: start_run(config, folder, Silent(), device="cpu"), lambda: ii.resume(folder, device="cpu")):
        with pytest.raises(TrainingError, match="is in use by a run"):
            begin()
    assert first.lock is not None
    first.lock.release()  # as if it had failed before it saved anything
    start_run(config, folder, Silent(), device="cpu").fit()
    with pytest.raises(TrainingError, match="already holds a run"):
        start_run(config, folder, Silent(), device="cpu")
    assert ii.resume(folder, device="cpu", workers=1, reporter=Silent()).history
    (data / "red" / "0.png").unlink()
    with pytest.raises(TrainingError, match=r"start anew with --init .*best$"):
        resume_run(folder, Silent(), device="cpu")


class Killer(Silent):
    """Kills a process that reads, after the second epoch: after the first one nothing is saved yet."""

    def epoch(self, row: dict[str, Any], *args: Any) -> None:
        if row["epoch"] < 2:
            return
        victim = multiprocessing.active_children()[0]
        assert victim.pid is not None
        os.kill(victim.pid, signal.SIGTERM)  # SIGTERM to the whole group of processes leaves them
        os.kill(victim.pid, signal.SIGKILL)


def die(text: str) -> None:
    """As PyTorch says it; hidden where a file is being written, whose own error comes on top."""
    try:
        raise RuntimeError(text)
    except RuntimeError:
        if text.endswith("hidden"):
            raise RuntimeError("unexpected pos 2230144 vs 2230032")  # noqa: B904
        raise


def test_a_killed_reader_is_named_with_advice(tmp_path: Path) -> None:
    data, folder = paint(tmp_path / "data", COLOURS, 2), tmp_path / "run"
    config = RunConfig(data=str(data), model="small", size=32, training=replace(SMALL, epochs=99, workers=1))
    with pytest.raises(
        ReaderKilledError, match=rf"killed by the system.*memory ran out; .*--resume {folder} and fewer"
    ):
        start_run(config, folder, Killer(), device="cpu").fit()
    for text, said in (
        (
            "DataLoader worker (pid 7) is killed by signal: Bus error. It",
            r"pid 7\).*Bus error.*--shm-size.*nothing was",
        ),
        ("DataLoader worker (pid(s) 7, 8) exited unexpectedly", r"pid 7, 8\).*no signal is known.*memory ran out"),
        ("DataLoader worker (pid 9) is killed by signal: Killed. hidden", r"pid 9\).*Killed.*memory ran out"),
    ):
        with (
            pytest.raises(ReaderKilledError, match=said),
            told_of_killed_readers(tmp_path),
            written_aside(tmp_path / "x"),  # wherever the main thread is
        ):
            die(text)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signals_end_commands_with_their_status(
    number: signal.Signals, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    if number == signal.SIGINT:  # a shell's background jobs ignore it
        signal.signal(number, signal.default_int_handler)
    before = signal.getsignal(number)
    data = paint(tmp_path / "data", COLOURS, 2)
    monkeypatch.setattr("internimage.doctor.examine", lambda: signal.raise_signal(number))
    assert run(["doctor"]) == 128 + number
    monkeypatch.setattr("internimage.training.console.ConsoleReporter.epoch", lambda *_: signal.raise_signal(number))
    options = ["--size", 32, "--epochs", 9, "--workers", 0, "--device", "cpu", "--output", tmp_path / "run"]
    options += ["--track", "none", "--batch-size", 2]
    assert run(["train", "--data", data, "--model", "small", *options]) == 128 + number
    assert "after saving; continue with: internimage train --resume" in capsys.readouterr().err
    assert signal.getsignal(number) == before


# --- models in use -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["small", "small_composite"])
def test_a_model_that_is_learning_predicts_and_stays_as_it_is(name: str) -> None:
    """In its mode, device and dtype; what it learns later, the predictor knows."""
    model: Any = ii.create_model(name)
    wanted = ii.Predictor(model)(PICTURE).to_dict()
    model.train()
    model.backbone.eval()
    before = {key: (part.training, len(part._forward_hooks)) for key, part in model.named_modules()}
    predict, half = ii.Predictor(model), ii.Predictor(model, dtype=torch.bfloat16)
    assert predict(PICTURE).to_dict() == wanted
    assert half(PICTURE).to_dict() != wanted
    assert {key: (part.training, len(part._forward_hooks)) for key, part in model.named_modules()} == before
    assert {weight.dtype for weight in model.parameters()} == {torch.float32}
    assert not any(part.training for part in predict.model.modules())
    with torch.no_grad():
        next(model.backbone.parameters()).mul_(3)
    assert predict(PICTURE).to_dict() == ii.Predictor(model)(PICTURE).to_dict() != wanted


def test_a_forked_process_answers() -> None:
    """OpenMP's threads are not there any more."""
    torch.set_num_threads(2)
    predict = ii.Predictor(ii.create_model("small"))
    wanted = predict(PICTURE).label
    if (child := os.fork()) == 0:
        try:
            signal.alarm(60)
            os._exit(7 if predict(PICTURE).label == wanted else 1)
        finally:
            os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7


@pytest.mark.parametrize(
    "name", ["small", "small_mask", "small_cascade", "small_dino", "small_mask_dino", "small_upernet"]
)
def test_numbers_that_are_not_finite_are_blamed_on_a_layer(name: str) -> None:
    """Weights when a predictor is made, outputs when it predicts; a network that gives NaN never gives a result."""
    model: Any = ii.create_model(name)
    predict = ii.Predictor(model)
    block = model.get_submodule(next(iter(model.backbones())) + "stages.1.blocks.0")
    hook = block.mlp.register_forward_hook(lambda module, inputs, output: output * torch.inf)
    blamed = next(key for key, part in model.named_modules() if part is block.mlp)
    with pytest.raises(NonFiniteError, match=rf"first layer whose output is not finite is {blamed}, its weights are"):
        ii.Predictor(model)(PICTURE)
    hook.remove()
    predict(PICTURE)
    weight = block.dcn.offset.weight
    with torch.no_grad():
        weight[0, 0] = torch.nan
    with pytest.raises(NonFiniteError, match=r"the weights .*stages\.1\.blocks\.0\.dcn\.offset\.weight are not"):
        ii.Predictor(model)


def test_a_checkpoint_with_nan_is_named_when_it_is_loaded(folder: Path, tmp_path: Path) -> None:
    model: Any = ii.load_model(folder)
    with torch.no_grad():
        model.classifier.bias[1] = 1e30
    ii.save_model(model, tmp_path)
    ii.load_model(tmp_path)
    with pytest.warns(
        UserWarning, match=r"holds 1 tensors that are NaN or infinite as torch.float16: classifier.bias;"
    ):
        assert ii.load_model(tmp_path, dtype=torch.float16)


def test_a_loss_that_is_not_finite_is_named_with_the_layer(tmp_path: Path) -> None:
    data = paint(tmp_path / "data", COLOURS, 2)
    training = replace(SMALL, epochs=99, batch_size=2, evaluate_every=99)
    trainer = prepare(data, tmp_path / "run", model="small", training=training)
    with torch.no_grad():
        trainer.model.head.conv.weight[0, 0] = torch.nan
    said = (
        r"20 updates in a row.*: the loss cross_entropy is not finite, the weights head\.conv\.weight are not finite;"
    )
    with pytest.raises(InternImageError, match=said):
        trainer.fit()
    assert first_not_finite(torch.nn.Linear(1, 1), lambda: None).startswith("the outputs of all layers are finite")
