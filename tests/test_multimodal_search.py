"""An album's search: stores against brute force, indexing and its interruptions, answers, models, the commands."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.clips import clip
from helpers.commands import run
from PIL import ExifTags, Image, ImageDraw

from internimage.errors import CheckpointReadError, ConfigError, DataError
from internimage.multimodal.search.encoders.encoder import Encoder, load_encoder
from internimage.multimodal.search.entries import ALL, Array, Entry, Filter, Found, Stamp
from internimage.multimodal.search.indexing import IndexSettings, index_album
from internimage.multimodal.search.querying import Hit, grouped, query_album
from internimage.multimodal.search.store import About, Store, find_or_create, open_store, try_approximate
from internimage.training.state import RunLock

ATTO = "internimage_atto_clothing_128"
DETECTOR = "faster_rcnn_internimage_atto_bccd_320"
NASTY = ("/a", "/a/b'; DROP TABLE entries; --", '/a/"b" %_', "/a b", "/a0", "/ä/日本\\n", "/")
FILTERS = (
    ALL,
    Filter(since=20.0, until=40.0),
    *(Filter(folder=folder) for folder in (*NASTY, "/nowhere")),
    Filter(classes=("dog's", 'x" OR true')),
    Filter(min_score=0.5),
    Filter(kinds=("frame", "picture")),
    Filter(paths=("/a b/3.jpg", "/a/b'; DROP TABLE entries; --/1.jpg", "' OR '1'='1")),
    Filter(since=10.0, folder="/a", kinds=("box",), min_score=0.2),
)


def unit(rows: Array) -> Array:
    return (rows / np.linalg.norm(rows, axis=-1, keepdims=True)).astype(np.float32)


def drawn_entries(count: int = 70) -> list[Entry]:
    labels = ("dog's", 'x" OR true', "cat")
    made = []
    for i in range(count):
        folder, stamp = NASTY[i % len(NASTY)], Stamp(i, 1_700_000_000_000_000_000 + i)
        entry = Entry(f"{folder.rstrip('/')}/{i}.jpg", "picture", stamp, str(i), float(i), 640, 480)
        box = replace(entry, kind="box", box=(i, 0.1, 5.5, 7), label=labels[i % 2], score=i / count)
        made.append((entry, box, replace(entry, kind="frame", second=i / 4))[i % 3])
    return made


def meant(one: Entry, by: Filter) -> bool:
    """The definition of a filter."""
    folder = Path(one.folder)
    return (
        (by.since is None or one.taken >= by.since)
        and (by.until is None or one.taken < by.until)
        and (by.folder is None or folder == Path(by.folder) or Path(by.folder) in folder.parents)
        and (not by.classes or one.label in by.classes)
        and (by.min_score is None or (one.score is not None and one.score >= by.min_score))
        and (not by.kinds or one.kind in by.kinds)
        and (not by.paths or one.path in by.paths)
    )


@pytest.fixture(params=["", "qdrant:"], ids=["lance", "qdrant"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    place = f"{request.param}{tmp_path / 'index'}"
    made = find_or_create(place, About("m", "w", 8))
    made.put(ENTRIES[:9], VECTORS[:9])
    made.put(ENTRIES[9:], VECTORS[9:], fresh=True)
    made.close()
    opened = open_store(place)
    yield opened
    opened.close()


ENTRIES = drawn_entries()
VECTORS = unit(np.random.default_rng(0).normal(size=(len(ENTRIES), 8)))


def test_stores_find_what_brute_force_finds(store: Store) -> None:
    question = unit(np.random.default_rng(1).normal(size=8))
    cosines = VECTORS.astype(np.float64) @ question
    for by in FILTERS:
        places = [i for i in np.argsort(-cosines) if meant(ENTRIES[i], by)]
        found = store.nearest(question, 12, by)
        assert [one.entry for one in found] == [ENTRIES[i] for i in places[:12]], by
        np.testing.assert_allclose([one.score for one in found], cosines[places[:12]], atol=1e-6)
        assert all(np.allclose(one.vector, VECTORS[i], atol=1e-7) for one, i in zip(found, places, strict=False))
        assert store.count(by) == len(places)
    assert store.known() == {one.path: one.stamp for one in ENTRIES}
    assert [one.entry for one in store.get([ENTRIES[5].id, "nothing", ENTRIES[2].id])] == [ENTRIES[5], ENTRIES[2]]


def test_a_put_replaces_files_and_a_delete_takes_only_what_is_meant(store: Store) -> None:
    one, other = ENTRIES[0], ENTRIES[1]
    fresh = [replace(one, stamp=Stamp(9, 9)), replace(one, kind="box", box=(0, 0, 1, 1), label="cat", score=0.9)]
    store.put(fresh, VECTORS[:2])
    assert store.count() == len(ENTRIES) + 1
    assert {one.entry for one in store.get([one.id for one in fresh])} == set(fresh)
    store.put(fresh[:1], VECTORS[:1])
    assert store.count(Filter(paths=(one.path,))) == 1
    assert store.delete(Filter(paths=(other.path,))) == 1
    assert store.delete(Filter(folder="' OR '1'='1")) == 0
    assert store.count() == len(ENTRIES) - 1
    store.tidy()
    assert store.delete(ALL) == len(ENTRIES) - 1
    assert store.nearest(VECTORS[0], 3) == []


@pytest.mark.parametrize(("spread", "kept"), [(0.02, True), (50.0, False)], ids=["in clusters", "all directions alike"])
def test_an_approximate_index_stays_only_where_it_finds_enough(tmp_path: Path, spread: float, kept: bool) -> None:
    random = np.random.default_rng(0)
    middles, count = random.normal(size=(40, 48)), 1200
    vectors = unit(middles[random.integers(40, size=count)] + spread * random.normal(size=(count, 48)))
    store = find_or_create(str(tmp_path / "index"), About("m", "w", 48))
    store.put([Entry(f"/{i}", "picture", Stamp(1, 1), "", 0.0, 1, 1) for i in range(count)], vectors)
    with pytest.raises(ConfigError, match="below 100000 exact search is fast"):
        try_approximate(store)
    recall = try_approximate(store, exact_below=count, questions=20)
    assert (recall.kept, store.approximate, recall.share >= 0.95) == (kept, kept, kept)
    assert f"finds {recall.share:.3f} of the 10 nearest" in str(recall)
    nearest = [int(one.entry.path[1:]) for one in store.nearest(vectors[7], 5, exact=True)]
    assert nearest == np.argsort(-(vectors @ vectors[7]))[:5].tolist()


def test_what_is_the_same_is_one_answer() -> None:
    def found(path: str, cosine: float, **more: Any) -> Found:
        entry = Entry(path, "picture", Stamp(1, 1), path, 0.0, 9, 9)
        return Found(replace(entry, **more), np.array([cosine, (1 - cosine**2) ** 0.5], np.float32), cosine)

    box = {"kind": "box", "box": (0, 0, 4, 4), "label": "cat", "score": 0.5}
    answers = [
        *(found("a", 1.0), found("copy", 0.9, content="a"), found("near", 0.995), found("a", 0.8, **box)),
        *(found("v", 0.7, kind="frame", second=3.0), found("other", 0.5), found("v", 0.2, kind="frame", second=9.0)),
    ]

    def paths(hits: list[Hit]) -> list[list[str]]:
        return [[hit.entry.path, *(one.path for one in hit.others)] for hit in hits]

    assert paths(grouped(answers)) == [["a", "copy", "near"], ["a"], ["v", "v"], ["other"]]
    assert paths(grouped(answers, same=1.1))[:2] == [["a", "copy"], ["near"]]
    assert grouped(answers)[2].entry.second == 3.0
    assert str(grouped(answers)[1]) == "0.800  a  cat 0.50 in 0,0,4,4"
    assert str(grouped(answers)[2]) == "0.700  v  at 0:03.0  and 1 more"


# ---- albums ----


def photo(path: Path, seed: int, taken: str | None = None) -> Path:
    """Blobs of colour; no two alike."""
    random = np.random.default_rng(seed)
    small = Image.fromarray(random.integers(0, 255, (3, 4, 3), dtype=np.uint8))
    exif = Image.Exif()
    if taken:
        exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.DateTimeOriginal] = taken
    path.parent.mkdir(exist_ok=True, parents=True)
    small.resize((64, 48), Image.Resampling.BICUBIC).save(path, quality=95, exif=exif)
    return path


def cells(path: Path) -> Path:
    """Dark discs on a bright ground: what the detector of blood cells knows."""
    picture = Image.new("RGB", (320, 240), (235, 220, 215))
    for x, y in ((40, 40), (150, 60), (250, 150), (80, 160)):
        ImageDraw.Draw(picture).ellipse((x, y, x + 56, y + 56), fill=(205, 130, 135), outline=(180, 100, 110), width=4)
    picture.save(path)
    return path


@pytest.fixture(scope="module")
def atto() -> Encoder:
    torch.set_num_threads(1)
    return load_encoder(ATTO, "cpu")


@pytest.fixture(scope="module")
def album(tmp_path_factory: pytest.TempPathFactory, atto: Encoder) -> tuple[Path, str]:
    """Six photos in two folders, one of them a copy, a video of twelve frames in six seconds, two broken files."""
    folder = tmp_path_factory.mktemp("album") / 'it\'s "mine"'
    for i in range(5):
        photo(folder / ("old" if i < 2 else "new") / f"{i}.jpg", i, f"20{20 + i}:05:01 12:00:00")
    (folder / "copy.jpg").write_bytes((folder / "new" / "3.jpg").read_bytes())
    clip(folder / "clip.mp4", times=range(0, 6000, 500))
    (folder / "broken.jpg").write_bytes(b"no picture")
    (folder / "broken.mp4").write_bytes(b"no video")
    place = str(folder.parent / "index")
    done = index_album([folder], place, IndexSettings(ATTO, seconds=2, device="cpu", batch_size=4))
    assert (done.added, done.changed, done.unchanged, done.entries) == (7, 0, 0, 6 + 3)
    assert [line.split(": ")[0] for line in done.unreadable] == [f"{folder}/broken.jpg", f"{folder}/broken.mp4"]
    assert "no video that can be read" in done.unreadable[1]
    return folder, place


def test_entries_hold_what_the_model_gives_and_what_files_say(album: tuple[Path, str], atto: Encoder) -> None:
    folder, place = album
    store = open_store(place)
    (three,) = store.nearest(
        atto.pictures([Image.open(folder / "new" / "3.jpg")])[0], 1, Filter(folder=f"{folder}/new")
    )
    assert three.entry.path == f"{folder}/new/3.jpg"
    assert three.score == pytest.approx(1, abs=1e-5)
    assert three.entry.taken == datetime(2023, 5, 1, 12, tzinfo=UTC).timestamp()
    assert (three.entry.width, three.entry.height) == (64, 48)
    frames = [one.entry.second for one in store.nearest(three.vector, 9, Filter(kinds=("frame",)))]
    assert sorted(frames) == [0.0, 2.0, 4.0]  # type: ignore[type-var]


def test_a_picture_finds_itself_its_copy_and_the_video_once(album: tuple[Path, str]) -> None:
    folder, place = album
    hits = query_album(place, [str(folder / "copy.jpg")], device="cpu", same=1.1)
    assert {hits[0].entry.path, hits[0].others[0].path} == {f"{folder}/copy.jpg", f"{folder}/new/3.jpg"}
    assert sorted(len(hit.others) for hit in hits if hit.entry.kind == "frame") == [2]
    assert len(hits) == 4 + 1 + 1  # photos without the copy, the video
    (best, *_) = query_album(place, entries=[hits[1].entry.id], device="cpu", same=1.1)
    assert best.entry.id != hits[1].entry.id
    one, other = (str(folder / "old" / f"{i}.jpg") for i in range(2))
    mixed = query_album(place, [one, other], without=[str(folder / "new" / "2.jpg")], device="cpu", same=1.1)
    store = open_store(place)
    rows = {hit.entry.path: hit.vector for hit in store.nearest(store.some(1)[0], 99)}
    direction = (rows[one] + rows[other]) / 2 - rows[f"{folder}/new/2.jpg"]
    assert mixed[0].score == pytest.approx(max(unit(direction) @ row for row in rows.values()), abs=1e-4)


def test_changes_are_read_again_and_what_vanished_is_named(tmp_path: Path) -> None:
    for i in range(4):
        photo(tmp_path / "album" / f"{i}.jpg", i)
    place, settings = str(tmp_path / "index"), IndexSettings(ATTO, device="cpu")
    album = tmp_path / "album"
    index_album([album], place, settings)
    before = {one.entry.path: one.vector for one in open_store(place).nearest(np.eye(1, 384)[0], 9)}
    photo(album / "1.jpg", 77)
    (album / "2.jpg").unlink()
    photo(album / "9.jpg", 9)
    done = index_album([album], place, IndexSettings(device="cpu"))
    assert (done.added, done.changed, done.unchanged, done.entries) == (1, 1, 2, 5)
    assert done.vanished == (f"{album}/2.jpg",)
    done = index_album([album], place, IndexSettings(device="cpu"), prune=True)
    assert (done.unchanged, done.entries, done.pruned) == (4, 4, True)
    after = {one.entry.path: one.vector for one in open_store(place).nearest(np.eye(1, 384)[0], 9)}
    same = {Path(path).name for path in after if path in before and np.array_equal(before[path], after[path])}
    assert same == {"0.jpg", "3.jpg"}
    lock = RunLock(Path(place))
    with pytest.raises(ConfigError, match=f"is being written by process {os.getpid()}"):
        index_album([album], place, settings)
    lock.release()


def test_boxes_of_a_detector_are_entries_that_point_into_the_picture(tmp_path: Path, atto: Encoder) -> None:
    import internimage as ii

    path = cells(tmp_path / "cells.png")
    settings = IndexSettings(ATTO, detector=DETECTOR, min_score=0.2, device="cpu")
    index_album([path], str(tmp_path / "index"), settings)
    truth = ii.Predictor(DETECTOR, device="cpu")(path).filter(0.2)
    assert len(truth) > 0
    store = open_store(str(tmp_path / "index"))
    boxes = [one for one in store.nearest(store.some(1)[0], 99) if one.entry.kind == "box"]
    rows = sorted((one.entry.score, one.entry.label, one.entry.box) for one in boxes)
    wanted = sorted((float(s), truth.name(i), tuple(truth.boxes[i].tolist())) for i, s in enumerate(truth.scores))
    assert [row[1] for row in rows] == [row[1] for row in wanted]
    np.testing.assert_allclose([row[2] for row in rows], [row[2] for row in wanted], atol=1e-3)
    x1, y1, x2, y2 = boxes[0].entry.box or (0, 0, 0, 0)
    crop = Image.open(path).crop((int(max(x1, 0)), int(max(y1, 0)), int(np.ceil(x2)), int(np.ceil(y2))))
    np.testing.assert_allclose(atto.pictures([crop])[0], boxes[0].vector, atol=1e-5)
    assert store.count(Filter(min_score=0.2)) == len(boxes)


@pytest.mark.full
def test_killed_while_indexing_loses_no_finished_picture(tmp_path: Path, atto: Encoder) -> None:
    count, place = 400, str(tmp_path / "index")
    for i in range(count):
        photo(tmp_path / "album" / f"{i}.jpg", i)
    command = [*("search", "index", tmp_path / "album", "--index", place, "--model", ATTO), "--batch-size", "1"]
    process = subprocess.Popen([sys.executable, "-m", "internimage", *command, "--device", "cpu"])
    seen: dict[str, Stamp] = {}
    while len(seen) < 5:
        assert process.poll() is None, "it ended before it was killed"
        time.sleep(0.02)
        if Path(place, "entries.lance").is_dir() and (store := find(place)) is not None:
            seen = store.known()
    process.send_signal(signal.SIGKILL)
    process.wait()
    store = open_store(place)
    finished = store.known()
    assert set(seen) <= set(finished)
    assert 5 <= len(finished) < count
    for one in store.nearest(np.eye(1, 384)[0], count):
        np.testing.assert_allclose(atto.pictures([Image.open(one.entry.path)])[0], one.vector, atol=1e-5)
    done = index_album([tmp_path / "album"], place, IndexSettings(device="cpu"))
    assert (done.added, done.unchanged, done.entries) == (count - len(finished), len(finished), count)


def find(place: str) -> Store | None:
    """The index, unless it is not there yet."""
    try:
        return open_store(place)
    except DataError:
        return None


# ---- models ----


def tokenizer(kind: str) -> Any:
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    words = {word: i for i, word in enumerate(("<s>", "</s>", "<pad>", "<unk>", "a", "red", "car", "picture", "dog"))}
    own = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    own.pre_tokenizer = pre_tokenizers.Whitespace()
    own.post_processor = processors.TemplateProcessing("<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 1)])
    given = ["input_ids", "attention_mask"] if kind == "CLIP" else ["input_ids"]  # as in released folders
    marks = {"pad_token": "<pad>", "unk_token": "<unk>", "eos_token": "</s>"}
    return PreTrainedTokenizerFast(tokenizer_object=own, model_max_length=12, model_input_names=given, **marks)


def tiny_clip(kind: str, folder: Path) -> Any:
    """A CLIP or SigLIP with random weights, written as transformers does."""
    import transformers as t

    torch.manual_seed(0)
    common = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    text = {**common, "vocab_size": 9, "max_position_embeddings": 12, "bos_token_id": 0, "eos_token_id": 1}
    config = getattr(t, f"{kind}Config")(text_config=text, vision_config={**common, "image_size": 16, "patch_size": 8})
    model = getattr(t, f"{kind}Model")(config).eval()
    model.save_pretrained(folder)
    sizes = {"size": {"height": 16, "width": 16}, "crop_size": {"height": 16, "width": 16}}
    images = t.CLIPImageProcessor(**sizes) if kind == "CLIP" else t.SiglipImageProcessor(size=sizes["size"])
    getattr(t, f"{kind}Processor")(images, tokenizer(kind)).save_pretrained(folder)
    return model


@pytest.mark.parametrize("kind", ["CLIP", "Siglip"])
def test_clips_of_transformers_see_and_read(kind: str, tmp_path: Path) -> None:
    model = tiny_clip(kind, tmp_path / "model")
    encoder = load_encoder(f"transformers:{tmp_path / 'model'}", "cpu")
    pictures = [Image.open(photo(tmp_path / f"{i}.png", i)) for i in range(2)]
    from transformers import AutoImageProcessor

    pixels = AutoImageProcessor.from_pretrained(tmp_path / "model")(images=pictures, return_tensors="pt")
    ids = tokenizer(kind)(["a red car", "dog"], padding="max_length", max_length=12, return_tensors="pt")
    with torch.no_grad():
        seen = model.get_image_features(pixel_values=pixels["pixel_values"]).pooler_output.numpy()
        read = model.get_text_features(**ids).pooler_output.numpy()
    np.testing.assert_allclose(encoder.pictures(pictures), unit(seen), atol=1e-5)
    np.testing.assert_allclose(encoder.texts(["a red car", "dog"]), unit(read), atol=1e-5)
    place = str(tmp_path / "index")
    index_album([tmp_path / "0.png", tmp_path / "1.png"], place, IndexSettings(encoder.name, device="cpu"))
    (best, second) = query_album(place, ["a red car"], device="cpu", same=1.1)
    cosines = unit(seen) @ unit(read)[0]
    np.testing.assert_allclose([best.score, second.score], np.sort(cosines)[::-1], atol=1e-5)
    torch.manual_seed(5)
    torch.nn.init.normal_(model.logit_scale, 3.0)
    model.save_pretrained(tmp_path / "model")
    with pytest.raises(ConfigError, match="has other weights than when"):
        query_album(place, ["a red car"], device="cpu")
    with pytest.raises(ConfigError, match="was made with other weights of transformers"):
        index_album([tmp_path / "0.png"], place, IndexSettings(encoder.name, device="cpu"))


def test_models_of_open_clip_see_and_read(tmp_path: Path) -> None:
    import open_clip
    from safetensors.torch import save_file

    sizes = {"vision_cfg": {"image_size": 32, "layers": 1, "width": 64, "head_width": 32, "patch_size": 16}}
    config = {"embed_dim": 16, **sizes, "text_cfg": {"width": 64, "heads": 2, "layers": 1}}
    torch.manual_seed(0)
    model = open_clip.CLIP(**config).eval()
    (tmp_path / "open_clip_config.json").write_text(json.dumps({"model_cfg": config, "preprocess_cfg": {}}))
    save_file(model.state_dict(), tmp_path / "open_clip_model.safetensors")
    encoder = load_encoder(f"open_clip:local-dir:{tmp_path}", "cpu")
    with torch.no_grad():
        read = model.encode_text(open_clip.tokenize(["a red car at night"])).numpy()
        seen = model.encode_image(
            torch.stack([open_clip.image_transform(32, is_train=False)(Image.new("RGB", (40, 32)))])
        )
    np.testing.assert_allclose(encoder.texts(["a red car at night"]), unit(read), atol=1e-5)
    np.testing.assert_allclose(encoder.pictures([Image.new("RGB", (40, 32))]), unit(seen.numpy()), atol=1e-5)


@pytest.mark.parametrize(
    ("name", "error", "sentence"),
    [
        ("open_clip:ViT-B-32", ConfigError, "names no weights.*open_clip:ViT-B-32:openai"),
        ("open_clip:ViT-Q", ConfigError, "open_clip has no ViT-Q"),
        ("transformers:/no/folder/here", CheckpointReadError, "cannot be loaded.*a folder that transformers wrote"),
    ],
)
def test_models_that_are_none(name: str, error: type[Exception], sentence: str) -> None:
    with pytest.raises(error, match=sentence):
        load_encoder(name, "cpu")


# ---- the commands ----


def test_the_commands_from_end_to_end(album: tuple[Path, str], capsys: Any, tmp_path: Path) -> None:
    folder, place = album
    asked = folder / "old" / "1.jpg"
    assert run(["search", "query", place, asked, "--sheet", tmp_path / "s.png", "--count", 3, "--same", 1.1]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3
    assert lines[0].split() == ["1", "1.000", *str(asked).split()]
    with Image.open(tmp_path / "s.png") as sheet:
        assert sheet.width > 3 * 190
    assert run(["search", "query", place, asked, "--json", "--since", "2022-05-01", "--until", "2023-05-01"]) == 0
    hits = json.loads(capsys.readouterr().out)
    assert [hit["rank"] for hit in hits] == list(range(1, len(hits) + 1))
    paths = {one["path"] for hit in hits for one in (hit, *hit["others"])}
    assert {Path(path).name for path in paths} == {"2.jpg", "3.jpg", "copy.jpg"}
    assert hits[0]["taken"].startswith(("2022", "2023"))
    assert run(["search", "show", place]) == 0
    assert "picture 6, box 0, frame 3" in capsys.readouterr().out
    assert run(["search", "index", folder, "--index", place, "--device", "cpu"]) == 1
    shown = capsys.readouterr()
    assert "0 files added, 0 read again, 7 unchanged" in shown.out
    assert "2 of 2 images could not be read" in shown.err


def test_delete_takes_out_of_the_index_and_leaves_files(tmp_path: Path, capsys: Any) -> None:
    one, other = photo(tmp_path / "a" / "1.jpg", 1), photo(tmp_path / "b" / "2.jpg", 2)
    place = tmp_path / "index"
    assert run(["search", "index", one, other, "--index", place, "--model", ATTO, "--device", "cpu"]) == 0
    assert run(["search", "delete", place, tmp_path / "a"]) == 0
    assert "1 entry taken out, 1 entry left; no file was touched" in capsys.readouterr().out
    assert one.exists()
    assert list(open_store(str(place)).known()) == [str(other)]


ERRORS: list[tuple[Callable[[Path, str], list[Any]], str]] = [
    (lambda folder, place: ["index", folder], "there is no index at album-index yet; a new one needs --model"),
    (lambda folder, place: ["index", folder, "--index", folder, "--model", ATTO], "is a folder with other files"),
    (lambda folder, place: ["index", folder, "--index", place, "--model", DETECTOR], f"was made with the model {ATTO}"),
    (lambda folder, place: ["index", folder, "--index", place, "--seconds", 5], "a frame every 2"),
    (lambda folder, place: ["index", folder, "--index", place, "--detector", DETECTOR], "was made without a detector"),
    (lambda folder, place: ["index", "http://x/y.jpg", "--model", ATTO], "is an address; an album has files"),
    (lambda folder, place: ["index", folder, "--index", place, "--approximate"], "exact search is fast"),
    (lambda folder, place: ["query", place, "a red car"], "knows no words; ask with a picture"),
    (lambda folder, place: ["query", place], "nothing is asked"),
    (lambda folder, place: ["query", place, folder / "none.jpg"], "none.jpg: no such file"),
    (lambda folder, place: ["query", place, "--entry", "12"], "has no entry 12"),
    (lambda folder, place: ["query", place, "x", "--since", "May"], "--since is May; expected a day"),
    (lambda folder, place: ["query", folder / "none", "x"], "there is no index at"),
    (lambda folder, place: ["delete", place, "nothing"], "has nothing of nothing"),
    (lambda folder, place: ["query", "qdrant:http://127.0.0.1:9/x", "x"], "cannot be read"),
]


@pytest.mark.parametrize(("command", "sentence"), ERRORS, ids=[sentence for _, sentence in ERRORS])
def test_mistakes_end_in_one_sentence(
    command: Any, sentence: str, album: tuple[Path, str], capsys: Any, tmp_path: Path, monkeypatch: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(["search", *command(*album)]) == 1
    assert sentence in capsys.readouterr().err.splitlines()[-1]
    assert not list(tmp_path.iterdir())


def test_help_teaches(capsys: Any) -> None:
    assert run(["search", "query", "--help"]) == 0
    shown = " ".join(capsys.readouterr().out.replace("│", " ").split())
    assert 'internimage search query album-index "a red car at night"' in shown
    assert "--until DATE" in shown
