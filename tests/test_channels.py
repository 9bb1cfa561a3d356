"""Pictures beyond three channels of 8 bits: against NumPy, per channel, and by training on what only they show."""

import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pytest
import tifffile
import torch
from helpers.commands import run
from helpers.training import COLOURS, paint
from PIL import Image

import internimage as ii
from internimage.backbones.composite import CompositeBackbone, CompositeConfig
from internimage.data.checking import pixel_notes
from internimage.data.transforms import vary_colours
from internimage.errors import CheckpointMismatchError, ConfigError, ImageReadError, InputSizeError
from internimage.images import FitPreprocessing, Preprocessing, list_images, read_image, show_image
from internimage.images.decoding import Header
from internimage.images.inputs.pages import has_several_pages
from internimage.images.reader import picture_size, read_header
from internimage.recipes.backbones import ZEPTO
from internimage.settings.classification import ClassificationAugmentation
from internimage.settings.depth import WHOLE, Depth
from internimage.tasks.classification.augmentation import training_transform

RNG = np.random.default_rng(0)
GREY, RGB, FIVE = (RNG.integers(0, 4096, shape).astype(np.uint16) for shape in ((20, 30), (20, 30, 3), (20, 30, 5)))
TWELVE = Depth(range=(0, 4095))


def tiff(values: np.ndarray[Any, Any], **options: Any) -> bytes:
    file = io.BytesIO()
    tifffile.imwrite(file, values, **{"photometric": "minisblack", **options})
    return file.getvalue()


def npy(values: np.ndarray[Any, Any]) -> bytes:
    file = io.BytesIO()
    np.save(file, values)
    return file.getvalue()


def pillow(image: Image.Image, kind: str = "PNG") -> bytes:
    file = io.BytesIO()
    image.save(file, kind)
    return file.getvalue()


def stretched(values: np.ndarray[Any, Any], low: float, high: float) -> np.ndarray[Any, Any]:
    return np.rint((values.astype(np.float64) - low) * 255 / (high - low)).clip(0, 255)


@pytest.mark.parametrize("depth", [WHOLE, TWELVE, Depth(range=(500, 3000)), Depth(percentiles=(2, 98))], ids=str)
@pytest.mark.parametrize(
    ("source", "values"),
    [
        (pillow(Image.fromarray(GREY)), GREY),
        (pillow(Image.fromarray(GREY), "TIFF"), GREY),
        (pillow(Image.fromarray(GREY.astype(np.int32)), "TIFF"), GREY),
        (imagecodecs.png_encode(RGB), RGB),
        (tiff(RGB, photometric="rgb"), RGB),
        (tiff(RGB, photometric="rgb", compression="lzw"), RGB),
        (tiff(RGB.transpose(2, 0, 1), photometric="rgb", planarconfig="separate"), RGB),
        (npy(RGB), RGB),
        (RGB, RGB),
    ],
    ids=["PNG", "TIFF", "I", "48-bit PNG", "48-bit TIFF", "LZW", "planes", "npy", "array"],
)
def test_deep_pixels(source: Any, values: np.ndarray[Any, Any], depth: Depth) -> None:
    if depth == WHOLE:
        expected: Any = values >> 8
    else:
        ends = depth.range if depth.range is not None else np.percentile(values, depth.percentiles or ())
        expected = stretched(values, *ends)
    found = np.asarray(read_image(source, depth=depth)).astype(int)
    assert found.shape == (20, 30, 3)
    assert np.abs(found - (expected if expected.ndim == 3 else expected[..., None])).max() <= (depth != WHOLE)
    assert (depth == WHOLE) == (len(np.unique(found)) < 17)


def test_depth_of_floating_point_and_of_what_is_not_deep() -> None:
    floats = np.array([[-1.0, 0.0, 0.5], [1.0, 2.0, np.nan]], np.float32)
    found = np.asarray(read_image(tiff(floats), 1, Depth(range=(0, 1))))
    assert found.tolist() == [[0, 0, 128], [255, 255, 0]]
    plain = RNG.integers(0, 60, (9, 9, 3)).astype(np.uint8)
    assert (np.asarray(read_image(pillow(Image.fromarray(plain)), depth=TWELVE)) == plain).all()


