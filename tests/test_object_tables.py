"""Objects as columns, and large files read in pieces, against lists of dictionaries and the whole file at once."""

import itertools
import json
import pickle
from array import array
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from internimage.data.formats import kept as kept_files
from internimage.data.formats.coco_file import CocoFile
from internimage.data.formats.json_lists import read_entries, read_pieces
from internimage.data.formats.pictures import PictureFinder
from internimage.data.objects import ObjectAnnotation, ObjectImage, ObjectImages, ObjectTable, Rule, Verified
from internimage.errors import DataError
from internimage.images import ArchiveMember
from internimage.settings.data import DataOptions
from internimage.tasks.detection.dataset import detection_target

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**40), 2**40)
    | st.floats(allow_nan=False, width=32)
    | st.text(max_size=6)
    | st.sampled_from(['"', "\\", "},{", '"], "', "[{", "\u2028é"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)
DOCUMENTS = st.fixed_dictionaries(
    {}, optional={key: st.lists(VALUES, max_size=6) for key in ("a", "b")} | {"c": VALUES, "d": VALUES}
)


@settings(max_examples=60, deadline=None)
@given(
    DOCUMENTS,
    st.integers(1, 90),
    st.sampled_from([None, 0, 2]),
    st.booleans(),
    st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]),
)
def test_lists_come_whole(
    tmp_path_factory: pytest.TempPathFactory,
    document: dict[str, Any],
    size: int,
    indent: int | None,
    ascii: bool,
    code: str,
) -> None:
    file = tmp_path_factory.mktemp("pieces") / "a.json"
    file.write_bytes(json.dumps(document, indent=indent, ensure_ascii=ascii).encode(code))
    found: dict[str, list[Any]] = {}
    for piece in read_pieces(file, {"a": read_entries, "b": read_entries}, size):
        assert piece.first == len(found.setdefault(piece.key, []))
        assert json.loads(piece.text) == piece.content
        found[piece.key] += piece.content
    assert found == {key: document[key] for key in ("a", "b") if key in document}


def test_a_file_that_is_cut_anywhere_is_refused(tmp_path: Path) -> None:
    text = json.dumps({"x": [1, {"y": "]}"}], "a": [{"b": [1, "},{"]}, {"c": {}}, 3], "z": -1.5e3, "t": "q"}).encode()
    file = tmp_path / "a.json"
    for stop, size in itertools.product(range(len(text)), (3, 1000)):
        file.write_bytes(text[:stop])
        with pytest.raises(DataError, match=r"a\.json is not readable JSON"):
            list(read_pieces(file, {"a": read_entries}, size))


SIZES = [(40, 60), (30, 90), (50, 50), (64, 48)]


def coco(rng: np.random.Generator) -> dict[str, Any]:
    """Annotations as all kinds of tools write them."""
    annotations = []
    for number in range(60):
        image = int(rng.integers(4))
        height, width = SIZES[image]
        x, y, w, h = (round(float(value), 2) for value in rng.uniform(1, 20, 4))
        entry: dict[str, Any] = {"id": 500 - number, "image_id": image, "category_id": int(rng.integers(2)) * 6 + 1}
        entry |= {"bbox": [x, y, w, h], "iscrowd": int(rng.random() < 0.2)}
        odd = int(rng.integers(12))
        entry |= {
            0: {"id": f"n{number}"},
            1: {"image_id": str(image)},
            2: {"category_id": float(entry["category_id"])},
            3: {"iscrowd": None},
            4: {"segmentation": [[x, y, x + w, y, x + w, y + h]]},
            5: {"segmentation": {"size": [height, width], "counts": [7, 9, height * width - 16]}},
            6: {"segmentation": [], "bbox": [1, 2, 3, 4]},
            7: {"iscrowd": True},
            8: {"id": 2**70 + number},
        }.get(odd, {})
        annotations.append(entry)
    images = [{"id": n, "file_name": f"{n}.png", "height": h, "width": w} for n, (h, w) in enumerate(SIZES)]
    return {
        "images": images,
        "annotations": annotations,
        "categories": [{"id": 7, "name": "b"}, {"id": 1, "name": "a"}],
    }


