"""Results of other tools, measured with ``evaluate --predictions``; a run's folder as a model; parts by default."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.commands import run
from PIL import Image

import internimage as ii
from internimage.errors import CheckpointReadError, ConfigError, DataError, UnknownModelError
from internimage.factory import recipe_of
from internimage.results.pairing import pair
from internimage.training.initial import folder_of

GOLDENS = Path(__file__).parent / "goldens" / "coco_eval"


def golden(name: str) -> Any:
    return json.loads((GOLDENS / f"{name}.json").read_text())


def test_a_result_file_has_pycocotools_numbers(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Stored summaries of pycocotools; boxes and masks of one file are two evaluations there too."""
    expected = golden("expected")
    segm = golden("dets_segm")
    both = [{**one, "bbox": box["bbox"]} for one, box in zip(segm, golden("dets_bbox"), strict=True)]
    (tmp_path / "both.json").write_text(json.dumps(both))
    numbers = ii.evaluate(GOLDENS / "gt.json", predictions=tmp_path / "both.json").compute()
    assert numbers.pop("images") == 30
    assert list(numbers.values()) == pytest.approx([*expected["bbox"].values(), *expected["segm"].values()], abs=1e-12)
    assert run(["evaluate", "--data", GOLDENS / "gt.json", "--predictions", GOLDENS / "dets_bbox.json", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    boxes = [value for name, value in found.items() if name.startswith("box_")]
    assert boxes == pytest.approx(list(expected["bbox"].values()), abs=1e-12)
    assert not [name for name in found if name.startswith("mask_")]
    alone = ii.evaluate(GOLDENS / "gt.json", predictions=GOLDENS / "dets_segm.json", score_threshold=0.25).to_dict()
    masks = [value for name, value in alone.items() if name.startswith("mask_")]
    assert masks == pytest.approx(list(expected["segm"].values()), abs=1e-12)
    assert alone["score_threshold"] == 0.25


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"image_id": 4}, r"results\.json \[0\] is of image 4, which is not among the 30 annotated ones"),
        ({"image_id": None}, r"results\.json \[0\]: image_id is None; expected a whole number"),
        ({"score": None}, r"\[0\]: score is None; expected a finite number"),
        ({"score": float("nan")}, r"results\.json \[0\]: score is nan; expected a finite number"),
        ({"score": 10**400}, r"results\.json \[0\]: score is 10{400}; expected a finite number"),
        ({"bbox": [1, 2, 3, float("inf")]}, r"results\.json \[0\]: bbox is \[1, 2, 3, inf\]; expected x, y, width"),
        ({"bbox": [1, 2, 3]}, r"\[0\]: bbox is \[1, 2, 3\]; expected x, y, width and height"),
        ({"bbox": None}, r"\[0\] has neither bbox nor segmentation"),
        ({"segmentation": {"size": [2, 2], "counts": [4]}}, r"\[0\]: segmentation is not run lengths of \d+x\d+"),
        ({"segmentation": [[1, 2, 3]]}, r"\[0\]: segmentation has a polygon that is not"),
        ({"category_id": 999}, "999"),
        (None, r"results\.json is no list; expected COCO's results"),
    ],
)
def test_what_is_wrong_with_a_result_file(change: Any, message: str, tmp_path: Path) -> None:
    entry = golden("dets_bbox")[0]
    (tmp_path / "results.json").write_text(json.dumps([{**entry, **change}] if change else {"annotations": []}))
    with pytest.raises(DataError, match=message):
        ii.evaluate(GOLDENS / "gt.json", predictions=tmp_path / "results.json")


def test_categories_that_the_data_lacks_are_left_out(tmp_path: Path) -> None:
    entries = golden("dets_bbox")
    more = [{**entries[0], "category_id": 999}, *entries]
    (tmp_path / "results.json").write_text(json.dumps(more))
    with pytest.warns(UserWarning, match=r"1 results are left out, whose categories the annotations lack \(999\)"):
        report = ii.evaluate(GOLDENS / "gt.json", predictions=tmp_path / "results.json")
    assert report.compute()["box_ap"] == pytest.approx(golden("expected")["bbox"]["AP"], abs=1e-12)


