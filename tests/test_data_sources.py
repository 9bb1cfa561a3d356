"""Zip archives, WebDataset shards and iNaturalist's JSON against folders, written labels and hand-computed numbers."""

import json
import math
import shutil
import tarfile
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.commands import run
from helpers.sources import KINDS, NAMES, as_shards, build, pack_tar, pack_zip
from helpers.training import COLOURS, SMALL, paint, prepare
from torch.utils.data import DataLoader

import internimage as ii
from internimage.backbones.config import InternImageConfig
from internimage.data.formats.class_folders import read_parts
from internimage.data.samples import LabelledImages, TimeAndPlace
from internimage.data.sampling.sampler import EpochSampler
from internimage.data.splits import Splits, make_splits
from internimage.description import ModelDescription
from internimage.errors import ConfigError, DataError, ImageReadError
from internimage.images import Preprocessing
from internimage.inference.evaluation import evaluate_part
from internimage.models.classifier import ClassifierConfig, ImageClassifier
from internimage.settings.classification import ClassificationAugmentation
from internimage.settings.data import SplitOptions
from internimage.tasks.classification.augmentation import training_transform
from internimage.tasks.classification.check import check_images
from internimage.tasks.classification.dataset import ClassificationDataset, Sample
from internimage.tasks.classification.task import ClassificationTask

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def painted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return paint(tmp_path_factory.mktemp("painted"), COLOURS)


def split(root: Path, fraction: float = 0.2, seed: int = 0) -> Splits[LabelledImages]:
    return make_splits(read_parts(root), root, SplitOptions(fraction, seed))


def samples(root: Path, workers: int = 0) -> list[Sample]:
    transform = training_transform(ClassificationAugmentation(), Preprocessing(32, 32))
    data = ClassificationDataset(split(root).train, transform, seed=5)
    sampler = EpochSampler(len(data), 5, shuffle=True)
    batches = DataLoader(data, 3, sampler=sampler, num_workers=workers, collate_fn=list)
    return [sample for batch in batches for sample in batch]


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_pictures_give_the_same_samples(kind: str, painted: Path, tmp_path: Path) -> None:
    root = build(kind, painted, tmp_path / "data")
    for part in read_parts(root).values():
        assert list(part.classes) == NAMES
        assert part.counts() == [6, 6]
        assert all(part.classes[sample.label] in str(sample.file).removeprefix(str(root)) for sample in part.samples)
    assert not check_images(read_parts(root)["train"]).errors
    truth = samples(build("folder", painted, tmp_path / "truth"))
    for workers in (0, 2):
        found = samples(root, workers)
        assert len(found) == len(truth) == 12
        for ours, theirs in zip(found, truth, strict=True):
            assert torch.equal(ours.image, theirs.image)
            assert ours.label == theirs.label


def test_numbers_without_names(painted: Path, tmp_path: Path) -> None:
    root = build("mapped_zip", painted, tmp_path / "data")
    (root / "classes.txt").unlink()
    text = (root / "train_map.txt").read_text()
    (root / "train_map.txt").write_text(text.replace("\t1", "\t10"))
    splits = split(root)
    assert read_parts(root)["train"].classes == tuple(map(str, range(11)))
    assert splits.train.classes == splits.val.classes == ("0", "1", "10")
    assert splits.train.counts() == [6, 0, 6]
    assert "8 classes that nothing shows are left out: 2, 3," in splits.notes[0]
    assert splits.notes[1] == "classes that no training image shows: 1"
    assert read_parts(root)["val"].classes == ("0", "1")
    shard = pack_tar(tmp_path / "x.tar", {"a.png": b"", "a.cls": b"2", "b.jpg": b"", "b.cls": b"0"})
    assert [sample.label for sample in read_parts(shard)["all"].samples] == [2, 0]
    assert check_images(read_parts(shard)["all"]).empty_classes == ["1"]


