"""Benchmark sets of objects and scenes as they are downloaded: miniatures against what they are known to say."""

import json
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import ANY

import pytest
from helpers.commands import run
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from internimage.data.left_out import is_much
from internimage.data.objects import ObjectImage, ObjectImages, Rule, Verified
from internimage.data.recognition import find_format
from internimage.data.samples import LabelledImages
from internimage.errors import DataError
from internimage.settings.data import DataOptions

STORED = Path(__file__).parent / "goldens" / "sets"
EXPECTED: dict[str, Any] = json.loads((STORED / "miniatures" / "objects.json").read_text())
# of each set what its data are called, where its pictures lie, the word for crowds, by which rule it is measured
OBJECTS = {
    "lvis": ("LVIS", "lvis", "crowd", "lvis"),
    "objects365": ("Objects365", "objects365", "ignored", "coco"),
    "openimages": ("OpenImages", "openimages", "group_of", "openimages"),
    "crowdhuman": ("CrowdHuman", "crowdhuman", "ignored", "crowdhuman"),
    "bdd100k": ("BDD100K", "bdd100k/images/100k", "ignored", "bdd100k"),
    "nuscenes": ("nuScenes", "nuscenes", "ignored", "coco"),
    "voc": ("Pascal VOC", "voc/VOCdevkit", "difficult", "voc-11-points"),
}


@pytest.fixture
def sets(tmp_path: Path) -> Path:
    with zipfile.ZipFile(STORED / "miniatures" / "objects.zip") as archive:
        archive.extractall(tmp_path / "sets")
    return tmp_path / "sets"


def read(root: Path, wanted: str | None = None) -> Any:
    found = find_format(root)
    assert found is not None
    return found.read_parts(root, wanted, DataOptions())


def entries(name: str) -> Iterator[tuple[str, Any]]:
    """Pictures and what is known of them."""
    for key, value in EXPECTED[name].items():
        if isinstance(value, dict) and key != "ancestors":
            yield from value.items()


def check(image: ObjectImage, known: Any, crowd: str) -> None:
    objects = known["objects"] if isinstance(known, dict) else known
    assert [(one.label, one.crowd) for one in image.objects] == [
        (one["label"], one.get(crowd, False)) for one in objects
    ]
    for one, other in zip(image.objects, objects, strict=True):
        assert one.box == pytest.approx(other["box"], abs=1e-9)
    if isinstance(known, dict):
        assert list(image.size) == known.get("size", list(image.size))
        assert image.verified is None or sorted(image.verified.absent) == known.get(
            "negative", known.get("verified_absent")
        )
        assert image.verified is None or sorted(image.verified.partly) == known.get("not_exhaustive", [])


@pytest.mark.parametrize("name", OBJECTS)
def test_objects_are_those_of_the_set(name: str, sets: Path) -> None:
    called, pictures, crowd, metric = OBJECTS[name]
    parts: dict[str, ObjectImages] = read(sets / name)
    known = dict(entries(name))
    for part in parts.values():
        assert (part.format, part.rule.metric) == (called, metric)
        assert list(part.classes[: len(EXPECTED[name]["classes"])]) == EXPECTED[name]["classes"]
        for image in part.images:
            assert image.file.is_file()
            check(image, known.pop(str(image.file.relative_to(sets / pictures))), crowd)
    assert not known
    if name == "lvis":
        assert list(parts["val"].rule.frequency) == EXPECTED[name]["frequencies"]
        assert [image.identity for image in read(sets / name, "minival")["minival"].images] == EXPECTED[name]["minival"]
    if name == "openimages":
        ancestors = {str(label): sorted(wider) for label, wider in enumerate(parts["val"].rule.ancestors) if wider}
        assert ancestors == EXPECTED[name]["ancestors"]


@pytest.mark.parametrize("name", ["places365", "places205"])
def test_places_are_no_letters(name: str, sets: Path) -> None:
    parts: dict[str, LabelledImages] = read(sets / name)
    for part in ("train", "val"):
        assert list(parts[part].classes) == EXPECTED[name]["classes"]
        found = [[str(one.file.relative_to(sets / name)), one.label] for one in parts[part].samples]
        assert found == EXPECTED[name][part]


