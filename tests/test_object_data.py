"""Data of objects against pycocotools, pictures that are their own masks, and numbers computed by hand."""

import json
import pickle
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.commands import run
from PIL import Image, ImageDraw
from pycocotools import mask as coco_mask
from torch.utils.data import DataLoader

from internimage.data.dataset import EvaluationDataset
from internimage.data.formats.coco import read_coco, read_parts, recognise
from internimage.data.objects import ObjectAnnotation, bitmap, mask_bounds
from internimage.data.sampling.sampler import EpochSampler, SampleKey
from internimage.data.splits import make_splits
from internimage.errors import ConfigError, DataError, ImageReadError, MissingExtraError
from internimage.images.scaling import FitPreprocessing, scale_bilinear
from internimage.inference.views import MakeViews
from internimage.settings.data import SplitOptions
from internimage.settings.detection import DetectionAugmentation
from internimage.tasks.detection.augmentation import object_transform
from internimage.tasks.detection.check import check_objects, object_sheet
from internimage.tasks.detection.dataset import DetectionDataset, DetectionSample, detection_target

PLAIN = FitPreprocessing(48, 96, (0, 0, 0), (1, 1, 1))
HEIGHT, WIDTH = 60, 90


def runs(pixels: np.ndarray[Any, Any]) -> list[int]:
    """Uncompressed run lengths, down the columns."""
    flat = pixels.flatten("F")
    edges = np.flatnonzero(np.diff(flat, prepend=0, append=1 - flat[-1]))
    return np.diff(edges, prepend=0).tolist()


def annotation(identity: int, image: int, box: list[float], **more: Any) -> dict[str, Any]:
    return {"id": identity, "image_id": image, "category_id": 3, "bbox": box, "iscrowd": 0, **more}


def rectangle(x: float, y: float, w: float, h: float) -> list[list[float]]:
    return [[x, y, x + w, y, x + w, y + h, x, y + h]]


def write(root: Path, objects: list[dict[str, Any]], count: int = 1, part: str = "train", **changes: Any) -> Path:
    """``part.json`` beside black pictures ``part/1.png``, ..."""
    (root / part).mkdir(parents=True, exist_ok=True)
    for identity in range(1, count + 1):
        picture = Image.new("RGB", (WIDTH, HEIGHT))
        picture.putpixel((0, 0), (identity, 0, 0))  # no two are the same
        picture.save(root / part / f"{identity}.png")
    entries = [{"id": n, "file_name": f"{n}.png", "height": HEIGHT, "width": WIDTH} for n in range(1, count + 1)]
    categories = [{"id": 7, "name": "star"}, {"id": 3, "name": "moon"}]
    content = {"images": entries, "annotations": objects, "categories": categories, **changes}
    (root / f"{part}.json").write_text(json.dumps(content))
    return root


def read(root: Path) -> Any:
    return read_parts(root)["train"]


def split(root: Path, fraction: float = 0.2, seed: int = 0) -> Any:
    return make_splits(read_parts(root), root, SplitOptions(fraction, seed))


@pytest.mark.parametrize("form", ["polygons", "compressed", "runs"])
def test_bitmaps_equal_pycocotools(form: str) -> None:
    rng = np.random.default_rng(0)
    for trial in range(40):
        polygons = [(rng.random((n, 2)) * (1.2 * WIDTH, 1.2 * HEIGHT) - 8).flatten().tolist() for n in (3, 8)]
        encoded = coco_mask.merge(coco_mask.frPyObjects(polygons, HEIGHT, WIDTH))
        expected = coco_mask.decode(encoded).astype(bool)
        text = {"size": [HEIGHT, WIDTH], "counts": encoded["counts"].decode()}
        counts = {"size": [HEIGHT, WIDTH], "counts": runs(expected)}
        segmentation: Any = {"polygons": polygons, "compressed": text, "runs": counts}[form]
        one = ObjectAnnotation((0, 0, 9, 9), 0, segmentation, form == "runs", trial)
        found = bitmap(one, (HEIGHT, WIDTH))
        assert found.dtype == bool
        assert (found == expected).all()
        y, x = expected.nonzero()
        assert mask_bounds(one, (HEIGHT, WIDTH)) == ((x.min(), y.min(), x.max() + 1, y.max() + 1) if len(x) else None)


