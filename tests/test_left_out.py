# ruff: noqa: E501  # a case is a line
"""What of a folder is not used, and what nobody can know of it: it is said, and too much of it stops."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import labelling_tools as tools
from PIL import Image

import internimage as ii
from internimage.data.formats.coco import read_coco
from internimage.data.left_out import is_much
from internimage.data.recognition import FORMATS, find_format
from internimage.data.splits import left_out_lines
from internimage.errors import DataError
from internimage.images import left_out_of
from internimage.settings.data import DataOptions

LENIENT = DataOptions(bad_entries="drop", allow_left_out=True)


def files(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


def read(root: Path) -> Any:
    found = find_format(root)
    assert found is not None
    return found.read_parts(root, None, LENIENT)


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (("a.jpg",), ""),
        (("a.jpg", ".b.heic", ".git/c.txt", "__MACOSX/d.txt"), ""),
        (("a.jpg", "b.txt"), ": 1 file is not read: 1 .txt"),
        (("a.jpg", "b/1.HEIC", "b/2.heic", "c.pdf", "d"), ": 4 files are not read: 2 .heic, 1 .pdf, 1 without a suffix; convert .heic to JPEG or PNG, such as by ImageMagick's `magick mogrify -format jpg FILES`"),
        (("a.cr2", "b.nef"), ": 2 files are not read: 1 .cr2, 1 .nef; convert .cr2, .nef to JPEG or PNG"),
        (tuple(f"{number}.{number}" for number in range(9)), ": 9 files are not read: 1 .0, 1 .1, 1 .2, 1 .3, 1 .4, 1 .5, ..."),
    ],
)  # fmt: skip
def test_files_of_a_folder_that_are_not_read(names: tuple[str, ...], said: str, tmp_path: Path) -> None:
    unread = left_out_of(files(tmp_path, *names))
    assert (str(unread) if unread.files else "") == (f"{tmp_path}{said}" if said else "")
    assert sum(unread.counts().values()) == len(unread.files)


def masks(root: Path) -> None:
    numbered(root, [0, 1], "classes.txt", "sky\nsea\n")


def numbered(root: Path, numbers: list[int], file: str = "", text: str = "") -> None:
    """Masks of stripes with these numbers, and pictures that no other is equal to."""
    for name in "abc":
        tools.picture(root / "images" / f"{name}.png")
        (root / "masks").mkdir(exist_ok=True)
        Image.fromarray(np.resize(np.repeat(np.uint8(numbers), 40 * 5), (30, 40))).save(root / "masks" / f"{name}.png")
    if file:
        (root / file).write_text(text)


FOLDER = {"coco": "", "yolo": "images/train/", "voc": "JPEGImages/", "cvat": "images/", "masks": "images/"}
BUILDERS: dict[str, Callable[[Path], Any]] = {**tools.BUILDERS, "masks": masks}


@pytest.mark.parametrize("name", FOLDER)
def test_pictures_beside_the_data(name: str, tmp_path: Path) -> None:
    """Formats that are not read are much of three pictures, pictures without annotations are none of them."""
    BUILDERS[name](tmp_path)
    usual = left_out_lines(read(tmp_path))
    inside = FOLDER[name]
    files(tmp_path, f"{inside}notes.txt", f"{inside}.x.heic", "other/y.png")
    assert left_out_lines(read(tmp_path)) == usual
    files(tmp_path, f"{inside}e.HEIC")
    parts = read(tmp_path)
    assert f"1 of 4 pictures left out: .heic is not read ({inside}e.HEIC); convert .heic" in "\n".join(
        left_out_lines(parts)
    )
    assert is_much(next(iter(parts.values())).left_out)
    (tmp_path / f"{inside}e.HEIC").unlink()
    tools.picture(tmp_path / f"{inside}more.png")
    counted = [line for line in left_out_lines(read(tmp_path)) if line not in usual]
    bare = f"1 file left out: pictures without annotations ({inside}more.png)"
    reads_all = name in ("yolo", "masks")  # YOLO's has no object, that of masks lacks its mask
    assert [line.removeprefix("train: ") for line in counted] == ([] if reads_all else [bare])


def test_parts_name_each_other_s_pictures(tmp_path: Path) -> None:
    for part, name in (("train", "a"), ("val", "b")):
        tools.picture(tmp_path / "images" / f"{name}.png")
        image = {"id": 1, "file_name": f"{name}.png", "width": 40, "height": 30}
        box = {"id": 1, "image_id": 1, "category_id": 1, "bbox": [1, 1, 9, 9]}
        content = {"images": [image], "annotations": [box], "categories": [{"id": 1, "name": "cat"}]}
        tools.write_json(tmp_path / "annotations" / f"{part}.json", content)
    assert left_out_lines(read(tmp_path)) == []
    format = next(one for one in FORMATS if one.name == "COCO")
    assert left_out_lines(format.read_parts(tmp_path, "val", LENIENT)) == []


NAMES = ("ground", "road", "sky", "tree")
ZERO = "counted from 0, 1 is road, 2 is sky, 3 is tree (not seen: ground)"
ONE = "counted from 1, 1 is ground, 2 is road, 3 is sky (not seen: tree)"


@pytest.mark.parametrize(
    ("numbers", "names", "said"),
    [
        ([1, 2, 3], NAMES, f"{ZERO}; {ONE}. Say so in a classes.json instead: "),
        ([1, 2, 3, 255], NAMES, f"{ZERO}; {ONE}. "),
        ([1, 2, 3, 4], NAMES, "but 1, 2, 3, 4: counted from 1, 1 is ground, 2 is road, 3 is sky, 4 is tree. Say so"),
        ([1, 3], NAMES, "counted from 0, 1 is road, 3 is tree (not seen: ground, sky); counted from 1, 1 is ground, 3 is sky (not seen: road, tree)"),
        ([1, 255], NAMES[:2], "counted from 0, 1 is road (not seen: ground); counted from 1, 1 is ground (not seen: road)"),
        ([0, 1, 2, 3], NAMES, None),
        ([0, 1, 2], NAMES, None),
        ([0, 3, 255], NAMES, None),
        ([0, 255], NAMES[:2], None),
        ([1, 2, 7], NAMES, None),  # a number of no class: the check says where
    ],
)  # fmt: skip
def test_masks_that_may_be_counted_from_one(
    numbers: list[int], names: tuple[str, ...], said: str | None, tmp_path: Path
) -> None:
    numbered(tmp_path, numbers, "classes.txt", "\n".join(names))
    if said is None:
        assert read(tmp_path)["all"].classes == names
        return
    with pytest.raises(DataError, match=re.escape(said)):
        read(tmp_path)
    with pytest.raises(DataError, match="masks have no 0"):
        ii.mend_data(tmp_path, tmp_path.with_name(f"{tmp_path.name} mended"))
    for first in (0, 1):  # either answer is taken
        ids = list(range(first, first + len(names)))
        (tmp_path / "classes.json").write_text(json.dumps({"classes": names, "ids": ids}))
        part = read(tmp_path)["all"]
        assert part.classes == names
        if max(set(numbers) - {255}) < first + len(names):
            truth = part.truth(part.images[0])
            assert set(np.unique(truth[truth >= 0])) == {number - first for number in numbers if number != 255}


@pytest.mark.parametrize(("width", "height"), [(10**9, 10**9), (10**9, 30), (20_000, 20_000)])
def test_sizes_of_coco_have_a_bound(width: int, height: int, tmp_path: Path) -> None:
    runs = {"size": [height, width], "counts": [width * height - 4, 4]}
    image = {"id": 1, "file_name": "a.png", "width": width, "height": height}
    one = {"id": 1, "image_id": 1, "category_id": 1, "bbox": [1, 1, 9, 9], "segmentation": runs}
    file = tmp_path / "a.json"
    tools.write_json(file, {"images": [image], "annotations": [one], "categories": [{"id": 1, "name": "cat"}]})
    with pytest.raises(DataError, match=rf"images\[0\] is {width} wide and {height} high: more pixels than are read"):
        read_coco(file, tmp_path)
    assert len(read_coco(file, tmp_path, LENIENT).images) == 0
