"""What ``data check`` says of benchmark sets: what is missing, what is usual, what was read in the wrong way."""

import json
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.commands import run
from helpers.goldens import GOLDENS
from PIL import Image

from internimage.data.formats.sets.class_order import ClassOrder
from internimage.data.formats.sets.known import shortfall
from internimage.data.masks import Coding, SegmentedImage, SegmentedImages
from internimage.data.recognition import find_format
from internimage.labels import load_labels
from internimage.settings.data import DataOptions

FOLDER = GOLDENS / "sets" / "miniatures"
Change = Callable[[Path], Any]


@pytest.fixture
def unpacked(tmp_path: Path) -> Callable[[str], Path]:
    def unpack(name: str) -> Path:
        for archive in ("objects", "miniatures"):
            with zipfile.ZipFile(FOLDER / f"{archive}.zip") as content:
                own = [one for one in content.namelist() if one.startswith(f"{name.partition('/')[0]}/")]
                content.extractall(tmp_path / "sets", own)
        return tmp_path / "sets" / name

    return unpack


def moved(folder: str) -> Change:
    """A folder that was not unpacked."""
    return lambda root: (root / folder).rename(root.parent / "elsewhere")


def unlisted(pattern: str) -> Change:
    return lambda root: [path.unlink() for path in root.rglob(pattern)]


def nothing(root: Path) -> None:
    pass


@pytest.mark.parametrize(
    ("name", "change", "status", "said"),
    [
        (
            "crowdhuman",
            nothing,
            0,
            "3 of the 15000 pictures of CrowdHuman (train) are here; they come in CrowdHuman_train01.zip, "
            "CrowdHuman_train02.zip and CrowdHuman_train03.zip: an incomplete download, unless a part of the set is",
        ),
        ("crowdhuman", nothing, 0, "outside the image: 3, such as "),
        ("crowdhuman", nothing, 0, "; as usual: full bodies are drawn beyond the picture's edges"),
        (
            "crowdhuman",
            unlisted("665733,*.jpg"),
            1,
            "2 of the 4370 pictures of CrowdHuman (val) are here; they come in CrowdHuman_val.zip: an incomplete",
        ),
        ("lvis", moved("val2017"), 1, "1 of the 19809 pictures of LVIS (val) are here, none of lvis/val2017;"),
        ("objects365", nothing, 0, "(train) are here, none of patch0, patch1, patch2, patch3, patch4, and 44 more:"),
        ("places365", moved("data_256/z"), 1, "10 of the 1803460 pictures of Places365 (train) are here, none of data"),
        ("cityscapes", nothing, 0, "2 of the 500 pictures of Cityscapes (val) are here, none of lindau, munster;"),
        ("voc", nothing, 0, "2 of the 4952 pictures of Pascal VOC (VOC2007 test) are here"),
        ("ade20k/ADEChallengeData2016", nothing, 0, "segmenter data, ADE20K: train 2 pictures"),
        ("bdd100k", nothing, 0, "usual for BDD100K: 137 training pictures have no entry in its labels"),
        ("bdd100k", nothing, 0, "images without objects: 1, as usual: labels may be null"),
        ("openimages", nothing, 0, "empty class: 2, such as Tortoise; as usual: classes that a part of the set does"),
        ("inaturalist2018", nothing, 0, "4 of the 437513 pictures of iNaturalist 2018 (train) are here"),
    ],
)
def test_what_is_missing_and_what_is_usual(
    name: str,
    change: Change,
    status: int,
    said: str,
    unpacked: Callable[[str], Path],
    capsys: pytest.CaptureFixture[str],
) -> None:
    root = unpacked(name)
    change(root)
    assert run(["data", "check", root]) == status
    found = capsys.readouterr().out
    assert said in found
    assert "outside the parts" not in found


