"""Pictures with masks: layouts, what numbers and colours mean, transforms that move both, errors, metrics."""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.commands import run
from helpers.goldens import GOLDENS
from PIL import Image

from internimage.data.dataset import EvaluationDataset
from internimage.data.formats.masks import read_classes
from internimage.data.masks import Coding, SegmentedImages
from internimage.data.sampling.sampler import SampleKey
from internimage.data.splits import Splits, make_splits
from internimage.errors import ConfigError, DataError, ImageReadError
from internimage.images import FitPreprocessing
from internimage.images.masks import UNKNOWN
from internimage.inference.views import MakeViews
from internimage.metrics.mean_iou import MeanIoU
from internimage.settings.data import DataOptions
from internimage.settings.segmentation import SegmentationAugmentation
from internimage.tasks.segmentation.augmentation import TrainingTransform
from internimage.tasks.segmentation.check import check_masks
from internimage.tasks.segmentation.dataset import SegmentationDataset
from internimage.tasks.segmentation.prepare import look_at_some
from internimage.tasks.segmentation.spec import SPEC

PLAIN = FitPreprocessing(32, 128, (0, 0, 0), (1, 1, 1))
CLASSES = {"classes": ["sea", "land", "nothing"], "palette": [[0, 0, 200], [9, 99, 9], [1, 1, 1]], "unknown": [2]}
PIXELS = np.zeros((40, 60), np.uint8)
PIXELS[20:, 30:] = 1
PIXELS[:5, :5] = 2


