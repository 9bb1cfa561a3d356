"""Segmentation sets as they are downloaded, and iNaturalist's names: what each pixel is, what is told, what is refused.

The miniatures and what readers must make of them are in ``goldens/sets/miniatures``.
"""

import json
import shutil
import sys
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from helpers.commands import run
from helpers.goldens import GOLDENS
from PIL import Image
from scipy.io import loadmat, savemat

from internimage.data.masks import SegmentedImages
from internimage.data.recognition import find_format
from internimage.errors import ConfigError, InternImageError, MissingExtraError
from internimage.images import read_image
from internimage.labels import load_labels, load_palette, nyu894_to_40
from internimage.settings.data import DataOptions
from internimage.tasks.segmentation.prepare import look_at_some

FOLDER = GOLDENS / "sets" / "miniatures"
EXPECTED = json.loads((FOLDER / "expected.json").read_text())
CONTEXT, VOC = "pascal_context", "pascal_context/VOCdevkit/VOC2010"
VOC_FIRST = (  # places in the alphabet of VOC's 20 classes, then of the others
    *(0, 5, 6, 7, 9, 11, 13, 14, 16, 19, 49, 22, 30, 33, 36, 39, 42, 48, 51, 54, 1, 2, 4, 8, 10, 12, 15, 17),
    *(18, 20, 23, 24, 25, 26, 27, 28, 29, 31, 32, 34, 35, 21, 38, 45, 37, 40, 41, 43, 44, 46, 47, 3, 50, 52),
    *(53, 55, 56, 57, 58),
)
Change = Callable[[Path], Any]


@pytest.fixture
def unpacked(tmp_path: Path) -> Callable[[str], Path]:
    def unpack(name: str) -> Path:
        with zipfile.ZipFile(FOLDER / "miniatures.zip") as archive:
            top = f"{name.split('/')[0]}/"
            archive.extractall(tmp_path, [one for one in archive.namelist() if one.startswith(top)])
        return tmp_path / name

    return unpack


def read(root: Path, reading: str | None = None, **options: Any) -> Mapping[str, Any]:
    found = find_format(root)
    assert found is not None
    return found.read_parts(root, None, DataOptions(reading=reading, **options))


def histograms(parts: Mapping[str, SegmentedImages]) -> dict[str, dict[str, int]]:
    """Pixels of each class that a picture shows, by its part and the stem of its name."""
    found = {}
    for name, part in parts.items():
        for image in part.images:
            counts = np.bincount(part.truth(image).ravel() + 1, minlength=len(part.classes) + 1)
            shown = {str(number): int(count) for number, count in enumerate(counts[1:]) if count}
            stem = Path(str(image.file)).stem.removesuffix("_leftImg8bit")
            found[f"{name}/{stem}"] = {"unknown": int(counts[0]), **shown}
    return found


def golden(content: Mapping[str, Any], key: str = "", above: str = "") -> dict[str, dict[str, int]]:
    """The expected histograms below ``content``, called as :func:`histograms` calls them."""
    found: dict[str, dict[str, int]] = {}
    for name, one in content.items():
        place = f"{above}/{name}"
        if not isinstance(one, dict) or not {"unknown", key} & one.keys():
            found |= golden(one, key, place) if isinstance(one, dict) else {}
            continue
        part = "train" if "train" in place.rpartition("/")[0] else "val"
        found[f"{part}/{Path(name).stem.zfill(4)}"] = one.get(key, one)
    return found


VISTAS = {
    version: {k: v for k, v in EXPECTED["mapillary"].items() if k.startswith(version)} for version in ("v1", "v2")
}


