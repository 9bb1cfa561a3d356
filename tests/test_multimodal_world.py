"""The drawn world of shapes against an independent reading of its pixels, and its questions against its captions."""

import hashlib
import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
from helpers.commands import run
from PIL import Image

from internimage.data.formats.coco import read_parts
from internimage.errors import ConfigError, DataError
from internimage.multimodal.world.scene import Scene, gallery, scene
from internimage.multimodal.world.words import ANSWERS, HELD_OUT, LISTED, VOCABULARY, Kind, is_held_out
from internimage.multimodal.world.writing import write_shapes

# What the pixels of each colour are nearest to, written down here once more; the last ones are what else is drawn.
PALETTE = {
    "red": (222, 38, 38),
    "green": (36, 156, 60),
    "blue": (36, 76, 222),
    "yellow": (232, 200, 20),
    "purple": (140, 48, 176),
    "orange": (244, 136, 24),
    "cyan": (48, 196, 214),
    "gray": (116, 116, 116),
    "": (232, 232, 232),
}
NUMBERS = ["zero", "one", "two", "three", "four"]
SINGULAR = {"circles": "circle", "squares": "square", "triangles": "triangle", "rings": "ring", "stars": "star"}
SCENES = [scene(7, index, split=split) for split in ("train", "held_out") for index in range(150)]
SHOWING = [one for one in SCENES if one.objects]


def islands(mask: Any) -> list[Any]:
    """The connected parts of a mask of some size, by flooding."""
    left, found = mask.copy(), []
    while left.any():
        part = np.zeros_like(mask)
        part[tuple(np.argwhere(left)[0])] = True
        while True:
            grown = np.pad(part, 1)
            grown = grown[1:-1, 1:-1] | grown[:-2, 1:-1] | grown[2:, 1:-1] | grown[1:-1, :-2] | grown[1:-1, 2:]
            grown &= left
            if (grown == part).all():
                break
            part = grown
        left &= ~part
        if part.sum() > 12:
            found.append(part)
    return found


def ideal(height: int, width: int) -> dict[str, Any]:
    """Each shape as a formula over its box, u to the right and v down from -1 to 1."""
    u, v = np.meshgrid((np.arange(width) + 0.5) / width * 2 - 1, (np.arange(height) + 0.5) / height * 2 - 1)
    away = u**2 + v**2
    x, y = 0.951 * u, (v + 1) / 2 * 1.809 - 1  # a pentagram: what is inside of four of the lines of its five sides
    turns = -np.pi / 2 + 2 * np.pi / 5 * np.arange(5)
    inside = [x * np.cos(turn) + y * np.sin(turn) < 0.309 for turn in turns]
    return {
        "circle": away < 1,
        "square": np.ones((height, width), bool),
        "triangle": np.abs(u) < (v + 1) / 2,
        "cross": (np.abs(u) < 0.3) | (np.abs(v) < 0.3),
        "ring": (away < 1) & (away > 0.3),
        "star": np.sum(inside, axis=0) >= 4,
    }


