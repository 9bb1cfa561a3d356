"""The image reader against odd files, arrays by hand and torchvision's transforms."""

import io
import json
import os
import struct
import threading
import zipfile
import zlib
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision import transforms

from internimage.errors import ConfigError, ImageReadError
from internimage.images import ImageSource, Preprocessing, list_images, read_image, reader

SHARED = Path(os.environ.get("INTERNIMAGE_SHARED", Path(__file__).parents[2] / "shared"))
RNG = np.random.default_rng(0)
RGB = RNG.integers(0, 256, (5, 7, 3), dtype=np.uint8)
GRAY = RGB[:, :, 0]
WIDE = RNG.integers(0, 2**16, (5, 7), dtype=np.uint16)


@pytest.fixture(scope="session")
def odd(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("odd_images")
    with zipfile.ZipFile(Path(__file__).parent / "data" / "odd_images.zip") as archive:
        archive.extractall(folder)
    return folder


@pytest.fixture(scope="module")
def server(odd: Path) -> Iterator[str]:
    class Handler(SimpleHTTPRequestHandler):
        def log_message(self, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=odd)) as httpd:
        threading.Thread(target=httpd.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{httpd.server_port}"
        httpd.shutdown()


def encode(image: Image.Image, format: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def png_header(width: int, height: int) -> bytes:
    """A PNG without pixels: decoding it would end in another error than refusing its size."""
    chunk = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    end = b"\0\0\0\0IDAT" + struct.pack(">I", zlib.crc32(b"IDAT"))
    return b"\x89PNG\r\n\x1a\n\0\0\0\x0d" + chunk + struct.pack(">I", zlib.crc32(chunk)) + end


def disagreements(folder: Path) -> set[str]:
    """Files of a folder that ``read_image`` treats in another way than the manifest's reader did."""
    found = set()
    for name, truth in json.loads((folder / "manifest.json").read_text())["files"].items():
        try:
            image = read_image(folder / name)
        except ImageReadError as error:
            agrees = truth["decode"] == "error" and str(error).startswith(f"{folder / name}: ")
        else:
            size = truth["size"][::-1] if truth.get("exif_orientation") in (5, 6, 7, 8) else truth["size"]
            agrees = truth["decode"] == "ok" and image.mode == "RGB" and list(image.size) == size
        if not agrees:
            found.add(name)
    return found


@pytest.mark.filterwarnings("error")  # ResourceWarning for files left open included
def test_every_odd_file(odd: Path) -> None:
    assert not disagreements(odd)


@pytest.mark.full
@pytest.mark.filterwarnings("error")
def test_every_odd_file_of_the_shared_folder() -> None:
    folder = SHARED / "data" / "odd_images"
    if not folder.is_dir():
        pytest.fail(f"there is no {folder}: let INTERNIMAGE_SHARED name the shared folder")
    # Pillow fails on these two, and hands out half a picture to whoever asks again, as the manifest's reader
    # did by asking for the EXIF first.
    assert disagreements(folder) == {"derived/bad_idat_crc.png", "pillow/broken_data_stream.png"}


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        pytest.param(Image.fromarray(RGB), RGB, id="RGB"),
        pytest.param(Image.fromarray(GRAY), GRAY, id="L"),
        pytest.param(Image.fromarray(GRAY > 99), (GRAY > 99) * 255, id="1"),
        pytest.param(Image.fromarray(np.dstack([RGB, GRAY])), RGB, id="RGBA"),
        pytest.param(Image.fromarray(np.dstack([GRAY, RGB[:, :, 1]])), GRAY, id="LA"),
        pytest.param(Image.fromarray(RGB).convert("RGBa"), RGB, id="RGBa"),
        pytest.param(Image.fromarray(GRAY).convert("LA").convert("La"), GRAY, id="La"),
        pytest.param(Image.fromarray(255 - np.dstack([RGB, GRAY * 0 + 255]), "CMYK"), RGB, id="CMYK"),
        pytest.param(Image.fromarray(WIDE), WIDE >> 8, id="I;16"),
        pytest.param(Image.frombytes("I;16B", (7, 5), WIDE.astype(">u2").tobytes()), WIDE >> 8, id="I;16B"),
        pytest.param(Image.fromarray(WIDE.astype(np.int32)), WIDE >> 8, id="I"),
    ],
)
def test_modes(image: Image.Image, expected: np.ndarray[Any, Any]) -> None:
    expected = expected if expected.ndim == 3 else np.dstack([expected] * 3)
    assert np.array_equal(read_image(image), expected)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("transparency", [None, 3, bytes(range(256))])