def test_a_whole_part_is_not_incomplete(tmp_path: Path) -> None:
    """Of Cityscapes' three towns to validate on: 500 pictures, a picture less, a town less."""
    files = []
    for number in range(500):
        file = tmp_path / ("frankfurt", "lindau", "munster")[number % 3] / f"{number}.png"
        file.parent.mkdir(exist_ok=True)
        file.touch()
        files.append(file)
    images = tuple(SegmentedImage(file, file) for file in files)
    part = SegmentedImages("x", ("road",), None, Coding(((0,),)), images, "Cityscapes")
    assert shortfall("val", part) == []
    assert shortfall("val", part.with_entries(images, "y")) == []
    files[0].unlink()
    assert shortfall("val", part)[0].startswith("499 of the 500 pictures of Cityscapes (val) are here; they come in")
    shutil.rmtree(tmp_path / "munster")
    assert shortfall("val", part)[0].startswith("333 of the 500 pictures of Cityscapes (val) are here, none of munster")


def test_boxes_outside_and_twice_are_usual_for_some_sets_alone(
    unpacked: Callable[[str], Path], capsys: pytest.CaptureFixture[str]
) -> None:
    file = unpacked("objects365/annotations/zhiyuan_objv2_val.json")
    content = json.loads(file.read_text())
    single = [{**one, "iscrowd": 0} for one in content["annotations"]]
    beyond = {**single[0], "id": 1000, "bbox": [-30, -30, 50, 50]}
    content["annotations"] = [*single, {**single[0], "id": 1001}, beyond]
    file.write_text(json.dumps(content))
    for name, status in (("zhiyuan_objv2_val.json", 0), ("instances.json", 1)):
        file = file.rename(file.with_name(name))
        assert run(["data", "check", file]) == status
        said = capsys.readouterr().out
        assert ("outside the image: 1, such as" in said, "twice: 1, such as" in said) == (not status, not status)


LETTERS = "pictures of Places{} and not all of its lists, which say their classes"


@pytest.mark.parametrize(
    ("place", "change", "said"),
    [
        ("places365", unlisted("*.txt"), f"{LETTERS.format(365)}: unpack filelist_places365-standard.tar (places365"),
        ("places365", unlisted("categories*"), "unpack filelist_places365-standard.tar (categories_places365.txt) in"),
        ("places365/data_256", unlisted("*.txt"), f"{LETTERS.format(365)}; folders a, b, c ... are first letters of"),
        ("places365/data_256", nothing, "places365, which has them"),
        ("places365/val_256", unlisted("*.txt"), f"val_256 has {LETTERS.format(365)}: unpack filelist_places365"),
        ("places205", moved("trainvalsplit_places205"), f"{LETTERS.format(205)}: unpack trainvalsplit_places205.tar."),
        ("places205/data/vision/torralba/deeplearning/images256", nothing, "places205, which has them"),
        ("places205/data", nothing, "places205, which has them"),
    ],
)
def test_letters_are_no_classes(
    place: str, change: Change, said: str, unpacked: Callable[[str], Path], capsys: pytest.CaptureFixture[str]
) -> None:
    root = unpacked(place)
    change(root.parents[place.count("/") - 1] if "/" in place else root)
    assert run(["data", "check", root]) == 1
    assert said in capsys.readouterr().err


def test_folders_of_written_letters_are_classes(unpacked: Callable[[str], Path]) -> None:
    folder = unpacked("places365/val_256")
    for number, path in enumerate(sorted(folder.iterdir())):
        target = folder.parent / "letters" / "ab"[number % 2] / f"{number}.jpg"
        target.parent.mkdir(parents=True, exist_ok=True)
        path.rename(target)
    found = find_format(folder.parent / "letters")
    assert found is not None
    assert found.read_parts(folder.parent / "letters", None, DataOptions())["all"].classes == ("a", "b")