FILES = {
    "contiguous": (tiff(FIVE, planarconfig="contig"), FIVE),
    "planes": (tiff(FIVE.transpose(2, 0, 1), planarconfig="separate"), FIVE),
    "a page each": (tiff(FIVE.transpose(2, 0, 1)), FIVE),
    "LZW": (tiff(FIVE, planarconfig="contig", compression="lzw"), FIVE),
    "turned": (tiff(FIVE, planarconfig="contig", extratags=[(274, 3, 1, 6, True)]), np.rot90(FIVE, -1)),
    "npy": (npy(FIVE), FIVE),
    "npy, channels first": (npy(FIVE.transpose(2, 0, 1)), FIVE),
    "array": (FIVE, FIVE),
    "two": (tiff(FIVE[..., :2], planarconfig="contig"), FIVE[..., :2]),
    "four": (tiff(FIVE[..., :4], planarconfig="contig"), FIVE[..., :4]),
    "grey": (pillow(Image.fromarray(GREY)), GREY[..., None]),
}


@pytest.mark.parametrize(("source", "values"), FILES.values(), ids=FILES)
def test_channels(source: Any, values: np.ndarray[Any, Any], tmp_path: Path) -> None:
    found = read_image(source, values.shape[2], TWELVE)
    assert found.size == values.shape[1::-1]
    pixels = np.asarray(found)
    assert np.abs(pixels.reshape(values.shape) - stretched(values, 0, 4095)).max() <= 1
    if isinstance(source, bytes) and values.shape[2] != 1:
        (tmp_path / "file").write_bytes(source)
        if source != FILES["a page each"][0]:
            assert picture_size(tmp_path / "file") == found.size
        assert show_image(tmp_path / "file").mode == "RGB"


def test_channels_of_usual_pictures() -> None:
    rgba = RNG.integers(0, 256, (6, 7, 4)).astype(np.uint8)
    image = Image.fromarray(rgba)
    assert (np.asarray(read_image(pillow(image), 4)) == rgba).all()
    assert (np.asarray(read_image(rgba[..., 0], 1)) == rgba[..., 0]).all()
    assert (np.asarray(read_image(image, 1)) == np.asarray(image.convert("RGB").convert("L"))).all()
    tensor = torch.from_numpy(rgba).permute(2, 0, 1)
    assert (np.asarray(read_image(tensor, 4)) == rgba).all()


@pytest.mark.parametrize(
    ("source", "channels", "message"),
    [
        (FILES["contiguous"][0], 3, r"got uint16 \(20, 30, 5\); a model for it is trained with --channels 5"),
        (FILES["contiguous"][0], 4, r"expected an array of shape \(H, W, 4\), got uint16 \(20, 30, 5\)"),
        (npy(np.array([{}])), 3, "holds Python objects"),
        (npy(np.zeros((3, 3), "U4")), 3, "pixels of type <U4"),
        (npy(np.zeros((3, 3), np.float32)), 3, "unknown range.*--deep-range LOW HIGH"),
        (npy(np.zeros(3, np.uint8)), 3, r"got uint8 \(3,\)"),
        (
            npy(np.lib.stride_tricks.as_strided(np.zeros(1, np.uint8), (10**9, 1), (0, 0))[:1])[:118],
            3,
            "cannot be read",
        ),
        (Image.new("P", (3, 3)), 2, r"\(H, W, 2\), got uint8 \(3, 3\)"),
    ],
)
def test_refused(source: Any, channels: int, message: str) -> None:
    with pytest.raises(ImageReadError, match=message):
        read_image(source, channels)


def test_a_header_that_would_fill_the_memory_is_refused() -> None:
    small = npy(np.zeros((2, 2), np.uint8))
    large = small.replace(b"(2, 2), }" + b" " * 12, b"(2222222, 2222222), }")
    assert len(large) == len(small)
    with pytest.raises(ImageReadError, match="too large, 2222222x2222222"):
        read_image(large)