def test_palettes_keep_the_colour_under_alpha(transparency: int | bytes | None) -> None:
    palette = RNG.integers(0, 256, (256, 3), dtype=np.uint8)
    image = Image.fromarray(GRAY)
    image.putpalette(palette.tobytes())
    options = {} if transparency is None else {"transparency": transparency}
    assert np.array_equal(read_image(encode(image, **options)), palette[GRAY])
    assert np.array_equal(read_image(image.convert("PA")), palette[GRAY])


def test_16_bit_files_keep_the_high_byte(odd: Path) -> None:
    image = Image.fromarray(WIDE)
    pgm = b"P5 7 5 65535\n" + WIDE.astype(">u2").tobytes()
    for data in (encode(image), encode(image, "TIFF"), pgm):
        assert np.array_equal(np.asarray(read_image(data))[:, :, 1], WIDE >> 8)
    for name in ("pngsuite/basn0g16.png", "pngsuite/tbwn0g16.png", "pillow/16bit.cropped.tif"):
        with Image.open(odd / name) as opened:
            assert np.array_equal(np.asarray(read_image(odd / name))[:, :, 0], np.asarray(opened) >> 8)


@pytest.mark.parametrize(
    "name", ["derived/anim.webp", "derived/la.png", "pillow/dispose_bgnd.gif", "pngsuite/basn6a16.png"]
)
def test_equals_the_loader_of_image_folder(odd: Path, name: str) -> None:
    with Image.open(odd / name) as opened:
        assert np.array_equal(read_image(odd / name), opened.convert("RGB"))


UPRIGHT = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.transpose(1, 0, 2),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: a[::-1, ::-1].transpose(1, 0, 2),
    8: lambda a: np.rot90(a),
}


@pytest.mark.parametrize("orientation", UPRIGHT)
def test_exif_orientation(odd: Path, orientation: int) -> None:
    path = odd / f"derived/exif_o{orientation}_same_pixels.jpg"
    with Image.open(path) as opened:
        stored = np.asarray(opened)
    upright = read_image(path)
    assert np.array_equal(upright, UPRIGHT[orientation](stored))
    assert np.array_equal(read_image(upright), upright)  # not turned again
    if orientation > 1:
        scene = np.asarray(read_image(odd / "pillow/hopper.jpg")).astype(int)
        assert np.abs(read_image(odd / f"pillow/hopper_orientation_{orientation}.jpg") - scene).mean() < 6
    exif = Image.Exif()
    exif[0x0112] = orientation
    tiff = encode(Image.fromarray(RGB), "TIFF", exif=exif)  # Pillow turns these itself
    assert np.array_equal(read_image(tiff), UPRIGHT[orientation](RGB))


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
@pytest.mark.parametrize("exif", [b"Exif\0\0garbage", b"Exif\0\0II*\0\xff\xff\xff\xff", b"\0"])
def test_broken_exif_is_ignored(exif: bytes) -> None:
    assert np.array_equal(read_image(encode(Image.fromarray(RGB), exif=exif)), RGB)


def test_every_kind_of_source_gives_the_same(odd: Path, server: str) -> None:
    path = odd / "derived/exif_o6_same_pixels.jpg"
    expected = read_image(path)
    array = np.array(expected)
    tensor = torch.from_numpy(array).permute(2, 0, 1)
    with Image.open(path) as opened:
        before = opened.size, dict(opened.info)
        sources = [str(path), path.read_bytes(), opened, f"{server}/derived/{path.name}", array, tensor]
        sources += [
            array[::-1][::-1],
            np.dstack([array, array[:, :, 0]]),
            tensor / 255,
            tensor.double() / 255,
        ]
        for source in sources:
            image = read_image(source)
            assert (image.mode, image.info) == ("RGB", {})
            assert np.array_equal(image, expected)
        assert (opened.size, opened.info) == before
    assert read_image(torch.full((3, 1, 1), 0.999)).getpixel((0, 0)) == (255, 255, 255)  # rounded, not cut
    gray = array[:, :, 0]
    for source in (gray, gray[:, :, None], torch.from_numpy(gray), torch.from_numpy(gray)[None] / 255):
        assert np.array_equal(read_image(source), np.dstack([gray] * 3))