CONTEXT = load_labels("pascal_context")
ON_ITS_SITE = (  # Pascal Context's own list
    "aeroplane bicycle bird boat bottle bus car cat chair cow table dog horse motorbike person pottedplant sheep sofa "
    "train tvmonitor bag bed bench book building cabinet ceiling cloth computer cup door fence floor flower food grass "
    "ground keyboard light mountain mouse curtain platform sign plate road rock shelves sidewalk sky snow bedclothes "
    "track tree truck wall water window wood"
)
STUFF = load_labels("coco_stuff")


def outdoors(names: tuple[str, ...], seed: int) -> list[str]:
    """Classes from the top of a picture to its bottom, the sky first and the ground last."""
    sky, ground = ("sky", "grass") if "sky" in names else ("sky-other", "road")
    some = np.random.default_rng(seed).permutation([one for one in names if one not in (sky, ground)])[:6]
    return [sky, *some.tolist(), ground]


def draw_context(root: Path, numbered: tuple[str, ...]) -> None:
    """24 pictures of Pascal Context, whose PNGs are numbered from 1 in this order."""
    shutil.rmtree(root / "SegmentationClassContext")
    (root / "SegmentationClassContext").mkdir()
    shutil.rmtree(root / "ImageSets")
    for number in range(24):
        pixels = np.array([[numbered.index(one) + 1] for one in outdoors(CONTEXT, number)], np.uint8).repeat(8, 1)
        Image.fromarray(pixels).save(root / "SegmentationClassContext" / f"{number}.png")
        Image.new("RGB", (8, 8), (9 * number, 0, 0)).save(root / "JPEGImages" / f"{number}.jpg")


@pytest.mark.parametrize("numbered", [CONTEXT, tuple(ON_ITS_SITE.split())], ids=["alphabet", "voc first"])
@pytest.mark.parametrize("reading", ["png", "png-voc-first"])
def test_the_sky_tells_the_order_of_pascal_contexts_classes(
    reading: str, numbered: tuple[str, ...], unpacked: Callable[[str], Path], capsys: pytest.CaptureFixture[str]
) -> None:
    right = (numbered == CONTEXT) == (reading == "png")
    root = unpacked("pascal_context/VOCdevkit/VOC2010")
    draw_context(root, numbered)
    assert run(["data", "check", root, "--reading", reading]) == (not right)
    said, other = capsys.readouterr().out, {"png": "png-voc-first", "png-voc-first": "png"}[reading]
    wrong = f"and in 24 of 24 if the masks are read otherwise: pass --reading {other}"
    assert (wrong in said) == (not right)


@pytest.mark.parametrize("shift", [-1, 0, 1])
@pytest.mark.parametrize("format", ["COCO-Stuff 10K, converted", "COCO-Stuff 164K"])
def test_the_sky_tells_the_shift_between_the_coco_stuffs(format: str, shift: int) -> None:
    data = SegmentedImages("x", STUFF, None, Coding(tuple((one,) for one in range(len(STUFF)))), (), format)
    order, doubtful = ClassOrder(data), ClassOrder(data)
    for number in range(24):
        labels = [STUFF.index(one) for one in outdoors(STUFF, number)]
        truth = np.clip(np.array(labels) - shift, -1, len(STUFF) - 1)[:, None].repeat(8, 1)
        order.add(truth)
        doubtful.add(np.random.default_rng(number).permutation(truth))  # upside down as often as not
    said = {0: None, 1: "a number too low", -1: "a number too high"}[shift]
    assert (order.doubt() or "").endswith(said or "")
    assert (order.doubt() is None) == (shift == 0)
    assert doubtful.doubt() is None


def test_masks_without_any_class_stop(unpacked: Callable[[str], Path], capsys: pytest.CaptureFixture[str]) -> None:
    """As those of Cityscapes' test, whose pictures have no labels."""
    root = unpacked("cityscapes")
    for path in (root / "gtFine/val").rglob("*_labelIds.png"):
        Image.new("L", (128, 64), 3).save(path)
    assert run(["data", "check", root]) == 1
    assert capsys.readouterr().out.count("all unknown: ") == 2
