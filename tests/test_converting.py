"""Data written in other formats and mended: against hand-written exports, pycocotools and Pillow."""

import contextlib
import json
import shutil
from array import array
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from helpers import labelling_tools as tools
from helpers.commands import run
from PIL import Image, ImageFilter
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO

from internimage.data.converting.convert import convert_data
from internimage.data.converting.mend import mend_data
from internimage.data.converting.outlines import outline_of
from internimage.data.converting.turning import turned_image, turned_pixels
from internimage.data.formats.shapes import run_lengths
from internimage.data.objects import ObjectAnnotation, ObjectImage, bitmap
from internimage.data.recognition import find_format
from internimage.errors import DataError
from internimage.settings.data import DataOptions, FormatName

OBJECTS: tuple[FormatName, ...] = (
    *("coco", "yolo", "voc", "labelme", "via", "cvat", "labelstudio", "supervisely", "imagefolder"),
)
BOXES_ALONE = ("voc", "imagefolder")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Two parts of pictures with boxes, outlines, a mask with a hole and in two parts, and a crowd; equal names."""
    root = tmp_path / "source"
    hole = np.zeros((30, 40), bool)
    hole[4:20, 3:19] = True
    hole[8:12, 8:12] = False
    hole[22:25, 30:35] = True
    for part in ("train", "val"):
        tools.picture(root / "images" / part / "a.png")
        shutil.move(root / "images" / part / "a.png", root / "images" / part / "1.png")
        triangle = {"id": 1, "category_id": 5, "segmentation": [[10, 10, 22, 10, 10, 25]], "bbox": [10, 10, 12, 15]}
        ring = {"id": 2, "category_id": 2, "segmentation": run_lengths(hole), "bbox": [3, 4, 32, 21]}
        crowd = {"id": 3, "category_id": 2, "bbox": [0, 0, 40, 30], "segmentation": [[0, 0, 40, 0, 40, 30, 0, 30]]}
        crowd["iscrowd"] = 1
        objects = [{**one, "image_id": 9} for one in ((triangle, ring, crowd) if part == "train" else (triangle,))]
        if part == "val":
            Image.new("RGB", (40, 30), "red").save(root / "images" / part / "1.png")
        images = [{"id": 9, "file_name": "1.png", "width": 40, "height": 30}]
        categories = [{"id": 5, "name": "dog"}, {"id": 2, "name": "cat, old"}]
        content = {"images": images, "annotations": objects, "categories": categories}
        tools.write_json(root / "annotations" / f"{part}.json", content)
    return root


def read(root: Path, options: DataOptions | None = None) -> Any:
    found = find_format(root)
    assert found is not None
    return found.read_parts(root, None, options or DataOptions(allow_left_out=True))


def drawn(root: Path) -> dict[str, list[tuple[str, tuple[float, ...], int]]]:
    """Class, box and pixels of the objects of each part's picture."""
    return {
        name: [
            (part.classes[one.label], tuple(round(edge, 2) for edge in one.box), int(bitmap(one, image.size).sum()))
            for image in part.images
            for one in image.objects
        ]
        for name, part in read(root).items()
    }


@pytest.mark.parametrize("to", OBJECTS)
def test_what_is_written_is_read_back(to: FormatName, source: Path, tmp_path: Path) -> None:
    written = convert_data(source, tmp_path / "out", to, reading=DataOptions(allow_left_out=True))
    assert written.pictures == 2
    found = find_format(tmp_path / "out")
    assert found is not None
    assert found.name.lower().replace(" ", "") == {"voc": "pascalvoc"}.get(to, to)
    truth = drawn(source)
    crowd = truth["train"].pop()
    back = drawn(tmp_path / "out")
    if to in ("coco", "voc"):
        assert back["train"].pop() == crowd
        assert [one.crowd for one in read(tmp_path / "out")["train"].images[0].objects] == [False, False, True]
    else:
        assert any(f"1 of 3 objects left out: crowds, which {to} does not know" in line for line in written.lines)
    for name, objects in truth.items():
        assert [one[:2] for one in back[name]] == [one[:2] for one in objects]
        for ours, theirs in zip(back[name], objects, strict=True):
            assert to in BOXES_ALONE or abs(ours[2] - theirs[2]) <= 2
    assert sum("masks, of which the boxes stay" in line for line in written.lines) == (to in BOXES_ALONE)
    for name, part in read(tmp_path / "out").items():
        before = (source / "images" / name / "1.png").read_bytes()
        assert part.images[0].file.read_bytes() == before  # of its own part, whatever its name became
        assert set(part.classes) == {"dog", "cat, old"}


