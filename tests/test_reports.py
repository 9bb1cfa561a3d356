"""``evaluate``, ``data check``, ``demo`` and their pictures, against counts made by hand."""

import json
import math
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.commands import run
from PIL import Image
from safetensors.torch import load_file

import internimage as ii
from internimage.checkpoints.hub import PackagedModel
from internimage.data.formats.pictures import refuse_inside
from internimage.demo import DETECTORS, covered_share, found_classes, predict_cells, predict_masks, predict_photos
from internimage.drawing.canvas import BAD, GOOD, INK, PAPER, font
from internimage.drawing.charts import confusion_matrix, contact_sheet
from internimage.errors import ConfigError
from internimage.recipes import get_recipe
from internimage.writing import json_text

COLOURS = {"blue": (0, 0, 255), "green": (0, 255, 0), "red": (255, 0, 0)}


def paint(folder: Path, name: str, colour: tuple[int, int, int], size: tuple[int, int] = (40, 48)) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, colour).save(folder / name)
    return folder / name


@pytest.fixture(scope="module")
def always_red(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that says red with 90 %, then green, then blue, whatever it sees."""
    model = ii.create_model("internimage_atto", num_classes=3)
    with torch.no_grad():
        model.classifier.weight.zero_()
        model.classifier.bias.copy_(torch.tensor([0.02, 0.08, 0.9]).log())
    return ii.save_model(model, tmp_path_factory.mktemp("model"), labels=tuple(COLOURS))


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Four red, two green and one blue picture in the test part; one blue in the training part."""
    for label, count in (("red", 4), ("green", 2), ("blue", 1)):
        for index in range(count):
            red, green, blue = (max(0, level - index) for level in COLOURS[label])
            paint(tmp_path / "data" / "test" / label, f"{index}.png", (red, green, blue))
    paint(tmp_path / "data" / "train" / "blue", "0.png", (1, 2, 255))
    for label in ("red", "green"):
        (tmp_path / "data" / "train" / label).mkdir()
    return tmp_path / "data"


def test_json_has_no_numbers_that_are_not_finite(always_red: Path, data: Path, tmp_path: Path) -> None:
    """A class that is never said has no precision."""

    def refuse(word: str) -> None:
        raise AssertionError(word)

    ii.evaluate(data, always_red, part="test").save(tmp_path)
    rows = json.loads((tmp_path / "metrics.json").read_text(), parse_constant=refuse)["per_class"]
    assert rows["blue"]["precision"] is None
    text = json_text({"a": [math.nan, (-math.inf, 1.5)], "b": np.float64("nan"), "c": "NaN"})
    assert text == '{"a": [null, [null, 1.5]], "b": null, "c": "NaN"}'


def test_evaluate(always_red: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments: list[str | Path] = ["evaluate", "--data", data, "--model", always_red, "--part", "test"]
    assert run([*arguments, "--json", "--save", tmp_path / "out"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found == json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert found["top1"] == pytest.approx(4 / 7)
    assert found["top5"] == 1.0
    assert found["mean_class"] == pytest.approx(1 / 3)
    assert found["cross_entropy"] == pytest.approx(-(4 * np.log(0.9) + 2 * np.log(0.08) + np.log(0.02)) / 7, rel=1e-5)
    assert found["per_class"] == {
        "blue": {"images": 1, "recall": 0.0, "precision": None},
        "green": {"images": 2, "recall": 0.0, "precision": None},
        "red": {"images": 4, "recall": 1.0, "precision": pytest.approx(4 / 7)},
    }
    assert run(arguments) == 0
    assert "red         4  100.0%      57.1%" in capsys.readouterr().out
    worst = np.asarray(Image.open(tmp_path / "out" / "worst.png"))  # three mistakes: two green pictures and a blue one
    painted = [int((worst == colour).all(-1).sum()) for colour in ((0, 255, 0), COLOURS["red"])]
    assert painted[0] > 10_000
    assert painted[1] == 0


@pytest.mark.parametrize(
    ("change", "fragment"),
    [
        ("class", "the model does not know the classes purple"),
        ("corrupt", "--on-corrupt skip"),
        ("part", "has no part 'val'; it has"),
    ],
)
def test_evaluate_explains(
    change: str, fragment: str, always_red: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if change == "class":
        paint(data / "test" / "purple", "0.png", (128, 0, 128))
    elif change == "corrupt":
        (data / "test" / "red" / "broken.jpg").write_bytes(b"\xff\xd8\xff no picture")
    part = "val" if change == "part" else "test"
    arguments: list[str | Path] = ["evaluate", "--data", data, "--model", always_red, "--part", part]
    assert run(arguments) != 0
    assert fragment in capsys.readouterr().err
    if change == "corrupt":
        assert run([*arguments, "--on-corrupt", "skip", "--json"]) == 0
        found = json.loads(capsys.readouterr().out)
        assert (found["images"], [Path(name).name for name in found["unreadable"]]) == (7, ["broken.jpg"])


def test_data_check(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (data / "test" / "red" / "broken.jpg").write_bytes(b"\xff\xd8\xff no picture")
    same = paint(data / "test" / "green", "same.png", (7, 7, 7))
    paint(data / "test" / "red", "same.png", (7, 7, 7))
    leak = paint(data / "test" / "blue", "leak.png", (1, 2, 255))
    paint(data / "test" / "blue", "tiny.png", (9, 9, 200), (5, 60))
    before = {path: path.stat().st_mtime_ns for path in data.rglob("*")}
    picture = tmp_path / "sheet.png"
    assert run(["data", "check", data, "--json", "--sheet", picture]) == 1
    found = json.loads(capsys.readouterr().out)
    assert found["test"]["counts"] == {"blue": 3, "green": 3, "red": 6}
    assert [Path(name).name for name in found["test"]["corrupt"]] == ["broken.jpg"]
    assert [sorted(Path(name).parent.name for name in group) for group in found["test"]["conflicts"]] == [
        ["green", "red"]
    ]
    assert [Path(name).name for name in found["test"]["small"]] == ["tiny.png"]
    assert found["leakage"]["test"] == [[str(data / "train" / "blue" / "0.png"), str(leak)]]
    assert {path: path.stat().st_mtime_ns for path in data.rglob("*")} == before
    assert Image.open(picture).size[0] > 190
    assert run(["data", "check", data]) == 1
    text = capsys.readouterr().out
    assert "broken.jpg" in text
    assert same.name in text
    assert run(["data", "check", data, "--sheet", data / "sheet.png"]) != 0
    assert "is inside the data" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("target", "said"),
    [
        (".", "--save . is inside the data ."),
        ("red/new/deep.png", "is inside the data"),
        ("link/new", "is inside the data"),
        ("runs/new", "is inside the data"),
        ("runs/cells/report", ""),
        (".hidden/new", ""),
        ("../beside", ""),
    ],
)
def test_what_is_written_does_not_become_data(
    target: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "data" / "runs" / "cells").mkdir(parents=True)
    for name in ("run.json", "data.json"):
        (tmp_path / "data" / "runs" / "cells" / name).touch()
    monkeypatch.chdir(tmp_path / "data")
    Path("link").symlink_to(tmp_path / "data" / "runs")
    with pytest.raises(ConfigError, match=said) if said else nullcontext():
        refuse_inside("--save", Path(target), Path())


def test_pictures_that_a_file_names_keep_their_folder(
    always_red: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Beside the file results may lie, with its pictures they may not."""
    folder = tmp_path / "photos"
    for name, colour in COLOURS.items():
        paint(folder, f"{name}.png", colour)
    (tmp_path / "all.csv").write_text("path,label\n" + "".join(f"photos/{name}.png,{name}\n" for name in COLOURS))
    command = ["evaluate", "--data", tmp_path / "all.csv", "--model", always_red, "--save"]
    assert run([*command, folder / "report"]) == 1
    assert f"report is inside the data {folder}" in capsys.readouterr().err
    assert run([*command, tmp_path / "report"]) == 0


def test_a_clean_folder_passes(tmp_path: Path) -> None:
    for index, (label, colour) in enumerate(COLOURS.items()):
        paint(tmp_path / label, f"{index}.png", colour)
    assert run(["data", "check", tmp_path]) == 0


def test_confusion_matrix_shades_the_share_of_each_row() -> None:
    """46-pixel cells; the corner of a cell shows its shade, away from the number."""
    picture = np.asarray(confusion_matrix(np.array([[10, 0], [5, 5]]), ["a", "b"])).astype(int)
    left = 16 + 12 + int(font(15).getlength("a"))
    top = picture.shape[0] - 40 - 2 * 46
    corner = {(row, column): picture[top + row * 46 + 3, left + column * 46 + 3] for row in (0, 1) for column in (0, 1)}
    assert corner[0, 0].tolist() == list(GOOD)
    assert corner[0, 1].tolist() == list(PAPER)
    half = 0.5**0.6
    for key, colour in (((1, 0), BAD), ((1, 1), GOOD)):
        assert corner[key].tolist() == [round(p + (c - p) * half) for p, c in zip(PAPER, colour, strict=True)]


def test_contact_sheet_places_every_picture() -> None:
    pictures = [(Image.new("RGB", (30, 30), (10 * i, 0, 200)), [(str(i), INK)]) for i in range(7)]
    drawn = np.asarray(contact_sheet(pictures, title="seven", footer="below", columns=3, cell=100))
    assert [int((drawn == (10 * i, 0, 200)).all(-1).sum()) for i in range(7)] == [10_000] * 7


def test_demo_is_right_as_often_as_it_says(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With none of the extras."""
    for name in ("faster_coco_eval", "faster_coco_eval.core", "scipy", "accelerate", "tensorboard", "transformers"):
        monkeypatch.setitem(sys.modules, name, None)
    assert run(["demo", "--output", tmp_path / "sheet.png"]) == 0
    text = capsys.readouterr().out
    results = predict_photos()
    right = sum(truth == result.label for truth, result in results)
    assert len(results) == 12
    assert f"{right} of 12 right" in text
    assert f"look at {tmp_path / 'sheet.png'}" in text
    for name in DETECTORS:
        for labelled, found in predict_cells(name):
            line = ", ".join(
                f"{count} of {labelled[label]} {label}" for label, count in sorted(found_classes(found).items())
            )
            assert f"found {line} in {Path(found.source.name).name}" in text
            assert sum(found_classes(found).values()) > 0.7 * sum(labelled.values())
    for share, masks in predict_masks():
        assert f"nuclei cover {covered_share(masks):.1%} of {Path(masks.source.name).name}" in text
        assert covered_share(masks) == pytest.approx(share, abs=0.1)
    assert text.count("\nx is") + text.startswith("x is") == 12 - right
    drawn = np.asarray(Image.open(tmp_path / "sheet.png"))
    assert bool((drawn == BAD).all(-1).any()) == (right < 12)
    assert bool((drawn == GOOD).all(-1).any()) == (right > 0)


PACKAGED = [name for name in ii.list_models() if isinstance(get_recipe(name).weights, PackagedModel)]


@pytest.mark.parametrize("name", PACKAGED)
def test_packaged_weights_are_what_the_recipe_says(name: str) -> None:
    recipe = get_recipe(name)
    model: Any = ii.create_model(name, pretrained=True)
    assert isinstance(recipe.weights, PackagedModel)
    assert recipe.measured is not None
    assert recipe.measured.shipped in recipe.measured.seeds
    assert sum(p.numel() for p in model.parameters()) == recipe.parameters
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    assert sum(file.stat().st_size for file in recipe.weights.path.iterdir()) < 10_000_000
    assert len(model.description.labels) == recipe.config.num_classes
    stored = load_file(recipe.weights.path / "model.safetensors").values()
    assert {tensor.dtype for tensor in stored if tensor.is_floating_point()} == {torch.float16}


def test_packaged_weights_together_stay_small() -> None:
    assert len(PACKAGED) == 4
    weights = [get_recipe(name).weights for name in PACKAGED]
    assert sum(f.stat().st_size for one in weights for f in one.path.iterdir()) < 25_000_000  # type: ignore[union-attr]