@pytest.mark.parametrize(
    ("name", "reading", "expected", "classes", "called"),
    [
        ("ade20k/ADEChallengeData2016", None, EXPECTED["ade20k"], "ade20k", "ADE20K"),
        ("coco_stuff_10k", None, EXPECTED["coco_stuff_10k"], "coco_stuff", "COCO-Stuff 10K"),
        (
            "coco_stuff_10k_converted",
            None,
            EXPECTED["coco_stuff_10k_converted"],
            "coco_stuff",
            "COCO-Stuff 10K, converted",
        ),
        ("coco_stuff_164k", None, EXPECTED["coco_stuff_164k"], "coco_stuff", "COCO-Stuff 164K"),
        (
            "coco_stuff_164k_converted",
            None,
            EXPECTED["coco_stuff_164k_converted"],
            "coco_stuff",
            "COCO-Stuff 164K, converted",
        ),
        (CONTEXT, "mat", EXPECTED[CONTEXT]["from_mat"], CONTEXT, "Pascal Context, original ids"),
        (CONTEXT, None, EXPECTED[CONTEXT]["from_png"], CONTEXT, "Pascal Context"),
        (VOC, None, EXPECTED[CONTEXT]["from_png"], CONTEXT, "Pascal Context"),
        ("cityscapes", None, EXPECTED["cityscapes"], "cityscapes", "Cityscapes"),
        ("nyuv2", None, EXPECTED["nyuv2"], "nyu40", "NYUv2"),
        ("nyuv2_converted", None, EXPECTED["nyuv2"], "nyu40", "NYU Depth V2"),
        ("mapillary_1.2", None, VISTAS["v1"], "cityscapes", "Mapillary Vistas 1.2, as Cityscapes"),
        ("mapillary_1.2", "v1.2", VISTAS["v1"], "mapillary66", "Mapillary Vistas 1.2"),
        ("mapillary_2.0", None, VISTAS["v2"], "cityscapes", "Mapillary Vistas 2.0, as Cityscapes"),
        ("mapillary_2.0", "v1.2", VISTAS["v2"], "mapillary66", "Mapillary Vistas 2.0, its older labels"),
    ],
)
def test_every_pixel_is_of_the_class_that_the_set_means(
    name: str, reading: str | None, expected: Any, classes: str, called: str, unpacked: Callable[[str], Path]
) -> None:
    parts = read(unpacked(name), reading)
    known = {"cityscapes": "as_cityscapes", "mapillary66": "all_66"}.get(classes, "")
    assert histograms(parts) == golden(expected, known)
    for part in parts.values():
        assert (part.classes, part.palette, part.format) == (load_labels(classes), load_palette(classes), called)
        assert not part.left_out


def test_the_newer_classes_of_mapillary(unpacked: Callable[[str], Path]) -> None:
    """The masks' numbers as they are, but for the last, Unlabeled."""
    for part in read(unpacked("mapillary_2.0"), "v2.0").values():
        assert part.classes == load_labels("mapillary124")
        for image in part.images:
            pixels = np.asarray(Image.open(image.mask), np.int32)
            assert (part.truth(image) == np.where(pixels == 123, -1, pixels)).all()


def test_pictures_inside_of_a_matlab_file(unpacked: Callable[[str], Path]) -> None:
    """NYUv2: the pixels, upright; the published table without the download's own; a copy in files reads the same."""
    root = unpacked("nyuv2")
    parts = read(root)
    pixels = np.asarray(read_image(parts["train"].images[0].file))
    assert pixels.shape == (48, 64, 3)
    assert pixels[0, :4].tolist() == EXPECTED["nyuv2"]["first_pixels"]
    assert run(["data", "convert", root, root.parent / "copy", "--to", "masks"]) == 0
    assert histograms(read(root.parent / "copy")) == histograms(parts)
    (root / "classMapping40.mat").unlink()
    part = read(root)["train"]
    with h5py.File(root / "nyu_depth_v2_labeled.mat") as file:
        labels = file["labels"][0].T
    assert (part.truth(part.images[0]) == np.array([0, *nyu894_to_40()])[labels] - 1).all()
    assert part.notes == ("no classMapping40.mat: labels become classes by the published table",)


def as_train_ids(root: Path) -> None:
    """Cityscapes with the masks of its script alone."""
    ids = [7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33]
    table = np.full(256, 255, np.uint8)
    table[ids] = range(19)
    for path in root.rglob("*_labelIds.png"):
        pixels = table[np.asarray(Image.open(path))]
        Image.fromarray(pixels).save(path.with_name(path.name.replace("labelIds", "labelTrainIds")))
        path.unlink()


def as_coarse(root: Path) -> None:
    """Cityscapes whose second training picture is an extra one and whose validation is fine."""
    for path in [*root.glob("gtFine/train/*/*_labelIds.png"), *root.glob("leftImg8bit/train/*/*.png")]:
        kind, _, town = path.relative_to(root).parts[:3]
        split = "train_extra" if "000001" in path.name else "train"
        target = root / kind.replace("Fine", "Coarse") / split / town / path.name.replace("Fine", "Coarse")
        target.parent.mkdir(parents=True, exist_ok=True)
        path.rename(target)
    for path in root.glob("gtFine/val/*/*_labelIds.png"):  # not read: all is road
        target = root / "gtCoarse" / "val" / path.parent.name / path.name.replace("Fine", "Coarse")
        target.parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (128, 64), 7).save(target)