def test_pictures_without_boxes_are_measured_and_not_learnt(sets: Path) -> None:
    """OpenImages' image labels alone say what is there, and what is wrong if it is found."""
    folder = sets / "openimages"
    for part, file in (("train", "oidv6-train"), ("validation", "validation")):
        picture = next((folder / part).iterdir())
        picture.with_name("00bare.jpg").write_bytes(picture.read_bytes())
        with (folder / "annotations" / f"{file}-annotations-human-imagelabels-boxable.csv").open("a") as lines:
            lines.write("00bare,verification,/m/01yrx,0\n")
    parts: dict[str, ObjectImages] = read(folder)
    assert [len(parts[part]) for part in ("train", "val")] == [3, 4]
    assert parts["val"].images[-1][1:] == ("00bare", ANY, (), Verified(frozenset(), frozenset({1})))


def test_what_is_known_of_classes_follows_their_numbers(sets: Path) -> None:
    part: ObjectImages = read(sets / "openimages")["val"]
    other = part.with_classes(("new", *reversed(part.classes[1:])))  # without tortoises, which no picture shows
    assert {
        other.classes[label]: [other.classes[one] for one in wider] for label, wider in enumerate(other.rule.ancestors)
    } == {"new": [], "Helmet": [], "Animal": [], "Dog": ["Animal"], "Mouse": ["Animal"], "Cat": ["Animal"]}
    for before, after in zip(part.images, other.images, strict=True):
        for some, same in zip(before.verified or (), after.verified or (), strict=True):
            assert {part.classes[one] for one in some} - {"Tortoise"} == {other.classes[one] for one in same}
    lvis: ObjectImages = read(sets / "lvis")["val"]
    assert lvis.with_classes(("new", *lvis.classes)).rule == Rule("lvis", ("", *lvis.rule.frequency))


def test_boxes_beside_known_masks_do_not_hide_them(sets: Path) -> None:
    """As in VOC2010, where Pascal Context lies."""
    year = (sets / "voc/VOCdevkit/VOC2012").rename(sets / "VOC2010")
    (year / "SegmentationClassContext").mkdir()
    (year / "SegmentationClassContext/2009_005640.png").write_bytes(b"")
    found = find_format(year)
    assert found is not None
    assert found.name == "Pascal Context"


def test_bdd100k_of_2018_has_the_same_boxes(sets: Path) -> None:
    """Without the objects that 2020 added as crowds."""
    (sets / "bdd100k" / "labels").rename(sets / "labels of 2020")
    (sets / "bdd100k_2018" / "labels").rename(sets / "bdd100k" / "labels")
    known = dict(entries("bdd100k"))
    for part in read(sets / "bdd100k").values():
        for image in part.images:
            objects = known[str(image.file.relative_to(sets / "bdd100k/images/100k"))]
            check(image, [one for one in objects if not one["ignored"]], "ignored")


def edited(change: Callable[[Any], None]) -> Callable[[Path], None]:
    def edit(file: Path) -> None:
        content = json.loads(file.read_text())
        change(content)
        file.write_text(json.dumps(content))

    return edit


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def replaced(old: str, new: str) -> Callable[[Path], None]:
    return lambda file: file.write_text(file.read_text().replace(old, new, 1)) and None


def shorter(count: int) -> Callable[[Path], None]:
    return lambda file: file.write_bytes(file.read_bytes().rstrip()[:-count]) and None


def swapped(file: Path) -> None:
    """The first box's XMin and XMax."""
    head, first, *others = file.read_text().splitlines()
    values = first.split(",")
    values[4:6] = values[5:3:-1]
    file.write_text("\n".join([head, ",".join(values), *others]))


def turn_first_box(frames: Any) -> None:
    box = next(frame for frame in frames if frame["labels"])["labels"][0]["box2d"]
    box["x1"], box["x2"] = box["x2"], box["x1"]


BDD = "bdd100k/labels/det_20/det_val.json"
LVIS, OPEN, CROWD = "lvis/annotations/lvis_v1_val.json", "openimages/annotations", "crowdhuman/annotation_val.odgt"


