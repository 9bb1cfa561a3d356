"""Results in other tools' formats, read back by other tools or by our own readers."""

import contextlib
import csv
import io
import json
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
import torch
from helpers.commands import run
from helpers.objects import CLASSES, random_data
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image, ImageDraw
from pycocotools import mask as oracle
from pycocotools.coco import COCO

import internimage as ii
from internimage.data.formats.coco import read_coco
from internimage.data.objects import bitmap, decompress
from internimage.errors import ConfigError, DataError
from internimage.images import ImageSource
from internimage.images.outlines import joined, outlines, simplified
from internimage.inference.writing import name_pictures, write_results
from internimage.results.coco_writer import CocoWriter, compress
from internimage.results.detections import Detections
from internimage.results.file_writers import CropsWriter, LabelmeWriter, MaskWriter, VocWriter, YoloWriter
from internimage.results.output import Output, Picture, folder_name
from internimage.results.segmentation import Segmentation
from internimage.settings.views import DisplayOptions

DATA, RESULTS = random_data()
PICTURES = tuple(Picture(f"in/{number}.jpg", f"in/{number}") for number in range(len(RESULTS)))
MASKS = arrays.arrays(bool, st.tuples(st.integers(1, 9), st.integers(1, 9)))


def output(folder: Path, threshold: float = 0.3, **changes: Any) -> Output:
    return Output(folder, PICTURES, CLASSES, DisplayOptions(score_threshold=threshold), **changes)


def covered(polygon: np.ndarray[Any, Any], size: tuple[int, int]) -> np.ndarray[Any, Any]:
    """Pixels (H, W) whose centres have an odd number of the polygon's edges at their right."""
    y, x = np.mgrid[: size[0], : size[1]] + 0.5
    count = np.zeros(size, int)
    for (ax, ay), (bx, by) in zip(polygon, np.roll(polygon, -1, 0), strict=True):
        if ay != by:
            count += ((ay > y) != (by > y)) & (x < (bx - ax) * (y - ay) / (by - ay) + ax)
    return count % 2 == 1


@settings(max_examples=200, deadline=None)
@given(MASKS)
def test_outlines_and_one_polygon_of_them_cover_the_mask(mask: np.ndarray[Any, Any]) -> None:
    parts = outlines(mask)
    total = np.zeros(mask.shape, int)
    for part in parts:
        alone = covered(part.outline, mask.shape)
        for hole in part.holes:
            inner = covered(hole, mask.shape)
            assert not (inner & ~alone).any()
            alone &= ~inner
        total += alone
        reached = np.zeros(mask.shape, bool)  # pixels that hang together with the part's first one, by their edges
        reached[tuple(np.argwhere(alone)[0])] = True
        for _ in range(mask.size):
            near = np.pad(reached, 1)
            near = near[1:-1, 1:-1] | near[:-2, 1:-1] | near[2:, 1:-1] | near[1:-1, :-2] | near[1:-1, 2:]
            reached = near & mask
        np.testing.assert_array_equal(alone, reached)
    np.testing.assert_array_equal(total, mask)
    if parts:
        whole = joined([ring for part in parts for ring in (part.outline, *part.holes)])
        np.testing.assert_array_equal(covered(whole, mask.shape), mask)
        if not any(part.holes for part in parts):
            polygons = [part.outline.reshape(-1).astype(float).tolist() for part in parts]
            runs = oracle.merge(oracle.frPyObjects(polygons, *mask.shape))
            np.testing.assert_array_equal(oracle.decode(runs), mask)


@settings(max_examples=200, deadline=None)
@given(MASKS)
def test_simplified_outlines_cover_the_mask(mask: np.ndarray[Any, Any]) -> None:
    parts = outlines(mask)
    rings = [simplified(ring) for part in parts for ring in (part.outline, *part.holes)]
    assert all(len(ring) > 2 for ring in rings)
    if parts:
        np.testing.assert_array_equal(covered(joined(rings), mask.shape), mask)
        if not any(part.holes for part in parts):
            runs = oracle.merge(oracle.frPyObjects([ring.reshape(-1).tolist() for ring in rings], *mask.shape))
            np.testing.assert_array_equal(oracle.decode(runs), mask)


@pytest.mark.parametrize(
    ("radius", "most", "agreement"), [(12, 0.6, 1), (25, 0.5, 1), (60, 0.25, 0.99), (200, 0.2, 0.998)]
)
def test_simplified_circles(radius: int, most: float, agreement: float) -> None:
    y, x = np.mgrid[: 2 * radius + 9, : 2 * radius + 9] - radius - 3.7
    mask = x**2 + y**2 < radius**2
    (part,) = outlines(mask)
    ring = simplified(part.outline)
    assert len(ring) <= most * len(part.outline)
    np.testing.assert_array_equal(covered(ring, mask.shape), mask)
    filled = oracle.decode(oracle.merge(oracle.frPyObjects([ring.reshape(-1).tolist()], *mask.shape))).astype(bool)
    assert (filled & mask).sum() / (filled | mask).sum() >= agreement