@pytest.mark.parametrize("source", [*(FILES[kind][0] for kind in ("contiguous", "planes")), npy(np.zeros((5, 20, 30)))])
def test_large_pictures_say_what_reads_them(source: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 599)
    said = r"too large, 30x20 pixels of 5 channels where .* 599; if you trust it, --max-pixels 600, or in Python"
    with pytest.raises(ImageReadError, match=said):
        read_image(source, 5)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 600)
    assert read_image(source, 5, Depth(range=(0, 1))).size == (30, 20)


@pytest.mark.parametrize(
    "ends",
    [
        {"range": (5, 5)},
        {"range": (1,)},
        {"range": 5},
        {"percentiles": ("1", "99")},
        {"range": (0, float("inf"))},
        {"percentiles": (-1, 50)},
        {"range": (0, 1), "percentiles": (0, 1)},
    ],
)
def test_contradictory_depths(ends: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="deep pixels"):
        Depth(**ends)


@pytest.mark.parametrize("preprocessing", [Preprocessing(16, 12), Preprocessing(16), FitPreprocessing(16, 20)])
def test_preparation_treats_each_channel_as_one_of_rgb(preprocessing: Any) -> None:
    pixels = RNG.integers(0, 256, (23, 31, 6)).astype(np.uint8)
    six = preprocessing.of_channels(6)
    assert six.mean == (*preprocessing.mean, *[sum(preprocessing.mean) / 3] * 3)
    found = six(read_image(pixels, 6))
    assert torch.equal(found[:3], preprocessing(read_image(pixels[..., :3])))
    one = preprocessing.of_channels(1)
    alone = [one(read_image(pixels[..., band], 1))[0] for band in (3, 4, 5)]
    assert torch.allclose(found[3:], torch.stack(alone), atol=1e-6)
    with pytest.raises(ImageReadError, match="expected an image of mode 6 channels, got mode RGB"):
        six(read_image(pixels[..., :3]))


