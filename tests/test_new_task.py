"""A task and an architecture from outside, added by one line each, through the ordinary commands."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from helpers.commands import run
from PIL import Image

import internimage as ii
from internimage import registry

pytestmark = pytest.mark.usefixtures("one_thread", "counting")


@pytest.fixture
def counting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The package of ``helpers/counting`` under a name of its own, and the two lines."""
    shutil.copytree(Path(__file__).parent / "helpers" / "counting", tmp_path / "packages" / "counting")
    monkeypatch.syspath_prepend(tmp_path / "packages")
    task = registry.TaskEntry("counting.spec:SPEC", ("counting.recipes:RECIPES",))
    monkeypatch.setitem(registry.TASKS, "counting", task)
    counter = registry.ArchitectureEntry("counting", "counting.model:CounterConfig", "counting.model:Counter")
    monkeypatch.setitem(registry.ARCHITECTURES, "counter", counter)


@pytest.fixture
def dots(tmp_path: Path) -> Path:
    """A toy world: dark images with one to eight bright dots of 4x4 pixels."""
    root, rng = tmp_path / "dots", np.random.default_rng(0)
    counts: dict[str, dict[str, int]] = {"train": {}, "val": {}}
    root.mkdir()
    for part, images in (("train", 48), ("val", 16)):
        for number in range(images):
            pixels = rng.integers(0, 20, (32, 32, 3), dtype=np.uint8)
            count = 1 + number % 8
            for place in rng.choice(64, count, replace=False):
                y, x = 4 * (place // 8), 4 * (place % 8)
                pixels[y : y + 4, x : x + 4] = 255
            Image.fromarray(pixels).save(root / f"{part}{number}.png")
            counts[part][f"{part}{number}.png"] = count
    (root / "counts.json").write_text(json.dumps(counts))
    return root


def test_ordinary_commands_know_it(dots: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Guessing the mean count of 4.5 would be wrong by 2 on average."""
    folder = tmp_path / "run"
    assert run(["train", "--data", dots, "--output", folder, "--track", "none", "--device", "cpu"]) == 0
    said = capsys.readouterr().out
    assert "dots are counted" in said
    assert "48 training, 16 validation images; 10 epochs of 6 updates" in said
    row = json.loads((folder / "summary.json").read_text())["best"]
    assert row["mean_error"] < 1
    assert run(["evaluate", "--data", dots, "--part", "val", "--model", folder / "best", "--json"]) == 0
    measured = json.loads(capsys.readouterr().out)
    assert measured["mean_error"] == pytest.approx(row["mean_error"], rel=1e-5)
    assert run(["predict", dots, "--model", folder / "best", "--json"]) == 0
    found = {Path(one["image"]).name: one["count"] for one in map(json.loads, capsys.readouterr().out.splitlines())}
    truth = json.loads((dots / "counts.json").read_text())["val"]
    errors = [abs(found[name] - count) for name, count in truth.items()]
    assert sum(errors) / len(errors) == pytest.approx(row["mean_error"], rel=1e-4)
    assert run(["train", "--resume", folder, "--device", "cpu"]) == 0
    assert run(["data", "check", dots, "--sheet", tmp_path / "sheet.png"]) == 0
    (dots / "val3.png").unlink()
    capsys.readouterr()
    assert run(["data", "check", dots]) == 1
    assert "missing" in capsys.readouterr().out


def test_python_knows_it(dots: Path, tmp_path: Path) -> None:
    assert "counter_internimage_mini" in ii.list_models("counter*")
    ended = ii.train(
        dots, epochs=2, output=tmp_path / "run", device="cpu", training=ii.TrainingConfig(track="none", workers=0)
    )
    report = ii.evaluate(dots, ended.best, part="val", device="cpu")
    assert report.compute()["closeness"] == pytest.approx(max(row["closeness"] for row in ended.history), rel=1e-5)
    with pytest.raises(ii.errors.DataError, match="has counts of objects; a classifier is measured on a class"):
        ii.evaluate(dots, ii.create_model("internimage_atto"), device="cpu")