def test_rectangles_keep_their_corners() -> None:
    mask = np.zeros((30, 40), bool)
    mask[3:9, 5:30] = mask[3:25, 5:8] = True
    (part,) = outlines(mask)
    np.testing.assert_array_equal(simplified(part.outline), part.outline)


@given(MASKS)
def test_run_lengths_are_the_text_of_pycocotools(mask: np.ndarray[Any, Any]) -> None:
    flat = np.concatenate([[False], mask.T.ravel()])
    runs = np.diff(np.concatenate([[0], np.flatnonzero(flat[1:] != flat[:-1]), [mask.size]])).tolist()
    text = oracle.encode(np.asfortranarray(mask, np.uint8))["counts"].decode()
    assert compress(runs) == text
    assert decompress(text) == runs


def test_coco_files_give_the_objects_back(tmp_path: Path) -> None:
    writer = CocoWriter(output(tmp_path, category_ids=(3, 7, 8, 20, 21)), Detections.shapes)
    for picture, result in zip(PICTURES, RESULTS, strict=True):
        writer.add(picture, result)
    results, annotations = writer.close()
    assert writer.notes == ("category ids are those of the data that the model learnt from",)
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(annotations)
        loaded = truth.loadRes(str(results))
    assert [(one["id"], one["file_name"]) for one in truth.dataset["images"]] == [
        (number, picture.name) for number, picture in enumerate(PICTURES, 1)
    ]
    data = read_coco(annotations, tmp_path)
    assert (data.classes, data.category_ids) == (CLASSES, (3, 7, 8, 20, 21))
    for number, (result, image) in enumerate(zip(RESULTS, data.images, strict=True), 1):
        entries = loaded.loadAnns(loaded.getAnnIds(imgIds=number))
        assert [entry["score"] for entry in entries] == result.scores.tolist()
        assert [entry["category_id"] for entry in entries] == [data.category_ids[label] for label in result.labels]
        corners = np.array([entry["bbox"] for entry in entries]) @ np.array(
            [[1, 0, 1, 0], [0, 1, 0, 1], [0, 0, 1, 0], [0, 0, 0, 1]]
        )
        np.testing.assert_allclose(corners, result.boxes, atol=1e-4)
        for index, entry in enumerate(entries):
            np.testing.assert_array_equal(loaded.annToMask(entry), result.mask(index))
        shown = result.filter(0.3)
        assert [one.label for one in image.objects] == shown.labels.tolist()
        for index, one in enumerate(image.objects):
            filled, mask = bitmap(one, image.size), shown.mask(index)
            assert (filled & mask).sum() >= (0.99 if mask.sum() > 2_500 else 1) * (filled | mask).sum()  # few corners


@pytest.mark.parametrize(
    ("names", "file", "expected"),
    [
        (("x", "y"), False, ({"x": 1, "y": 2}, "1, 2, ... in the order of the model's classes")),
        (("dog", "fish"), True, ({"dog": 18}, "objects of 1 classes that it lacks are left out")),
        (("fish",), True, "has none of the model's classes; it has cat, dog, the model fish"),
        (("cat", "dog"), "elsewhere", "does not know 1 of 12 pictures, such as in/3.jpg"),
    ],
)
def test_ids_of_categories_and_images(names: Any, file: Any, expected: Any, tmp_path: Path) -> None:
    path = tmp_path / "instances.json"
    images = [{"id": 500 + n, "file_name": f"val/in/{n}.jpg"} for n in range(12) if n != 3 or file != "elsewhere"]
    path.write_text(
        json.dumps({"images": images, "categories": [{"id": 17, "name": "cat"}, {"id": 18, "name": "dog"}]})
    )
    chosen = replace(output(tmp_path / "out", annotations=path if file else None), classes=names)
    if isinstance(expected, str):
        with pytest.raises(DataError, match=expected):
            CocoWriter(chosen, Detections.shapes)
        return
    writer = CocoWriter(chosen, Detections.shapes)
    assert writer.categories == expected[0]
    assert expected[1] in writer.notes[0]
    assert writer.image_ids["in/7"] == (507 if file else 8)


