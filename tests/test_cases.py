# ruff: noqa: E501  # a case is a line
"""Data as people have them: the inputs of public reports, and others of their kinds, by what should come of them."""

import contextlib
import io
import json
import shutil
import unicodedata
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.commands import run
from PIL import Image
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

import internimage as ii
from internimage.contracts import task_spec
from internimage.data.formats.coco import read_coco
from internimage.data.splits import Splits, left_out_lines
from internimage.errors import DataError
from internimage.factory import recipe_of
from internimage.images import ImageSource
from internimage.inference.evaluation import recognise
from internimage.metrics.average_precision import AveragePrecision
from internimage.results.detections import Detections
from internimage.settings.data import DataOptions
from internimage.settings.training import RunConfig
from internimage.training.beginning import read_splits
from internimage.training.initial import initial_model, known_classes

DETECTOR, SEGMENTER = "mask_rcnn_internimage_atto_fpn", "upernet_internimage_atto"
Change = Callable[[Path], Any]


@pytest.fixture(scope="session")
def cases(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cases")
    with zipfile.ZipFile(Path(__file__).parent / "data" / "cases.zip") as archive:
        archive.extractall(folder)
    return folder / "cases"


@pytest.fixture
def case(request: pytest.FixtureRequest, cases: Path, tmp_path: Path) -> Path:
    """A copy of a case, changed."""
    name, change = request.param
    root = tmp_path / "data"
    shutil.copytree(cases / name, root)
    (root / "README.txt").unlink()
    if change is not None:
        change(root)
    return root


def split(root: Path, model: str | None = None, **options: Any) -> Splits[Any]:
    """What a training would read."""
    recipe = recipe_of(model or recognise(root).default_model)
    config = RunConfig(data=str(root), model=recipe.name, reading=DataOptions(**options))
    return read_splits(config, task_spec(recipe.task), known_classes(config, recipe))


def rewritten(file: str, change: Callable[[Any], Any]) -> Change:
    """The JSON of a case, changed."""

    def write(root: Path) -> None:
        content = json.loads((root / file).read_text())
        change(content)
        (root / file).write_text(json.dumps(content))

    return write


def renamed(change: Callable[[str], str], file: str = "result.json") -> Change:
    """File names of pictures as another tool spells them."""
    return rewritten(
        file, lambda content: [one.update(file_name=change(one["file_name"])) for one in content["images"]]
    )


def moved(**names: str) -> Change:
    return lambda root: [(root / old).rename(root / new) for old, new in names.items()]


def every(file: str, **values: Any) -> Change:
    return rewritten(file, lambda content: [one.update(values) for one in content["annotations"]])


def accents(root: Path) -> None:
    """Names in the other Unicode form than the files have."""
    renamed(lambda name: unicodedata.normalize("NFD", name.replace("0", "é")))(root)
    for path in (root / "images").iterdir():
        path.rename(path.with_name(unicodedata.normalize("NFC", path.name.replace("0", "é"))))


def corners(content: Any) -> None:
    for one in content["annotations"]:
        x, y, width, height = one["bbox"]
        one["bbox"] = [x, y, x + width, y + height]


DISCS = {"disc": 16, "square": 8}
TEN = {"disc": 16, "square": 8}  # of twenty and ten, two pictures of ten set aside
PETS = {"cat": 5, "dog": 5, "owl": 5}
WHOLE = {"cat": 6, "dog": 6, "owl": 6}
TRAIN, RESULT = "annotations/train.json", "result.json"


@pytest.mark.parametrize(
    ("case", "counts", "said"),
    [
        (("labelstudio-export", None), TEN, ""),
        (("labelstudio-export", moved(**{RESULT: "export 3.JSON", "images": "Images"})), TEN, "10 pictures found by another spelling or place"),
        (("labelstudio-export", rewritten(RESULT, lambda one: [i.pop("width") and i.pop("height") for i in one["images"]])), TEN, ""),
        (("cvat-default", None), TEN, ""),
        (("cvat-default", moved(annotations="Annotations")), TEN, ""),
        (("cvat-default", renamed(lambda name: f"images/default/{name}", "annotations/instances_default.json")), TEN, ""),
        (("windows-paths", None), TEN, "10 pictures found by reading backslashes as slashes"),
        (("windows-paths", renamed(lambda name: f"C:\\data\\{name}")), TEN, "backslashes"),
        (("windows-paths", renamed(lambda name: "s3://bucket/set/" + name.replace("\\", "/"))), TEN, "storage's prefix"),
        (("windows-paths", renamed(lambda name: f"/data/local-files/?d=set/{name[7:]}")), TEN, "storage's prefix"),
        (("windows-paths", renamed(lambda name: f"/home/me/set/{name[7:]}")), TEN, "another machine's folders"),
        (("windows-paths", renamed(lambda name: name[7:].replace(".jpg", ".JPG"))), TEN, "another spelling"),
        (("windows-paths", renamed(lambda name: f"1f2e3d4c-{name[7:]}")), TEN, "another spelling"),
        (("windows-paths", renamed(lambda name: name[7:-4])), TEN, "another spelling"),
        (("labelstudio-export", accents), TEN, "another spelling"),
        (("parts-training-validation", None), WHOLE, ""),
        (("parts-training-validation", moved(training="TRAIN", validation="Valid")), WHOLE, ""),
        (("parts-training-validation", moved(training="train2024", validation="val2024")), WHOLE, ""),
        (("macosx-folder", None), PETS, ""),
        (("macosx-folder", lambda root: ((root / "models").mkdir(), (root / "models/x.pt").touch())), PETS, "1 folder left out: they hold no pictures (models)"),
        (("runs-inside-the-data", None), PETS, ""),
        (("roboflow-name-twice", None), DISCS, "of two categories called disc the one without objects is dropped"),
        (("background-category", None), DISCS, "1 classes that nothing shows are left out: background"),
        (("polygons-without-bbox", None), {"disc": 12, "square": 6}, ""),
        (("polygons-without-bbox", every(TRAIN, bbox=None)), {"disc": 12, "square": 6}, ""),
        (("same-picture-twice", None), {"disc": 24, "square": 12}, "16 of 16 pictures are there more than once"),
        (("twelve-bit", None), {"disc": 10, "square": 5}, ""),
        (("exif-upside-down", None), DISCS, ""),
    ],
    indirect=["case"],
)  # fmt: skip
def test_what_is_understood(case: Path, counts: dict[str, int], said: str) -> None:
    splits = split(case)
    assert dict(zip(splits.train.classes, splits.train.counts(), strict=True)) == counts
    lines = [*splits.train.notes, *splits.notes, *left_out_lines({"train": splits.train})]
    assert said in "\n".join(lines)
    assert bool(lines) == bool(said)
    files = [{one.file for one in part.entries} for part in (splits.train, splits.val)]
    assert not files[0] & files[1]
    assert all(file.is_file() for part in files for file in part)


def test_a_class_in_one_picture_stays_in_training(cases: Path) -> None:
    for seed in range(5):
        config = RunConfig(str(cases / "rare-class-set-aside"), DETECTOR, training=ii.TrainingConfig(seed=seed))
        train = read_splits(config, task_spec("detection"), None).train
        assert train.counts()[train.classes.index("ring")] > 0


def soft(root: Path) -> None:
    """Three greys with smooth edges, as a mask that was scaled has them."""
    for number, path in enumerate(sorted(root.rglob("masks/*.png"))):
        mask = Image.new("L", (12, 9))
        mask.paste(128, (2 + number % 3, 2, 7, 7))
        mask.paste(255, (8, 1, 11, 4))
        mask.resize((128, 96), Image.Resampling.BICUBIC).save(path)


def numbered(root: Path) -> None:
    """A number for each object, another in each mask."""
    for number, path in enumerate(sorted(root.rglob("masks/*.png"))):
        mask = Image.new("L", (128, 96))
        for place in range(3):
            mask.paste(3 * number + place + 1, (10 + 40 * place, 20, 40 + 40 * place, 60))
        mask.save(path)


def plain(root: Path) -> None:
    for path in root.rglob("masks/*.png"):
        Image.new("L", (128, 96), 7).save(path)


def half_crowds(content: Any) -> None:
    for one in content["annotations"][::2]:
        one["iscrowd"] = 0


def one_crowd(content: Any) -> None:
    for one in content["annotations"][1:]:
        one["iscrowd"] = 0


CROWDS = "annotations/instances_train.json"


@pytest.mark.parametrize(
    ("case", "model", "message"),
    [
        (("soft-edged-masks", None), SEGMENTER, r"189 different numbers, 188 of them only along edges.*areas have 0, 255"),
        (("soft-edged-masks", soft), SEGMENTER, r"different numbers, \d+ of them only along edges, as smooth drawing leaves them"),
        (("soft-edged-masks", numbered), SEGMENTER, r"36 of 37 numbers are in one mask only, as those of single objects"),
        (("soft-edged-masks", plain), SEGMENTER, r"the masks have the number 7 alone"),
        (("shares-instead-of-pixels", None), None, r"all 24 boxes lie between 0 and 1: they look like shares"),
        (("polygons-without-bbox", every(TRAIN, bbox=[0.1, 0.1, 0.2, 0.2])), None, r"look like shares of the picture"),
        (("rare-class-set-aside", rewritten(TRAIN, corners)), None, r"they look like corners; expected x, y, width"),
        (("two-point-polygons", None), None, r"(?s)^4 entries cannot be used.*\[3\].*\[7\].*\[11\].*\[19\]"),
        (("two-point-polygons", every(TRAIN, segmentation=[[1, 2]])), None, r"(?s)^24 entries.*and 14 more"),
        (("cvat-brush-masks", None), None, r"24 of 24 objects left out: crowds.*every object is marked so.*--crowds learn"),
        (("cvat-brush-masks", rewritten(CROWDS, half_crowds)), None, r"12 of 24 objects left out: crowds.*--allow-left-out"),
        (("heic-and-loose-files", None), None, r"5 of 23 pictures left out: .*; 10 of 33 pictures left out: \.heic is not"),
        (("labelstudio-export", lambda root: (root / RESULT).unlink()), None, r"pictures in images/, but no labels of them"),
        (("parts-training-validation", moved(validation="TRAIN")), None, r"TRAIN and training; expected one folder of"),
        (("labelstudio-export", lambda root: shutil.copy(root / RESULT, root / "b.json")), None, r"several annotation files"),
        (("labelstudio-export", lambda root: [shutil.rmtree(root / "images"), (root / RESULT).unlink()]), None, r"it holds nothing"),
        (("dense", None), None, r"has no training images; found val"),
    ],
    indirect=["case"],
)  # fmt: skip
def test_what_stops(case: Path, model: str | None, message: str) -> None:
    with pytest.raises(DataError, match=message):
        split(case, model)


@pytest.mark.parametrize(
    ("case", "options", "counts"),
    [
        (("cvat-brush-masks", None), {"crowds": "learn"}, DISCS),
        (("cvat-brush-masks", rewritten(CROWDS, half_crowds)), {"allow_left_out": True}, {"disc": 8, "square": 4}),
        (("cvat-brush-masks", lambda root: [rewritten(f"annotations/instances_{part}.json", one_crowd)(root) for part in ("train", "val")]), {"allow_left_out": True}, {"disc": 15, "square": 8}),
        (("heic-and-loose-files", None), {"allow_left_out": True}, PETS),
        (("two-point-polygons", None), {"bad_entries": "drop"}, {"disc": 12, "square": 6}),
    ],
    indirect=["case"],
)  # fmt: skip
def test_what_goes_on_when_asked(case: Path, options: dict[str, Any], counts: dict[str, int]) -> None:
    train = split(case, **options).train
    assert dict(zip(train.classes, train.counts(), strict=True)) == counts


def test_bad_polygons_leave_boxes(cases: Path) -> None:
    splits = split(cases / "two-point-polygons", bad_entries="drop")
    objects = [one for part in (splits.train, splits.val) for image in part.images for one in image.objects]
    assert (len(objects), sum(one.segmentation is None for one in objects)) == (24, 3)
    assert str(splits.train.left_out[0]).startswith("4 polygons left out: cannot be used")


@pytest.mark.parametrize(
    ("name", "classes", "pixels"),
    [
        ("area-zero", ("background", "field", "hut"), [760, 7564, 892]),
        ("background-category", ("background", "disc", "square"), [11059, 913, 316]),
        ("masks-in-alpha", ("background", "foreground"), None),
    ],
)
def test_pixels(name: str, classes: tuple[str, ...], pixels: list[int] | None, cases: Path) -> None:
    train = split(cases / name, SEGMENTER).train
    assert train.classes == classes
    if pixels is not None:
        assert np.bincount(train.truth(train.images[0]).ravel()).tolist() == pixels
    else:
        share = np.mean([train.truth(image).mean() for image in train.images])
        assert 0.05 < share < 0.07


def test_perfect_answers_beyond_a_hundred(cases: Path) -> None:
    """COCO counts 100 of 180 objects a picture; at the model's own limit all of them, as pycocotools does."""
    file = cases / "dense/annotations/val.json"
    truth, answers = read_coco(file, cases / "dense/val"), []
    usual, metric = (AveragePrecision(truth, masks=False, limit=limit) for limit in (100, 300))
    for image in truth.images:
        boxes = np.array([one.box for one in image.objects], np.float32)
        scores, labels = np.linspace(1, 0.5, 180, dtype=np.float32), np.zeros(180, np.int64)
        source = ImageSource(str(image.file), image.file)
        for one in (usual, metric):
            one.add(Detections(boxes, scores, labels, truth.classes, image.size, source), image.identity)
        for (x1, y1, x2, y2), score in zip(boxes.tolist(), scores.tolist(), strict=True):
            box = [x1, y1, x2 - x1, y2 - y1]
            answers.append({"image_id": image.identity, "category_id": 1, "bbox": box, "score": score})
    found = metric.compute()
    assert [found["box_ap"], found["box_ap_at_300"]] == pytest.approx([0.554, 1], abs=5e-4)
    assert "box_ap_at_300" not in usual.compute()
    for limit, ours in ((100, found["box_ap"]), (300, found["box_ap_at_300"])):
        with contextlib.redirect_stdout(io.StringIO()):
            known = COCO(str(file))
            evaluation = COCOeval(known, known.loadRes(answers), "bbox")
            evaluation.params.maxDets = [1, 10, limit]
            evaluation.evaluate()
            evaluation.accumulate()
        assert ours == pytest.approx(evaluation.eval["precision"][..., 0, -1].mean(), abs=1e-12)


@pytest.mark.parametrize("case", [("runs-inside-the-data", None)], indirect=True)
def test_a_run_below_its_data_is_none_of_it(case: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(case)
    options = [
        "--epochs",
        "1",
        "--size",
        "32",
        "--batch-size",
        "4",
        "--track",
        "none",
        "--workers",
        "0",
        "--device",
        "cpu",
    ]
    assert run(["train", "--data", ".", *options]) == 0
    assert dict(zip(PETS, split(case).train.counts(), strict=True)) == PETS
    assert run(["train", "--resume", "runs/data", "--device", "cpu"]) == 0
    assert ii.load_model("runs/data/best").description.labels == tuple(PETS)


@pytest.mark.parametrize(
    ("name", "status", "said", "times"),
    [
        ("cvat-brush-masks", 1, "objects left out: crowds", 2),
        ("shares-instead-of-pixels", 1, "look like shares of the picture", 1),
        ("two-point-polygons", 1, "cannot be used: ", 4),
        ("exif-upside-down", 0, "turned by EXIF (are its boxes and masks?): ", 12),
        ("same-picture-twice", 0, "same picture: ", 8),
        ("heic-and-loose-files", 1, "pictures left out: ", 2),
        ("dense", 0, "images with more than 100 objects: 2; pass --max-objects", 1),
        ("dense", 0, "objects a picture: 180 to 180, median 180", 1),
        ("soft-edged-masks", 1, "of them only along edges", 1),
        ("labelstudio-export", 0, "detector data, COCO: 10 pictures, disc 20, square 10", 1),
        ("parts-training-validation", 1, "classifier data, class folders: train 18 pictures, cat 6, dog 6, owl 6; val 6", 1),
    ],
)  # fmt: skip
def test_the_check_says_so(
    name: str, status: int, said: str, times: int, cases: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["data", "check", cases / name]) == status
    output = capsys.readouterr()
    assert (output.out + output.err).count(said) == times


def test_names_that_are_no_classes(cases: Path, tmp_path: Path) -> None:
    for number in range(4):
        (tmp_path / "data" / f"patient {number}").mkdir(parents=True)
        shutil.copy(cases / f"macosx-folder/cat/{number}.jpg", tmp_path / "data" / f"patient {number}" / "1.jpg")
    with pytest.raises(DataError, match="too few different images"):
        ii.train(tmp_path / "data", output=tmp_path / "run", device="cpu")
    shutil.copytree(tmp_path / "data", tmp_path / "parts" / "train")
    shutil.copytree(tmp_path / "data", tmp_path / "parts" / "val")
    with pytest.raises(DataError, match="4 classes of one picture each: they look like names of pictures or subjects"):
        ii.train(tmp_path / "parts", output=tmp_path / "run", device="cpu")
    shutil.rmtree(tmp_path / "data" / "patient 0")
    for number in (1, 2):
        shutil.rmtree(tmp_path / "data" / f"patient {number}")
    shutil.copy(cases / "macosx-folder/cat/5.jpg", tmp_path / "data" / "patient 3" / "2.jpg")
    (tmp_path / "data" / "forgotten").mkdir()
    with pytest.raises(DataError, match="the folders forgotten are empty; fill them, remove them, or go on without"):
        ii.train(tmp_path / "data", output=tmp_path / "run", device="cpu")
    (tmp_path / "data" / "forgotten").rmdir()
    with pytest.raises(DataError, match="has one class, patient 3: there is nothing to tell apart"):
        ii.train(tmp_path / "data", output=tmp_path / "run", device="cpu")


@pytest.mark.parametrize("case", [("twelve-bit", None)], indirect=True)
def test_dark_pictures_are_said(case: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert run(["data", "check", case]) == 0
    assert capfd.readouterr().out.count("16 bits, of which a quarter is used") == 6
    options = ["--epochs", "1", "--batch-size", "4", "--size", "64", "--track", "none", "--workers", "0"]
    assert run(["train", "--data", case, "--output", tmp_path / "dark", *options]) == 0
    said = capfd.readouterr().out
    assert "use a quarter of their range or less: they become up to 9 grey levels" in said
    assert "pass --deep-range 0 4095 (12 bits)" in said
    assert run(["train", "--data", case, "--output", tmp_path / "bright", *options, "--deep-range", "0", "4095"]) == 0
    assert "pictures of more than 8 bits: 0 to 4095 become 0 to 255" in capfd.readouterr().out
    assert run(["predict", case / "train", "--model", tmp_path / "dark"]) == 0
    assert "6 of 6 pictures of 16 bits" in capfd.readouterr().err
    assert run(["predict", case / "train", "--model", tmp_path / "bright"]) == 0
    assert "quarter" not in capfd.readouterr().err
    picture = next(case.rglob("*.png"))
    seen = ii.load_model(tmp_path / "bright").description.preprocessing.read(ImageSource("", picture))
    assert len(np.unique(np.asarray(seen))) > 40


def named_data(root: Path, names: Sequence[str]) -> Path:
    """Two pictures that show an object of each class."""
    for number in range(2):
        Image.new("RGB", (96, 64), (90 * number, 50, 50)).save(root / f"{number}.png")
    images = [{"id": number, "file_name": f"{number}.png", "width": 96, "height": 64} for number in range(2)]
    categories = [{"id": number, "name": name} for number, name in enumerate(names, 1)]
    objects = [
        {"id": 100 * image + number, "image_id": image, "category_id": number, "bbox": [number % 80, 5, 12, 40]}
        for image in range(2)
        for number in range(1, len(names) + 1)
    ]
    (root / "all.json").write_text(json.dumps({"images": images, "annotations": objects, "categories": categories}))
    return root / "all.json"


@pytest.mark.parametrize("count", [3, 80])  # of eighty the recipe knows other names, COCO's
def test_names_in_a_checkpoint(count: int, tmp_path: Path, small_recipes: None) -> None:
    own = tuple(f"part {number}" for number in range(count))
    model = ii.create_model("small_coco", num_classes=count)
    official = ii.convert_checkpoint(
        ii.save_model(model, tmp_path / "own", labels=own), tmp_path / "own.pth", "official"
    )
    content = torch.load(official, weights_only=True)
    assert content["meta"]["CLASSES"] == own
    newer = tmp_path / "newer.pth"  # as mmdetection 3 writes it
    torch.save({**content, "meta": {"dataset_meta": {"classes": list(own), "palette": [(9, 9, 9)] * count}}}, newer)
    for file in (official, newer):
        assert ii.Predictor("small_coco", checkpoint=file).labels == own
        back = ii.convert_checkpoint(file, tmp_path / f"{file.stem} ours", "ours", name="small_coco")
        assert ii.load_model(back).description.labels == ii.Predictor(back).labels == own
        data = named_data(tmp_path, own[::-1])
        config = RunConfig(str(data), "small_coco", init=str(file))
        recipe = recipe_of("small_coco")
        classes = read_splits(config, task_spec("detection"), known_classes(config, recipe)).train.classes
        assert classes == own
        started = initial_model(config, recipe, classes)
        assert started.description.labels == own
        assert all(torch.equal(one, started.state_dict()[name]) for name, one in model.state_dict().items())