@pytest.mark.parametrize(
    ("file", "change", "said"),
    [
        (LVIS, edited(lambda content: content["annotations"][0].update(category_id=77)), r"annotations\[0\].*77"),
        (LVIS, edited(lambda content: content["images"][0].update(neg_category_ids=[77])), "neg_category_ids of image"),
        (
            LVIS,
            edited(lambda content: content["categories"][0].update(frequency="x")),
            "frequency of category 1 is 'x'",
        ),
        (LVIS, cut, "lvis_v1_val.json is not readable JSON"),
        (
            f"{OPEN}/validation-annotations-bbox.csv",
            replaced("/m/04rmv", "/m/none"),
            "line 2.*/m/none is none of the 6",
        ),
        (f"{OPEN}/validation-annotations-bbox.csv", cut, "the file is cut"),
        (f"{OPEN}/validation-annotations-bbox.csv", replaced("XMin", "Xmin"), "has no column XMin"),
        (f"{OPEN}/class-descriptions-boxable.csv", Path.unlink, "no class-descriptions-boxable.csv; download it"),
        (f"{OPEN}/bbox_labels_600_hierarchy.json", Path.unlink, "no bbox_labels_600_hierarchy.json; download it"),
        ("openimages/validation/97e1eea33d45812e.jpg", Path.unlink, "image 97e1eea33d45812e.*is not there"),
        (CROWD, cut, "line 2 is not readable JSON"),
        (CROWD, replaced('"fbox": [', '"fbox": ["a", '), r"line 1 gtboxes\[0\]: fbox is"),
        ("crowdhuman/Images/665733,19439889325533cd.jpg", Path.unlink, "665733,19439889325533cd.jpg is not there"),
        (BDD, replaced('"bus"', '"tram"'), r"labels\[0\]: the category is .*tram"),
        (BDD, cut, "det_val.json is not readable JSON"),
        (f"{OPEN}/validation-annotations-human-imagelabels-boxable.csv", replaced(",1", ",x"), "line 2 is /m/04rmv, x"),
        (f"{OPEN}/validation-annotations-bbox.csv", lambda file: file.write_bytes(b"\xff"), "not a readable CSV file"),
        (CROWD, lambda file: file.write_text(file.read_text() * 2), "665733,19439889325533cd is there twice"),
        (
            "nuscenes/v1.0-trainval/image_annotations.json",
            replaced("movable_object.trafficcone", "cone"),
            r"\[0\]: the category is .*cone",
        ),
        ("nuscenes/v1.0-trainval/image_annotations.json", cut, "image_annotations.json is not readable JSON"),
        ("objects365/annotations/zhiyuan_objv2_val.json", cut, "zhiyuan_objv2_val.json is not readable JSON"),
        ("voc/VOCdevkit/VOC2007/Annotations/007093.xml", cut, "007093.xml is not readable XML"),
        ("places365/places365_val.txt", replaced(" 1", " 99"), "line 2: Places365_val_00000002.jpg is of class 99"),
        ("places365/places365_val.txt", replaced(" 1", ""), "line 2 is .*expected a path and a number"),
        ("places205/trainvalsplit_places205/val_places205.csv", replaced("a/abbey", "a/bar"), "class 0 is called"),
        ("places205/trainvalsplit_places205/val_places205.csv", shorter(2), "line 3 is .*expected a path and a number"),
        (
            LVIS,
            edited(lambda content: content["annotations"][0].update(image_id=7)),
            r"\[0\]: image 7 is not in the fi",
        ),
        (
            f"{OPEN}/validation-annotations-bbox.csv",
            swapped,
            "line 2: XMin, YMin, XMax, YMax are .*the smaller ones fi",
        ),
        (BDD, edited(turn_first_box), r"\[\d\] labels\[0\]: the box reaches from x, y .* where it begins or later"),
        (
            "nuscenes/v1.0-trainval/image_annotations.json",
            edited(lambda content: content[0].update(bbox_corners=content[0]["bbox_corners"][::-1])),
            r"\[0\]: the box reaches from x, y",
        ),
        (
            "objects365/annotations/zhiyuan_objv2_val.json",
            edited(lambda content: content["annotations"][0].update(category_id=999)),
            r"annotations\[0\]: category 999 is not in the file",
        ),
        (
            "voc/VOCdevkit/VOC2007/Annotations/007093.xml",
            lambda file: file.write_text(
                file.read_text()
                .replace("xmin", "x")
                .replace("xmax", "xmin")
                .replace("<x>", "<xmax>")
                .replace("</x>", "</xmax>")
            ),
            r"007093.xml object\[0\]: its corners are .*; expected the smaller first",
        ),
    ],
)
def test_what_is_broken_is_named(file: str, change: Callable[[Path], None], said: str, sets: Path) -> None:
    change(sets / file)
    with pytest.raises(DataError, match=rf"(?s){said}"):
        read(sets / file.partition("/")[0])