@pytest.fixture
def streets(tmp_path: Path) -> Path:
    """Two pictures of 10x10 in folders; true are halves of "road" (7) and "car" (26), a row unknown (0)."""
    root = tmp_path / "streets"
    for folder, name in (("a", "1"), ("b", "1")):
        truth = np.full((10, 10), 7, np.uint8)
        truth[:, 5:], truth[0] = 26, 0
        for kind, pixels in (("images", np.zeros((10, 10, 3), np.uint8)), ("masks", truth)):
            path = root / "val" / kind / folder / f"{name}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(path)
    (root / "classes.json").write_text(json.dumps({"classes": ["road", "car"], "ids": [7, 26]}))
    return root


@pytest.mark.parametrize("own", [True, False], ids=["names of their own", "the data's numbers"])
def test_a_folder_of_masks(own: bool, streets: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """In one of two pictures a fifth of the road is taken for a car; in the other all is right."""
    folder = tmp_path / "masks"
    road, car = (1, 0) if own else (7, 26)
    for name in ("a", "b"):
        found = np.full((10, 10), road, np.uint8)
        found[:, 4 if name == "b" else 5 :] = car
        (folder / name).mkdir(parents=True)
        Image.fromarray(found).save(folder / name / "1.png")
    if own:
        (folder / "classes.txt").write_text("car\nroad\n")
    assert run(["evaluate", "--data", streets, "--predictions", folder, "--json", "--save", tmp_path / "out"]) == 0
    said = capsys.readouterr()
    found = json.loads(said.out)
    assert found["per_class"]["road"]["iou"] == pytest.approx((45 + 36) / 90)
    assert found["per_class"]["car"]["iou"] == pytest.approx(90 / 99)
    assert [Path(one["image"]).parent.name for one in found["worst"]] == ["b", "a"]
    assert (tmp_path / "out" / "worst.png").is_file()
    Image.fromarray(np.zeros((10, 11), np.uint8)).save(folder / "b" / "1.png")
    assert run(["evaluate", "--data", streets, "--predictions", folder]) == 1
    assert "is 11x10, the truth 10x10; expected one size" in capsys.readouterr().err
    (folder / "b" / "1.png").unlink()
    assert run(["evaluate", "--data", streets, "--predictions", folder]) == 1
    assert "has no mask for 1 of 2 pictures, such as " in capsys.readouterr().err
    shutil.rmtree(folder / "a")
    assert run(["evaluate", "--data", streets, "--predictions", folder]) == 1
    assert "has no mask for 2 of 2 pictures" in capsys.readouterr().err


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    for part, count in (("train", 1), ("val", 2)):
        for label in ("cat", "dog"):
            for number in range(count):
                path = tmp_path / "photos" / part / label / f"{number}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.new("RGB", (32, 32), (50 * number, 90, 0)).save(path)
    return tmp_path / "photos"


def test_a_table_of_labels(photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Three of four photos are right, one is taken for a class that the data lacks."""
    table = tmp_path / "labels.csv"
    rows = ["cat/0.png,cat,0.9", "cat/1.png,cow,0.8", "dog/0.png,dog,0.7", "dog/1.png,dog,0.6"]
    table.write_text("path,label,score\n" + "\n".join(rows))
    report = ii.evaluate(photos, predictions=table)
    assert "measured on its part val" in capsys.readouterr().err
    assert report.compute() == {"top1": 0.75, "mean_class": 0.75, "images": 4}
    assert report.to_dict()["per_class"]["cow"]["precision"] == 0
    assert "top-1 75.0%  mean over classes 75.0%  images 4" in report.table()
    assert [path.name for path in report.save(tmp_path / "out")] == ["metrics.json", "confusion.png", "worst.png"]
    both = [line for row in rows for line in (f"{row.split(',')[0]},dog,0.1", row)]
    table.write_text("image,label,score\n" + "\n".join(both))
    assert ii.evaluate(photos, predictions=table, part="val").compute()["top5"] == 0.75
    for text, message in (
        ("path,label\n" + "\n".join(rows[:3]), r"no row for 1 of 4 images, such as .*dog/1\.png"),
        ("path,label\n0.png,cat\n1.png,dog", r"0\.png may be"),
        ("path,label\n0.png,Cat", "none of its labels is a class"),
        ("name,label\n0.png,cat", r"has the columns \['name', 'label'\]; expected path and label"),
        ("path,label,score\n0.png,cat,high", "line 2: score is 'high'"),
        (
            "path,label,score\n0.png,cat,1\n1.png,cat,nan",
            r"labels\.csv line 3: score is 'nan'; expected a finite number",
        ),
    ):
        table.write_text(text)
        with pytest.raises(DataError, match=message):
            ii.evaluate(photos, predictions=table)


def test_what_does_not_go_together(photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ConfigError, match="pass either --model or --predictions"):
        ii.evaluate(photos)
    with pytest.raises(DataError, match=r"results\.json does not exist; expected predictions"):
        ii.evaluate(photos, predictions=tmp_path / "results.json")
    (tmp_path / "results.json").write_text("[]")
    with pytest.raises(DataError, match=r"is nothing to compare with them; expected a table with the columns path"):
        ii.evaluate(photos, predictions=tmp_path / "results.json")
    assert run(["evaluate", "--data", photos, "--predictions", "x.csv", "--model", "internimage_t_1k_224"]) == 1
    assert run(["evaluate", "--data", photos, "--predictions", "x.csv", "--batch-size", "2"]) == 1
    assert "--predictions are measured instead of a model" in capsys.readouterr().err
    (tmp_path / "labels.csv").write_text("path,label\ncat/0.png,cat")
    with pytest.raises(ConfigError, match=r"--score-threshold .* is for detectors"):
        ii.evaluate(photos, predictions=tmp_path / "labels.csv", score_threshold=0.5)


def test_paths_are_paired_by_name_and_most_of_their_folders() -> None:
    given = ["x/a/1.png", "x/b/1.png", "2.png"]
    assert pair(["/data/a/1.png", "/data/b/1.png", "/data/a/2.png", "3.png"], given, "there") == {
        "/data/a/1.png": "x/a/1.png",
        "/data/b/1.png": "x/b/1.png",
        "/data/a/2.png": "2.png",
    }
    with pytest.raises(DataError, match=r"there: 1\.png may be x/a/1\.png or x/b/1\.png"):
        pair(["1.png"], given, "there")
    assert pair(["a/1.png", "c/1.png"], ["a/1.png"], "there") == {"a/1.png": "a/1.png"}
    assert pair(["c/1.png", "a/1.png"], ["a/1.png"], "there") == {"a/1.png": "a/1.png"}
    with pytest.raises(DataError, match=r"there: 2\.png may be a/2\.png or b/2\.png"):
        pair(["a/2.png", "b/2.png"], given, "there")


def test_a_run_is_its_best_model(photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.manual_seed(0)
    model = ii.create_model("internimage_atto", num_classes=2)
    best = ii.save_model(model, tmp_path / "run" / "best", labels=("cat", "dog"))
    other = ii.create_model("internimage_atto", num_classes=2)
    ii.save_model(other, tmp_path / "run" / "final", labels=("cat", "dog"))
    photo = photos / "val" / "cat" / "1.png"
    expected = ii.Predictor(best)(photo).probabilities
    loaded: Any = ii.load_model(tmp_path / "run")
    named = ii.create_model("internimage_atto", checkpoint=tmp_path / "run", num_classes=2)
    for one in (tmp_path / "run", loaded, named):
        np.testing.assert_array_equal(ii.Predictor(one)(photo).probabilities, expected)
    assert recipe_of(tmp_path / "run").name == str(best)
    assert folder_of(str(tmp_path / "run")) == best
    commands: list[list[str | Path]] = [
        ["predict", photo, "--model", tmp_path / "run"],
        ["evaluate", "--data", photos, "--model", tmp_path / "run"],
        ["features", photo, "--model", tmp_path / "run", "--output", tmp_path / "f.npz"],
        ["convert", tmp_path / "run", tmp_path / "copy"],
    ]
    for command in commands:
        assert run(command) == 0, command
    assert "measured on its part val (--part names another)" in capsys.readouterr().err
    for wrong, message in ((tmp_path / "rum", "there is no such folder"), (tmp_path, "that folder holds none")):
        with pytest.raises(UnknownModelError, match=f"no model is called '{wrong}', and {message}"):
            ii.Predictor(wrong)
    with pytest.raises(CheckpointReadError, match=r"there is no folder .*rum; expected a model's or a run's folder"):
        ii.load_model(tmp_path / "rum")