@pytest.mark.parametrize("name", ["internimage_atto", "mask_rcnn_internimage_atto_fpn", "upernet_internimage_atto"])
def test_weights_of_rgb_made_to_fit(name: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    model: Any = ii.create_model(name)
    images = torch.rand(1, 3, 64, 64)
    expected = model.backbone(images)
    ii.save_model(model, tmp_path / "rgb")
    for channels, same in ((1, images.mean(1, keepdim=True)), (6, images.repeat(1, 2, 1, 1))):
        made: Any = ii.create_model(name, checkpoint=tmp_path / "rgb", in_channels=channels)
        wanted = model.backbone(same.expand(1, 3, 64, 64)) if channels == 1 else expected
        for one, other in zip(made.backbone(same), wanted, strict=True):
            assert torch.allclose(one, other, atol=2e-5)
        assert made.description.preprocessing.channels == channels
        ii.save_model(made, tmp_path / str(channels))
        again: Any = ii.load_model(tmp_path / str(channels))
        assert torch.allclose(again.backbone(same)[-1], made.backbone(same)[-1], atol=2e-5)
        loaded: Any = ii.create_model(name, checkpoint=tmp_path / str(channels), in_channels=channels)
        assert torch.allclose(loaded.backbone(same)[-1], made.backbone(same)[-1], atol=2e-5)
    with pytest.raises(CheckpointMismatchError, match="pass in_channels=6"):
        ii.create_model(name, checkpoint=tmp_path / "6")
    with pytest.raises(InputSizeError, match=r"expected \(N, 6, H, W\)"):
        again.backbone(images)


def test_composite_backbones_take_other_channels() -> None:
    images = torch.rand(1, 3, 64, 64)
    backbone = CompositeBackbone(ZEPTO, CompositeConfig())
    expected = backbone(images)
    backbone.take_channels(6)
    for one, other in zip(backbone(images.repeat(1, 2, 1, 1)), expected, strict=True):
        assert torch.allclose(one, other, atol=2e-5)


def test_transforms_of_many_channels_keep_them_apart() -> None:
    torch.manual_seed(1)
    pixels = np.repeat(np.array([[[0, 50, 100, 150, 200]]], np.uint8), 40, 0).repeat(30, 1)
    transform = training_transform(ClassificationAugmentation(erasing=0.0), Preprocessing(24, 24).of_channels(5))
    found = torch.stack([transform(read_image(pixels, 5)) for _ in range(40)])
    middle = found[:, :, 12, 12]
    assert found.shape == (40, 5, 24, 24)
    assert (middle.diff(dim=1)[:, 2:] >= 0).all()  # the mean of the last three is the same
    assert middle[:, 2:].std(0).min() > 0.01
    varied = [vary_colours(torch.from_numpy(pixels).permute(2, 0, 1)).float() for _ in range(40)]
    means = torch.stack([one.mean() for one in varied])
    assert 85 < means.min() < 95
    assert 105 < means.max() < 125
    spreads = torch.stack([one.std() for one in varied]) / varied[0].new_tensor(pixels).std()
    assert 0.4 < spreads.min() < 0.8
    assert 1.1 < spreads.max() < 1.7


def scene(shade: int, place: tuple[int, int] | None = None) -> np.ndarray[Any, Any]:
    """Five channels of 12 bits, of which the last one shows something."""
    values = RNG.integers(0, 4096, (48, 48, 5)).astype(np.uint16)
    values[..., 4] = shade
    if place:
        values[place[0] : place[0] + 20, place[1] : place[1] + 20, 4] = 3800
    return values


def classes(root: Path) -> None:
    for name, shade in (("day", 3500), ("night", 300)):
        (root / name).mkdir(parents=True)
        for number in range(10):
            tifffile.imwrite(
                root / name / f"{number}.tif", scene(shade), photometric="minisblack", planarconfig="contig"
            )


def regions(root: Path) -> None:
    (root / "images").mkdir(parents=True)
    (root / "masks").mkdir()
    for number in range(10):
        y, x = RNG.integers(0, 28, 2).tolist()
        np.save(root / "images" / f"{number}.npy", scene(300, (y, x)))
        mask = np.zeros((48, 48), np.uint8)
        mask[y : y + 20, x : x + 20] = 1
        Image.fromarray(mask).save(root / "masks" / f"{number}.png")


@pytest.mark.parametrize("make", [classes, regions], ids=["classifier", "segmenter"])
def test_a_run_takes_five_channels(make: Any, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    make(tmp_path / "data")
    assert run(["data", "check", tmp_path / "data"]) == 0
    checked = capfd.readouterr().out
    assert "pictures have 5 channels: train with --channels 5" in checked
    assert "a quarter is used" in checked  # 12 bits of 16
    options = ["--size", "48", "--batch-size", "5", "--track", "none", "--workers", "0", "--epochs", "1"]
    start = ["train", "--data", tmp_path / "data", "--output", tmp_path / "run", *options]
    assert run([*start, "--channels", "5", "--deep-range", "0", "4095"]) == 0
    assert "pictures of more than 8 bits: 0 to 4095 become 0 to 255" in capfd.readouterr().out
    trained = ii.resume(tmp_path / "run", epochs=2)
    best: Any = ii.load_model(trained.best)
    assert best.description.preprocessing.depth == TWELVE
    assert best.config.backbone.in_channels == 5
    predictor = ii.Predictor(trained.final)
    first = list_images(tmp_path / "data")[0]
    assert predictor(first.value).draw().size[0] >= 48
    with pytest.raises(ImageReadError, match=r"expected an array of shape \(H, W, 5\)"):
        predictor(np.zeros((48, 48, 3), np.uint8))
    before = read_image(first.value, 5, TWELVE)
    assert (np.asarray(best.description.preprocessing.read(first)) == np.asarray(before)).all()


UNIT = RNG.uniform(0, 1, (20, 30)).astype(np.float32)


@pytest.mark.parametrize(
    ("pictures", "status", "said"),
    [
        ([UNIT], 1, "floating-point numbers, training stops without their range"),
        ([FIVE, RGB], 1, "2 pictures have 5 channels: train with --channels 5"),
        ([FIVE, RGB], 1, "cannot be trained on together"),
        ([FIVE[..., :4], RGB], 0, "2 pictures have 4 channels"),
        ([FIVE.transpose(2, 0, 1), RGB], 0, "or with --channels N the N pages"),
    ],
)
def test_data_check_tells_what_training_stops_at(
    pictures: list[np.ndarray[Any, Any]], status: int, said: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    for name, turn in (("a", 0), ("b", 1)):
        (tmp_path / name).mkdir()
        for number, values in enumerate(pictures):
            planes = "contig" if values.ndim == 3 and values.shape[2] < 30 else None
            extra = [0] * (values.shape[-1] - 1) if planes else []
            stored = tiff(values[::-1, ::-1] if turn else values, planarconfig=planes, extrasamples=extra)
            (tmp_path / name / f"{number}.tif").write_bytes(stored)
    assert run(["data", "check", tmp_path]) == status
    assert said in capfd.readouterr().out


@pytest.mark.parametrize("planes", ["contig", "separate"])
@pytest.mark.parametrize("kind", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize(("photometric", "count"), [("minisblack", n) for n in (2, 3, 4, 5)] + [("rgb", 3), ("rgb", 4)])
def test_any_tiff_is_read_as_its_header_says(
    photometric: str, count: int, kind: type, planes: str, tmp_path: Path
) -> None:
    values = RNG.integers(0, 256, (9, 7, count)).astype(kind)
    stored = values if planes == "contig" else values.transpose(2, 0, 1)
    extra = [0] * (count - (3 if photometric == "rgb" else 1))
    (tmp_path / "file").write_bytes(tiff(stored, photometric=photometric, planarconfig=planes, extrasamples=extra))
    header = read_header(tmp_path / "file")
    assert header == Header((7, 9), 1, kind != np.uint8, kind == np.float32, count)
    found = np.asarray(read_image(tmp_path / "file", count, Depth(range=(0, 255))))
    assert (found == values).all()
    if count in (3, 4):
        assert (np.asarray(read_image(tmp_path / "file", 3, Depth(range=(0, 255)))) == values[..., :3]).all()


def test_ranges_that_leave_black_and_white(tmp_path: Path) -> None:
    file = tmp_path / "file.tif"
    file.write_bytes(tiff(UNIT))
    for depth, said in (((0, 4095), True), ((-2, -1), True), ((0, 1), False), ((0.2, 0.4), False)):
        notes = pixel_notes([file], Preprocessing(24, 24, depth=Depth(range=depth)))
        assert ["black and white" in " ".join(notes), len(notes)] == [said, 1 + said]


def test_pages_that_are_channels_are_not_left_out(tmp_path: Path) -> None:
    (tmp_path / "file.tif").write_bytes(tiff(FIVE.transpose(2, 0, 1)))
    source = list_images(tmp_path)[0]
    assert [has_several_pages(source, channels) for channels in (1, 3, 4, 5, 6)] == [True, True, True, False, True]
    grey = tiff(GREY[None].repeat(3, 0) // np.array([1, 2, 3], np.uint16)[:, None, None])
    first = read_image(grey, 3, TWELVE)  # not three pages as three channels
    assert np.abs(np.asarray(first) - stretched(GREY, 0, 4095)[..., None]).max() <= 1


def test_weights_of_other_channels_than_the_pictures(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    five: Any = ii.create_model("internimage_atto", num_classes=2, in_channels=5)
    five.description = replace(five.description, labels=tuple(COLOURS))
    ii.save_model(five, tmp_path / "five")
    data = paint(tmp_path / "data", COLOURS)
    start = ["train", "--data", data, "--output", tmp_path / "run", "--size", "32", "--epochs", "1", "--workers", "0"]
    start += ["--model", "internimage_atto", "--init", tmp_path / "five", "--batch-size", "5", "--track", "none"]
    assert run(start) == 1
    said = capfd.readouterr().err
    assert "3); a model for it is trained with --channels 3" in said
    assert "--on-corrupt" not in said
    assert run([*start, "--channels", "3"]) == 0