def test_objects_without_a_segmentation_fill_their_boxes() -> None:
    found = bitmap(ObjectAnnotation((1.4, -3, 3.6, 2.4), 0, None, False, 1), (4, 5))
    assert found.tolist() == [[False, True, True, True, False]] * 2 + [[False] * 5] * 2


def test_masks_need_a_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "faster_coco_eval.core", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'internimage\[train\]'"):
        bitmap(ObjectAnnotation((1, 1, 5, 5), 0, rectangle(1, 1, 4, 4), False, 1), (9, 9))


def test_reading(tmp_path: Path) -> None:
    """Classes by id, crowds kept apart, optional fields missing."""
    square = annotation(1, 2, [10, 5, 20, 30], area=500, segmentation=[[10, 5, 30, 5, 30, 35]])
    crowd = annotation(2, 2, [0, 0, 9, 9], iscrowd=1, segmentation={"size": [HEIGHT, WIDTH], "counts": [5400]})
    bare = {"id": 5, "image_id": 1.0, "category_id": 7, "bbox": [1, 2, 3.5, 4], "segmentation": [], "iscrowd": None}
    data = read(write(tmp_path, [square, crowd, bare], count=3))
    assert (data.classes, data.category_ids, data.counts()) == (("moon", "star"), (3, 7), [1, 1])
    assert [image.file.name for image in data.images] == ["1.png", "2.png", "3.png"]
    assert data.images[0].objects == (ObjectAnnotation((1, 2, 4.5, 6), 1, None, False, 5),)
    assert [(one.box, one.crowd, one.area) for one in data.images[1].objects] == [
        ((10, 5, 30, 35), False, 300),  # by the triangle's corners, whatever the file says
        ((0, 0, 9, 9), True, 0),  # run lengths of nothing
    ]
    assert not data.has_masks
    assert read(write(tmp_path, [square, crowd], count=3)).has_masks
    outline = annotation(1, 1, [10, 5, 20, 30], segmentation=rectangle(10, 5, 20, 30))
    assert not read(write(tmp_path, [outline])).has_masks


@pytest.mark.parametrize(
    ("annotations", "images"),
    [
        ("annotations/{}.json", "{}"),
        ("annotations/instances_{}2017.json", "{}2017"),
        ("annotations/instances_{}.json", "images/{}"),
        ("{}/_annotations.coco.json", "{}"),
        ("{}.json", "images"),
    ],
)
def test_layouts(annotations: str, images: str, tmp_path: Path) -> None:
    source, root = write(tmp_path / "source", [annotation(1, 1, [1, 1, 5, 5])]), tmp_path / "data"
    for name in ("train", "valid" if "_annotations" in annotations else "val"):
        for old, new in (("train.json", annotations), ("train/1.png", f"{images}/1.png")):
            (root / new.format(name)).parent.mkdir(parents=True, exist_ok=True)
            (root / new.format(name)).write_bytes((source / old).read_bytes())
    assert recognise(root)
    parts = read_parts(root)
    assert list(parts) == ["train", "val"]
    assert [len(part) for part in parts.values() if part.images[0].file.is_file()] == [1, 1]
    alone = read_parts(root / annotations.format("train"))["all"] if images != "images/{}" else parts["train"]
    assert alone.images == parts["train"].images


def test_other_data_is_not_taken_for_objects(tmp_path: Path) -> None:
    (tmp_path / "train").mkdir()
    for text in ("", '{"images": []}'):
        (tmp_path / "train.json").write_text(text)
        assert not recognise(tmp_path)
        assert not recognise(tmp_path / "train.json")