def test_files_a_picture_give_the_objects_back(tmp_path: Path) -> None:
    result = RESULTS[4]
    shown, (height, width) = result.filter(0.3), result.size
    for kind, name in ((YoloWriter, "yolo"), (VocWriter, "voc"), (LabelmeWriter, "labelme"), (CropsWriter, "crops")):
        for masks in (True, False):
            writer = kind(output(tmp_path / f"{name}{masks:d}"), Detections.shapes)
            writer.add(PICTURES[4], result if masks else replace(result, soft_masks=None))
            writer.close()
    for index, line in enumerate((tmp_path / "yolo1" / "labels" / "in" / "4.txt").read_text().splitlines()):
        label, *numbers = line.split()
        assert int(label) == shown.labels[index]
        if (mask := shown.mask(index)) is not None and mask.any():
            polygon = np.rint(2 * np.array(numbers, float).reshape(-1, 2) * (width, height)) / 2
            np.testing.assert_array_equal(covered(polygon, shown.size), mask)
    rows = np.loadtxt(tmp_path / "yolo0" / "labels" / "in" / "4.txt")
    centres, sizes = rows[:, 1:3] * (width, height), rows[:, 3:] * (width, height)
    np.testing.assert_allclose(np.hstack([centres - sizes / 2, centres + sizes / 2]), shown.boxes, atol=0.01)
    assert (tmp_path / "yolo1" / "classes.txt").read_text().splitlines() == list(CLASSES)
    assert '  2: "dog"\n' in (tmp_path / "yolo1" / "data.yaml").read_text()

    root = ElementTree.parse(tmp_path / "voc0" / "Annotations" / "in" / "4.xml").getroot()
    assert root.findtext("filename") == "4.jpg"
    assert [one.findtext("name") for one in root.iter("object")] == [shown.name(i) for i in range(len(shown))]
    edges = np.array([[float(edge.text or "") for edge in box] for box in root.iter("bndbox")])
    inside = shown.boxes.clip(0, [width, height] * 2)
    np.testing.assert_allclose(edges - [1, 1, 0, 0], inside, atol=1)
    assert edges.min() >= 1 and (edges[:, 2:] <= [width, height]).all()  # noqa: PT018

    for masks in (True, False):
        content = json.loads((tmp_path / f"labelme{masks:d}" / "in" / "4.json").read_text())
        assert (content["imagePath"], content["imageWidth"], content["imageHeight"]) == ("in/4.jpg", width, height)
        assert {one["shape_type"] for one in content["shapes"]} <= {"polygon", "rectangle"}
    assert np.array([one["points"] for one in content["shapes"]]).reshape(-1, 4) == pytest.approx(shown.boxes)

    crops = sorted((tmp_path / "crops0").rglob("*.jpg"))
    assert len(crops) == len(shown)
    one = Image.open(tmp_path / "crops0" / shown.name(0) / "in" / "4.1.jpg")
    x1, y1, x2, y2 = shown.boxes[0]
    across, down = 0.1 * (x2 - x1), 0.1 * (y2 - y1)
    expected = (min(width, x2 + across) - max(0, x1 - across), min(height, y2 + down) - max(0, y1 - down))
    assert one.size == pytest.approx(expected, abs=2)


def test_classes_of_pixels_are_given_back(tmp_path: Path) -> None:
    """As masks through the evaluation of other tools' masks, as COCO's objects through pycocotools."""
    draw = np.random.default_rng(0)
    for part in ("images", "masks"):
        (tmp_path / "data" / part).mkdir(parents=True)
    results = []
    for number in range(2):
        labels = draw.integers(0, 3, (20, 30)).astype(np.uint8)
        Image.new("RGB", (30, 20)).save(tmp_path / "data" / "images" / f"{number}.jpg")
        Image.fromarray(labels).save(tmp_path / "data" / "masks" / f"{number}.png")
        source = ImageSource(f"{number}.jpg", tmp_path / "data" / "images" / f"{number}.jpg")
        results.append(Segmentation(labels, np.full((20, 30), 0.5, np.float32), ("a", "b", "c"), source))
    (tmp_path / "data" / "classes.txt").write_text("a\nb\nc\n")
    pictures = (Picture("0.jpg", "0"), Picture("1.jpg", "1"))
    for name, writer in (("masks", MaskWriter), ("coco", partial(CocoWriter, shapes=Segmentation.shapes))):
        chosen: Any = writer(Output(tmp_path / name, pictures, ("a", "b", "c"), DisplayOptions()))
        for picture, result in zip(pictures, results, strict=True):
            chosen.add(picture, result)
        chosen.close()
    report = ii.evaluate(tmp_path / "data", predictions=tmp_path / "masks")
    assert (report.compute()["miou"], report.compute()["images"]) == (1, 2)
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(tmp_path / "coco" / "annotations.json")
        loaded = truth.loadRes(str(tmp_path / "coco" / "results.json"))
    assert sum(entry["area"] for entry in truth.dataset["annotations"]) == 2 * 20 * 30
    for read in (truth, loaded):
        entries = read.loadAnns(read.getAnnIds(imgIds=2))
        assert [entry["category_id"] for entry in entries] == [one.index + 1 for one in results[1].regions()]
        for entry in entries:
            np.testing.assert_array_equal(read.annToMask(entry), results[1].label_map == entry["category_id"] - 1)