@pytest.mark.parametrize(
    ("name", "fragment"),
    [
        ("missing.png", "no such file"),
        ("derived", "a folder"),
        ("n" * 5000, "name too long"),
        ("derived/zero_byte.jpg", "empty"),
        ("derived/text_named.jpg", "not an image in a known format"),
        ("derived/truncated_30pct.jpg", "truncated"),
        ("derived/truncated_50pct.png", "truncated"),
        ("derived/zero_height.png", "not identified"),
        ("derived/huge_header_100000x100000.png", "too large, 100000x100000 pixels"),
        ("derived/huge_header_2147483647x1.png", "too large, 2147483647x1 pixels"),
        ("pillow/decompression_bomb.gif", "too large"),
        ("pillow/png_decompression_dos.png", "Decompressed data too large"),
        ("pngsuite/xhdn0g08.png", "bad header checksum"),
    ],
)
def test_broken_files(odd: Path, name: str, fragment: str) -> None:
    with pytest.raises(ImageReadError) as caught:
        read_image(odd / name)
    assert str(caught.value).startswith(f"{odd / name}: ")
    assert fragment in str(caught.value)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    ("source", "message"),
    [
        (b"", "image from bytes: empty"),
        (png_header(10000, 10000), "image from bytes: too large, 10000x10000 pixels"),  # Pillow only warns
        (encode(Image.fromarray(RGB))[:-20] + bytes(20), "image from bytes: cannot be read"),
        (Image.new("F", (2, 2)), "image from PIL Image: floating-point pixels"),
        (Image.new("I", (2, 2), -1), "image from PIL Image: pixel values from -1 to -1"),
        (Image.new("RGB", (0, 5)), "image from PIL Image: no pixels, its size is 0x5"),
        (RGB / 255, "image from numpy ndarray: floating-point pixels of unknown range, .* --deep-range"),
        (RGB[:, :, :2], r"image from numpy ndarray: .* got uint8 \(5, 7, 2\)"),
        (RGB[:0], "image from numpy ndarray: expected"),
        (torch.zeros(5, 7, 3), r"image from torch Tensor: .* got torch.float32 \(5, 7, 3\)"),
        (torch.zeros(3, 5, 7, dtype=torch.int64), "image from torch Tensor: .* got torch.int64"),
        (torch.full((3, 5, 7), -2.1), r"image from torch Tensor: .* in \[0, 1\], got -2.1 to -2.1"),
        (torch.full((3, 5, 7), torch.nan), "image from torch Tensor: .* got nan"),
        ("http://[::1", "image from URL http://.*: cannot be downloaded"),
        ("http://127.0.0.1:1/a.png", "image from URL http://.*: cannot be downloaded"),
        (42, "image from builtins int: expected a path, .* got int"),
    ],
)
def test_wrong_sources(source: Any, message: str) -> None:
    with pytest.raises(ImageReadError, match=f"^{message}"):
        read_image(source)


def test_url_errors(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ImageReadError, match=r"^image from URL http.*missing\.png: .* 404"):
        read_image(f"{server}/missing.png")
    with pytest.raises(ImageReadError, match="not an image"):
        read_image(f"{server}/manifest.json")
    monkeypatch.setattr(reader, "URL_MAX_BYTES", 2**10)
    with pytest.raises(ImageReadError, match="too large, more than"):
        read_image(f"{server}/derived/q1.jpg")