@pytest.mark.parametrize("size", [90, 1500, 2**24])
@pytest.mark.parametrize("order", list(itertools.permutations(("images", "annotations", "categories")))[::2])
def test_pieces_of_coco(tmp_path: Path, size: int, order: tuple[str, ...]) -> None:
    content = coco(np.random.default_rng(3))
    file = tmp_path / "a.json"
    file.write_text(json.dumps({key: content[key] for key in order}))
    found = CocoFile(file, PictureFinder([tmp_path], tmp_path), False, piece=size).read(DataOptions())
    expected = []
    for image in content["images"]:
        objects = []
        for one in content["annotations"]:
            if int(one["image_id"]) != image["id"]:
                continue
            x, y, w, h = one["bbox"]
            shape = one.get("segmentation") or None
            shape = [array("d", polygon) for polygon in shape] if isinstance(shape, list) else shape
            label = {1: 0, 7: 1}[int(one["category_id"])]
            objects.append(ObjectAnnotation((x, y, x + w, y + h), label, shape, bool(one["iscrowd"]), one["id"]))
        expected.append(
            ObjectImage(tmp_path / image["file_name"], image["id"], (image["height"], image["width"]), tuple(objects))
        )
    assert list(found.images) == expected
    assert (found.classes, found.category_ids) == (("a", "b"), (1, 7))
    assert found.counts() == [
        sum(not one.crowd and one.label == n for i in expected for one in i.objects) for n in (0, 1)
    ]


WRONG = {
    3: ({"image_id": 99}, "image 99 is not in the file"),
    7: ({"category_id": 5}, "category 5 is not in the file"),
    11: ({"id": 500 - 2}, "the id 498 is there twice"),
    20: ({"id": "480"}, None),  # its own number as a text is no other's
    31: ({"bbox": [1, 2, 3]}, "bbox is "),
    40: ({"bbox": [1, 2, 3, 1e6]}, "bbox is "),
    50: ({"iscrowd": 3}, "iscrowd is 3"),
}


@pytest.mark.parametrize("size", [90, 2**24])
def test_what_is_wrong_in_pieces_is_named(tmp_path: Path, size: int) -> None:
    content = coco(np.random.default_rng(4))
    for index, (change, _) in WRONG.items():
        own = {"id": 500 - index, "image_id": 1, "category_id": 1, "bbox": [1, 2, 3, 4]}
        content["annotations"][index] = own | change
    content["annotations"][2] = {"id": 498, "image_id": 1, "category_id": 1, "bbox": [1, 2, 3, 4]}
    file = tmp_path / "a.json"
    file.write_text(json.dumps(content))
    with pytest.raises(DataError) as caught:
        CocoFile(file, PictureFinder([tmp_path], tmp_path), False, piece=size).read(DataOptions())
    lines = str(caught.value).splitlines()[1:]
    expected = [(index, text) for index, (_, text) in WRONG.items() if text]
    assert len(lines) == len(expected)
    for line, (index, text) in zip(lines, expected, strict=True):
        assert f"annotations[{index}]: {text}" in line
    dropped = CocoFile(file, PictureFinder([tmp_path], tmp_path), False, piece=size).read(
        DataOptions(bad_entries="drop")
    )
    assert sum(len(image.objects) for image in dropped.images) == 60 - len(expected)


def images(kind: str) -> list[ObjectImage]:
    rng, found = np.random.default_rng(1), []
    for number, count in enumerate([3, 0, 2, 1, 0, 4]):
        shapes: list[Any] = [None, [array("d", [1, 2, 3.5, 4, 5, 6]), array("d", range(8))]]
        shapes += [{"size": [20, 30], "counts": "abc"}, {"size": [20, 30], "counts": [4, 596]}]
        objects = tuple(
            ObjectAnnotation(
                tuple(rng.random(4).tolist()), int(rng.integers(5)), shapes[n], bool(rng.random() < 0.5),
                f"o{n}" if kind == "texts" else 10 * number + n,
            )
            for n in range(count)
        )  # fmt: skip
        file: Any = Path(f"folder{number % 2}") / f"é{number}.png"
        file = ArchiveMember(Path("a.tar"), f"{number}.png", 512, 9, "tar") if kind == "members" else file
        verified = Verified(frozenset({number}), frozenset({1, 4}), frozenset()) if kind == "verified" else None
        found.append(
            ObjectImage(file, f"i{number}" if kind == "texts" else 2**62 + number, (20, 30), objects, verified)
        )
    return found