def test_without_validation_part(painted: Path, tmp_path: Path) -> None:
    """Every image is in one of the two, the same ones each time."""
    (tmp_path / "data").mkdir()
    as_shards(painted, tmp_path / "data", "train")
    splits = split(tmp_path / "data", 0.5, 3)
    files = [{sample.file for sample in part.samples} for part in (splits.train, splits.val)]
    assert len(files[0] | files[1]) == 12
    assert splits.train.counts() == splits.val.counts() == [3, 3]
    assert split(tmp_path / "data", 0.5, 3) == splits


def test_metadata_vectors() -> None:
    root3 = math.sqrt(3) / 2
    known = TimeAndPlace(4, 30.0, -60.0)
    assert known.temporal() == pytest.approx((root3, -0.5, 0, 0))
    assert known.spatial() == pytest.approx((root3 * 0.5, -0.75, 0.5))
    assert TimeAndPlace(12).temporal() == pytest.approx((0, 1, 0, 0))
    for unknown in (TimeAndPlace(), TimeAndPlace(None, None, 5.0), TimeAndPlace(None, 0.0, 5.0)):
        assert unknown.temporal() == (0, 0, 0, 0)
        assert unknown.spatial() == (0, 0, 0)


def small_model(metadata: int | None = 8) -> ImageClassifier:
    torch.manual_seed(0)
    backbone = InternImageConfig(16, (1, 1, 1, 1), (1, 2, 4, 8))
    model = ImageClassifier(ClassifierConfig(backbone, 2, metadata_channels=metadata))
    model.description = ModelDescription("image_classifier", preprocessing=Preprocessing(32, 32), labels=tuple(NAMES))
    return model.eval()


def test_metadata_reaches_models_that_read_it(painted: Path, tmp_path: Path) -> None:
    data = split(build("inaturalist", painted, tmp_path / "data")).train
    assert [sample.taken for sample in data.samples] == [None, TimeAndPlace(4, 30.0, -60.0)] * 6
    dataset = ClassificationDataset(data, Preprocessing(32, 32))
    batch = [dataset[key] for key in EpochSampler(12, 0, shuffle=False)]
    for metadata in (False, True):
        model, seen = small_model(8 if metadata else None), []
        model.register_forward_pre_hook(lambda module, inputs, seen=seen: seen.append(inputs))
        task = ClassificationTask(data, 0.1, lambda images, target: (images.flip(0), target), metadata=metadata)
        task.losses(model.losses, task.collate(batch))
        prepared, sources, known = zip(*((one.image, one.source, one.taken) for one in batch), strict=True)
        task.pipeline(model).predict(prepared, sources, known)
        (mixed, *rest), (images, *again) = [[one for one in given if one is not None] for given in seen]
        assert torch.equal(mixed, images.flip(0))
        assert len(rest) == len(again) == 2 * metadata
        for temporal, spatial in [rest, again] if metadata else []:
            assert torch.equal(temporal[0], torch.zeros(4))
            assert temporal[1].tolist() == pytest.approx([math.sqrt(3) / 2, -0.5, 0, 0])
            assert torch.equal(spatial[0], torch.zeros(3))
            assert spatial[1].tolist() == pytest.approx([math.sqrt(3) / 4, -0.75, 0.5])


def test_evaluation_uses_metadata(painted: Path, tmp_path: Path) -> None:
    """Scores from evaluate equal the model's own on each photo; one of the photos is broken."""
    root = build("inaturalist", painted, tmp_path / "data")
    (root / "files" / "val" / NAMES[0] / "0.png").write_bytes(b"broken")
    model, data = small_model(), read_parts(root)["val"]
    predictor = ii.Predictor(model, batch_size=5)
    report = evaluate_part(predictor, data, on_corrupt="skip")
    loss = 0.0
    for sample in data.samples[1:]:
        taken = sample.taken or TimeAndPlace()
        image = Preprocessing(32, 32)(ii.read_image(sample.file))[None]
        with torch.no_grad():
            logits = model(image, torch.tensor([taken.temporal()]), torch.tensor([taken.spatial()]))
        loss -= float(logits.log_softmax(-1)[0, sample.label])
    assert report.accuracy.loss == pytest.approx(loss, rel=1e-5)
    model.description = replace(model.description, labels=None)
    unnamed = evaluate_part(ii.Predictor(model, batch_size=5), data, on_corrupt="skip")
    assert unnamed.labels == data.classes
    assert (unnamed.accuracy.confusion == report.accuracy.confusion).all()
    with pytest.raises(ConfigError, match="2 photos for 1 images"):
        next(predictor.stream([data.samples[1].file], [None, None]))