def voc_first(root: Path) -> None:
    """PNGs of Pascal Context in the order of the set's site."""
    table = np.zeros(60, np.uint8)
    table[np.array(VOC_FIRST) + 1] = range(1, 60)
    for path in root.rglob("SegmentationClassContext/*.png"):
        Image.fromarray(table[np.asarray(Image.open(path))]).save(path)


def with_voc_masks(root: Path) -> None:
    """VOC's own masks of the classes that both have, beside PNGs in the order of the site."""
    (root / "SegmentationClass").mkdir()
    for path in (root / "SegmentationClassContext").iterdir():
        pixels = np.asarray(Image.open(path)).astype(np.int32)
        twenty = np.isin(pixels, np.array(VOC_FIRST[:20]) + 1)
        table = np.zeros(60, np.uint8)
        table[np.array(VOC_FIRST[:20]) + 1] = range(1, 21)
        Image.fromarray(np.where(twenty, table[pixels], 0).astype(np.uint8)).save(
            root / "SegmentationClass" / path.name
        )


def without_lists(root: Path) -> None:
    for path in root.rglob("*.txt"):
        path.unlink()


def in_annotations(root: Path) -> None:
    """COCO-Stuff 164K as its own page unpacks it."""
    (root / "stuffthingmaps").rename(root / "annotations")
    (root / "images").mkdir()
    for year in ("train2017", "val2017"):
        (root / year).rename(root / "images" / year)


def both(*changes: Change) -> Change:
    return lambda root: [change(root) for change in changes]


@pytest.mark.parametrize(
    ("name", "reading", "change", "note"),
    [
        ("cityscapes", None, as_train_ids, ""),
        ("cityscapes", "coarse", as_coarse, ""),
        (VOC, "png-voc-first", voc_first, ""),
        (CONTEXT, None, voc_first, "have VOC's 20 first, as other masks of the same pictures show"),
        (VOC, None, both(with_voc_masks, voc_first), "have VOC's 20 first, as other masks"),
        ("coco_stuff_164k", None, in_annotations, ""),
    ],
)
def test_other_ways_that_sets_lie_on_disk(
    name: str, reading: str | None, change: Change, note: str, unpacked: Callable[[str], Path]
) -> None:
    root = unpacked(name)
    change(root)
    parts = read(root, reading)
    expected = EXPECTED[name.split("/")[0]]
    assert histograms(parts) == golden(expected.get("from_png", expected))
    assert any(note in line for line in parts["train"].notes) if note else not parts["train"].notes


def without(pattern: str) -> Change:
    return lambda root: next(iter(sorted(root.glob(pattern)))).unlink()


def cut(pattern: str) -> Change:
    def change(root: Path) -> None:
        path = next(iter(sorted(root.glob(pattern))))
        path.write_bytes(path.read_bytes()[:150])

    return change


def painted(pattern: str, number: int, only: int | None = None) -> Change:
    """A number into the corner of the first mask, or instead of another one in all of them."""

    def change(root: Path) -> None:
        for path in sorted(root.glob(pattern))[: None if only is not None else 1]:
            matlab = path.suffix == ".mat"
            content = loadmat(path) if matlab else {}
            key = next((name for name in ("S", "LabelMap") if name in content), "")
            pixels = np.array(content[key] if matlab else Image.open(path))
            if only is None:
                pixels[0, 0] = number
            else:
                pixels[pixels == only] = number
            if matlab:
                savemat(path, {key: pixels})
            else:
                Image.fromarray(pixels).save(path)

    return change


def variables(name: str, **content: Any) -> Change:
    """A MATLAB file with other variables."""
    return lambda root: savemat(next(iter(sorted(root.glob(name)))), content)


def in_hdf5(change: Callable[[Any], None]) -> Change:
    def changed(root: Path) -> None:
        with h5py.File(root / "nyu_depth_v2_labeled.mat", "a") as file:
            change(file)

    return changed


def detail_alone(root: Path) -> None:
    shutil.rmtree(root / "SegmentationClassContext")
    (root / "trainval_merged.json").write_text('{"images": []}')


def look_over(root: Path, reading: str | None) -> None:
    """All that training and evaluation would."""
    for part in read(root, reading).values():
        look_at_some(part, "error")
        for image in part.images:
            part.truth(image)


