# ruff: noqa: E501  # a case is a line
"""Formats of labelling tools, written by hand in ``helpers/labelling_tools.py``: what is understood, left out, refused."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import labelling_tools as tools
from helpers.commands import run
from PIL import Image

from internimage.data.objects import ObjectImages, bitmap
from internimage.data.recognition import FORMATS, find_format
from internimage.data.splits import left_out_lines
from internimage.errors import DataError, MissingExtraError
from internimage.settings.data import DataOptions

DROP = DataOptions(bad_entries="drop", allow_left_out=True)
MODULES = {"one_hot": "class_folders", "table": "class_folders"}


def built(name: str, root: Path, change: Callable[[Path], Any] | None = None) -> Path:
    tools.BUILDERS[name](root)
    if change is not None:
        change(root)
    return root


def read(root: Path, options: DataOptions = DROP) -> Any:
    found = find_format(root)
    assert found is not None
    return found.read_parts(root, None, options)


def drawn(parts: dict[str, ObjectImages]) -> dict[str, list[tuple[str, tuple[float, ...]]]]:
    """Names and boxes of the pictures of all parts."""
    return {
        image.file.stem: [(part.classes[one.label], tuple(round(edge, 3) for edge in one.box)) for one in image.objects]
        for part in parts.values()
        for image in part.images
    }


def replaced(file: str, old: str, new: str) -> Callable[[Path], Any]:
    def change(root: Path) -> None:
        text = (root / file).read_text()
        assert old in text
        (root / file).write_text(text.replace(old, new))

    return change


def rewritten(file: str, change: Callable[[Any], Any]) -> Callable[[Path], Any]:
    def write(root: Path) -> None:
        content = json.loads((root / file).read_text())
        change(content)
        (root / file).write_text(json.dumps(content))

    return write


def added(file: str, text: str) -> Callable[[Path], Any]:
    return lambda root: (root / file).write_text((root / file).read_text() + text)


@pytest.mark.parametrize("name", tools.BUILDERS)
def test_one_format_recognises_it(name: str, tmp_path: Path) -> None:
    """Class folders are what is left over: they are asked last, and know pictures in any folders."""
    root = built(name, tmp_path)
    knowing = [one.module.rpartition(".")[2] for one in FORMATS if one.recognise(root)]
    stems = {one.module.rpartition(".")[2] for one in FORMATS}
    expected = MODULES.get(name) or max((stem for stem in stems if name.startswith(stem)), key=len)
    assert knowing[0] == expected
    assert set(knowing[1:]) <= {"class_folders"}
    found = find_format(root)
    assert found is not None
    train = found.read_parts(root, None, DROP)
    assert abs(found.estimate(root) - len(train.get("train") or train["all"])) <= 1


@pytest.mark.parametrize("name", [*tools.OUTLINES, *tools.BOXED])
def test_objects(name: str, tmp_path: Path) -> None:
    parts = read(built(name, tmp_path), DataOptions(allow_left_out=True))
    found = drawn(parts)
    if name in tools.OUTLINES:
        label, box = found["a"].pop()
        assert (label, box) == ("dog", (10, 10, 22, 25))
        part = next(iter(parts.values()))
        (image,) = [image for image in part.images if image.file.stem == "a"]
        mask = bitmap(image.objects[-1], image.size)
        assert abs(mask.sum() - 90) < 12
        assert mask[12, 11]
        assert not mask[22, 20]
    assert found == tools.BOXES
    assert all(part.classes == tools.CLASSES for part in parts.values())
    assert all(image.file.is_file() and image.size == (30, 40) for part in parts.values() for image in part.images)
    assert len({one.identity for image in parts[next(iter(parts))].images for one in image.objects}) in (1, 2, 3, 4)


@pytest.mark.parametrize("name", tools.LABELLED)
def test_labels(name: str, tmp_path: Path) -> None:
    parts = read(built(name, tmp_path), DataOptions())
    (part,) = parts.values()
    assert {one.file.stem: part.classes[one.label] for one in part.samples} == tools.WHOLE
    assert all(one.file.is_file() for one in part.samples)


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("yolo", {"train": 3}),
        ("yolo_roboflow", {"train": 2, "val": 1}),
        ("yolo_darknet", {"all": 3}),
        ("voc", {"train": 2, "val": 1}),
        ("voc_beside", {"train": 2, "val": 1}),
        ("cvat", {"train": 2, "val": 1}),
        ("supervisely", {"train": 2, "val": 1}),
        ("imagefolder", {"train": 2, "val": 1}),
        ("table", {"train": 3}),
    ],
)
def test_parts(name: str, parts: dict[str, int], tmp_path: Path) -> None:
    root = built(name, tmp_path)
    assert {part: len(data) for part, data in read(root).items()} == parts
    found = find_format(root)
    assert found is not None
    if len(parts) > 1:
        assert list(found.read_parts(root, "val", DROP)) == ["val"]


def test_corners_of_voc(tmp_path: Path) -> None:
    """Counted from 1 the whole picture is 1, 1, 40, 30; from 0 it is 0, 0, 40, 30; difficult ones are crowds."""
    for name, said in (("voc", "pixels counted from 1"), ("voc_beside", "edges counted from 0")):
        parts = read(built(name, tmp_path / name))
        whole = parts["val"].images[0].objects[1]
        assert (whole.box, whole.crowd) == ((0, 0, 40, 30), True)
        assert [one.crowd for one in parts["train"].images[0].objects] == [False]
        assert said in parts["train"].notes[0]


@pytest.mark.parametrize(
    ("name", "change", "said"),
    [
        ("labelme", None, "1 of 5 objects left out: points are no objects"),
        ("cvat", None, "1 of 3 objects left out: polylines are no objects"),
        ("cvat", replaced("annotations.xml", 'occluded="1"', 'outside="1"'), "1 of 3 objects left out: outside their picture"),
        ("labelstudio", rewritten("project-7.json", lambda one: one[1].update(annotations=[])), "1 of 3 pictures left out: not annotated"),
        ("via", replaced("via_project.json", '"name": "rect", "x": 8', '"name": "point", "x": 8'), "1 of 4 objects left out: points are no objects"),
        ("voc", replaced("Annotations/a.xml", "bndbox>", "point>"), "1 of 1 objects left out: objects without a box"),
        ("supervisely", rewritten("train/ann/a.png.json", lambda one: one["objects"][0].update(geometryType="line")), "1 of 2 objects left out: lines are no objects"),
    ],
)  # fmt: skip
def test_what_is_left_out(name: str, change: Callable[[Path], Any] | None, said: str, tmp_path: Path) -> None:
    assert said in "\n".join(left_out_lines(read(built(name, tmp_path, change))))


def nan(content: Any) -> None:
    content["shapes"][0]["points"][0][0] = float("nan")


def one_point(content: Any) -> None:
    content[0]["annotations"][0]["result"][1]["value"]["points"] = [[1, 2]]


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("yolo", added("labels/train/b.txt", "7 0.5 0.5 0.1 0.1\n"), r"b\.txt:3: class 7; expected a whole number from 0 to 1 \(data\.yaml\)"),
        ("yolo", added("labels/train/b.txt", "0 0.5 0.5 1.2 0.1\n"), r"b\.txt:3: .*expected shares of the picture"),
        ("yolo", added("labels/train/b.txt", "0 0.5 nan 0.2 0.1\n"), r'b\.txt:3: a value is "nan"; expected a number'),
        ("yolo", added("labels/train/b.txt", "0 0.5 0.5 0.2\n"), r"b\.txt:3: .*the class and 4 numbers of a box, or 6"),
        ("yolo_names", lambda root: (root / "images/a.png").write_bytes(b"x"), r"a\.png: its size is not known"),
        ("voc", replaced("Annotations/a.xml", "<xmin>5<", "<xmin>39<"), r"a\.xml object\[0\]: its corners are 39, 7 and 20, 18"),
        ("voc", replaced("Annotations/a.xml", "<xmin>5<", "<xmin>five<"), r'object\[0\]: xmin is "five"; expected a number'),
        ("voc", replaced("Annotations/a.xml", "<annotation>", '<!DOCTYPE x [<!ENTITY a "b">]><annotation>'), r"a\.xml has a document type \(x\), which may define entities"),
        ("voc", replaced("Annotations/a.xml", "</annotation>", ""), r"a\.xml is not readable XML"),
        ("labelme", rewritten("a.json", nan), r"a\.json shapes\[0\]: points is NaN; expected a number of pixels"),
        ("labelme", replaced("a.json", '"polygon"', '"star"'), r'shape_type is "star"; expected rectangle, polygon'),
        ("via", replaced("via_project.json", '{"kind": "dog"}', '{"kind": ""}'), r"kind is .*; expected the name of the class"),
        ("via", replaced("via_project.json", '"polygon"', '"cloud"'), r'regions\[1\]: a shape of the kind "cloud"'),
        ("cvat", replaced("annotations.xml", "22.00,10.00;", ""), r"polygon\[1\]: a polygon of 2 points; expected 3"),
        ("cvat", replaced("annotations.xml", "polygon", "star"), r'an element "star"; expected box, polygon'),
        ("labelstudio", rewritten("project-7.json", one_point), r"\[0\] result\[1\]: a polygon of 1 points"),
        ("supervisely", replaced("train/ann/a.png.json", '"cat"', '"cow"'), r'objects\[0\]: classTitle is "cow"; expected one of'),
        ("imagefolder", replaced("train/metadata.jsonl", "[4, 6, 16, 12]", "[4, 6, 16]"), r"line 1 objects\[0\]: bbox is \[4, 6, 16\]"),
        ("imagefolder_labels", added("metadata.csv", "z.png,cat\n"), r"line 5: the picture z\.png is in none of"),
        ("labelstudio_choices", replaced("export.json", '["cat"]', '["cat", "dog"]'), r'2 choices, \["cat", "dog"\]; expected one'),
    ],
)  # fmt: skip
def test_bad_entries(name: str, change: Callable[[Path], Any], message: str, tmp_path: Path) -> None:
    root = built(name, tmp_path, change)
    with pytest.raises(DataError, match=message):
        read(root, DataOptions(allow_left_out=True))
    lines = left_out_lines(read(root))
    assert "cannot be used" in "\n".join(lines)


def all_lines(lines: str) -> Callable[[Path], Any]:
    return lambda root: [(root / f"labels/train/{name}.txt").write_text(lines) for name in "ab"]


UPRIGHT = [(4, 6), (20, 6), (20, 18), (4, 18)]
TURNED = [(10, 5), (22, 14), (16, 22), (4, 13)]  # sides of 15 and 10 pixels, a right angle
SHEARED = [(10, 5), (30, 5), (24, 20), (4, 20)]


def quads(*shapes: list[tuple[int, int]], closed: bool = False) -> str:
    """YOLO's lines of corners in pixels."""
    corners = [[*shape, *shape[: int(closed)]] for shape in shapes]
    return "".join(
        "0 " + " ".join(f"{x / tools.WIDTH:.6f} {y / tools.HEIGHT:.6f}" for x, y in one) + "\n" for one in corners
    )