def test_a_picture_of_another_part_is_none_of_this(source: Path) -> None:
    """Both parts have a picture called 1.png; one is gone."""
    (source / "images" / "val" / "1.png").unlink()
    Image.new("RGB", (40, 30)).save(source / "images" / "val" / "2.png")
    with pytest.raises(DataError, match=r"val\.json: 1\.png is in none of"):
        read(source)


def test_cocos_tools_read_it(source: Path, tmp_path: Path) -> None:
    convert_data(source, tmp_path / "out", "coco")
    with contextlib.redirect_stdout(None):
        found = COCO(str(tmp_path / "out" / "annotations" / "instances_train.json"))
    triangle, ring, crowd = (found.anns[number] for number in (1, 2, 3))
    assert (triangle["bbox"], triangle["area"]) == ([10, 10, 12, 15], 90)
    assert found.annToMask(ring).sum() == ring["area"] == 16 * 16 - 16 + 15
    assert (crowd["iscrowd"], found.cats[crowd["category_id"]]["name"]) == (1, "cat, old")


def test_yolo_and_voc_by_hand(tmp_path: Path) -> None:
    tools.voc(tmp_path / "voc")
    convert_data(tmp_path / "voc", tmp_path / "yolo", "yolo", reading=DataOptions(crowds="learn"))
    assert (tmp_path / "yolo" / "labels" / "val" / "b.txt").read_text() == tools.YOLO_LINES["b"]
    assert (tmp_path / "yolo" / "labels" / "train" / "c.txt").read_text() == ""
    text = (tmp_path / "yolo" / "data.yaml").read_text()
    assert text == 'train: images/train\nval: images/val\nnames:\n  0: "cat"\n  1: "dog"\n'
    convert_data(tmp_path / "yolo", tmp_path / "back", "voc", pictures="none")
    box = ElementTree.parse(tmp_path / "back" / "Annotations" / "a.xml").find("object/bndbox")
    assert [edge.text for edge in box or ()] == ["5", "7", "20", "18"]
    assert (tmp_path / "back" / "ImageSets" / "Main" / "val.txt").read_text() == "b\n"
    assert not any((tmp_path / "back" / "JPEGImages").iterdir())


@pytest.mark.parametrize("seed", range(4))
def test_masks_as_one_polygon(seed: int) -> None:
    """With parts, holes and corners that touch; pycocotools fills it to the same pixels."""
    rng = np.random.default_rng(seed)
    mask = np.kron(rng.random((9, 12)) < 0.5, np.ones((4, 4))).astype(bool)
    one = ObjectAnnotation((0, 0, 1, 1), 0, run_lengths(mask), False, 1)
    assert (bitmap(one, mask.shape) == mask).all()  # type: ignore[arg-type]
    polygon = outline_of(one, mask.shape)  # type: ignore[arg-type]
    assert polygon is not None
    filled = coco_mask.decode(coco_mask.merge(coco_mask.frPyObjects([list(polygon)], *mask.shape)))
    assert (filled.astype(bool) == mask).mean() > 0.99


@pytest.mark.parametrize("to", ["class-folders", "csv", "imagefolder"])
def test_labels(to: FormatName, tmp_path: Path) -> None:
    tools.table(tmp_path / "table")
    written = convert_data(tmp_path / "table", tmp_path / "out", to, pictures="link")
    (part,) = read(tmp_path / "out").values()
    assert {one.file.stem: part.classes[one.label] for one in part.samples} == tools.WHOLE
    assert written.pictures == 3
    first = part.samples[0].file
    assert first.samefile(tmp_path / "table" / "train" / first.name)


def test_masks_and_areas(source: Path, tmp_path: Path) -> None:
    convert_data(source, tmp_path / "masks", "masks")
    pixels = np.asarray(Image.open(tmp_path / "masks" / "train" / "masks" / "1.png"))
    assert json.loads((tmp_path / "masks" / "classes.json").read_text())["classes"] == ["background", "cat, old", "dog"]
    assert (pixels[4, 3], pixels[12, 11], pixels[29, 39]) == (1, 2, 1)  # the crowd lies below all
    tools.masks(tmp_path / "plain")
    with pytest.raises(DataError, match="has a class for each pixel and no objects; --areas takes each"):
        convert_data(tmp_path / "plain", tmp_path / "objects", "coco")
    written = convert_data(tmp_path / "plain", tmp_path / "objects", "coco", areas=True)
    assert "3 connected areas are objects; objects of a class that touch are one" in written.lines
    assert drawn(tmp_path / "objects")["all"] == [("cat", (4, 6, 20, 18), 192)] * 3