ADE = "ade20k/ADEChallengeData2016"
OLD = both(painted("annotations/*.mat", 1, only=0), painted("annotations/*.mat", 172, only=182))
ONE = "*_000000030970"  # the first of COCO-Stuff 10K's training


@pytest.mark.parametrize(
    ("name", "reading", "change", "message"),
    [
        ("coco_stuff_10k", None, without(f"images/{ONE}.jpg"), r"30970\.mat/S: its picture .*30970\.jpg is not there"),
        (
            "coco_stuff_10k",
            None,
            without(f"annotations/{ONE}.mat"),
            r"have no mask, such as .*30970\.jpg, whose .* be .*\.mat/S",
        ),
        ("coco_stuff_10k", None, cut(f"annotations/{ONE}.mat"), r"30970\.mat/S: cannot be read"),
        (
            "coco_stuff_10k",
            None,
            variables(f"annotations/{ONE}.mat", LabelMap=np.eye(3)),
            r"30970\.mat/S: it has no numbers called S, but LabelMap",
        ),
        ("coco_stuff_10k", None, painted("annotations/*.mat", 12), r"\.mat/S: the numbers 12 stand for no class"),
        ("coco_stuff_10k", None, OLD, "whose classes have another order; expected version 1.1"),
        ("coco_stuff_164k", None, without("val2017/*.jpg"), r"val2017/000000300202\.png: its picture .*\.jpg is not"),
        ("coco_stuff_164k", None, without("stuffthingmaps/val2017/*"), r"would be .*val2017/000000300202\.png"),
        (
            "coco_stuff_164k",
            None,
            painted("stuffthingmaps/*/*.png", 182),
            "922.png: the numbers 182 stand for no class",
        ),
        (CONTEXT, "mat", without("**/2010_006014.jpg"), r"2010_006014\.mat/LabelMap: its picture .*\.jpg is not there"),
        (CONTEXT, "mat", cut("trainval/2010_006014.mat"), r"2010_006014\.mat/LabelMap: cannot be read"),
        (CONTEXT, "mat", variables("trainval/*.mat", S=np.eye(3)), r"8605\.mat/LabelMap: it has no numbers called"),
        (CONTEXT, "mat", painted("trainval/*.mat", 460), r"8605\.mat/LabelMap: the numbers 460 stand for no class"),
        (VOC, None, without("JPEGImages/2010_006014.jpg"), r"2010_006014\.png: its picture .*2010_006014\.jpg is not"),
        (VOC, None, without("SegmentationClassContext/2010_006014.png"), r"would be .*2010_006014\.png"),
        (
            VOC,
            None,
            detail_alone,
            r"Detail's trainval_merged\.json is not read; expected the original trainval/\*\.mat",
        ),
        ("nyuv2", None, without("splits.mat"), r"splits\.mat is not there, which says .* beside nyu_depth_v2_la"),
        ("nyuv2", None, variables("splits.mat", trainNdxs=[1]), r"splits\.mat: it has no numbers called testNdxs, but"),
        ("nyuv2", None, variables("splits.mat", trainNdxs=[1], testNdxs=[6]), r"testNdxs has picture 6; .* has 1 to 5"),
        (
            "nyuv2",
            None,
            variables("*40.mat", mapClass=[1] * 13),
            r"Mapping40\.mat: mapClass has 13 classes; expected 1",
        ),
        ("nyuv2", None, cut("nyu_*.mat"), r"nyu_depth_v2_labeled\.mat: cannot be read"),
        (
            "nyuv2",
            None,
            in_hdf5(lambda file: file.pop("labels")),
            r"labeled\.mat: it has no numbers called labels, but",
        ),
        (
            "nyuv2",
            None,
            in_hdf5(lambda file: file["labels"].write_direct(np.full((5, 64, 48), 895, "u2"))),
            "labels/0001",
        ),
        (
            "cityscapes",
            None,
            without("leftImg8bit/val/*/*.png"),
            r"gtFine_labelIds\.png: its picture .*\.png is not there",
        ),
        (
            "cityscapes",
            None,
            without("gtFine/val/*/*_labelIds.png"),
            r"whose mask would be .*000094_000000_gtFine_label",
        ),
        ("cityscapes", None, painted("gtFine/*/*/*_labelIds.png", 35), r"_labelIds\.png: the numbers 35 stand for no"),
        (
            "mapillary_1.2",
            "v1.2",
            painted("training/labels/*.png", 66),
            r"labels/4698.*\.png: the numbers 66 stand for no",
        ),
        (
            "mapillary_2.0",
            "v2.0",
            without("training/images/*.jpg"),
            r"v2\.0/labels/74cc.*: its picture .* is not there",
        ),
        ("mapillary_2.0", None, without("training/v1.2/labels/*.png"), r"whose mask would be .*v1\.2/labels/74cc"),
        ("mapillary_1.2", None, cut("training/labels/*.png"), r"training/labels/4698.*\.png: cannot be read"),
        ("cityscapes", None, cut("gtFine/val/*/*_labelIds.png"), r"000094_000000_gtFine_labelIds\.png: cannot be read"),
        ("coco_stuff_164k", None, cut("stuffthingmaps/val2017/*.png"), r"000000300202\.png: cannot be read"),
        (ADE, None, cut("annotations/training/*.png"), r"ADE_train_00011310\.png: cannot be read"),
        (ADE, None, painted("annotations/training/*.png", 151), r"11310\.png: the numbers 151 stand for no class"),
        (ADE, None, without("annotations/training/*.png"), r"whose mask would be .*ADE_train_00011310\.png"),
    ],
)
def test_broken_sets_end_in_a_sentence_that_names_the_file(
    name: str, reading: str | None, change: Change, message: str, unpacked: Callable[[str], Path]
) -> None:
    root = unpacked(name)
    change(root)
    with pytest.raises(InternImageError, match=message) as stop:
        look_over(root, reading)
    assert "\n" not in str(stop.value)