@pytest.mark.parametrize(
    ("lines", "masks"),
    [
        (quads(UPRIGHT), False),  # outlines of boxes
        (quads(SHEARED), True),
        (quads(UPRIGHT, TURNED, *[SHEARED] * 9), True),  # one by chance
        (quads(TURNED, closed=True), True),
    ],
)
def test_four_corners_of_yolo_are_outlines_unless_turned(lines: str, masks: bool, tmp_path: Path) -> None:
    part = read(built("yolo", tmp_path, all_lines(lines)), DataOptions())["train"]
    assert part.has_masks == masks
    for line, one in zip(lines.splitlines(), part.images[0].objects, strict=True):
        edges = np.array(line.split()[1:], float).reshape(-1, 2) * (tools.WIDTH, tools.HEIGHT)
        assert one.box == pytest.approx((*edges.min(0), *edges.max(0)))
        assert one.segmentation is not None


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("yolo", all_lines(quads(TURNED)), r"every object has 4 corners, and 2 of 2 are turned rectangles \(YOLO-OBB\)"),
        ("yolo", all_lines(quads(TURNED, UPRIGHT, UPRIGHT, UPRIGHT)), r"2 of 8 are turned rectangles"),
        ("yolo", all_lines("0 0.5 0.5 0.2 0.2 0.4 0.4 2 0.5 0.5 1\n1 0.5 0.5 0.2 0.2 0.1 0.4 0 0.5 0.7 2\n"), r"a box and key points \(YOLO-pose\)"),
        ("yolo", added("data.yaml", "kpt_shape: [17, 3]\n"), r"data\.yaml has kpt_shape: key points \(YOLO-pose\)"),
        ("yolo", added("data.yaml", "x: !!python/object/apply:os.getcwd []\n"), r"data\.yaml is not readable YAML"),
        ("yolo", replaced("data.yaml", "  1: dog", "  3: dog"), r"names has the numbers \[0, 3\]; expected 0 to 1"),
        ("yolo", replaced("data.yaml", "images/train", "../../etc"), r"none of the folders of train and val is there"),
        ("cvat", replaced("annotations.xml", "</annotations>", '<track id="0" label="cat"></track></annotations>'), r"is of video \(track\)"),
        ("via", replaced("via_project.json", '{"kind"', '{"age": "3", "kind"'), r"attributes age, kind; expected one that names"),
        ("labelme", lambda root: [rewritten(f"{name}.json", lambda one: one.update(shapes=[], flags={"cat": True}))(root) for name in "abc"], r"have flags of whole pictures and no shapes"),
        ("coco", lambda root: [(root / f"{name}.png").unlink() for name in "abc"], r"a\.png is in none of"),
        ("labelstudio", lambda root: [(root / f"images/{name}.png").unlink() for name in "abc"], r"c\.png is not there, and its size is not in"),
        ("one_hot", replaced("train/_classes.csv", "b.png, 0, 1", "b.png, 1, 1"), r"line 3 has 2 classes: cat, dog; .*\(multi-label\)"),
        ("table", replaced("train.csv", "id;breed", "id;weight"), r"has the columns \['id', 'weight'\]; expected path and label"),
    ],
)  # fmt: skip
def test_what_stops(name: str, change: Callable[[Path], Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=message):
        read(built(name, tmp_path, change), DataOptions(allow_left_out=True))


def test_a_reader_without_its_library_says_which(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for package, name, change in (
        ("yaml", "yolo", None),
        ("pyarrow", "imagefolder_labels", lambda root: (root / "metadata.csv").rename(root / "metadata.parquet")),
    ):
        monkeypatch.setitem(sys.modules, package, None)
        with pytest.raises(MissingExtraError, match=r"pip install 'internimage\[formats\]'"):
            read(built(name, tmp_path / name, change))


def test_masks_of_supervisely(tmp_path: Path) -> None:
    """The text is that of Supervisely's documentation, with the matrix that it prints; and a polygon with a hole."""
    text = (
        "eJzrDPBz5+WS4mJgYOD19HAJAtLMIMwIInOeqf8BUmwBPiGuQPr///9Lb86/C2QxlgT5BTM4PLuRBuTwebo4hlTMSa44cOHAB6DqY0yORgq8Yk"
        "AZBk9XP5d1TglNANAFGzA="
    )
    square = [[0, 0], [20, 0], [20, 20], [0, 20]]
    hole = [[5, 5], [15, 5], [15, 15], [5, 15]]
    root = built(
        "supervisely",
        tmp_path,
        rewritten(
            "train/ann/a.png.json",
            lambda one: one.update(
                objects=[
                    {"classTitle": "cat", "geometryType": "bitmap", "bitmap": {"data": text, "origin": [38, 5]}},
                    {
                        "classTitle": "dog",
                        "geometryType": "polygon",
                        "points": {"exterior": square, "interior": [hole]},
                    },
                ]
            ),
        ),
    )
    image = read(root)["train"].images[0]
    cat, dog = (bitmap(one, image.size) for one in image.objects)
    assert np.argwhere(cat).tolist() == [[5, 38], [5, 39], [6, 38], [7, 38], [7, 39]]  # cut at the edge
    assert dog.sum() == 300
    assert image.objects[1].box == (0, 0, 20, 20)


def test_masks_of_cvat_and_labelme(tmp_path: Path) -> None:
    mask = '<mask label="dog" rle="1,2,3,3,3" left="36" top="2" width="4" height="3"></mask></image>'
    root = built("cvat", tmp_path / "cvat", replaced("annotations.xml", "</tag></image>", f"</tag>{mask}"))
    image = read(root)["train"].images[0]
    assert np.argwhere(bitmap(image.objects[2], image.size)).tolist() == [[2, 37], [2, 38], [3, 38], [3, 39], [4, 36]]
    turned = built("cvat", tmp_path / "turned", replaced("annotations.xml", 'xbr="20"', 'xbr="20" rotation="90"'))
    assert drawn(read(turned))["a"][0] == ("cat", (6, 4, 18, 20))  # about its middle
    halves = [
        {"label": "cat", "group_id": 7, "points": points}
        for points in ([[1, 1], [5, 1], [1, 5]], [[9, 9], [7, 9], [9, 7]])
    ]
    root = built("labelme", tmp_path / "group", rewritten("c.json", lambda one: one.update(shapes=halves)))
    assert drawn(read(root))["c"] == [("cat", (1, 1, 9, 9))]
    circle = {"label": "cat", "points": [[20, 15], [23, 19]], "shape_type": "circle"}
    root = built("labelme", tmp_path / "labelme", rewritten("c.json", lambda one: one.update(shapes=[circle])))
    image = read(root)["all"].images[2]
    assert drawn(read(root))["c"] == [("cat", (15, 10, 25, 20))]
    assert abs(bitmap(image.objects[0], image.size).sum() - 25 * np.pi) < 3


def test_brushes_of_labelstudio(tmp_path: Path) -> None:
    """Bits written by hand: 4800 values; 4 zeros, 4 and 2 of 255 one by one, the rest zeros."""
    runs = f"1 00 {3:03b} {0:08b} 1 00 {3:03b} {255:08b} 0 00 {1:03b} {255:08b}{255:08b} 1 11 {4789:016b} {0:08b}"
    bits = f"{4800:032b} {7:05b} {2:04b}{3:04b}{7:04b}{15:04b} {runs}".replace(" ", "")
    bits += "0" * (-len(bits) % 8)
    packed = [int(bits[place : place + 8], 2) for place in range(0, len(bits), 8)]
    value = {"format": "rle", "rle": packed, "brushlabels": ["dog"]}

    def brush(content: Any) -> None:
        content[0]["annotations"][0]["result"][1].update(type="brushlabels", value=value)

    root = built("labelstudio", tmp_path, rewritten("project-7.json", brush))
    image = read(root)["all"].images[0]
    assert np.argwhere(bitmap(image.objects[1], image.size)).tolist() == [[0, 1]]  # the second pixel's opacity alone
    value["rle"] = packed[:-3]
    with pytest.raises(DataError, match="rle ends too early"):
        read(built("labelstudio", tmp_path, rewritten("project-7.json", brush)), DataOptions())


def test_annotations_of_labelstudio(tmp_path: Path) -> None:
    """The latest that was not cancelled; a turned rectangle about its corner, with the box around it."""

    def several(content: Any) -> None:
        first = content[0]["annotations"][0]
        turned = {**first["result"][0], "value": {**first["result"][0]["value"], "rotation": 90}}
        content[0]["annotations"] = [
            {**first, "updated_at": "2024-01-01"},
            {"updated_at": "2024-03-01", "result": [turned]},
            {"updated_at": "2024-05-01", "was_cancelled": True, "result": []},
        ]

    parts = read(built("labelstudio", tmp_path, rewritten("project-7.json", several)))
    assert drawn(parts)["a"] == [("cat", (-8, 6, 4, 22))]
    assert "1 tasks have several annotations, of which the latest counts" in parts["all"].notes


def test_training_and_check_take_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["data", "check", built("voc", tmp_path / "voc")]) == 1  # one of three is difficult
    said = capsys.readouterr().out
    assert "detector data, Pascal VOC: train 2 pictures, cat 1, dog 0; val 1 picture, dog 1, cat 0" in said
    assert "1 of 2 objects left out: crowds, neither learnt nor missed" in said
    root = built("yolo_names", tmp_path / "yolo")
    Image.new("RGB", (12, 9)).save(root / "images" / "a.png")
    assert drawn(read(root))["a"] == [("cat", (1.2, 1.8, 6, 5.4))]  # shares of the picture as it is
