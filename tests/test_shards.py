"""Shards of objects and of masks against the same pictures in folders."""

import io
import json
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.commands import run
from PIL import Image

from internimage.data.formats import shards
from internimage.data.formats.coco import read_parts as read_coco
from internimage.data.formats.masks import read_parts as read_masks
from internimage.data.recognition import find_format
from internimage.errors import DataError
from internimage.settings.data import DataOptions

CLASSES = ("disc", "square")
HEIGHT, WIDTH = 40, 56


def pixels(number: int, code: str = "PNG") -> bytes:
    rng, file = np.random.default_rng(number), io.BytesIO()
    Image.fromarray(rng.integers(0, 255, (HEIGHT, WIDTH, 3), np.uint8)).save(file, code)
    return file.getvalue()


def mask(number: int) -> bytes:
    file, drawn = io.BytesIO(), np.zeros((HEIGHT, WIDTH), np.uint8)
    drawn[8 + number : 24, 10:30] = 1 + number % 2
    Image.fromarray(drawn).save(file, "PNG")
    return file.getvalue()


def objects(number: int) -> list[dict[str, Any]]:
    box = [4.5 + number, 3, 20, 16.5]
    outline = [[5 + number, 4, 25 + number, 4, 25 + number, 18]]
    one = {"bbox": box, "category_id": number % 2, "segmentation": outline, "iscrowd": 0}
    corner = [[1, 2, 10, 2, 10, 11]]
    other = {"bbox": [1, 2, 9, 9], "category_id": 1, "segmentation": corner, "iscrowd": number % 2}
    return [one, other][: 1 + number % 3]


def write_tar(path: Path, files: dict[str, bytes]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as tar:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))


def sample(number: int, form: str) -> dict[str, bytes]:
    own = objects(number)
    content: dict[str, Any] = {"annotations": own}
    if form == "lists":  # as Hugging Face's features are, without outlines
        content = {"objects": {"bbox": [one["bbox"] for one in own], "category": [one["category_id"] for one in own]}}
    if form == "names":
        content = {"objects": [{"bbox": one["bbox"], "label": CLASSES[one["category_id"]]} for one in own]}
    return {f"p/{number}.png": pixels(number), f"p/{number}.json": json.dumps(content).encode()}


def write_shards(root: Path, form: str) -> None:
    write_tar(root / "train-00.tar", {**sample(0, form), **sample(1, form)})
    write_tar(root / "train-01.tar", {**sample(2, form), **sample(3, form)})
    write_tar(root / "val-00.tar", {**sample(4, form), **sample(5, form)})
    if form != "names":
        (root / "classes.txt").write_text("\n".join(CLASSES))


@pytest.mark.parametrize("form", ["coco", "lists", "names"])
def test_shards_of_objects(tmp_path: Path, form: str) -> None:
    write_shards(tmp_path / "tars", form)
    found = find_format(tmp_path / "tars")
    assert found is not None
    assert (found.name, found.kind, found.estimate(tmp_path / "tars")) == ("WebDataset shards", "objects", 4)
    parts = found.read_parts(tmp_path / "tars", None, DataOptions())
    for part, numbers in (("train", range(4)), ("val", range(4, 6))):
        folder, annotations = tmp_path / "coco" / part, []
        folder.mkdir(parents=True)
        for number in numbers:
            (folder / f"{number}.png").write_bytes(pixels(number))
            annotations += [{**one, "image_id": number, "id": 10 * number + n} for n, one in enumerate(objects(number))]
        images = [{"id": n, "file_name": f"{n}.png", "height": HEIGHT, "width": WIDTH} for n in numbers]
        categories = [{"id": number, "name": name} for number, name in enumerate(CLASSES)]
        content = {"images": images, "annotations": annotations, "categories": categories}
        (tmp_path / "coco" / f"{part}.json").write_text(json.dumps(content))
        expected = read_coco(tmp_path / "coco", part)[part]
        assert parts[part].classes == expected.classes
        for one, other in zip(parts[part].images, expected.images, strict=True):
            assert (one.size, one.identity) == (other.size, f"p/{other.identity}")
            assert one.file.read_bytes() == other.file.read_bytes()
            for own, its in zip(one.objects, other.objects, strict=True):
                assert (own.box, own.label) == (its.box, its.label)
                if form == "coco":
                    assert (own.segmentation, own.crowd) == (its.segmentation, its.crowd)