@pytest.mark.parametrize(
    ("name", "reading", "change", "note"),
    [
        ("coco_stuff_164k", None, painted("stuffthingmaps/*/*.png", 0, only=255), "no mask that was looked at has 255"),
        ("coco_stuff_10k_converted", None, painted("annotations/*/*.png", 255), "masks have 255, which those of"),
        ("coco_stuff_10k", None, without_lists, "no imageLists/train.txt or imageLists/test.txt"),
        (VOC, None, len, "in the order of the alphabet (2 is bag, 6 bicycle); the set's own site has VOC's 20 first"),
        (CONTEXT, "png-voc-first", len, "have the order of the alphabet, as other masks of the same pictures show"),
        (CONTEXT, "mat", without_lists, "no ImageSets/SegmentationContext/train.txt or val.txt"),
        (CONTEXT, None, len, "read as png (SegmentationClassContext); --reading png-voc-first (Segmentation"),
        ("mapillary_2.0", None, len, "--reading v1.2 (its own 66 classes) or --reading v2.0 (its own 124 classes)"),
        ("cityscapes", None, as_coarse, "read as fine (the fine masks); --reading coarse (the coarse masks"),
        ("nyuv2", None, len, "classMapping40.mat gives 874 of 894 labels another class than the published table"),
    ],
)
def test_what_can_be_read_in_several_ways_is_said(
    name: str, reading: str | None, change: Change, note: str, unpacked: Callable[[str], Path]
) -> None:
    root = unpacked(name)
    if change is not len:
        change(root)
    part = next(iter(read(root, reading).values()))
    assert any(note in line for line in part.notes), part.notes


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("mapillary_1.2", r"--reading x: .* is Mapillary Vistas, which is read as cityscapes \(.*\) or v1\.2 \("),
        ("cityscapes", r"which is read as fine \(the fine masks\)$"),
        ("ade20k/ADEChallengeData2016", "is masks, which is read in one way"),
    ],
)
def test_a_reading_that_is_not_offered(name: str, message: str, unpacked: Callable[[str], Path]) -> None:
    with pytest.raises(ConfigError, match=message):
        read(unpacked(name), "x")


@pytest.mark.parametrize(
    ("name", "package"), [("nyuv2", "h5py"), ("nyuv2", "scipy.io"), ("coco_stuff_10k", "scipy.io")]
)
def test_matlab_files_need_packages(
    name: str, package: str, unpacked: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingExtraError, match=r"pip install 'internimage\[formats\]'"):
        read(unpacked(name))


def test_a_persons_own_classes_come_first(unpacked: Callable[[str], Path]) -> None:
    root = unpacked("cityscapes")
    (root / "classes.json").write_text('{"classes": ["road"], "ids": [7], "unknown": [0, 3, 9, 11, 24, 26, 33, 255]}')
    assert read(root)["train"].classes == ("road",)