@pytest.mark.parametrize(
    ("boxes", "box"),
    [
        ("corners", [10, 12, 36, 27]),
        ("shares", [0.25, 0.4, 0.65, 0.5]),
        ("share-corners", [0.25, 0.4, 0.9, 0.9]),
        ("yolo", [0.575, 0.65, 0.65, 0.5]),
    ],
)
def test_boxes_that_are_meant_otherwise(boxes: Any, box: list[float], tmp_path: Path) -> None:
    tools.coco(tmp_path / "source")
    content = json.loads((tmp_path / "source" / "instances.json").read_text())
    content["annotations"] = [{"id": n, "image_id": 0, "category_id": 0, "bbox": box} for n in range(4)]
    tools.write_json(tmp_path / "source" / "instances.json", content)
    with pytest.raises(DataError, match=rf"internimage data convert\s+--boxes {boxes}\)"):
        read(tmp_path / "source")
    assert run(["data", "convert", tmp_path / "source", tmp_path / "out", "--to", "coco", "--boxes", boxes]) == 0
    assert [one[1] for one in drawn(tmp_path / "out")["all"]] == [(10, 12, 36, 27)] * 4


def test_targets_that_are_not_free(source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").touch()
    for target, message in (("full", "is there already"), ("source/inside", "lie in each other")):
        assert run(["data", "convert", source, tmp_path / target, "--to", "yolo", "--allow-left-out"]) == 1
        assert message in capsys.readouterr().err
    with pytest.raises(DataError, match="is data for a detector, which csv does not hold; expected coco, yolo"):
        convert_data(source, tmp_path / "out", "csv")
    with pytest.raises(DataError, match=r"1 of 3 objects left out: crowds, which yolo does not know.*--allow"):
        convert_data(source, tmp_path / "out", "yolo")
    tools.table(tmp_path / "table")
    text = (tmp_path / "table" / "train.csv").read_text()
    (tmp_path / "table" / "train.csv").write_text(text.replace("dog", "hot/dog"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="the class 'hot/dog' cannot be a folder; expected letters and digits"):
        convert_data(tmp_path / "table", tmp_path / "empty", "class-folders")
    assert not any((tmp_path / "empty").iterdir())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty", "full", "source", "table"]


@pytest.mark.parametrize("turn", range(1, 9))
def test_orientations(turn: int, tmp_path: Path) -> None:
    """A box painted on the stored picture and turned by Pillow, which knows what EXIF means."""
    stored = Image.new("L", (40, 30))
    stored.paste(255, (4, 6, 20, 11))
    exif = Image.Exif()
    exif[0x112] = turn
    stored.save(tmp_path / "a.png", exif=exif)
    with Image.open(tmp_path / "a.png") as image:
        from PIL import ImageOps

        upright = np.asarray(ImageOps.exif_transpose(image)) > 0
    mask = np.asarray(stored) > 0
    polygon = array("d", [4, 6, 20, 6, 20, 11, 4, 11])
    objects = [
        ObjectAnnotation((4, 6, 20, 11), 0, segmentation, False, 1)
        for segmentation in (None, [polygon], run_lengths(mask))
    ]
    turned = turned_image(ObjectImage(tmp_path / "a.png", 1, (30, 40), tuple(objects)), turn)
    assert turned.size == upright.shape
    rows, columns = np.nonzero(upright)
    for one in turned.objects:
        assert one.box == (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
        assert (bitmap(one, turned.size) == upright).all()
    assert (turned_pixels(mask, turn) == upright).all()


def test_mended_objects(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Upside down: x is W - x - w, y is H - y - h; a twin, an unreadable picture, bad entries and boxes outside go."""
    root = tmp_path / "data"
    tools.coco(root)
    content = json.loads((root / "instances.json").read_text())
    exif = Image.Exif()
    exif[0x112] = 3
    Image.open(root / "b.png").save(root / "b.jpg", exif=exif)
    shutil.copy(root / "a.png", root / "twin.png")
    (root / "c.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    content["images"][1]["file_name"] = "b.jpg"
    content["images"].append({**content["images"][0], "id": 7, "file_name": "twin.png"})
    content["annotations"] += [
        {"id": 20, "image_id": 0, "category_id": 0, "bbox": [30, 20, 20, 20]},
        {"id": 21, "image_id": 0, "category_id": 0, "bbox": [60, 20, 9, 9]},
        {"id": 22, "image_id": 0, "category_id": 8, "bbox": [1, 1, 9, 9]},
    ]
    for one in content["annotations"]:
        one["iscrowd"] = 1
    tools.write_json(root / "instances.json", content)
    before = {path: path.read_bytes() for path in root.iterdir()}
    assert run(["data", "check", root, "--fix", tmp_path / "out", "--boxes-as-stored"]) == 0
    said = capsys.readouterr().out
    for line in (
        "1 of 7 objects left out: cannot be used",
        "mended: 1 pictures are there a second time in their part",
        "mended: 1 pictures that cannot be read are left out",
        "mended: 1 boxes that reached out of their picture are cut",
        "mended: 1 boxes without a pixel in their picture are left out",
        "mended: 2 objects are turned as their pictures are",
        "mended: 5 objects were all marked as crowds: they are single objects now",
        "mended: 1 pictures are stored upright",
    ):
        assert line in said
    (part,) = read(tmp_path / "out").values()
    boxes = {image.file.name: [one.box for one in image.objects] for image in part.images}
    assert boxes["b.jpg"] == [(40 - 30, 30 - 27, 40 - 8, 30 - 3), (0, 0, 40, 30)]
    assert boxes["a.png"] == [(4, 6, 20, 18), (10, 10, 22, 25), (30, 20, 40, 30)]
    assert not any(one.crowd for image in part.images for one in image.objects)
    with Image.open(tmp_path / "out" / "images" / "b.jpg") as image:
        assert image.getexif().get(0x112, 1) == 1
        assert np.abs(np.asarray(image, int)[::-1, ::-1] - np.asarray(Image.open(root / "b.png"), int)).mean() < 4
    assert {path: path.read_bytes() for path in root.iterdir()} == before
    assert run(["data", "check", tmp_path / "out"]) == 0


def test_mended_masks(tmp_path: Path) -> None:
    """Soft edges of black and white are sharp at half; a mask drawn before its picture's turn is turned."""
    root = tmp_path / "data"
    sharp = Image.new("L", (40, 30))
    sharp.paste(255, (8, 5, 30, 20))
    exif = Image.Exif()
    exif[0x112] = 6
    for number in range(4):
        tools.picture(root / "images" / f"{number}.png")
        soft = sharp.resize((10, 8)).resize((40, 30), Image.Resampling.BICUBIC)
        soft.save(root / "images" / ".." / "mask.png")
        (root / "masks").mkdir(exist_ok=True)
        soft.save(root / "masks" / f"{number}.png")
    (root / "mask.png").unlink()
    Image.open(root / "images" / "3.png").save(root / "images" / "3.png", exif=exif)
    written = mend_data(root, tmp_path / "out")
    assert any("pixels along soft edges have the nearest of 0, 255" in line for line in written.lines)
    (part,) = read(tmp_path / "out").values()
    assert part.classes == ("background", "foreground")
    truth = np.asarray(soft) >= 128
    for image in part.images:
        expected = truth if image.file.stem != "3" else np.rot90(truth, -1)
        assert (part.truth(image) == expected).all()
        assert Image.open(image.file).size == expected.shape[::-1]


def test_mended_masks_of_named_classes(tmp_path: Path) -> None:
    """Smooth edges between 0 and 255 are of two names; areas of a number of no class are unknown, no neighbours'."""
    smooth = Image.new("L", (40, 30))
    smooth.paste(255, (8, 5, 30, 20))
    smooth = smooth.filter(ImageFilter.GaussianBlur(0.6))
    strange = np.zeros((30, 40), np.uint8)
    strange[:10], strange[10:20, :20], strange[25, 5:9] = 1, 9, 7
    for name, mask, names in (("smooth", np.asarray(smooth), "bg\ncell\n"), ("strange", strange, "a\nb\nc\nd\n")):
        root = tmp_path / name
        tools.picture(root / "images" / "a.png")
        (root / "masks").mkdir()
        Image.fromarray(mask).save(root / "masks" / "a.png")
        (root / "classes.txt").write_text(names)
        written = mend_data(root, tmp_path / f"{name} mended")
        (part,) = read(written.folder).values()
        truth = part.truth(part.images[0])
        if name == "smooth":
            assert set(np.unique(mask)) > {0, 255}
            np.testing.assert_array_equal(truth, mask >= 128)
            continue
        expected = strange.astype(int)
        expected[strange == 7] = 3  # no pixel of it has neighbours of its kind all around
        expected[strange == 9] = -1
        np.testing.assert_array_equal(truth, expected)
        assert "mended: 1 masks had areas of numbers that stand for no class: they are unknown" in written.lines


def test_mended_classes(tmp_path: Path) -> None:
    tools.class_folders(tmp_path / "data")
    tools.picture(tmp_path / "data" / "loose_d.png")
    (tmp_path / "data" / "cat" / "bad.jpg").write_bytes(b"no picture")
    (tmp_path / "data" / "dog" / "x.heic").touch()
    written = mend_data(tmp_path / "data", tmp_path / "out", pictures="link")
    files = sorted(str(path.relative_to(tmp_path / "out")) for path in (tmp_path / "out").rglob("*.*"))
    assert files == ["cat/a.png", "cat/c.png", "dog/b.png"]
    said = "\n".join(written.lines)
    for line in ("pictures outside class folders", ".heic is not read", "mended: 1 pictures that cannot be read"):
        assert line in said