@pytest.mark.parametrize(
    ("name", "pattern"),
    [
        ("lvis", "train2017/*.jpg"),
        ("objects365", "val/patch*/*.jpg"),
        ("bdd100k", "images/100k/val/*.jpg"),
        ("nuscenes", "samples/*/*.jpg"),
        ("voc", "VOCdevkit/VOC2007/JPEGImages/*.jpg"),
        ("places365", "val_256/*.jpg"),
        ("places205", "data/**/*.jpg"),
    ],
)
def test_a_picture_that_is_not_there_is_named(
    name: str, pattern: str, sets: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Those of OpenImages and CrowdHuman stop the reading, for nothing else says how large they are."""
    picture = sorted((sets / name).glob(pattern))[0]
    picture.unlink()
    assert run(["data", "check", sets / name]) == 1
    (line,) = [one for one in capsys.readouterr().out.splitlines() if picture.name in one and "left out" not in one]
    assert line.startswith(("  missing: ", "  cannot be read: "))


def test_what_voc_lists_and_names_otherwise_is_told(sets: Path) -> None:
    year = sets / "voc/VOCdevkit/VOC2007"
    (year / "Annotations/000264.xml").unlink()
    part = read(sets / "voc", "train")["train"]
    assert "1 of 2 pictures left out: named in ImageSets/Main and without an .xml (000264)" in map(str, part.left_out)
    file = next((year / "Annotations").iterdir())
    file.write_text(file.read_text().replace("<name>", "<name>un", 1))
    strange = read(sets / "voc", "train")["train"]
    assert strange.notes[0].startswith("classes that VOC has not (un")
    assert strange.rule == Rule()


def test_crowds_of_a_set_stop_no_training(sets: Path) -> None:
    """4 of CrowdHuman's 10 are ignored there as they are here, and not too many to go on."""
    part: ObjectImages = read(sets / "crowdhuman")["train"].usable(DataOptions())
    assert [(one.count, one.total) for one in part.left_out] == [(4, 10)]
    assert not is_much(part.left_out)
    own = replace(part, rule=Rule(), listed=False).usable(DataOptions())
    assert is_much(own.left_out[-1:])


def test_a_set_is_measured_by_its_rule(capfd: pytest.CaptureFixture[str]) -> None:
    """LVIS' own tool says 0.3212, rare classes 0.3011; COCO's rule 0.3210 of the uncut results."""
    lvis = STORED / "lvis"
    command: list[str | Path] = ["evaluate", "--data", lvis / "lvis_v1_val.json"]
    assert run([*command, "--predictions", lvis / "detections_bbox.json"]) == 0
    assert "LVIS' average precision: classes count where they were looked for: box_ap 32.1%  box_ap_rare 30.1%" in (
        capfd.readouterr().out
    )
    assert run([*command, "--predictions", lvis / "detections_bbox.json", "--reading", "coco", "--json"]) == 0
    found = json.loads(capfd.readouterr().out)["box_ap"]
    content = json.loads((lvis / "lvis_v1_val.json").read_text())
    annotated = COCO()
    annotated.dataset = content | {"annotations": [{**one, "iscrowd": 0} for one in content["annotations"]]}
    annotated.createIndex()
    evaluation = COCOeval(annotated, annotated.loadRes(str(lvis / "detections_bbox.json")), "bbox")
    evaluation.evaluate()
    evaluation.accumulate()
    precision = evaluation.eval["precision"][..., 0, -1]
    assert found == pytest.approx(precision[precision > -1].mean(), abs=1e-9)
