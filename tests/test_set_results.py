"""Results in the formats of benchmark sets, measured with ``evaluate --predictions``: numbers of their own tools."""

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from helpers.commands import run
from helpers.goldens import GOLDENS
from PIL import Image

import internimage as ii
from internimage.data.formats.set_results import read_results
from internimage.data.recognition import find_format
from internimage.errors import DataError
from internimage.settings.data import DataOptions

SETS = GOLDENS / "sets"


def golden(name: str) -> Any:
    return json.loads((SETS / name).read_text())


def blank(file: Path, size: tuple[int, int]) -> None:
    """A picture of (height, width)."""
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", size[::-1]).save(file)


def voc(root: Path) -> Path:
    shutil.copytree(SETS / "voc", root, dirs_exist_ok=True)
    year = root / "VOCdevkit" / "VOC2007"
    for file in (year / "Annotations").iterdir():
        size = ElementTree.parse(file).find("size")
        assert size is not None
        height, width = (int(size.findtext(side, "")) for side in ("height", "width"))
        blank(year / "JPEGImages" / f"{file.stem}.jpg", (height, width))
    return root / "results"


def crowdhuman(root: Path) -> Path:
    shutil.copytree(SETS / "crowdhuman", root)
    for name, size in golden("crowdhuman/image_sizes_height_width.json").items():
        blank(root / "Images" / f"{name}.jpg", size)
    return root / "detections.odgt"


def bdd100k(root: Path) -> Path:
    shutil.copytree(SETS / "bdd100k", root)
    for frame in golden("bdd100k/det_val.json"):
        blank(root / "images/100k/val" / frame["name"], (720, 1280))
    return root / "detections.json"


def openimages(root: Path) -> Path:
    """The golden's detections as the challenge's results: score, then xmin, ymin, xmax, ymax."""
    shutil.copytree(SETS / "openimages", root)
    content, names = golden("openimages/detections.json"), (root / "class-descriptions-boxable.csv").read_text()
    ids = [line.split(",")[0] for line in names.splitlines()]
    rows: dict[str, list[str]] = {}
    for name, size in content["image_sizes_height_width"].items():
        blank(root / "validation" / f"{name}.jpg", size)
        rows[name] = []
    for one in content["detections"]:
        x1, x2, y1, y2 = one["box_xxyy_relative"]
        rows[one["image"]] += [ids[one["label"]], *map(str, (one["score"], x1, y1, x2, y2))]
    lines = [f"{name},{' '.join(words)}" for name, words in rows.items()]
    (root / "results.csv").write_text("\n".join(["ImageId,PredictionString", *lines]))
    return root / "results.csv"


def numbers_of_voc() -> dict[str, float]:
    return {"voc_map50": golden("voc/expected.json")["devkit_2007_11_points"]["mAP"]}


def numbers_of_crowdhuman() -> dict[str, float]:
    expected = golden("crowdhuman/expected.json")
    return {f"crowdhuman_{ours}": expected[name] for ours, name in (("ap", "AP"), ("mr2", "MR-2"), ("ji", "JI"))}


def numbers_of_bdd100k() -> dict[str, float]:
    expected = golden("bdd100k/expected.json")["summary"]
    names = {"ap": "AP", "ap50": "AP50", "ap75": "AP75", "ap_small": "APs", "ap_medium": "APm", "ap_large": "APl"}
    return {f"box_{ours}": expected[name] / 100 for ours, name in names.items()}


def numbers_of_openimages() -> dict[str, float]:
    rules = golden("openimages/expected.json")["rules"]
    return {
        "openimages_map50_as_given": rules["challenge_2019"]["mAP"],
        "openimages_map50": rules["challenge_2019_detections_also_of_ancestors"]["mAP"],
        "openimages_map50_mmdet": pytest.approx(rules["mmdet_rule"]["mAP"], abs=1e-6),
    }


FORMATS: dict[Callable[[Path], Path], Callable[[], dict[str, Any]]] = {
    voc: numbers_of_voc,
    crowdhuman: numbers_of_crowdhuman,
    bdd100k: numbers_of_bdd100k,
    openimages: numbers_of_openimages,
}