@pytest.mark.parametrize("kind", ["mapped_zip", "shards", "inaturalist"])
def test_training_and_commands(kind: str, painted: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = build(kind, painted, tmp_path / "data")
    start = ii.save_model(small_model(), tmp_path / "start")
    trainer = prepare(root, tmp_path / "run", init=str(start), training=replace(SMALL, workers=1))
    if kind == "inaturalist":
        batch = next(iter(trainer.loader))
        assert batch.spatial.norm(dim=1).round().sum() == (batch.temporal.norm(dim=1).round()).sum() > 0
    before = {name: tensor.clone() for name, tensor in trainer.model.state_dict().items() if "metadata" in name}
    row = trainer.fit()
    assert math.isfinite(row["loss"])
    assert row["images"] == 12
    assert any(not torch.equal(tensor, trainer.model.state_dict()[name]) for name, tensor in before.items())
    capsys.readouterr()
    command: list[str | Path] = ["evaluate", "--data", root, "--part", "val", "--model", tmp_path / "run" / "final"]
    assert run([*command, "--json", "--save", tmp_path / "report"]) == 0
    assert (tmp_path / "report" / "worst.png").is_file() == (row["top1"] < 1)
    assert json.loads(capsys.readouterr().out)["top1"] == pytest.approx(row["top1"])
    assert run(["data", "check", root]) == 1  # the validation part shows the training pictures
    assert "leakage" in capsys.readouterr().out


@pytest.mark.parametrize("kind", ["mapped_zip", "zip", "shards"])
def test_broken_images_behave_as_broken_files(kind: str, painted: Path, tmp_path: Path) -> None:
    source = tmp_path / "source"
    shutil.copytree(painted, source)
    (source / "red" / "3.png").write_bytes(b"\x89PNG\r\n\x1a\nbroken")
    data = read_parts(build(kind, source, tmp_path / "data"))["train"]
    bad = next(sample.file for sample in data.samples if "red" in sample.file.name and "3." in sample.file.name)
    shown = f"{tmp_path / 'data'}/train{'-000001.tar' if kind == 'shards' else '.zip'}/{bad.name}"
    assert list(check_images(data).corrupt) == [shown]
    order = list(EpochSampler(12, 0, shuffle=False))
    with pytest.raises(ImageReadError, match=r"3\.(png|PNG): .*--on-corrupt skip"):
        _ = [ClassificationDataset(data, Preprocessing(32, 32))[key] for key in order]
    skipping = ClassificationDataset(data, Preprocessing(32, 32), on_corrupt="skip")
    assert [name for key in order for name in skipping[key].unreadable] == [shown]


@pytest.mark.parametrize(
    ("packing", "at", "message"),
    [
        (zipfile.ZIP_STORED, 60, "checksum"),
        (zipfile.ZIP_DEFLATED, 60, ""),
        (zipfile.ZIP_STORED, 0, "no such"),
    ],
)
def test_bytes_that_changed_inside_a_zip(packing: int, at: int, message: str, painted: Path, tmp_path: Path) -> None:
    content = (painted / "red" / "0.png").read_bytes()
    archive = pack_zip(tmp_path / "x.zip", {"a/0.png": content}, packing)
    data = bytearray(archive.read_bytes())
    data[at] ^= 255
    archive.write_bytes(data)
    with pytest.raises(ImageReadError, match=rf"x\.zip/a/0\.png: the archive is damaged.*{message}"):
        ii.read_image(read_parts(archive)["all"].samples[0].file)


PNG = b"\x89PNG"
GOOD = {"images": [{"id": 1, "file_name": "a.png"}], "annotations": [{"image_id": 1, "category_id": 2}]}
GOOD["categories"] = [{"id": 2, "name": "x"}]
PLACE = {"id": 1, "lat": 1.0, "lon": 2.0, "date": None}


def inat(**changes: Any) -> Callable[[Path], Any]:
    return lambda root: (root / "train2018.json").write_text(json.dumps({**GOOD, **changes}))


def located(content: Any) -> Callable[[Path], Any]:
    return lambda root: (inat()(root), (root / "train2018_locations.json").write_text(json.dumps(content)))


def mapped(text: str | bytes, classes: str | None = None) -> Callable[[Path], Any]:
    def write(root: Path) -> None:
        pack_zip(root / "train.zip", {"a.png": PNG, "b.png": PNG})
        (root / "train_map.txt").write_bytes(text if isinstance(text, bytes) else text.encode())
        if classes is not None:
            (root / "classes.txt").write_text(classes)

    return write


def shard(**files: bytes) -> Callable[[Path], Any]:
    named = {name.replace("_", "."): content for name, content in files.items()}
    return lambda root: pack_tar(root / "train-0.tar", named)


def cut(write: Callable[[Path], Any], size: int) -> Callable[[Path], Any]:
    def shorten(root: Path) -> None:
        write(root)
        path = next(iter(root.iterdir()))
        path.write_bytes(path.read_bytes()[:size])

    return shorten


def twice(root: Path) -> None:
    with zipfile.ZipFile(root / "train.zip", "w") as archive:
        archive.writestr("c/a.png", PNG)
        archive.writestr("c/a.png", PNG)


def twice_in_shard(root: Path) -> None:
    with tarfile.open(root / "train.tar", "w") as tar:
        for name in ("a.png", "a.png", "a.cls"):
            tar.addfile(tarfile.TarInfo(name))


def link(root: Path) -> None:
    with tarfile.open(root / "train.tar", "w") as tar:
        info = tarfile.TarInfo("a.png")
        info.type, info.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(info)


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (lambda root: pack_zip(root / "train.zip", {"loose.png": PNG}), r"train\.zip/loose\.png is in no class folder"),
        (lambda root: pack_zip(root / "train.zip", {"readme.txt": b""}), r"train\.zip holds no images"),
        (
            lambda root: pack_zip(root / "train.zip", {"c/a.png": PNG}, zipfile.ZIP_LZMA),
            r"a\.png is encrypted or packed",
        ),
        (twice, r"train\.zip/c/a\.png is in the archive twice"),
        (cut(lambda root: pack_zip(root / "train.zip", {"c/a.png": PNG}), 70), r"train\.zip is not a readable zip"),
        (mapped("a.png 0\n"), r"train_map\.txt line 1 is 'a\.png 0'; expected MEMBER, a tab"),
        (mapped("a.png\t0\nb.png\tred\n"), r"train_map\.txt line 2 is .*class number"),
        (mapped("a.png\t0\nb.png\t-1\n"), r"train_map\.txt line 2"),
        (mapped("a.png\t0\n\n"), r"train_map\.txt line 2 is ''"),
        (mapped("a.png\t0\nc.png\t1\n"), r"train_map\.txt line 2: c\.png is not in train\.zip"),
        (mapped("a.png\t0\na.png\t1\n"), r"train_map\.txt line 2: a\.png .*listed twice"),
        (mapped("a.png\t0\nb.png\t2\n", "x\ny\n"), r"train_map\.txt line 2: class 2, expected 0 to 1 \(classes\.txt"),
        (mapped("a.png\t0\nb.png\t9999999\n"), r"line 2: class 9999999, expected 0 to 999999"),
        (mapped("a.png\t0\n", "x\n\n"), r"classes\.txt line 2 is ''"),
        (mapped("a.png\t0\n", "x\nx\n"), r"classes\.txt line 2 is 'x'; expected a name that no other"),
        (mapped(""), r"train_map\.txt is empty"),
        (mapped(b"\xff\t0\n"), r"train_map\.txt is not readable text"),
        (shard(), r"train\*\.tar holds no samples"),
        (shard(a_png=PNG), r"train-0\.tar/a has the files \.png; expected one image and \.cls"),
        (shard(a_cls=b"0"), r"train-0\.tar/a has the files \.cls"),
        (shard(a_png=PNG, a_jpg=PNG, a_cls=b"0"), r"expected one image"),
        (shard(a_png=PNG, a_cls=b" "), r"train-0\.tar/a\.cls is not a label; expected a number or a name"),
        (shard(a_png=PNG, a_cls=b"\xff"), r"train-0\.tar/a\.cls is not a label: .*utf-8"),
        (shard(a_png=PNG, a_json=b"{"), r"train-0\.tar/a\.json is not a label"),
        (shard(a_png=PNG, a_json=b'{"class": 1}'), r'a\.json is not a label; expected an object with "label" or "cls"'),
        (shard(a_png=PNG, a_cls=b"1", b_png=PNG, b_cls=b"x"), r"a\.png is a number but .*b\.png is a name"),
        (cut(shard(a_png=PNG, a_cls=b"0"), 512), r"train-0\.tar is not a readable uncompressed tar"),
        (cut(shard(a_png=PNG, a_cls=b"0"), 2048), r"train-0\.tar is damaged or cut off at byte 2048"),
        (lambda root: pack_tar(root / "train-0.tar", {"a.png": PNG}, "w:gz"), r"train-0\.tar is not a readable uncom"),
        (
            lambda root: pack_tar(root / "train-0.tar.gz", {"a.png": PNG}, "w:gz"),
            r"train-0\.tar\.gz is compressed.*gunzip",
        ),
        (twice_in_shard, r"train\.tar/a\.png is in the shard twice"),
        (link, r"train\.tar/a\.png is a link"),
        (lambda root: (root / "train2018.json").write_text("{"), r"train2018\.json is not readable JSON"),
        (inat(images=None), r"train2018\.json has no list 'images'; expected"),
        (inat(categories=[{"id": 2}]), r"train2018\.json categories\[0\] is .*expected an object with id, name"),
        (inat(categories=[{"id": 2, "name": "x"}, {"id": 3, "name": "x"}]), r"categories\[1\]: 3, x is there twice"),
        (inat(annotations=[{"image_id": 1, "category_id": 9}]), r"annotations\[0\]: category 9 is not in the file"),
        (inat(annotations=[{"image_id": [], "category_id": 2}]), r"annotations\[0\] is .*expected an object"),
        (inat(annotations=GOOD["annotations"] * 2), r"annotations\[1\]: image 1 is annotated twice"),
        (inat(images=GOOD["images"] * 2), r"images\[1\]: image 1 has no annotation of its own"),
        (inat(images=[{"id": 1, "file_name": 3}]), r"images\[0\]: .*no file name"),
        (
            inat(annotations=[{"image_id": 5, "category_id": 2}, *GOOD["annotations"]]),
            r"image 5 is annotated but not in",
        ),
        (located({}), r"train2018_locations\.json holds no list"),
        (located([{"id": 1}]), r"train2018_locations\.json \[0\] is .*expected an object with id, lat, lon, date"),
        (located([{**PLACE, "lat": 91}]), r"locations\.json \[0\]: lat 91, lon 2\.0; expected degrees"),
        (located([{**PLACE, "lon": float("nan")}]), r"lon nan; expected degrees"),
    ],
)
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_bad_data_is_named(write: Callable[[Path], Any], message: str, tmp_path: Path) -> None:
    write(tmp_path)
    with pytest.raises(DataError, match=message):
        split(tmp_path)


def test_odd_dates_are_unknown(tmp_path: Path) -> None:
    for date, month in [("2017-13-01", None), ("someday", None), (" 2017-05-01", 5), (None, None), (5, None)]:
        located([{**PLACE, "date": date}])(tmp_path)
        assert read_parts(tmp_path)["train"].samples[0].taken == TimeAndPlace(month, 1.0, 2.0)