def save(path: Path, mask: Any, mode: str | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(np.asarray(mask))
    (image.convert(mode) if mode else image).save(path)
    return path


def write(root: Path, places: dict[str, tuple[str, str]], mask: Any = PIXELS, count: int = 3) -> Path:
    """Pictures whose red channel is a hundred times the class, and masks."""
    for images, masks in places.values():
        for number in range(count):
            green = np.full_like(PIXELS, 60 * number % 250)  # no two are the same
            picture = np.stack([PIXELS * 100, green, PIXELS * 0 + number + 1], axis=-1)
            save(root / images.format(number), picture)
            save(root / masks.format(number), mask)
    return root


INSIDE = {part: (f"{part}/images/{{}}.png", f"{part}/masks/{{}}.png") for part in ("train", "val")}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write(tmp_path / "data", INSIDE)
    (tmp_path / "data" / "classes.json").write_text(json.dumps(CLASSES))
    return tmp_path / "data"


def read(root: Path, wanted: str | None = None) -> Mapping[str, SegmentedImages]:
    return SPEC.read_parts(root, wanted, DataOptions())


def split(root: Path) -> Splits[SegmentedImages]:
    return make_splits(read(root), root)


CITY = ("leftImg8bit/{}/a/{{}}_leftImg8bit.png", "gtFine/{}/a/{{}}_gtFine_labelIds.png")


@pytest.mark.parametrize(
    ("places", "more", "classes", "first"),
    [
        (INSIDE, "", 3, "class 0"),
        ({p: (f"images/{p}/x/{{}}.png", f"labels/{p}/x/{{}}.png") for p in ("train", "val", "test")}, "", 3, "class 0"),
        ({p: (f"img_dir/{p}/{{}}.png", f"ann_dir/{p}/{{}}.png") for p in ("train", "val")}, "", 3, "class 0"),
        ({p: (f"{p.title()}/Images/{{}}.png", f"{p.title()}/Masks/{{}}.png") for p in ("train",)}, "", 3, "class 0"),
        ({"all": ("images/{}.png", "annotations/{}.png")}, "", 3, "class 0"),
        (
            {p: (f"images/{p}ing/{{}}.png", f"annotations/{p}ing/{{}}.png") for p in ("train",)}
            | {"val": ("images/validation/{}.png", "annotations/validation/{}.png")},
            "objectInfo150.txt",
            150,
            "wall",
        ),
        ({p: tuple(one.format(p) for one in CITY) for p in ("train", "val")}, "", 19, "road"),
        ({p: (f"{p}/{{}}.png", f"{p}annot/{{}}.png") for p in ("train", "val", "test")}, "", 11, "sky"),
        (
            {p: (f"images/{p}2017/{{}}.png", f"annotations/{p}2017/{{}}_labelTrainIds.png") for p in ("train", "val")},
            "",
            171,
            "person",
        ),
    ],
    ids=["inside", "outside", "mmseg", "other letters", "flat", "ade20k", "cityscapes", "camvid", "coco_stuff"],
)
def test_layouts(tmp_path: Path, places: dict[str, tuple[str, str]], more: str, classes: int, first: str) -> None:
    root = write(tmp_path, places)
    if more:
        (root / more).touch()
    if places.get("train", ("",))[0].startswith("leftImg8bit"):
        save(root / "gtFine/train/a/0_gtFine_color.png", PIXELS)  # lies beside and is no mask of ours
    parts = read(root)
    assert set(parts) == set(places)
    for part, data in parts.items():
        assert [image.file for image in data.images] == [root / places[part][0].format(number) for number in range(3)]
        assert [image.mask for image in data.images] == [root / places[part][1].format(number) for number in range(3)]
        assert (len(data.classes), data.classes[0]) == (classes, first)
    assert set(read(root, "all")) == set(places)  # there is no such part, or it is the only one
    assert set(read(root, "val")) == ({"val"} if "val" in places else set(places))
    assert SPEC.estimate(root) == 3
    data = parts[next(iter(parts))]
    truth = data.truth(data.images[0])
    expected = {150: [-1, 0, 1], 19: [-1, -1, -1]}.get(classes, [0, 1, 2])
    assert [truth[10, 10], truth[30, 40], truth[0, 0]] == expected


@pytest.mark.parametrize(("folder", "beside"), [("labels", "instances"), ("v1.2/labels", "v2.0")])
def test_mapillary_has_the_classes_of_cityscapes(tmp_path: Path, folder: str, beside: str) -> None:
    """As the released configurations train, but for numbers above 65, which no mask of the set has."""
    table = np.load(GOLDENS / "segmentation.npz")["miou/mapillary_hack_lut"][:66].astype(np.int32)
    table[table == 255] = -1
    for part in ("training", "validation"):
        save(tmp_path / part / "images" / "a.jpg", np.zeros((6, 11, 3), np.uint8))
        save(tmp_path / part / folder / "a.png", np.arange(66, dtype=np.uint8).reshape(6, 11))
        (tmp_path / part / beside).mkdir()
    for data in read(tmp_path).values():
        assert np.array_equal(data.truth(data.images[0]).ravel(), table)
        assert len(data.classes) == 19


def test_listed_parts(tmp_path: Path) -> None:
    """Pascal Context: all pictures in one folder, the parts as lists of names."""
    root = write(tmp_path, {"all": ("JPEGImages/{}.png", "SegmentationClassContext/{}.png")})
    lists = root / "ImageSets" / "SegmentationContext"
    lists.mkdir(parents=True)
    (lists / "train.txt").write_text("0\n2\n")
    (lists / "val.txt").write_text("1\n")
    parts = read(root)
    assert {part: [image.file.stem for image in data.images] for part, data in parts.items()} == {
        "train": ["0", "2"],
        "val": ["1"],
    }


@pytest.mark.parametrize(
    ("mask", "mode"),
    [
        (PIXELS, None),
        (PIXELS.astype(np.uint16), None),
        (PIXELS.astype(np.int32), None),
        (PIXELS, "P"),
        (np.stack([PIXELS] * 3, axis=-1), None),
        (np.array(CLASSES["palette"], np.uint8)[PIXELS], None),
        (np.concatenate([np.array(CLASSES["palette"], np.uint8)[PIXELS], PIXELS[..., None] * 0 + 255], -1), None),
    ],
    ids=["8 bits", "16 bits", "32 bits", "palette", "grey as RGB", "colours", "colours with alpha"],
)
def test_masks_of_all_kinds(root: Path, mask: Any, mode: str | None) -> None:
    path = root / "train" / "masks" / ("0.tif" if mask.dtype == np.int32 else "0.png")
    (root / "train" / "masks" / "0.png").unlink()
    save(path, mask, mode)
    data = read(root)["train"]
    assert (data.classes, data.palette) == (("sea", "land"), ((0, 0, 200), (9, 99, 9)))
    expected = np.array([0, 1, UNKNOWN])[PIXELS]
    assert (data.truth(data.images[0]) == expected).all()


@pytest.mark.parametrize("names", [None, "ground\nnucleus\n"])
@pytest.mark.parametrize("white", [255, 1, True])
def test_black_and_white_masks_are_two_classes(tmp_path: Path, white: int, names: str | None) -> None:
    """Also where one part has no white, and where the file of the classes says no numbers."""
    root = write(tmp_path, INSIDE, (PIXELS == 1) if white is True else (PIXELS == 1).astype(np.uint8) * white)
    save(root / "val" / "masks" / "0.png", PIXELS * 0)
    if names:
        (root / "classes.txt").write_text(names, encoding="utf-8-sig")
    for wanted in (None, "val"):
        for data in read(root, wanted).values():
            assert data.classes == (tuple(names.split()) if names else ("background", "foreground"))
            expected = (PIXELS == 1) & (("train" in data.name) | (data.images[0].file.stem != "0"))
            assert (data.truth(data.images[0]) == expected).all()


@pytest.mark.parametrize(
    ("palette", "colours", "expected"),
    [
        ([[0, 0, 0], [255, 255, 255]], [[0, 0, 0], [255, 255, 255], [0, 0, 0]], [0, 1, 0]),
        ([[255, 0, 0], [0, 255, 0], [0, 0, 0]], [[0, 0, 0]] * 3, [2, 2, 2]),
        ([[255, 0, 0], [0, 255, 0]], [[0, 0, 0]] * 3, [UNKNOWN] * 3),
        ([[0, 0, 0], [128, 128, 128], [255, 255, 255]], [[128, 128, 128], [0, 0, 0], [255, 255, 255]], [1, 0, 2]),
        ([[9, 9, 9], [8, 8, 8]], [[0, 0, 0], [1, 1, 1], [255, 255, 255]], [0, 1, UNKNOWN]),
    ],
)
def test_grey_is_a_colour_where_the_palette_has_it(root: Path, palette: Any, colours: Any, expected: list[int]) -> None:
    """And else a number."""
    (root / "classes.json").write_text(json.dumps({"classes": list("abc")[: len(palette)], "palette": palette}))
    save(root / "train" / "masks" / "0.png", np.array(colours, np.uint8)[PIXELS])
    data = read(root)["train"]
    assert (data.truth(data.images[0]) == np.array(expected)[PIXELS]).all()


def test_a_rare_number_is_seen_and_a_folder_may_be_named_from_where_one_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = write(tmp_path / "data", INSIDE, (PIXELS == 1).astype(np.uint8), count=205)
    save(root / "train" / "masks" / "77.png", PIXELS)
    save(root / "train" / "masks" / "._0.png", PIXELS + 7)  # of a Mac
    monkeypatch.chdir(tmp_path)
    assert split(Path("data")).train.classes == ("class 0", "class 1", "class 2")
    assert len(check_masks(read(Path("data"))["val"]).masks) == 0
    assert SPEC.estimate(Path("data")) == 205


def test_pictures_without_masks(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Named before training, left out if asked to, found by the check."""
    (root / "train" / "masks" / "1.png").unlink()
    with pytest.raises(
        DataError, match=r"1 of the 3 pictures in .* have no mask, such as .*1\.png, whose mask would be"
    ):
        look_at_some(split(root).train, "error")
    look_at_some(split(root).train, "skip")
    data = EvaluationDataset(split(root).train, PLAIN, "skip")
    assert [Path(name).name for name in data.leave_out_unreadable()] == ["1.png"]
    assert [data[SampleKey(0, index)].source.name[-5:] for index in range(len(data))] == ["0.png", "2.png"]
    upside_down = Image.Exif()
    upside_down[0x0112] = 3
    Image.open(root / "val" / "images" / "2.png").save(root / "val" / "images" / "2.png", exif=upside_down)
    assert run(["data", "check", root]) == 1
    printed = capsys.readouterr().out
    assert "mask: " in printed
    assert printed.count("turned by EXIF") == 1
    for number in range(3):
        save(root / "train" / "masks" / f"{number}.png", PIXELS * 0 + 2)
    with pytest.raises(DataError, match="all pixels of 3 masks are unknown"):
        look_at_some(split(root).train, "error")


def test_objects_are_painted_small_on_large(tmp_path: Path) -> None:
    (tmp_path / "train").mkdir()
    save(tmp_path / "train" / "1.png", np.zeros((20, 30, 3), np.uint8))
    square = [[2, 2, 12, 2, 12, 12, 2, 12]]
    small = [[4, 4, 8, 4, 8, 8, 4, 8]]
    annotations = [
        {"id": 1, "image_id": 1, "category_id": 7, "bbox": [4, 4, 4, 4], "area": 16, "segmentation": small},
        {"id": 2, "image_id": 1, "category_id": 3, "bbox": [2, 2, 10, 10], "area": 100, "segmentation": square},
    ]
    content = {
        "images": [{"id": 1, "file_name": "1.png", "height": 20, "width": 30}],
        "annotations": annotations,
        "categories": [{"id": 3, "name": "moon"}, {"id": 7, "name": "star"}],
    }
    (tmp_path / "train.json").write_text(json.dumps(content))
    data = read(tmp_path)["train"]
    assert data.classes == ("background", "moon", "star")
    truth = data.truth(data.images[0])
    assert [truth[0, 0], truth[3, 3], truth[5, 5]] == [0, 1, 2]
    assert np.bincount(truth.ravel()).tolist() == [500, 84, 16]
    by_file = read(tmp_path / "train.json")
    assert [part.images for part in by_file.values()] == [data.images]
    content["annotations"][0].pop("segmentation")
    (tmp_path / "train.json").write_text(json.dumps(content))
    with pytest.raises(DataError, match="1 objects have no mask; a segmenter needs one of every object"):
        read(tmp_path)


@pytest.mark.parametrize(
    ("content", "names", "ids", "unknown"),
    [
        ('{"classes": ["a", "b"]}', ("a", "b"), ((0,), (1,)), {255}),
        ('{"classes": ["a", "b"], "ids": [7, 255]}', ("a", "b"), ((7,), (255,)), {0}),
        ('{"classes": ["a", "b"], "unknown": ["a"]}', ("b",), ((1,),), {0, 255}),
        ('{"classes": ["a", "b", "c"], "void_index": 2}', ("a", "b"), ((0,), (1,)), {2, 255}),
        ('{"classes": ["a", "b"], "ids": [[7, 9, 2], 3], "unknown": [9]}', ("a", "b"), ((7, 2), (3,)), {0, 9, 255}),
        ('[{"id": 4, "name": "x", "color": null}]', ("x",), ((4,),), {0, 255}),
    ],
)
def test_classes_files(tmp_path: Path, content: str, names: tuple[str, ...], ids: Any, unknown: set[int]) -> None:
    (tmp_path / "classes.json").write_text(content)
    found = read_classes(tmp_path / "classes.json")
    assert (found.names, found.coding.ids, set(found.coding.unknown)) == (names, ids, unknown)
    (tmp_path / "classes.txt").write_text("sky\n\nsea of ice\n")
    assert read_classes(tmp_path / "classes.txt").names == ("sky", "sea of ice")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "is not readable JSON"),
        ('{"classes": ["a"], "ids": [-1]}', "expected numbers from 0 on"),
        ('{"classes": ["a", " "]}', "expected texts, each of them once"),
        ('{"classes": ["a"], "unkown": [3]}', "has unkown; expected classes, ids, palette and unknown"),
        ('{"classes": ["a"], "unknown": [2.0, true]}', "unknown has 2.0, True; expected whole numbers or names"),
        ("{}", "has no list 'classes'"),
        ('{"classes": ["a", "a"]}', "expected texts, each of them once"),
        ('{"classes": ["a", 3]}', "expected texts, each of them once"),
        ('{"classes": ["a"], "ids": [1, 2]}', "expected a whole number, or a list of such, for each of 1"),
        ('{"classes": ["a", "b"], "ids": [1, 1]}', "expected each number once"),
        ('{"classes": ["a", "b"], "ids": [[1, 2], 1]}', "expected each number once"),
        ('{"classes": ["a", "b"], "ids": [[], 1]}', "a whole number, or a list of such, for each of 2"),
        ('{"classes": ["a"], "palette": [[1, 2]]}', "palette is not red, green, blue of each of 1 classes"),
        ('{"classes": ["a"], "palette": [[1, 2, 256]]}', "palette is not red, green, blue"),
        ('{"classes": ["a"], "unknown": ["b"]}', "unknown has b, which is no class"),
        ('{"classes": ["a"], "unknown": [0]}', "all classes are unknown"),
        ('{"classes": ["a"], "unknown": 3}', "expected a list of numbers or names"),
    ],
)
def test_classes_files_that_contradict_themselves(root: Path, content: str, message: str) -> None:
    (root / "classes.json").write_text(content)
    with pytest.raises(DataError, match=message):
        split(root)


def label_as_yolo(root: Path) -> None:
    for mask in (root / "train" / "masks").iterdir():
        mask.rename(mask.with_suffix(".txt"))


def name_twice(root: Path) -> None:
    save(root / "train" / "images" / "1.bmp", np.zeros((4, 4), np.uint8))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda root: save(root / "train" / "masks" / "1.jpg", PIXELS), "have one name"),
        (name_twice, r"1\.png and 1\.bmp have one name"),
        (lambda root: shutil.rmtree(root / "train"), "has no training images; found val"),
        (
            lambda root: [shutil.rmtree(root / part) for part in ("train", "val")],
            "no format that is read: it holds 1 .json. Ex",
        ),
        (shutil.rmtree, "does not exist; expected a folder of pictures with labels"),
        (label_as_yolo, "has a mask of its name in .*the text files there, YOLO's perhaps, are not read"),
    ],
)
def test_data_that_is_not_whole(root: Path, spoil: Any, message: str) -> None:
    spoil(root)
    with pytest.raises(DataError, match=message):
        split(root)


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        (PIXELS + 3, r"the numbers 3, 4, 5 stand for no class; expected 0, 1, or 2, 255 for unknown"),
        (np.full((40, 60, 3), (5, 6, 7), np.uint8), r"the colours \(5, 6, 7\) stand for no class"),
        (PIXELS[:, :50], r"the picture is 60x40, .*0\.png 50x40; expected one size"),
        (PIXELS.T.copy(), r"before the rotation that its EXIF data ask for"),
        (None, r"0\.png: not an image in a known format"),
    ],
)
def test_masks_that_do_not_fit(root: Path, mask: Any, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    """One sentence in training and evaluation, skipped if asked, and found by the check."""
    path = root / "train" / "masks" / "0.png"
    path.write_bytes(b"no picture") if mask is None else save(path, mask)
    data = split(root).train
    transform = TrainingTransform(SegmentationAugmentation((32, 32), 32, 128), PLAIN)
    for strict in (SegmentationDataset(data, transform), EvaluationDataset(data, PLAIN)):
        with pytest.raises(ImageReadError, match=message):
            strict[SampleKey(0, 0)]
    skipped = SegmentationDataset(data, transform, on_corrupt="skip")[SampleKey(0, 0)]
    assert [Path(name).name for name in skipped.unreadable] == ["0.png"]
    assert [Path(name).name for name in EvaluationDataset(data, PLAIN, "skip").leave_out_unreadable()] == ["0.png"]
    assert run(["data", "check", root]) == 1
    assert str(path) in capsys.readouterr().out


def test_image_and_labels_move_together(root: Path) -> None:
    """The red channel tells the class; over fifty crops, scales and flips, edges aside."""
    augmentation = SegmentationAugmentation((48, 40), 40, 160, (0.5, 2.0), photometric=False)
    data = SegmentationDataset(split(root).train, TrainingTransform(augmentation, PLAIN), 3)
    seen = torch.zeros(3, dtype=torch.int64)
    for epoch in range(50):
        sample = data[SampleKey(epoch, epoch % 3)]
        assert (sample.image.shape, sample.truth.shape) == ((3, 48, 40), (48, 40))
        red = sample.image[0]
        flat = (red % 100 == 0) & (sample.image[2] == epoch % 3 + 1)  # neither blended at an edge nor padding
        said = torch.where(red == 200, UNKNOWN, (red / 100).long())
        # where one colour is blended from four, an edge may lie half a pixel further
        assert (sample.truth[flat] == said[flat]).float().mean() > 0.97
        seen += torch.bincount(sample.truth.flatten() + 1, minlength=3)
    assert seen.min() > 500
    first = data[SampleKey(7, 1)]
    assert torch.equal(first.image, data[SampleKey(7, 1)].image)
    small = SegmentationAugmentation((64, 96), 40, 160, (0.5, 0.5))
    sample = SegmentationDataset(data.data, TrainingTransform(small, PLAIN))[SampleKey(0, 0)]
    assert (sample.truth[20:] == UNKNOWN).all()  # the picture is 20 pixels high now; the rest is padding
    assert (sample.image[:, 20:] == 0).all()


def test_crops_that_one_class_fills_are_drawn_anew() -> None:
    picture = Image.fromarray(np.zeros((100, 100, 3), np.uint8))
    truth = np.zeros((100, 100), np.int32)
    truth[:, 80:] = 1
    counts = []
    for most in (0.75, 1.0):
        transform = TrainingTransform(SegmentationAugmentation((30, 30), 100, 100, (1, 1), most), PLAIN)
        torch.manual_seed(0)
        counts.append(sum(len(transform(picture, truth)[1].unique()) == 2 for _ in range(60)))
    assert counts[0] > 2 * counts[1]


def test_evaluation_keeps_the_mask_as_it_is(root: Path) -> None:
    sample = EvaluationDataset(split(root).val, MakeViews(PLAIN, None))[SampleKey(0, 0)]
    (image,) = sample.prepared.images
    assert (image.shape, sample.prepared.original) == ((3, 32, 48), (40, 60))
    assert (sample.measured.truth == np.array([0, 1, UNKNOWN])[PIXELS]).all()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"crop": (0, 5)}, "crop is"),
        ({"short": 900, "long": 800}, "expected 1 <= short <= long"),
        ({"scale": (2.0, 1.0)}, "expected two factors"),
        ({"flip": 2.0}, "expected shares of 1"),
        ({"most_of_one": 0.0}, "expected shares of 1"),
    ],
)
def test_augmentations_that_make_no_sense(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        SegmentationAugmentation(**changes)


def test_check_counts(root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save(root / "val" / "masks" / "2.png", np.full((40, 60), 255, np.uint8))
    save(root / "val" / "images" / "2.png", np.zeros((40, 60, 3), np.uint8))
    found = check_masks(read(root)["val"])
    sea = (PIXELS == 0).sum() / (PIXELS < 2).sum()
    assert found.pixels == {"sea": pytest.approx(sea), "land": pytest.approx(1 - sea)}
    assert [Path(name).name for name in found.unknown] == ["2.png"]
    assert not found.errors
    assert run(["data", "check", root, "--json", "--sheet", tmp_path / "sheet.png"]) == 1  # val shows training pictures
    report = json.loads(capsys.readouterr().out)
    assert [[Path(name).name for name in pair] for pair in report["leakage"]["val"]] == [["0.png"] * 2, ["1.png"] * 2]
    assert Image.open(tmp_path / "sheet.png").width > 1000


# Mean intersection over union


MIOU = dict(np.load(GOLDENS / "segmentation.npz", allow_pickle=False))
NUMBERS = json.loads((GOLDENS / "segmentation_miou.json").read_text())


@pytest.mark.parametrize("case", ["plain", "reduce_zero_label", "only_ignored", "pred150_over_19"])
def test_metric_equals_the_reference(case: str) -> None:
    """Classes that are absent or never predicted, labels and predictions outside the list, nothing known at all."""
    classes = 19 if case == "pred150_over_19" else 12
    pairs = [(MIOU["miou/pred150"], MIOU["miou/label19"].astype(np.int64))] if classes == 19 else []
    if case in ("plain", "reduce_zero_label"):
        kind = "label" if case == "plain" else "rawlabel"
        pairs = [(MIOU[f"miou/pred{i}"], MIOU[f"miou/{kind}{i}"].astype(np.int64)) for i in range(4)]
    if case == "only_ignored":
        pairs = [(MIOU["miou/pred0"], np.full((30, 41), 255))]
    halves = [MeanIoU(tuple(map(str, range(classes)))) for _ in range(2)]
    for index, (found, truth) in enumerate(pairs):
        if case == "reduce_zero_label":  # number 1 is the first class, 0 is unknown; what is beyond stays beyond
            truth = np.where((truth == 0) | (truth == 255), UNKNOWN, truth - 1)
        halves[index % 2].add(found, np.where(truth == 255, UNKNOWN, truth))
    metric = halves[0]
    metric.merge([half.state() for half in halves])
    expected, rows = NUMBERS[f"{case}/mIoU"], metric.per_class().values()
    for ours, theirs in (("iou", "IoU"), ("accuracy", "Acc")):
        found = [row[ours] for row in rows]
        assert found == pytest.approx([np.nan if v is None else v for v in expected[theirs]], nan_ok=True)
    summary = NUMBERS[f"{case}/mIoU/summary_as_dataset.evaluate"]
    numbers = metric.compute()
    for ours, theirs in (("miou", "mIoU"), ("macc", "mAcc"), ("aacc", "aAcc")):
        value = np.nan if summary[theirs] is None else summary[theirs]
        assert round(numbers[ours], 4) == pytest.approx(value, abs=1e-9, nan_ok=True)
    with pytest.raises(ValueError, match="expected one size"):
        metric.add(np.zeros((3, 3)), np.zeros((3, 4)))


def test_numbers_of_any_size() -> None:
    coding = Coding(((0,), (40_000,)))
    assert coding.decode(np.array([[0, 40_000], [255, 0]]), "x").tolist() == [[0, 1], [-1, 0]]
    with pytest.raises(ImageReadError, match="the numbers -3, 7 stand for no class"):
        coding.decode(np.array([[-3, 7]]), "x")