@pytest.mark.parametrize("suffix", [".mask.png", ".seg.png", ".png"])
def test_shards_of_masks(tmp_path: Path, suffix: str) -> None:
    files = {part: {} for part in ("train", "val")}  # type: ignore[var-annotated]
    for part, numbers in (("train", range(3)), ("val", range(3, 5))):
        for number in numbers:
            files[part] |= {f"{number}.jpg": pixels(number, "JPEG"), f"{number}{suffix}": mask(number)}
            for folder, name, content in (("images", ".jpg", pixels(number, "JPEG")), ("masks", ".png", mask(number))):
                (tmp_path / "folders" / part / folder).mkdir(parents=True, exist_ok=True)
                (tmp_path / "folders" / part / folder / f"{number}{name}").write_bytes(content)
        write_tar(tmp_path / "tars" / part / "0.tar", files[part])
    for root in ("tars", "folders"):
        (tmp_path / root / "classes.txt").write_text("\n".join(("ground", *CLASSES)))
    found = find_format(tmp_path / "tars")
    assert found is not None
    assert found.kind == "masks"
    parts, expected = read_masks(tmp_path / "tars"), read_masks(tmp_path / "folders")
    for part in ("train", "val"):
        assert parts[part].classes == expected[part].classes == ("ground", *CLASSES)
        for one, other in zip(parts[part].images, expected[part].images, strict=True):
            np.testing.assert_array_equal(parts[part].truth(one), expected[part].truth(other))
            assert one.file.read_bytes() == other.file.read_bytes()


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"1.png": pixels(1)}, "train.tar/1: it has the files .png; expected one picture and .json"),
        ({"1.png": pixels(1), "1.json": b'{"x": 1}'}, "neither objects nor annotations"),
        ({"1.png": pixels(1), "1.json": b'{"objects": ['}, "train.tar/1: its .json is not readable"),
        ({"1.png": pixels(1), "1.json": b'{"objects": [{"bbox": [1, 2, 3], "label": 0}]}'}, "bbox is .1, 2, 3.;"),
        ({"1.png": pixels(1), "1.json": b'{"objects": [{"bbox": [1, 2, 3, 4], "label": 2}]}'}, "expected 0 to 1"),
        ({"1.png": pixels(1), "1.json": b'{"objects": [{"bbox": [1, 2, 3, 4], "label": "owl"}]}'}, "class is .owl."),
        ({"1.png": b"no picture", "1.json": b'{"objects": []}'}, "its size is not known"),
    ],
)  # fmt: skip
def test_broken_samples_are_named(tmp_path: Path, files: dict[str, bytes], message: str) -> None:
    write_tar(tmp_path / "train.tar", {**sample(0, "coco"), **files})
    (tmp_path / "classes.txt").write_text("\n".join(CLASSES))
    with pytest.raises(DataError, match=message):
        shards.read_parts(tmp_path)


def test_a_picture_with_two_masks_is_named(tmp_path: Path) -> None:
    write_tar(tmp_path / "train.tar", {"1.jpg": pixels(1, "JPEG"), "1.png": mask(1), "1.seg.png": mask(1)})
    with pytest.raises(DataError, match=r"train.tar/1 has the files .jpg .png .seg.png; expected one picture and one"):
        read_masks(tmp_path)


@pytest.mark.parametrize(
    "label", [{"1.cls": b"3"}, {"1.json": b'{"label": 3, "objects": []}'}, {"1.json": b'{"cls": 3}'}]
)
def test_shards_that_say_a_class_are_a_classifiers(tmp_path: Path, label: dict[str, bytes]) -> None:
    write_tar(tmp_path / "train.tar", {"1.jpg": pixels(1, "JPEG"), "1.seg.png": mask(1), **label})
    found = find_format(tmp_path)
    assert found is not None
    assert (found.kind, found.read_parts(tmp_path, None, DataOptions())["train"].samples[0].label) == ("labels", 3)


@pytest.mark.usefixtures("one_thread", "small_recipes")
def test_a_detector_learns_from_shards_and_is_measured_on_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_shards(tmp_path / "tars", "coco")
    data, folder = tmp_path / "tars", tmp_path / "run"
    learning = ["--updates", "2", "--batch-size", "2", "--workers", "0", "--track", "none", "--device", "cpu"]
    sizes = ["--short-sides", "64", "--long", "96", "--allow-left-out"]
    assert run(["train", "--data", data, "--model", "small_mask", "--output", folder, *learning, *sizes]) == 0
    capsys.readouterr()
    measured = ["evaluate", "--data", data, "--part", "val", "--model", folder / "final", "--json", "--allow-left-out"]
    assert run([*measured, "--save", tmp_path / "report"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["images"], sum(row["objects"] for row in report["per_class"].values())) == (2, 3)
    run(["data", "check", data])
    found = capsys.readouterr().out
    assert "train: 4 images, 5 objects, 2 classes, 56x40 to 56x40" in found
    assert "elsewhere than its box" not in found