def test_splits(tmp_path: Path) -> None:
    write(tmp_path, [annotation(n, n, [1, 1, 5, 5]) for n in range(1, 8)], count=10)
    splits = split(tmp_path, 0.3, 1)
    assert splits.set_aside
    train, val = ({image.identity for image in part.images} for part in (splits.train, splits.val))
    assert (len(train), len(val), train | val) == (7, 3, set(range(1, 11)))
    assert splits == split(tmp_path, 0.3, 1)
    assert splits.val.images != split(tmp_path, 0.3, 2).val.images
    moved = [{"id": 1, "name": "star"}]
    write(tmp_path, [{**annotation(1, 1, [1, 1, 5, 5]), "category_id": 1}], part="val", categories=moved)
    val_part = split(tmp_path).val
    assert (val_part.classes, val_part.category_ids) == (("moon", "star"), (2, 1))
    assert val_part.images[0].objects[0].label == 1
    assert not split(tmp_path).set_aside
    sun = [*moved, {"id": 2, "name": "sun"}]
    one = {**annotation(1, 1, [1, 1, 5, 5]), "category_id": 1}
    write(tmp_path, [one], part="val", categories=sun)
    assert split(tmp_path).val.images[0].objects[0].label == 1  # no object is a sun
    write(tmp_path, [{**one, "category_id": 2}], part="val", categories=sun)
    with pytest.raises(DataError, match=r"val\.json has objects or images of classes that .*train\.json has not: sun"):
        split(tmp_path)


IMAGE = {"id": 1, "file_name": "1.png", "height": HEIGHT, "width": WIDTH}
GOOD = annotation(1, 1, [1, 1, 5, 5])
EMPTY_RUNS = {"size": [HEIGHT, WIDTH], "counts": [HEIGHT * WIDTH]}


def one_more(**changes: Any) -> dict[str, Any]:
    return {"annotations": [GOOD, {**GOOD, "id": 2, **changes}]}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"images": None}, r"train\.json has no list 'images'; expected an object with"),
        ({"categories": []}, r"no list 'categories'"),
        ({"annotations": {}}, r"no list 'annotations'"),
        ({"images": [IMAGE, IMAGE]}, r"images\[1\]: the id 1 is there twice"),
        ({"images": [{**IMAGE, "height": "60"}]}, r"images\[0\] is .*expected height and width in whole pixels"),
        (
            {"images": [IMAGE, {"id": 2, "file_name": "9.png"}]},
            r"images\[1\] is .*height and width, for the pic",
        ),
        ({"images": [{**IMAGE, "width": 0}]}, r"images\[0\] is 0 wide and 60 high"),
        ({"images": [IMAGE, {**IMAGE, "id": 2, "file_name": "a/../../1.png"}]}, r"name a/\.\./\.\./1.png leaves"),
        ({"images": [{**IMAGE, "file_name": None}]}, r"images\[0\]: the picture's name is None; expected a path"),
        (
            {"images": [{**IMAGE, "file_name": "no.png"}]},
            r"no\.png is in none of .*train, .*nor elsewhere",
        ),
        ({"categories": [{"id": 3, "name": "a"}, {"id": 3, "name": "b"}]}, r"categories\[1\]: the id 3 is there twice"),
        (
            {"categories": [{"id": 3, "name": "a"}, {"id": 4, "name": "a"}], **one_more(category_id=4)},
            r"categories\[1\]: a is the name of 3 and of 4, which both have objects",
        ),
        ({"categories": [{"id": 3}]}, r"categories\[0\]: name is None; expected a text"),
        ({"annotations": [3]}, r"annotations\[0\] is 3; expected an object with id, image_id, category_id"),
        (one_more(id=1), r"annotations\[1\]: the id 1 is there twice"),
        (one_more(image_id=9), r"annotations\[1\]: image 9 is not in the file"),
        (one_more(category_id=1), r"annotations\[1\]: category 1 is not in the file"),
        (one_more(category_id=True), r"annotations\[1\] is .*whole numbers or texts"),
        (one_more(bbox=[1, 2, 3]), r"annotations\[1\]: bbox is \[1, 2, 3\]; expected x, y, width and height"),
        (one_more(bbox=[1, 2, 3, float("nan")]), r"bbox is \[1, 2, 3, NaN\]"),
        (one_more(bbox=[1, 2, 3, 10**400]), r"bbox is \[1, 2, 3, 10000"),
        (one_more(bbox=None), r"bbox is null"),
        (one_more(iscrowd=2), r"iscrowd is 2; expected 0 or 1"),
        (one_more(segmentation=[[1, 2, 3, 4]]), r"annotations\[1\]: segmentation has the polygon \[1, 2, 3, 4\]"),
        (one_more(segmentation=[[1, 2, 3, 4, 5, 6, 7]]), r"expected x, y, \.\.\. of 3 or more points"),
        (one_more(segmentation=[[1, 2, 3, 4, 5, float("nan")]]), r"polygon .*NaN"),
        (one_more(segmentation=[[1, 2, 3, 4, 5, 1e9]]), r"polygon .*1000000000"),
        (one_more(segmentation="x"), r'segmentation is "x"; expected polygons, or size \[60, 90\]'),
        (one_more(segmentation={**EMPTY_RUNS, "size": [90, 60]}), r"size \[60, 90\] as in images"),
        (one_more(segmentation={**EMPTY_RUNS, "counts": [5399]}), r"counts that add up to 5400"),
        (one_more(segmentation={**EMPTY_RUNS, "counts": [-1, 5401]}), r"counts that add up to 5400"),
        (one_more(segmentation={**EMPTY_RUNS, "counts": "o"}), r"counts that add up"),
        (one_more(segmentation={**EMPTY_RUNS, "counts": "11"}), r"counts that add up"),
        (one_more(segmentation={**EMPTY_RUNS, "counts": "é"}), r"counts that add up"),
        (one_more(segmentation={**EMPTY_RUNS, "counts": "o" * 20 + "1"}), r"counts that add up"),
    ],
)
def test_bad_annotations_are_named(changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=message):
        read_parts(write(tmp_path, [GOOD], **changes) / "train.json")