def shape_of(mask: Any) -> str:
    """The formula that agrees most."""
    rows, columns = np.nonzero(mask)
    part = mask[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
    shared = {name: (part & one).sum() / (part | one).sum() for name, one in ideal(*part.shape).items()}
    return max(shared, key=lambda name: shared[name])


def seen_in(picture: Any) -> list[tuple[str, str, Any]]:
    """Colour, shape and mask of each thing in a picture of shapes, from left to right, found in its pixels alone."""
    pixels = picture.astype(float)
    background = np.median(pixels.reshape(-1, 3), axis=0)
    palette = np.array([*list(PALETTE.values())[:-1], background])
    clear = np.linalg.norm(pixels - background, axis=2) > 45  # edges are mixtures
    nearest = np.linalg.norm(pixels[:, :, None] - palette, axis=3).argmin(2)
    found = []
    for part in islands(clear):
        colour = Counter(nearest[part].tolist()).most_common(1)[0][0]
        found.append((list(PALETTE)[colour], shape_of(part), part))
    return sorted(found, key=lambda one: np.argwhere(one[2])[:, 1].mean())


def said(things: list[tuple[str, str, Any]]) -> str:
    """The caption of what was found."""
    names = [f"{colour} {shape}" for colour, shape, _ in things]
    middles = [np.argwhere(mask).mean(0) for _, _, mask in things]
    if len(things) == 1:
        return f"a {'large' if things[0][2].any(0).sum() > 22 else 'small'} {names[0]}"
    if len(set(names)) == 1:
        colour, shape, _ = things[0]
        return f"{NUMBERS[len(names)]} {colour} {shape}{'es' if shape == 'cross' else 's'}"
    down, across = np.abs(middles[0] - middles[1])
    if across > down:
        return f"a {names[0]} left of a {names[1]}"
    upper, lower = sorted((0, 1), key=lambda one: middles[one][0])
    return f"a {names[upper]} above a {names[lower]}"


def test_captions_and_objects_are_what_the_pixels_show() -> None:
    for one in SHOWING:
        things = seen_in(one.picture)
        assert said(things) == one.caption
        assert sorted(thing[:2] for thing in things) == sorted((thing.colour, thing.shape) for thing in one.objects)
        for thing in one.objects:
            (part,) = [mask for *_, mask in things if (mask & thing.mask).any()]
            background, true = np.median(one.picture.reshape(-1, 3), axis=0), np.array(PALETTE[thing.colour])
            share = (one.picture - background) @ (true - background) / np.sum((true - background) ** 2)
            assert thing.mask[part & (share > 0.65)].all()  # in between, noise decides
            assert not (thing.mask & (~part | (share < 0.35))).any()
            rows, columns = np.nonzero(thing.mask)
            assert thing.box == (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
            x, y = (thing.box[0] + thing.box[2]) / 2, (thing.box[1] + thing.box[3]) / 2
            assert abs(thing.centre[0] - x) <= 0.75
            assert abs(thing.centre[1] - y) <= 2.2  # a triangle and a star are not as high as low
        assert np.sum([thing.mask for thing in one.objects], axis=0).max() == 1
        for thing in one.objects:
            whole = thing.mask
            for _ in range(2):  # its inside, whose pixels are no mixtures
                whole = (
                    whole & np.roll(whole, 1, 0) & np.roll(whole, -1, 0) & np.roll(whole, 1, 1) & np.roll(whole, -1, 1)
                )
            assert np.abs(one.picture[whole] - np.array(PALETTE[thing.colour])).max(initial=0) <= 8  # noise


def answers_to(caption: str, question: str) -> set[str]:
    """All answers that the caption, by which everything is said, allows."""
    words = caption.split()
    if "traffic" in words:
        return {words[-1]} if "light" in question else {"yes" if words[-1] == "green" else "no"}
    if "sign" in words:
        letters = words[4:]
        return {letters[0]} if "first" in question else {NUMBERS[len(letters)]}
    several = words[0] in NUMBERS
    names = [
        (words[at], SINGULAR.get(words[at + 1], words[at + 1].removesuffix("es")))
        for at in range(len(words))
        if words[at] in PALETTE
    ]
    names = names * NUMBERS.index(words[0]) if several else names
    asked = question.split()
    if question.startswith("how many"):
        shape = SINGULAR.get(asked[2], asked[2].removesuffix("es"))
        return {NUMBERS[sum(asked[2] == "shapes" or shape == one for _, one in names)]}
    if question.startswith("is there"):
        return {"yes" if tuple(asked[3:]) in names else "no"}
    if question.startswith("is the"):
        return {"yes" if "large" in words else "no"}
    if question.startswith("what color"):
        return {colour for colour, shape in names if shape == asked[-1]}
    if question.startswith("what shape"):
        return {shape for colour, shape in names if colour == asked[-1]}
    first, second = ("left", "right") if "left" in words else ("above", "below")
    return {
        shape
        for (_, shape), (_, other), place in ((*names, first), (*names[::-1], second))
        if (other, place) == (asked[-1], asked[2])
    }


def test_answers_follow_from_the_caption() -> None:
    kinds = Counter[str]()
    for one in SCENES:
        assert set(one.caption.split()) <= set(VOCABULARY)
        for question in one.questions:
            assert {*question.text.split(), *question.answers} <= set(VOCABULARY)
            assert question.answers[0] in ANSWERS
            assert set(question.answers) == answers_to(one.caption, question.text), (one.caption, question)
            kinds[question.kind, question.answers[0]] += 1
    assert len({kind for kind, _ in kinds}) == 11
    for kind in ("is there", "is it large"):
        assert 0.4 < kinds[kind, "yes"] / (kinds[kind, "yes"] + kinds[kind, "no"]) < 0.6
    assert (len(ANSWERS), len(set(ANSWERS)), len(VOCABULARY)) == (47, 47, 84)


def test_pairs_are_held_out_and_kinds_have_their_shares() -> None:
    assert len(set(HELD_OUT)) == 12
    assert {shape: sum(one == shape for _, one in HELD_OUT) for _, shape in HELD_OUT} == dict.fromkeys(
        ("circle", "square", "triangle", "cross", "ring", "star"), 2
    )
    assert {HELD_OUT[0], HELD_OUT[-1]} == {("green", "circle"), ("purple", "star")}  # colours 1 of circle, 4 of star
    for split in ("train", "seen", "held_out"):
        kinds = Counter[str]()
        for index in range(500):
            one = scene(3, index, 32, split)  # type: ignore[arg-type]
            kinds[one.kind] += 1
            pairs = {(thing.colour, thing.shape) for thing in one.objects}
            asked = {tuple(question.text.split()[3:]) for question in one.questions if question.kind == "is there"}
            if one.objects:
                assert bool(pairs & set(HELD_OUT)) == (split == "held_out")
                assert split == "held_out" or not asked & set(HELD_OUT)
            if one.kind == "sign":
                assert is_held_out(one.caption.removeprefix("a sign that says ").replace(" ", "")) == (
                    split == "held_out"
                )
        for kind, share in {"one": 1 / 6, "pair": 1 / 3, "count": 1 / 6, "light": 1 / 6, "sign": 1 / 6}.items():
            assert abs(kinds[kind] / 500 - share) < 0.07  # four standard errors


def test_a_scene_is_the_same_everywhere() -> None:
    """Frozen: other numbers here are another data set, whatever else is right."""
    digest = hashlib.sha256()
    for split in ("train", "seen", "held_out"):
        for index in range(12):
            one = scene(5, index, 64, split)  # type: ignore[arg-type]
            digest.update(one.picture.tobytes() + one.caption.encode() + repr(one.questions).encode())
    assert digest.hexdigest() == "fb08d2c53aa4c6e430337a0f526209b7b6ba7ae15c3cd05a07c840b32b802445"
    one, again, other = scene(5, 0), scene(5, 0), scene(5, 0, split="seen")
    assert np.array_equal(one.picture, again.picture)
    assert not np.array_equal(one.picture, other.picture)


def words_of(**options: Any) -> set[str]:
    only = tuple(kind for kind in get_args(Kind) if kind != "sign")
    found = [scene(1, index, without=only, **options) for index in range(80)]
    assert {one.kind for one in found} == {"sign"}
    return {one.caption.removeprefix("a sign that says ").replace(" ", "") for one in found}


def frame_of(one: Scene) -> tuple[int, int]:
    """Where the dark frame begins, and what is beyond its other end."""
    dark = one.picture.astype(int).sum(2) < 260
    columns = np.flatnonzero(dark.any(0))
    return int(columns[0]), 64 - int(columns[-1]) - 1


def test_signs_become_harder_step_by_step() -> None:
    assert max(map(len, words_of(signs="letter"))) == 1
    assert words_of(signs="listed") == set(LISTED)
    assert len(set(LISTED)) == 20
    assert {len(word) for word in words_of(signs="words")} == {2, 3, 4}
    kinds = ("one", "pair", "count", "light")
    fixed = [frame_of(scene(1, index, without=kinds, signs="words")) for index in range(12)]
    assert all(left == right for left, right in fixed)
    anywhere = [frame_of(scene(1, index, without=kinds, signs="places")) for index in range(12)]
    assert sum(left != right for left, right in anywhere) > 8
    assert {scene(1, index, without=("sign", "light")).kind for index in range(40)} == {"one", "pair", "count"}


@pytest.mark.parametrize("size", [32, 48, 128])
def test_sizes_show_the_same_scene(size: int) -> None:
    """Kind, words and places do not depend on the number of pixels."""
    for index in range(12):
        one, other = scene(2, index, 64), scene(2, index, size)
        assert other.picture.shape == (size, size, 3)
        assert (one.caption, one.questions) == (other.caption, other.questions)
        for first, second in zip(one.objects, other.objects, strict=True):
            np.testing.assert_allclose(np.array(second.box) * 64 / size, first.box, atol=64 / size + 1)


def test_a_gallery_has_different_captions() -> None:
    found = gallery(11, 100)
    assert len({one.caption for one in found}) == len(found) == 100
    assert gallery(11, 5)[4].caption == found[4].caption
    with pytest.raises(ConfigError, match="only 3 were found"):
        gallery(0, 4, 32, without=("one", "pair", "count", "sign"))


def test_a_folder_holds_what_was_drawn(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "drawn"
    options = ["--pictures", "6", "--val-pictures", "4", "--test-pictures", "5", "--seed", "4", "--boxes", "pairs"]
    assert run(["data", "world", folder, "--of", "shapes", *options]) == 0
    assert "15 drawn pictures of 64x64 (6 train, 4 val, 5 test)" in capsys.readouterr().out
    assert "no benchmark" in (folder / "README.txt").read_text()
    read = read_parts(folder)
    for part, seed, split, count in (("train", 4, "train", 6), ("val", 5, "seen", 4), ("test", 5, "held_out", 5)):
        lines = [json.loads(line) for line in (folder / f"{part}.jsonl").read_text().splitlines()]
        assert len(lines) == len(read[part].images) == count
        for index, (line, image) in enumerate(zip(lines, read[part].images, strict=True)):
            one = scene(seed, index, split=split)  # type: ignore[arg-type]
            with Image.open(folder / line["file"]) as picture:
                assert np.array_equal(np.asarray(picture), one.picture)
            assert line["captions"] == [one.caption]
            questions = [(asked["question"], tuple(asked["answers"]), asked["kind"]) for asked in line["questions"]]
            assert questions == [(asked.text, asked.answers, asked.kind) for asked in one.questions]
            names = [f"{thing.colour} {thing.shape}" for thing in one.objects]
            assert [read[part].classes[thing.label] for thing in image.objects] == names
            for found, thing in zip(image.objects, one.objects, strict=True):
                assert (tuple(found.box), found.area) == (thing.box, thing.mask.sum())
                runs = found.segmentation["counts"]  # type: ignore[index,call-overload]
                flat = np.repeat(np.arange(len(runs)) % 2, runs)
                assert np.array_equal(flat.reshape(64, 64).T, thing.mask)


def interrupted(folder: Path) -> None:
    def stop(done: int, total: int) -> None:
        if done == 3:
            raise KeyboardInterrupt

    write_shapes(folder, pictures=3, progress=stop)


@pytest.mark.parametrize(
    ("error", "match", "write"),
    [
        (ConfigError, "size 60", lambda folder: write_shapes(folder, size=60)),
        (ConfigError, "expected a multiple of 8", lambda folder: write_shapes(folder, size=1024)),
        (ConfigError, "seed -1", lambda folder: write_shapes(folder, seed=-1)),
        (ConfigError, "0 pictures of val", lambda folder: write_shapes(folder, val_pictures=0)),
        (ConfigError, "without a, one: expected some of", lambda folder: write_shapes(folder, without=("one", "a"))),
        (ConfigError, "not all", lambda folder: write_shapes(folder, without=get_args(Kind))),
        (ConfigError, "signs 'long'", lambda folder: write_shapes(folder, signs="long")),
        (ConfigError, "boxes 'all'", lambda folder: write_shapes(folder, boxes="all")),
        (ConfigError, "split 'val'", lambda folder: scene(0, 0, split="val")),  # type: ignore[arg-type]
        (DataError, "holds mine.txt", lambda folder: write_shapes(folder.parent)),
        (KeyboardInterrupt, None, interrupted),
    ],
)
def test_what_cannot_be_drawn_is_refused(
    tmp_path: Path, error: type[BaseException], match: str | None, write: Callable[[Path], object]
) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(error, match=match):
        write(tmp_path / "new")
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["mine.txt"]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--of", "shapes", "--frames", "3"], "--frames belongs to --of roads"),
        (["--val-pictures", "3"], "--val-pictures belongs to --of shapes"),
    ],
)
def test_options_of_the_other_world_are_refused(
    options: list[str], expected: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["data", "world", tmp_path / "new", *options]) == 1
    assert expected in capsys.readouterr().err
    assert not (tmp_path / "new").exists()