@pytest.mark.parametrize("kind", ["paths", "members", "texts", "verified"])
def test_a_table_is_the_sequence_it_is_made_of(kind: str) -> None:
    listed = images(kind)
    table = ObjectTable.of(listed)
    assert list(table) == listed == [table[place] for place in range(6)]
    assert (table[-1], table[1:4], list(reversed(table))) == (listed[-1], listed[1:4], listed[::-1])
    assert table.take(np.array([5, 1, 2])) == [listed[5], listed[1], listed[2]]
    keep = np.arange(10) % 3 > 0
    numbers = itertools.count()
    expected = [one._replace(objects=tuple(x for x in one.objects if next(numbers) % 3 > 0)) for one in listed]
    assert table.with_objects(keep) == expected
    assert pickle.loads(pickle.dumps(table)) == listed
    assert table != listed[:5]


def test_groups_are_learnt_where_the_authors_do(tmp_path: Path) -> None:
    boxes = [(2.0, 2.0, 9.0, 9.0), (1.0, 1.0, 19.0, 19.0), (4.0, 4.0, 4.5, 4.5)]
    objects = tuple(ObjectAnnotation(box, 0, None, place == 1, place) for place, box in enumerate(boxes))
    image = ObjectImage(tmp_path / "a.png", 1, (20, 20), objects)
    for metric, learnt, measured in (("coco", 1, 2), ("openimages", 2, 3), ("lvis", 1, 3)):
        data = ObjectImages("a", ("cat", "dog"), (1, 2), [image], rule=Rule(metric)).usable(DataOptions())  # type: ignore[arg-type]
        target = detection_target(data.images[0], masks=False, groups=data.rule.learns_groups)
        assert (len(target.labels), len(data.images[0].objects)) == (learnt, measured)


@pytest.mark.parametrize("shapes", [False, True])
def test_large_files_are_kept_as_they_were_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shapes: bool) -> None:
    monkeypatch.setattr(kept_files, "LARGE", 1)
    monkeypatch.setenv("INTERNIMAGE_CACHE", str(tmp_path / "cache"))
    content = coco(np.random.default_rng(5))
    for number, entry in enumerate(content["annotations"]):
        entry["id"] = number
        if not shapes:
            entry.pop("segmentation", None)
    file, folder = tmp_path / "a.json", tmp_path / "pictures"
    folder.mkdir()
    for image in content["images"]:
        (folder / image["file_name"]).touch()

    def read() -> ObjectImages:
        return CocoFile(file, PictureFinder([folder], tmp_path), True).read(DataOptions())

    def kept() -> list[Path]:
        return sorted((tmp_path / "cache" / "annotations").glob("*/boxes.npy"))

    file.write_text(json.dumps(content))
    first = read()
    assert len(kept()) == 1
    again = read()
    assert isinstance(again.table.boxes, np.memmap)
    assert (again.images, again.classes, again.category_ids, again.name) == (
        first.images, first.classes, first.category_ids, first.name,
    )  # fmt: skip
    (folder / "0.png").unlink()  # what is kept says that it is there
    assert not isinstance(read().table.boxes, np.memmap)
    (folder / "0.png").touch()
    read()
    kept()[0].write_bytes(b"broken")
    assert read().images == first.images
    content["annotations"][0]["bbox"] = [9, 9, 9, 9]
    for number in range(20):  # each is another file
        content["annotations"][0]["category_id"] = 1 + 6 * (number % 2)
        file.write_text(json.dumps(content) + " " * number)
        assert any(one.box == (9, 9, 18, 18) for image in read().images for one in image.objects)
    assert len(kept()) == 16
    monkeypatch.setenv("INTERNIMAGE_CACHE", "0")
    assert not isinstance(read().table.boxes, np.memmap)


def test_sizes_of_many_pictures_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept_files, "MANY", 3)
    monkeypatch.setenv("INTERNIMAGE_CACHE", str(tmp_path / "cache"))
    files, asked = [tmp_path / f"{number}.png" for number in range(4)], []
    for number, file in enumerate(files):
        Image.new("RGB", (10 + number, 20)).save(file)

    def measure(some: Any) -> Any:
        asked.append(len(some))
        return np.array([Image.open(file).size[::-1] for file in some], np.int32)

    def sizes() -> list[list[int]]:
        found: list[list[int]] = kept_files.kept_sizes(files, measure).tolist()
        return found

    expected = [[20, 10 + number] for number in range(4)]
    assert sizes() == sizes() == expected
    assert asked == [4]
    Image.new("RGB", (99, 20)).save(files[0])  # written anew in its place
    assert sizes() == [[20, 99], *expected[1:]]
    (tmp_path / "more.png").touch()  # beside them
    assert sizes() == sizes()
    assert asked == [4, 4, 4]
    files.pop()
    assert sizes() == [[20, 99], *expected[1:3]]