def test_masks_whose_pictures_are_not_there_are_told(unpacked: Callable[[str], Path]) -> None:
    root = unpacked(ADE)
    without("images/training/*.jpg")(root)
    part = read(root)["train"]
    assert [str(one).replace(str(root), "") for one in part.left_out] == [
        "1 of 2 masks left out: their pictures are not there (/annotations/training/ADE_train_00011310.png)"
    ]


def test_pictures_that_are_not_there_may_be_left_out(unpacked: Callable[[str], Path]) -> None:
    root = unpacked("coco_stuff_10k")
    without(f"images/{ONE}.jpg")(root)
    part = read(root, bad_entries="drop")["train"]
    assert [one.count for one in part.left_out] == [1]
    assert len(part) == 2


@pytest.mark.usefixtures("one_thread", "small_recipes")
@pytest.mark.parametrize(
    ("name", "reading"),
    [
        ("nyuv2", None),
        *(
            pytest.param(name, reading, marks=pytest.mark.full)
            for name, reading in (
                *(("coco_stuff_10k", None), ("coco_stuff_164k", None), (CONTEXT, "mat"), (CONTEXT, None), (VOC, None)),
                *(
                    ("cityscapes", "coarse"),
                    ("mapillary_1.2", "v1.2"),
                    ("mapillary_2.0", None),
                    ("mapillary_2.0", "v2.0"),
                ),
            )
        ),
    ],
)
def test_checked_trained_and_measured_as_downloaded(
    name: str, reading: str | None, unpacked: Callable[[str], Path], capsys: pytest.CaptureFixture[str]
) -> None:
    root, said = unpacked(name), ["--reading", reading] if reading else []
    before = sorted(root.rglob("*"))
    if reading == "coarse":
        as_coarse(root)
        before = sorted(root.rglob("*"))
    sheet = root.parent / "sheet.png"
    assert run(["data", "check", root, "--sheet", sheet, *said]) == 0
    called = next(iter(read(root, reading).values())).format
    assert f"segmenter data, {called}: train" in capsys.readouterr().out
    model = ["--model", "small_upernet", "--device", "cpu"]
    steps = ["--updates", "2", "--batch-size", "2", "--workers", "0", "--size", "64", "--track", "none"]
    assert run(["train", "--data", root, "--output", root.parent / "run", *model, *steps, *said]) == 0
    assert json.loads((root.parent / "run" / "summary.json").read_text())["finished"]
    capsys.readouterr()
    assert run(["evaluate", "--data", root, "--model", root.parent / "run", "--json", *said]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["images"] == 2
    assert sum(row["share"] for row in report["per_class"].values()) == pytest.approx(1)
    assert sorted(root.rglob("*")) == before


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda content: content["annotations"][0].update(image_id=-5), "has no annotation of its own"),
        (lambda content: content["annotations"][0].update(category_id=77), r"annotations\[0\]: category 77 is not in"),
        (None, r"train2018\.json is not readable JSON"),
    ],
)
def test_what_is_broken_in_inaturalist_is_named(change: Any, said: str, unpacked: Callable[[str], Path]) -> None:
    file = unpacked("inaturalist2018") / "train2018.json"
    content = json.loads(file.read_text())
    if change is not None:
        change(content)
    file.write_text(json.dumps(content)[: None if change else -9])
    with pytest.raises(InternImageError, match=said):
        read(file.parent)


def test_inaturalist_shows_the_species(unpacked: Callable[[str], Path]) -> None:
    root, expected = unpacked("inaturalist2018"), EXPECTED["inaturalist2018"]
    for name, part in read(root).items():
        assert part.classes == tuple(expected["classes"])
        found = [
            [str(one.file.relative_to(root)), one.label, one.taken.month, one.taken.latitude, one.taken.longitude]
            for one in part.samples
        ]
        assert found == expected[name]
    file = root / "categories.json"
    entries = json.loads(file.read_text())
    file.write_text(json.dumps([{**one, "name": "Corvus corax"} if one["id"] else one for one in entries[::-1]]))
    assert read(root)["val"].classes == ("Abies alba", "Corvus corax (1)", "Corvus corax (2)", "Corvus corax (3)")
    file.write_text(json.dumps(entries[:3]))
    with pytest.raises(
        InternImageError, match=r"categories\.json has no name for category 3; expected one for each of 4"
    ):
        read(root)
    file.unlink()
    assert read(root)["train"].classes == tuple(expected["hidden_names"])