def test_files_that_are_no_annotations(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"holds no COCO annotations; expected such as annotations/train\.json"):
        read_parts(tmp_path)
    (tmp_path / "train.json").write_text('{"bbox"')
    with pytest.raises(DataError, match=r"train\.json is not readable JSON"):
        read_parts(tmp_path / "train.json")
    with pytest.raises(DataError, match=r"none\.json is not readable JSON: .*No such file"):
        read_coco(tmp_path / "none.json", tmp_path)


# Pictures that are their own masks: three objects of brightness 80, 160 and 240, the second a star.


def painted(root: Path, shape: str, count: int = 6) -> Path:
    rng = np.random.default_rng(1)
    annotations, pictures = [], []
    for image in range(1, count + 1):
        picture = Image.new("RGB", (WIDTH, HEIGHT))
        draw = ImageDraw.Draw(picture)
        for column in range(3):
            x, y = 30 * column + int(rng.integers(1, 8)), int(rng.integers(1, 25))
            w, h = (int(side) for side in rng.integers(12, 20, 2))
            points = [(x, y), (x + w, y), (x + w, y + h), (x, y + h)]
            if shape == "triangle":
                points = [(x, y), (x + w, y + h // 3), (x + w // 2, y + h)]
            draw.polygon(points, fill=(80 * (column + 1),) * 3)
            segmentation = {"size": [HEIGHT, WIDTH], "counts": runs(np.asarray(picture)[:, :, 0] == 80 * (column + 1))}
            box = [x, y, w + 1, h + 1]  # Pillow fills the last pixel too
            one = annotation(3 * image + column, image, box, segmentation=segmentation)
            annotations.append({**one, "category_id": 7 if column == 1 else 3})
        pictures.append(picture)
    write(root, annotations, count)
    for number, picture in enumerate(pictures, 1):
        picture.save(root / "train" / f"{number}.png")
    return root


def near_an_edge(pixels: torch.Tensor, distance: int) -> torch.Tensor:
    """Whether both values are at most so many pixels away."""
    values = torch.nn.functional.pad(pixels[None].float(), [distance] * 4, mode="replicate")
    most, least = (torch.nn.functional.max_pool2d(sign * values, 2 * distance + 1, 1)[0] for sign in (1, -1))
    return most != -least


AUGMENTATIONS = {
    "fit": DetectionAugmentation((48,), 96),
    "smaller": DetectionAugmentation((23, 37), 50),
    "larger": DetectionAugmentation((100,), 200, flip=1.0),
    "crop": DetectionAugmentation((60, 80), 160, crop=True),
    "jitter": DetectionAugmentation(long=80, jitter=(0.5, 2.0)),
}


@pytest.mark.parametrize("shape", ["rectangle", "triangle"])
@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_image_boxes_and_masks_stay_together(name: str, shape: str, tmp_path: Path) -> None:
    data = read(painted(tmp_path, shape))
    dataset = DetectionDataset(data, object_transform(AUGMENTATIONS[name], PLAIN), masks=True)
    sizes, objects = set(), 0
    for key in [SampleKey(epoch, index) for epoch in range(6) for index in range(len(data))]:
        image, truth = dataset[key].image, dataset[key].truth
        masks = truth.masks
        assert (image.dtype, truth.boxes.dtype, masks.dtype) == (torch.float32, torch.float32, torch.bool)
        assert masks.shape == (len(truth.boxes), *image.shape[1:])
        assert len(truth.labels) == len(truth.boxes)
        # half as bright as the darkest object: what is brighter is in a mask, but for the rim that scaling blurs, and
        # for less than a pixel of an object that a crop leaves, and may then enlarge
        wrong = ((image[0] > 40) != masks.any(0)) & ~near_an_edge(masks.any(0), 3)
        assert not wrong[2:-2, 2:-2].any()
        for box, label, mask in zip(truth.boxes, truth.labels, masks, strict=True):
            y, x = mask.nonzero(as_tuple=True)
            if name not in ("crop", "jitter"):  # which may leave a dark rim of an object
                assert int(label) == (round(float(image[0][mask].max()) / 80) == 2)
            assert (box[2:] - box[:2] >= 1).all()
            if shape == "rectangle" or name not in ("crop", "jitter"):  # a cut triangle leaves corners of its box
                bounds = torch.tensor([x.min(), y.min(), x.max() + 1, y.max() + 1])
                # rounding alone; a crop rounds three times, and thin tips of triangles fall between pixels
                assert (bounds - box).abs().max() <= (0.51 if shape == "rectangle" and name != "crop" else 2)
        sizes.add(tuple(image.shape[1:]))
        objects += len(truth.boxes)
    assert objects > 60
    if name == "crop":
        assert len({height / width for height, width in sizes}) > 10
        assert {min(size) for size in sizes} == {60, 80}
    if name == "jitter":
        assert sizes == {(80, 80)}
    if name == "fit":
        assert sizes == {PLAIN.size((HEIGHT, WIDTH))}


def test_resizing_and_flipping_by_hand(tmp_path: Path) -> None:
    """A shrunk picture equals OpenCV's, which has no antialiasing; a flipped box is mirrored."""
    write(tmp_path, [annotation(1, 1, [9, 6, 30, 12])])
    pixels = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "train" / "1.png")
    size = FitPreprocessing(25, 96).size((HEIGHT, WIDTH))
    x, y = size[1] / WIDTH, size[0] / HEIGHT
    preprocessing = FitPreprocessing(25, 96)
    mean, std = (torch.tensor(values)[:, None, None] for values in (preprocessing.mean, preprocessing.std))
    expected = torch.from_numpy(scale_bilinear(pixels, *size)).permute(2, 0, 1).float()
    for flip in (0.0, 1.0):
        transform = object_transform(DetectionAugmentation((25,), 96, flip=flip), preprocessing)
        sample = DetectionDataset(read(tmp_path), transform)[SampleKey(0, 0)]
        left = (WIDTH - 39) * x if flip else 9 * x
        assert torch.allclose(sample.truth.boxes, torch.tensor([[left, 6 * y, left + 30 * x, 18 * y]]))
        assert sample.truth.masks is None
        image = sample.image.flip(2) if flip else sample.image
        assert (image * std + mean - expected).abs().max() <= 1.001
        assert (sample.original, sample.source.name) == ((HEIGHT, WIDTH), str(tmp_path / "train" / "1.png"))
    plain = EvaluationDataset(read(tmp_path), MakeViews(preprocessing, None))[SampleKey(0, 0)]
    (view,) = plain.prepared.images
    assert torch.equal(view, preprocessing(Image.fromarray(pixels)))
    assert (plain.prepared.original, plain.measured.truth) == ((HEIGHT, WIDTH), 1)


def test_released_crop_has_its_numbers(tmp_path: Path) -> None:
    """Sides between 384 and 600, or all there is, then scaled to one of the shorter sides."""
    write(tmp_path, [annotation(1, 1, [0, 0, WIDTH, HEIGHT])])
    transform = object_transform(DetectionAugmentation((480, 800), crop=True, flip=0), PLAIN)
    dataset = DetectionDataset(read(tmp_path), transform)
    ratios = set()
    for epoch in range(30):
        height, width = dataset[SampleKey(epoch, 0)].image.shape[1:]
        assert min(height, width) in (480, 800) or max(height, width) == 1333
        ratios.add(round(height / width, 2))
    assert {ratio for ratio in ratios if ratio == round(2 / 3, 2)}
    assert 384 / 600 - 0.01 <= min(ratios) < max(ratios) <= 600 / 384 + 0.01
    assert len(ratios) > 5


def test_large_scale_jitter_fills_with_zeros(tmp_path: Path) -> None:
    write(tmp_path, [annotation(1, 1, [0, 0, WIDTH, HEIGHT])])
    transform = object_transform(DetectionAugmentation(long=90, jitter=(0.5, 0.5)), FitPreprocessing())
    sample = DetectionDataset(read(tmp_path), transform, masks=True)[SampleKey(0, 0)]
    assert sample.truth.boxes.tolist() == [[0, 0, 45, 30]]
    assert sample.image.shape == (3, 90, 90)
    assert ((sample.image != 0).all(0) == sample.truth.masks[0]).all()
    assert int(sample.truth.masks.sum()) == 45 * 30


@pytest.mark.parametrize("workers", [0, 2])
def test_samples_depend_on_seed_epoch_and_index_alone(workers: int, tmp_path: Path) -> None:
    data = read(painted(tmp_path, "triangle"))
    augmentation = DetectionAugmentation((48, 60, 72), 160, crop=True, photometric=True)
    dataset = DetectionDataset(data, object_transform(augmentation, PLAIN), masks=True, seed=5)
    sampler = EpochSampler(len(data), 5, shuffle=True)
    found: list[DetectionSample] = [
        sample
        for batch in DataLoader(dataset, 2, sampler=sampler, num_workers=workers, collate_fn=list)
        for sample in batch
    ]
    torch.manual_seed(99)
    np.random.seed(99)
    dataset = pickle.loads(pickle.dumps(dataset))  # as workers that are not forked get it
    for sample, key in zip(found, sampler, strict=True):
        again, later = dataset[key], dataset[SampleKey(1, key.index)]
        assert torch.equal(sample.image, again.image)
        assert torch.equal(sample.truth.boxes, again.truth.boxes)
        assert torch.equal(sample.truth.masks, again.truth.masks)
        assert sample.image.shape != later.image.shape or not torch.equal(sample.image, later.image)


def test_what_is_not_learned_from(tmp_path: Path) -> None:
    boxes = [[5, 5, 10, 10], [5, 5, 0.5, 9], [5, 5, -3, 9], [80, 50, 30, 30], [200, 5, 9, 9], [89.5, 5, 9, 9]]
    crowd = {"iscrowd": 1, "segmentation": EMPTY_RUNS}
    annotations = [annotation(number, 1, [float(edge) for edge in box]) for number, box in enumerate(boxes)]
    data = read(
        write(
            tmp_path,
            [*annotations, annotation(9, 1, [1, 1, 50, 50], **crowd), annotation(10, 2, [1, 1, 9, 9], **crowd)],
            3,
        )
    )
    targets = [detection_target(image, masks=True) for image in data.images]
    assert targets[0].boxes.tolist() == [[5, 5, 15, 15], [80, 50, 90, 60]]
    assert [mask.sum().item() for mask in targets[0].masks] == [100, 100]
    dataset = DetectionDataset(data, object_transform(AUGMENTATIONS["crop"], PLAIN), masks=True)
    for index in (1, 2):  # crowds only, nothing at all
        truth = dataset[SampleKey(0, index)].truth
        assert truth.boxes.shape == (0, 4)
        assert len(truth.labels) == len(truth.masks) == 0
    thin = write(tmp_path, [annotation(1, 1, [5, 5, 1, 1]), annotation(2, 1, [30, 5, 20, 20])])
    for name, count in (("smaller", 1), ("larger", 2)):
        dataset = DetectionDataset(read(thin), object_transform(AUGMENTATIONS[name], PLAIN), masks=True)
        assert len(dataset[SampleKey(0, 0)].truth.masks) == count


def test_odd_pictures(tmp_path: Path) -> None:
    data = read(write(tmp_path, [annotation(n, n, [5, 5, 10, 10]) for n in range(1, 6)], count=5))
    Image.new("L", (WIDTH, HEIGHT), 200).save(data.images[0].file)
    exif = Image.Exif()
    exif[0x112] = 6
    Image.new("RGB", (WIDTH, HEIGHT)).save(data.images[1].file, exif=exif)
    Image.new("RGB", (WIDTH, HEIGHT + 1)).save(data.images[2].file)
    data.images[3].file.unlink()
    training = DetectionDataset(data, object_transform(AUGMENTATIONS["fit"], PLAIN))
    evaluation = EvaluationDataset(data, PLAIN)
    assert (training[SampleKey(0, 0)].image == 200).all()
    assert (evaluation[SampleKey(0, 0)].prepared == 200).all()
    for index, message in [
        (1, r"2\.png: the picture is 60x90, the annotations are for 90x60: .*EXIF.*--on-corrupt skip"),
        (2, r"3\.png: the picture is 90x61, the annotations are for 90x60; expected one size"),
        (3, r"4\.png: no such file"),
    ]:
        for dataset in (training, evaluation):
            with pytest.raises(ImageReadError, match=message):
                dataset[SampleKey(0, index)]
    unreadable = [str(data.images[index].file) for index in (1, 2, 3)]
    sample = DetectionDataset(data, training.transform, on_corrupt="skip")[SampleKey(0, 1)]
    assert (sample.source.name, list(sample.unreadable)) == (str(data.images[4].file), unreadable)
    evaluation = EvaluationDataset(data, PLAIN, "skip")
    assert (evaluation.leave_out_unreadable(), len(evaluation)) == (unreadable, 2)
    data.images[4].file.write_bytes(b"\x89PNG\r\n\x1a\nbroken")
    findings = check_objects(data)
    names = [[Path(path).name for path in kind] for kind in (findings.wrong_sizes, findings.missing, findings.corrupt)]
    assert names == [["2.png", "3.png"], ["4.png"], ["5.png"]]
    assert findings.errors


@pytest.mark.parametrize(
    ("kind", "change", "errors"),
    [
        ("outside", {"bbox": [80, 5, 12, 9]}, True),
        ("degenerate", {"bbox": [8, 5, 0.9, 9]}, False),
        ("masks", {"segmentation": EMPTY_RUNS}, True),
        ("masks", {"segmentation": [[1, 1, 9, 9, -5, 20]]}, True),
        ("masks", {"segmentation": [[40, 40, 60, 40, 60, 50]]}, True),
        ("duplicates", {"bbox": [5, 5, 20, 20]}, False),
        (None, {"bbox": [80, 5, 10.9, 9]}, False),
        (None, {"segmentation": rectangle(40, 5, 20, 20)}, False),
        (None, {"iscrowd": 1, "bbox": [80, 5, 12, 9]}, False),
    ],
)
def test_check_names_annotations(kind: str | None, change: dict[str, Any], errors: bool, tmp_path: Path) -> None:
    first, second = annotation(1, 1, [5, 5, 20, 20]), {**annotation(2, 1, [40, 5, 20, 20]), **change}
    findings = check_objects(read(write(tmp_path, [first, second])))
    for name in ("outside", "degenerate", "masks", "duplicates"):
        found = getattr(findings, name)
        assert len(found) == (name == kind), found
        assert all("1.png annotation" in entry and "(moon)" in entry for entry in found)
    assert findings.errors == errors
    assert findings.empty_classes == ["star"]


def test_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root, picture = painted(tmp_path / "data", "triangle"), tmp_path / "out" / "sheet.png"
    crowd = annotation(99, 2, [1, 1, 50, 50], iscrowd=1, segmentation=EMPTY_RUNS)
    write(root, [annotation(1, 1, [80, 5, 12, 9]), crowd], 3, part="val")
    assert run(["data", "check", root, "--sheet", picture]) == 1
    shown = capsys.readouterr().out
    assert "train: 6 images, 18 objects, 2 classes, 90x60 to 90x60" in shown
    assert "outside the image: " in shown
    assert "images without objects: 1" in shown
    assert "images with crowds only: 1" in shown
    assert Image.open(picture).size[0] > 1000
    assert run(["data", "check", root, "--json"]) == 1
    report = json.loads(capsys.readouterr().out)
    assert report["train"]["counts"] == {"moon": 12, "star": 6}
    assert [len(report[part]["outside"]) for part in ("train", "val")] == [0, 1]
    assert report["leakage"] == {"val": []}
    shutil.copy(root / "train" / "2.png", root / "val" / "2.png")
    assert run(["data", "check", root]) == 1
    shown = capsys.readouterr().out
    assert f"leakage: {root / 'val' / '2.png'} (val) is {root / 'train' / '2.png'} (train)" in shown


def test_sheet_shows_every_class(tmp_path: Path) -> None:
    """Nine pictures of one class and one of another: the sheet of two has both."""
    annotations = [annotation(n, n, [5, 5, 50, 50]) for n in range(1, 10)]
    star = {**annotation(10, 10, [30, 5, -3, 5]), "category_id": 7}
    data = read(write(tmp_path, [*annotations, star], 10))
    Image.new("RGB", (WIDTH, HEIGHT), "white").save(data.images[9].file)
    pixels = np.asarray(object_sheet(data, 2))
    assert (pixels[150, 380:760] == 255).all(1).any()  # the white picture in the second cell
    assert (pixels[150, 20:380] == 0).all(1).any()


@pytest.mark.parametrize(
    "wrong",
    [
        *({"short_sides": ()}, {"short_sides": (0,)}, {"short_sides": (1400,)}, {"flip": 1.5}, {"jitter": (2.0, 0.1)}),
        *({"jitter": (0.1, 2.0), "crop": True}, {"jitter": (float("nan"), 1.0)}),
    ],
)
def test_augmentation_refuses(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        DetectionAugmentation(**wrong)


@pytest.mark.full
@pytest.mark.parametrize(
    ("name", "images", "objects", "masks"),
    [
        ("bccd", (205, 87), (2804, 1137), False),
        ("nuclei", (60, 19), (2457, 872), True),
        ("coco_mini", (80, 79), (731, 619), True),  # 739 and 624 with crowds
    ],
)
def test_real_data(name: str, images: tuple[int, int], objects: tuple[int, int], masks: bool, shared: Path) -> None:
    parts = read_parts(shared / "data" / name)
    assert tuple(len(part) for part in parts.values()) == images
    assert tuple(sum(part.counts()) for part in parts.values()) == objects
    for part in parts.values():
        assert part.has_masks == masks
        assert not check_objects(part).errors
        for image in part.images:
            for one in image.objects:
                segmentation: Any = one.segmentation
                if isinstance(segmentation, list) or isinstance(segmentation["counts"], list):
                    segmentation = coco_mask.frPyObjects(segmentation, *image.size)
                runs_of = coco_mask.merge(segmentation) if isinstance(segmentation, list) else segmentation
                assert (bitmap(one, image.size) == coco_mask.decode(runs_of)).all()