def test_names_of_pictures_and_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("a/1.png", "b/1.png", "b/1.jpg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    sources = [
        ImageSource(str(path), path) for path in (tmp_path / "a/1.png", tmp_path / "b/1.png", tmp_path / "b/1.jpg")
    ]
    assert name_pictures(sources) == (("a/1.png", "a/1"), ("b/1.png", "b/1"), ("b/1.jpg", "b/1.2"))
    assert name_pictures(sources[:1]) == (("1.png", "1"),)
    monkeypatch.chdir(tmp_path / "b")
    mixed = [ImageSource("1.jpg", "1.jpg"), ImageSource("http://x/y/z.jpg", "http://x/y/z.jpg")]
    assert name_pictures(mixed) == (("1.jpg", "1"), ("z.jpg", "z"))
    assert [folder_name(label) for label in ("t-shirt", "a/b", "..", "")] == ["t-shirt", "a_b", "_", "_"]


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    (tmp_path / "photos" / "more").mkdir(parents=True)
    for number, name in enumerate(("a.png", "b.png", "more/a.png")):
        picture = Image.new("RGB", (80, 60), (90 * number, 40, 200))
        ImageDraw.Draw(picture).rectangle((10, 10, 40, 40), fill=(250, 250, 0))
        picture.save(tmp_path / "photos" / name)
    (tmp_path / "photos" / "broken.jpg").write_bytes(b"\xff\xd8\xff not a picture")
    return tmp_path / "photos"


def test_classifiers_sort_and_list(photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.manual_seed(0)
    folder = ii.save_model(ii.create_model("internimage_atto", num_classes=3), tmp_path / "m", labels=("a/b", "c", "d"))
    predictor = ii.Predictor(folder)
    said = {name: predictor(photos / name).label for name in ("a.png", "b.png", "more/a.png")}
    base: list[str | Path] = ["predict", photos, "--model", folder, "--format"]
    assert run([*base, "sorted", "--output", tmp_path / "sorted"]) == 1  # one is broken
    assert "written:" in capsys.readouterr().err
    copies = {path.relative_to(tmp_path / "sorted").as_posix() for path in (tmp_path / "sorted").rglob("*.png")}
    assert copies == {f"{label.replace('/', '_')}/{name}" for name, label in said.items()}
    paths, failures = write_results(predictor, photos, "csv", tmp_path / "csv", topk=1)
    assert len(failures) == 1
    assert {row["image"]: row["label"] for row in csv.DictReader(paths[0].open())} == said
    assert run([*base, "json", "--output", tmp_path / "json"]) == 1
    lines = (tmp_path / "json" / "predictions.jsonl").read_text().splitlines()
    assert {one["image"]: one["predictions"][0]["label"] for one in map(json.loads, lines)} == said
    with pytest.raises(ConfigError, match="results of a classifier are written as sorted, csv, json, not 'yolo'"):
        write_results(predictor, photos, "yolo", tmp_path / "yolo")


@pytest.mark.parametrize(
    ("arguments", "fragment"),
    [
        (["--format", "coco"], "--format NAME and --output FOLDER belong together"),
        (["--output", "x"], "--format NAME and --output FOLDER belong together"),
        (["--format", "csv", "--output", "x", "--json"], "choose one of --json, --csv and --format"),
        (["--format", "csv", "--output", "x", "--annotations", "x.json"], "gives the ids of --format coco"),
        (["--format", "csv", "--output", "."], "--output . is inside the data"),
        (["--format", "sorted", "--output", "new/out"], "--output new/out is inside the data"),
        (["--save", "../photos/new"], "--save ../photos/new is inside the data"),
    ],
)
def test_contradictions_are_one_sentence(
    arguments: list[str], fragment: str, photos: Path, capsys: pytest.CaptureFixture[str], monkeypatch: Any
) -> None:
    monkeypatch.chdir(photos)
    assert run(["predict", photos, "--model", "internimage_atto_clothing_128", *arguments]) == 1
    assert fragment in capsys.readouterr().err
