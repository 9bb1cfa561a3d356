"""Videos, files of several pages, file objects and iterators as input, and drawn videos, against what was put in."""

import contextlib
import io
import itertools
import json
import queue
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch
from helpers.clips import CLOCKWISE, COLOURS, MIRRORED, clip, turned
from helpers.commands import run
from PIL import Image

import internimage as ii
from internimage.errors import ConfigError, FileWriteError, ImageReadError, MissingExtraError
from internimage.images import list_images, read_image, read_pages, read_video
from internimage.inference.drawings import drawn_video
from internimage.inference.features import extract_features
from internimage.inference.writing import write_results

RED, GREEN, BLUE = (Image.new("RGB", (8, 6), colour) for colour in ("red", "lime", "blue"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    model = ii.create_model("internimage_atto", num_classes=3)
    return ii.save_model(model, tmp_path_factory.mktemp("model"), labels=("a", "b", "c"))


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def middle(picture: Image.Image) -> np.ndarray[Any, Any]:
    return np.array(picture.getpixel((picture.width // 2, picture.height // 2)), np.int64)


def encoded(picture: Image.Image, **options: Any) -> io.BytesIO:
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", **options)
    buffer.seek(0)
    return buffer


@pytest.mark.parametrize(
    ("name", "codec"),
    [
        *(("c.mp4", "libx264"), ("c.mov", "mpeg4"), ("c.avi", "mpeg4"), ("c.mkv", "libx264")),
        *(("c.webm", "libvpx-vp9"), ("c.m4v", "libx264"), ("c.mpg", "mpeg1video"), ("C.MPEG", "mpeg2video")),
    ],
)
def test_frames_of_every_container(name: str, codec: str, place: Path) -> None:
    frames = list(read_video(clip(Path(name), codec)))
    assert [frame.name for frame in frames] == [f"{name}#{number:06d}" for number in range(12)]
    for number, source in enumerate(frames):
        assert source.frame is not None
        assert (source.frame.number, source.frame.rate) == (number, 25)
        assert source.frame.time == pytest.approx(number / 25, abs=1e-3)
        picture = source.read()
        assert (picture.mode, picture.size) == ("RGB", (64, 48))
        assert np.abs(middle(picture) - COLOURS[number]).max() <= 6


def test_every_and_varying_frame_rates(place: Path) -> None:
    times = [0, 40, 80, 300, 350, 400, 900, 950, 1000, 1400, 1500, 1700]
    frames = [one.frame for one in read_video(clip(Path("c.mp4"), times=times), every=5)]
    assert [(one.number, one.time) for one in frames if one] == [(0, 0.0), (5, 0.4), (10, 1.5)]
    with pytest.raises(ConfigError, match="every is 0"):
        read_video("c.mp4", 0)


@pytest.mark.parametrize(
    ("matrix", "size", "red"), [(CLOCKWISE, (48, 64), (36, 16)), (MIRRORED, (64, 48), (48, 12))], ids=["turn", "mirror"]
)
def test_phones_say_how_they_were_held(matrix: tuple[int, ...], size: Any, red: Any, place: Path) -> None:
    (source,) = read_video(turned(Path("c.mp4"), matrix))
    picture = source.read()
    assert picture.size == size
    assert [picture.getpixel(at)[0] > 128 for at in (red, (size[0] - red[0], size[1] - red[1]))] == [True, False]  # type: ignore[index]


@pytest.mark.parametrize("codec", ["libx264 .mp4", "libvpx-vp9 .webm", "mpeg4 .avi"])
def test_a_video_that_breaks_off_gives_what_is_before(codec: str, place: Path) -> None:
    codec, suffix = codec.split()
    content = clip(Path(f"whole{suffix}"), codec, frames=200).read_bytes()
    Path(f"cut{suffix}").write_bytes(content[: len(content) * 6 // 10])
    *frames, last = read_video(f"cut{suffix}")
    assert 60 < len(frames) < 190
    for number, source in enumerate(frames[:-2]):
        assert np.abs(middle(source.read()) - COLOURS[number % 12]).max() <= 6
    with pytest.raises(ImageReadError, match=rf"^cut\{suffix}#{len(frames):06d}: the video .* early|damaged here"):
        last.read()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nc.mp4\n#EXT-X-ENDLIST\n", "no video that can be read"),
        (b"ffconcat version 1.0\nfile c.mp4\n", "no video that can be read"),
        (encoded(RED).getvalue(), "no video that can be read"),
        (b"", "cannot be read"),
        (None, "no such file"),
    ],
    ids=["playlist", "concat", "picture", "empty", "missing"],
)
def test_what_is_no_video(content: bytes | None, message: str, place: Path) -> None:
    """Playlists would open other files and addresses."""
    clip(Path("c.mp4"))
    if content is not None:
        Path("x.mp4").write_bytes(content)
    (source,) = read_video("x.mp4")
    with pytest.raises(ImageReadError, match=rf"^x\.mp4: {message}"):
        source.read()


def test_limits_and_missing_packages(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clip(Path("c.mp4"))
    with pytest.raises(ImageReadError, match=r"a video.*read_video"):
        read_image("c.mp4")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 3000)
    with pytest.raises(ImageReadError, match=r"c\.mp4: too large, 64x48"):
        next(read_video("c.mp4")).read()
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'internimage\[video\]'"):
        read_video("c.mp4")


def test_predicting_a_video(folder: Path, place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    clip(Path("c.mp4"))
    RED.save("red.png")
    assert run(["predict", "red.png", "c.mp4", "--model", folder, "--json", "--every", "4", "--save", "out"]) == 0
    said = capsys.readouterr()
    lines = [json.loads(line) for line in said.out.splitlines()]
    assert [(one["image"], one.get("frame"), one.get("time")) for one in lines] == [
        *(("red.png", None, None), ("c.mp4#000000", 0, 0.0), ("c.mp4#000004", 4, 0.16), ("c.mp4#000008", 8, 0.32)),
    ]
    predict = ii.Predictor(folder)
    alone = [predict(source).to_dict(5) for source in read_video("c.mp4", 4)]
    scores = [[[label["score"] for label in one["predictions"]] for one in some] for some in (lines[1:], alone)]
    np.testing.assert_allclose(*scores, atol=1e-5)
    assert "c.predicted.mp4: 3 frames, without sound" in said.err
    drawn = list(read_video("out/c.predicted.mp4"))
    assert [one.frame.time for one in drawn if one.frame] == [0.0, 0.16, 0.32]
    for source, number in zip(drawn, (0, 4, 8), strict=True):
        expected = predict(next(itertools.islice(read_video("c.mp4"), number, None))).draw(5)
        picture = source.read()
        assert picture.size == expected.size
        assert np.abs(np.array(picture.getpixel((240, 180)), np.int64) - expected.getpixel((240, 180))).max() <= 8
    assert sorted(path.name for path in Path("out").iterdir()) == ["c.predicted.mp4", "red.predicted.png"]
    written, failures = write_results(predict, "c.mp4", "csv", "table", topk=1, every=6)
    assert [row.split(",")[0] for row in written[0].read_text().split()[1:]] == ["c.mp4#000000", "c.mp4#000006"]
    assert not failures
    assert run(["predict", "red.png", "--model", folder, "--every", "2"]) == 1
    assert "--every belongs to videos" in capsys.readouterr().err


def test_drawn_videos_are_whole_or_not_there(place: Path) -> None:
    with drawn_video(Path("odd.mp4"), (63, 47), None) as video:
        for colour in COLOURS[:3]:
            video.add(Image.new("RGB", (63, 47), colour), None)
    frames = [source.read() for source in read_video("odd.mp4")]
    assert [frame.size for frame in frames] == [(64, 48)] * 3
    with contextlib.suppress(KeyboardInterrupt), drawn_video(Path("stopped.mp4"), (64, 48), None) as video:
        video.add(RED.resize((64, 48)), 0.0)
        raise KeyboardInterrupt
    with pytest.raises(FileWriteError, match=r"cannot write odd\.mp4/x\.mp4"):
        drawn_video(Path("odd.mp4/x.mp4"), (64, 48), None).__enter__()
    assert [path.name for path in place.iterdir()] == ["odd.mp4"]
    with av.open("odd.mp4") as container:
        assert (len(container.streams.video), len(container.streams)) == (1, 1)


@pytest.mark.parametrize("name", ["x.tif", "x.gif", "x.png", "x.webp"])
def test_pages(name: str, folder: Path, place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    RED.save(name, save_all=True, append_images=[GREEN, BLUE], **({"lossless": True} if name == "x.webp" else {}))
    pages = list(read_pages(name))
    assert [page.name for page in pages] == [f"{name}#00000{number}" for number in (1, 2, 3)]
    for page, colour in zip(pages, (RED, GREEN, BLUE), strict=True):
        assert np.array_equal(middle(page.read()), middle(colour))
    command: list[str | Path] = ["predict", name, "--model", folder, "--topk", "1", "--csv"]
    assert run(command) == 0
    said = capsys.readouterr()
    assert f"1 file has several pages or frames, of which the first is read: {name} (--pages all" in said.err
    assert len(said.out.splitlines()) == 2
    assert run([*command, "--pages", "all", "--every", "2"]) == 0
    assert [line.split(",")[0] for line in capsys.readouterr().out.splitlines()[1:]] == [
        f"{name}#00000{n}" for n in "13"
    ]


def test_smaller_copies_are_no_pages(place: Path) -> None:
    """Pyramids of slides and maps; the second picture of a phone's JPEG."""
    from PIL.TiffImagePlugin import ImageFileDirectory_v2

    small = RED.resize((4, 3))
    directory = ImageFileDirectory_v2()
    directory[254] = 1
    small.encoderinfo = {"tiffinfo": directory}  # type: ignore[attr-defined]
    RED.save("slide.tif", save_all=True, append_images=[small])
    RED.save("phone.jpg", "MPO", save_all=True, append_images=[small])
    with Image.open("slide.tif") as slide:
        assert slide.n_frames == 2  # type: ignore[attr-defined]
    for name in ("slide.tif", "phone.jpg"):
        assert [page.read().size for page in read_pages(name)] == [(8, 6)]


def test_large_pictures_are_read_where_they_are_trusted(
    folder: Path, place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    RED.save("red.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 47)
    assert run(["predict", "red.png", "--model", folder]) == 1
    assert (
        "too large, 8x6 pixels where Pillow's limit is 47; if you trust it, --max-pixels 48" in capsys.readouterr().err
    )
    assert run(["features", "red.png", "--model", folder, "--max-pixels", "1000000"]) == 0
    assert Image.MAX_IMAGE_PIXELS == 47


def test_file_objects(folder: Path) -> None:
    content = encoded(GREEN).getvalue()
    behind = io.BytesIO(b"header" + content)
    behind.seek(6)
    for source in (bytearray(content), memoryview(content), io.BytesIO(content), behind):
        assert np.array_equal(middle(read_image(source)), (0, 255, 0))
    assert not behind.closed
    predict, file = ii.Predictor(folder), encoded(GREEN)
    result = predict(file)
    file.close()
    assert np.array_equal(middle(result.source.read()), (0, 255, 0))
    both = list_images([encoded(RED), behind])
    assert np.array_equal(middle(both[0].read()), (255, 0, 0))
    for bad, message in (
        (behind, r"nothing left to read at its position; seek\(0\)"),
        (io.StringIO("text"), r"gives str, expected bytes: open files with 'rb'"),
        (file, "closed file"),
    ):
        with pytest.raises(ImageReadError, match=f"image 1: .*{message}"):
            list_images(bad)[0].read()  # type: ignore[arg-type]


def test_file_objects_of_several_frames_and_pages(place: Path) -> None:
    content = clip(Path("c.mp4"), frames=3).read_bytes()
    first, *others = (Image.new("RGB", (8, 6), colour) for colour in ("red", "lime", "blue"))
    first.save("x.tif", save_all=True, append_images=others)
    for read, name, whole in ((read_video, "c.mp4", content), (read_pages, "x.tif", Path("x.tif").read_bytes())):
        wanted = [np.asarray(source.read()) for source in read(name)]
        behind = io.BytesIO(b"header" + whole)
        behind.seek(6)
        for given in (whole, bytearray(whole), memoryview(whole), io.BytesIO(whole), behind):
            found = [np.asarray(source.read()) for source in read(given)]
            assert len(found) == 3
            assert all(map(np.array_equal, found, wanted))
        assert not behind.closed
        (bad,) = read(3)  # type: ignore[arg-type]
        with pytest.raises(ImageReadError, match=r"expected the path of a .*, bytes or a file object, got int"):
            bad.read()


@pytest.mark.parametrize("images", [{}, {"a.png": 1}, {"a.png"}, frozenset()])
def test_what_is_no_list_is_no_pictures(images: Any, folder: Path) -> None:
    with pytest.raises(ImageReadError, match=rf"expected a path, .* got {type(images).__name__}"):
        ii.Predictor(folder)(images)
    with pytest.raises(
        ConfigError, match=rf"expected the name of a model, a folder or a module, got {type(images).__name__}"
    ):
        ii.Predictor(images)


def test_endless_iterators_are_taken_one_batch_ahead(folder: Path) -> None:
    taken = []

    def camera() -> Iterator[Image.Image]:
        for number in itertools.count():
            taken.append(number)
            yield (RED, GREEN, BLUE)[number % 3]

    predict = ii.Predictor(folder, batch_size=2)
    names = [source.name for source, _ in itertools.islice(predict.stream(camera()), 5)]
    assert names == [f"image {number}" for number in range(1, 6)]
    assert len(taken) <= 8  # three batches and the one after
    assert len(predict(itertools.islice(camera(), 3))) == 3
    vectors = [features["pooled"] for _, features in itertools.islice(extract_features(predict.model, camera()), 2)]  # type: ignore[call-overload, index]
    assert [vector.shape for vector in vectors] == [(384,)] * 2


def test_results_do_not_wait_for_the_next_picture(folder: Path) -> None:
    pictures: queue.SimpleQueue[Image.Image | None] = queue.SimpleQueue()
    results = ii.Predictor(folder, batch_size=1).stream(iter(pictures.get, None))
    for picture in (RED, GREEN):
        pictures.put(picture)
        source, _ = next(results)
        assert np.array_equal(middle(source.read()), middle(picture))
    pictures.put(None)
    assert list(results) == []


def test_errors_of_iterators_come_as_they_are(folder: Path) -> None:
    def broken() -> Iterator[Any]:
        yield RED
        yield b""
        yield GREEN
        raise RuntimeError("the camera fell down")

    predict = ii.Predictor(folder, batch_size=2)
    outcomes = (isinstance(result, ImageReadError) for _, result in predict.stream(broken()))
    assert list(itertools.islice(outcomes, 3)) == [False, True, False]
    with pytest.raises(RuntimeError, match="the camera fell down"):
        next(outcomes)
    for taken in ([None], [None] * 3):
        with pytest.raises(ConfigError, match=r"time and place of .* expected one each"):
            list(predict.stream(iter([RED, GREEN]), iter(taken)))
    assert len(list(predict.stream(iter([RED, GREEN]), [None, None]))) == 2