def test_list_images(tmp_path: Path) -> None:
    for name in ("b/2.JPEG", "b/1.png", "a.tif", "notes.txt", ".hidden.png", ".git/x.png", "x.png/[1].png"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.touch()

    def names(source: Any) -> list[str]:
        return [item.name.removeprefix(f"{tmp_path}/") for item in list_images(source)]

    inside = ["a.tif", "b/1.png", "b/2.JPEG", "x.png/[1].png"]
    assert names(tmp_path) == names(str(tmp_path)) == inside
    assert names(f"{tmp_path}/*") == ["a.tif", "notes.txt"]
    assert names(f"{tmp_path}/**/*.png") == ["b/1.png", "x.png/[1].png"]
    assert names(f"{tmp_path}/x.png/[1].png") == ["x.png/[1].png"]
    assert names(["http://host/*?a=[1]", tmp_path / "gone.png", (RGB, [tmp_path / "b"])]) == [
        *("http://host/*?a=[1]", "gone.png", "image 3"),
        *("b/1.png", "b/2.JPEG"),
    ]
    assert names([b"", Image.fromarray(RGB)]) == ["image 1", "image 2"]
    assert names([]) == []
    (tmp_path / "empty").mkdir()
    with pytest.raises(ImageReadError, match="empty: no images in this folder"):
        list_images([RGB, tmp_path / "empty"])
    with pytest.raises(ImageReadError, match="gif: no file matches this pattern"):
        list_images(f"{tmp_path}/*.gif")
    with pytest.raises(ImageReadError, match=r"^image 2: empty"):
        list_images([RGB, b""])[1].read()


def test_batches_are_split() -> None:
    batch = np.stack([RGB, 255 - RGB])
    for source in (batch, torch.from_numpy(batch).permute(0, 3, 1, 2)):
        sources = list_images(source)
        assert all(isinstance(item, ImageSource) for item in sources)
        assert [item.name for item in sources] == ["image 1", "image 2"]
        assert np.array_equal(np.stack([item.read() for item in sources]), batch)


def torchvision_of(chosen: Preprocessing) -> transforms.Compose:
    steps = [transforms.Resize(chosen.resize, transforms.InterpolationMode(chosen.interpolation))]
    steps += [] if chosen.crop is None else [transforms.CenterCrop(chosen.crop)]
    return transforms.Compose([*steps, transforms.ToTensor(), transforms.Normalize(chosen.mean, chosen.std)])


PICTURES = [
    Image.fromarray(RNG.integers(0, 256, (height, width, 3), dtype=np.uint8))
    for height, width in [(37, 53), (101, 64), (64, 64), (7, 13), (1, 1), (5, 90), (255, 170)]
]


@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
@pytest.mark.parametrize(("resize", "crop"), [(64, 56), (64, None), (33, 20), (32, 47), (40, 40), (15, 128)])
def test_preprocessing_equals_torchvision(resize: int, crop: int | None, interpolation: Any) -> None:
    chosen = Preprocessing(resize, crop, interpolation, mean=(0.5, 0.4, 0.3))
    for picture in PICTURES:
        assert torch.equal(chosen(picture), torchvision_of(chosen)(picture))


@pytest.mark.parametrize(("resize", "crop"), [(64, 56), (32, 47)])
def test_long_pictures_are_resized_in_part(resize: int, crop: int, monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = Preprocessing(resize, crop, mean=(0, 0, 0), std=(1, 1, 1))
    monkeypatch.setattr("internimage.images.decoding.exceeds_pixel_limit", lambda width, height: True)
    rng = np.random.default_rng(0)
    noise = [Image.fromarray(rng.integers(0, 256, (*size, 3), np.uint8)) for size in ((9000, 3), (3, 9000))]
    for picture in [*PICTURES, *noise]:
        assert (chosen(picture) - torchvision_of(chosen)(picture)).abs().max() < 1.01 / 255


def test_thin_pictures(odd: Path) -> None:
    for name in ("derived/thin_1x4000.png", "derived/thin_4000x1.png"):
        image = read_image(odd / name)
        tensor = Preprocessing(224, 224)(image)
        assert (tensor.shape, tensor.dtype) == ((3, 224, 224), torch.float32)
        with pytest.raises(ImageReadError, match="too many"):
            Preprocessing(224)(image)


def test_preprocessing_refuses() -> None:
    for options in ({"resize": 0}, {"resize": 8, "crop": 0}, {"resize": 8, "std": (1, 0, 1)}):
        with pytest.raises(ConfigError):
            Preprocessing(**options)
    with pytest.raises(ConfigError, match="bicubic, bilinear"):
        Preprocessing(8, interpolation="nearest")  # type: ignore[arg-type]
    with pytest.raises(ImageReadError, match="mode L"):
        Preprocessing(8)(Image.new("L", (8, 8)))