@pytest.mark.parametrize("written", FORMATS)
def test_results_have_the_numbers_of_the_sets_own_tool(
    written: Callable[[Path], Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = written(tmp_path / "set")
    assert run(["evaluate", "--data", tmp_path / "set", "--predictions", file, "--json", "--part", "val"]) == 0
    found = json.loads(capsys.readouterr().out)
    for name, value in FORMATS[written]().items():
        assert found[name] == (pytest.approx(value, abs=1e-9) if isinstance(value, float) else value), name
    assert "box_ap" in found  # COCO's stands beside


def annotated(written: Callable[[Path], Path], root: Path) -> Path:
    """The set's own annotations, written as results by its own rule for coordinates."""
    place = written(root)
    if written is voc:
        rows: dict[str, list[str]] = {}
        for file in sorted((root / "VOCdevkit/VOC2007/Annotations").iterdir()):
            for one in ElementTree.parse(file).iterfind("object"):
                box = [one.findtext(f"bndbox/{edge}", "") for edge in ("xmin", "ymin", "xmax", "ymax")]
                rows.setdefault(one.findtext("name", ""), []).append(" ".join([file.stem, "0.5", *box]))
        for name, lines in rows.items():
            (place / f"comp4_det_test_{name}.txt").write_text("\n".join(lines))
    elif written is crowdhuman:
        entries = [json.loads(line) for line in (root / "annotation_val.odgt").read_text().splitlines()]
        found = [
            {"ID": one["ID"], "dtboxes": [{"box": box["fbox"], "score": 0.5, "tag": 1} for box in one["gtboxes"]]}
            for one in entries
        ]
        place.write_text("\n".join(map(json.dumps, found)))
    elif written is bdd100k:
        frames = json.loads((root / "det_val.json").read_text())
        for frame in frames:
            frame["labels"] = [{**one, "score": 0.5} for one in frame["labels"] or ()]
        place.write_text(json.dumps({"frames": frames}))
    else:
        found_in: dict[str, str] = dict.fromkeys(golden("openimages/detections.json")["image_sizes_height_width"], "")
        for row in csv.DictReader((root / "validation-annotations-bbox.csv").read_text().splitlines()):
            words = [row["LabelName"], "0.5", *(row[edge] for edge in ("XMin", "YMin", "XMax", "YMax"))]
            found_in[row["ImageID"]] += " ".join([*words, ""])
        place.write_text("\n".join(["ImageId,PredictionString", *(f"{n},{words}" for n, words in found_in.items())]))
    return place


@pytest.mark.parametrize("written", FORMATS)
def test_annotations_written_as_results_are_the_same_boxes(written: Callable[[Path], Path], tmp_path: Path) -> None:
    file = annotated(written, tmp_path / "set")
    found_format = find_format(tmp_path / "set")
    assert found_format is not None
    data = found_format.read_parts(tmp_path / "set", "val", DataOptions())["val"]
    found = read_results(file, data).found
    assert sum(map(len, found.values())) > 20
    for image in data.images:
        boxes = sorted((one.label, one.box) for one in image.objects)
        for (label, box), one in zip(boxes, sorted(found[image.identity]), strict=True):
            assert (one.label, one.box) == (label, pytest.approx(box, abs=1e-9))


@pytest.mark.parametrize(
    ("written", "name", "old", "new", "said"),
    [
        (voc, "comp4_det_test_dog.txt", "000182", "000183", "dog.txt line 1 is of image 000183, which is not among"),
        (voc, "comp4_det_test_dog.txt", " 296.7", "", "dog.txt line 1 is '000182 0.449592 147.7 179.8 276.1'; exp"),
        (voc, "comp4_det_test_dog.txt", "147.7", "347.7", "line 1: the box is x1 346.7, y1 178.8, x2 276.1, y2 296.7"),
        (voc, "comp4_det_test_dog.txt", "0.449592", "nan", "dog.txt line 1: score is nan; expected a finite number"),
        (crowdhuman, "", '"ID": "', '"ID": "x', "line 1 is of image x1003344,3931efbc25bf3, which is not among the"),
        (crowdhuman, "", "}]}\n{", "}]}\n", "detections.odgt line 2 is not readable JSON"),
        (crowdhuman, "", "0.00487", '"high"', r"line 1 dtboxes\[0\]: score is 'high'; expected a finite number"),
        (crowdhuman, "", '"box": [416.23, ', '"box": [', r"line 1 dtboxes\[0\] is .*; expected a person with box"),
        (bdd100k, "", "39288c15", "00000000", r"\[0\] is of image 00000000-07159692.jpg, which is not among the 16 an"),
        (bdd100k, "", '"truck"', '"tram"', r"\[0\] labels\[0\]: the category is .*tram.*; expected one of BDD100K's"),
        (bdd100k, "", '"x2": 912.5', '"x2": 812.5', r"\[0\] labels\[0\]: the box is x1 898.88, .* x2 813.5, "),
        (bdd100k, "", '"box2d": {"x1"', '"box2d": {"x"', r"\[0\] labels\[0\]: box2d's x1 is null; expected a number"),
        (bdd100k, "", "]\n", "", "detections.json is not readable JSON"),
        (openimages, "", "0857990cd9b94aa6", "none", "results.csv line 2 is of image none, which is not among the 12"),
        (openimages, "", ",/m/", ",/x/", r"results.csv line 2 is of the class /x/\w+, which is none of .*; expected"),
        (openimages, "", "09a95676f8320957,", "0857990cd9b94aa6,", "line 3 is of image 0857990cd9b94aa6 again"),
    ],
)
def test_what_is_wrong_with_results_is_named(
    written: Callable[[Path], Path], name: str, old: str, new: str, said: str, tmp_path: Path
) -> None:
    place = written(tmp_path / "set")
    file = place / name if name else place
    text = file.read_text()
    assert old in text or old == "]\n"
    file.write_text(text.replace(old, new, 1) if old in text else text.rstrip()[:-1])
    with pytest.raises(DataError, match=said) as stop:
        ii.evaluate(tmp_path / "set", predictions=place, part="val")
    assert "\n" not in str(stop.value)


def test_a_table_in_another_order_or_unit_is_refused(tmp_path: Path) -> None:
    """xmin, xmax, ymin, ymax, as OpenImages' own boxes have it; and pixels."""
    file = openimages(tmp_path / "set")
    lines = file.read_text().splitlines()
    name, text = lines[1].split(",")
    label, score, x1, y1, x2, y2 = text.split()[:6]
    for words, said in (
        ((label, score, x1, x2, y1, y2), "expected that it ends where it begins or later"),
        ((label, score, "10", "10", "40", "40"), "expected shares of the picture, 0 to 1"),
        ((label, score, x1, y1, x2), "results.csv line 2 is cut: it ends with"),
    ):
        many = " ".join(words) if "cut" in said else " ".join([*words, *text.split()])
        file.write_text("\n".join([lines[0], f"{name},{many}", *lines[2:]]))
        with pytest.raises(DataError, match=said):
            ii.evaluate(tmp_path / "set", predictions=file, part="val")


def test_files_of_classes_that_are_not_there(tmp_path: Path) -> None:
    folder = voc(tmp_path / "set")
    (folder / "comp4_det_test_dog.txt").unlink()
    with pytest.warns(UserWarning, match="has no file for dog: all of them count as missed"):
        report = ii.evaluate(tmp_path / "set", predictions=folder, part="val")
    expected = golden("voc/expected.json")["devkit_2007_11_points"]["per_class"]
    mean = sum(value for name, value in expected.items() if name != "dog") / len(expected)
    assert report.compute()["voc_map50"] == pytest.approx(mean, abs=1e-9)
    for name, said in (
        ("comp4_det_test_tram.txt", "is of the class tram, which is none of"),
        ("comp3_det_test_car.txt", "one detector"),
    ):
        (folder / name).write_text("")
        with pytest.raises(DataError, match=said):
            ii.evaluate(tmp_path / "set", predictions=folder, part="val")
        (folder / name).unlink()
