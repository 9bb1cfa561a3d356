"""Places365 and Places205: lists of pictures and numbers of classes, beside folders of the classes' first letters.

Without the lists its folders are refused: read as class folders they would be 26 classes called a to z.

Format: http://places2.csail.mit.edu/download.html, http://places.csail.mit.edu/downloadData.html.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path, PurePosixPath
from string import ascii_lowercase

from internimage.data.formats.documents import read_text
from internimage.data.formats.pictures import is_hidden
from internimage.data.left_out import shortened
from internimage.data.samples import LabelledImage, LabelledImages
from internimage.errors import DataError
from internimage.settings.data import DataOptions


@dataclass(frozen=True)
class _Layout:
    """One of the sets.

    Attributes:
        name: for people.
        lists: of each part, the files with a picture and a number a line, of which the first that is there counts.
        folders: where the pictures of each part may lie.
        archive: that the lists come in.
        classes: the file with a name and a number a line; None where names are those of the pictures' folders.
    """

    name: str
    lists: Mapping[str, Sequence[str]]
    folders: Mapping[str, Sequence[str]]
    archive: str
    classes: str | None = None

    def files(self, root: Path) -> dict[str, Path]:
        """The list of each part that has one."""
        found = {part: [root / name for name in names if (root / name).is_file()] for part, names in self.lists.items()}
        return {part: files[0] for part, files in found.items() if files}


_VISION = "data/vision/torralba/deeplearning/images256"
_SETS = (
    _Layout(
        "Places365",
        {
            "train": ("places365_train_standard.txt", "places365_train_challenge.txt"),
            "val": ("places365_val.txt",),
        },
        {
            "train": ("data_256", "data_large", "data_256_standard", "data_large_standard"),
            "val": ("val_256", "val_large"),
        },
        "filelist_places365-standard.tar",
        "categories_places365.txt",
    ),
    _Layout(
        "Places205",
        {part: (f"trainvalsplit_places205/{part}_places205.csv", f"{part}_places205.csv") for part in ("train", "val")},
        dict.fromkeys(("train", "val"), (_VISION, "images256", ".")),
        "trainvalsplit_places205.tar.gz",
    ),
)
_UNLABELLED = re.compile(r"Places365_(val|test)_\d+\.jpg")
_LOOKED_AT = 20  # files or folders of a folder
_ABOVE = 6  # folders above one in which its lists may lie


def recognise(root: Path) -> bool:
    """Whether one of the sets lies at ``root``, with its lists or, to refuse it, without."""
    return _find(root) is not None or _without_lists(root) is not None


def estimate(root: Path, most: int) -> int:
    """How many images there are to train on."""
    layout = _find(root)
    files = layout.files(root) if layout else {}
    if "train" not in files:
        return 0
    with files["train"].open("rb") as lines:
        return sum(1 for _ in islice(lines, most))


def read_parts(root: Path, wanted: str | None = None, options: DataOptions | None = None) -> dict[str, LabelledImages]:
    """Training and validation; the pictures to be tested on have no labels.

    Raises:
        DataError: the lists are not there, one contradicts the format, or the folder of its pictures is not there.
    """
    layout = _find(root)
    if layout is None:
        raise DataError(_advice(root))
    files = layout.files(root)
    lists = {part: list(_lines(file)) for part, file in files.items()}
    if layout.classes is not None:
        classes = _in_order(root / layout.classes, _lines(root / layout.classes))
    else:
        named = ((str(PurePosixPath(name).parent), number) for entries in lists.values() for name, number in entries)
        classes = _in_order(next(iter(files.values())), named)
    return {
        part: _part(root, layout, part, files[part], entries, classes)
        for part, entries in lists.items()
        if part == wanted or wanted not in lists
    }


def are_letters(root: Path) -> bool:
    """Whether the folders below ``root`` are first letters of those in them, as Places has them, and no classes.

    Pictures of letters, one folder each, have no such folders in theirs.
    """
    letters = [path for path in _some(root) if path.is_dir() and not is_hidden(path.name)]
    if len(letters) < 2 or any(path.name not in ascii_lowercase or len(path.name) != 1 for path in letters):
        return False
    return all(
        inner and all(one.is_dir() and one.name[0] == path.name for one in inner)
        for path in letters
        for inner in [[one for one in _some(path) if not is_hidden(one.name)]]
    )


def _some(folder: Path) -> list[Path]:
    """A few of what a folder holds."""
    with os.scandir(folder) as entries:
        return [Path(entry.path) for entry in islice(entries, _LOOKED_AT)]


def _without_lists(root: Path) -> _Layout | None:
    """The set whose pictures lie at ``root`` or in its folders there; where its lists are not."""
    if not root.is_dir():
        return None
    below = {root / name: layout for layout in _SETS for names in layout.folders.values() for name in names}
    deep = Path(_VISION).parts  # whose upper folders may be given too
    below |= {root.joinpath(*deep[depth:]): _SETS[1] for depth in range(1, len(deep))}
    first = _SETS[1] if root.name == deep[-1] else _SETS[0]
    for folder, layout in {root: first, **{path: of for path, of in below.items() if path != root}}.items():
        if folder.is_dir() and (are_letters(folder) or any(_UNLABELLED.fullmatch(one.name) for one in _some(folder))):
            return layout
    return None


def _advice(root: Path) -> str:
    """What to give or to download instead of pictures alone."""
    layout = _without_lists(root)
    assert layout is not None
    text = f"{root} has pictures of {layout.name} and not all of its lists, which say their classes"
    letters = "; folders a, b, c ... are first letters of names" if are_letters(root) else ""
    above = next((one for one in list(root.resolve().parents)[:_ABOVE] if _find(one) is not None), None)
    if above is not None:
        return f"{text}{letters}: give {above}, which has them"
    wanted = [*(names[0] for names in layout.lists.values()), *([layout.classes] if layout.classes else [])]
    lacking = [name for name in wanted if not (root / name).is_file()]
    places = "the folder above data_256 and val_256" if layout.classes else "the folder above the pictures"
    return f"{text}{letters}: unpack {layout.archive} ({', '.join(lacking)}) into {places}, and give that folder"


def _find(root: Path) -> _Layout | None:
    there = (one for one in _SETS if root.is_dir() and one.files(root))
    return next((one for one in there if one.classes is None or (root / one.classes).is_file()), None)


def _part(
    root: Path, layout: _Layout, part: str, file: Path, entries: Sequence[tuple[str, int]], classes: Sequence[str]
) -> LabelledImages:
    folders = layout.folders[part]
    folder = next((root / name for name in folders if (root / name / entries[0][0]).parent.is_dir()), None)
    if folder is None:
        raise DataError(f"{file}: {entries[0][0]} is in none of {', '.join(folders)} below {root}; unpack its archive")
    for index, (name, number) in enumerate(entries, 1):
        if not 0 <= number < len(classes):
            raise DataError(f"{file} line {index}: {name} is of class {number}; expected 0 to {len(classes) - 1}")
    samples = tuple(LabelledImage(folder / name, number) for name, number in entries)
    return LabelledImages(str(file), tuple(classes), samples, layout.name, listed=True)


def _lines(file: Path) -> Iterator[tuple[str, int]]:
    """A path or name below a folder, and a number, a line."""
    for index, line in enumerate(read_text(file).splitlines(), 1):
        words = line.rsplit(maxsplit=1)
        if not words:
            continue
        name = PurePosixPath(words[0].lstrip("/"))
        if len(words) != 2 or not words[1].isdecimal() or ".." in name.parts:
            raise DataError(
                f"{file} line {index} is {line[:80]!r}; expected a path and a number, such as /a/airfield 0"
            )
        yield str(name), int(words[1])


def _in_order(file: Path, named: Iterable[tuple[str, int]]) -> tuple[str, ...]:
    """Names of the classes by their numbers; a name is a path without its first letter: ``a/airfield``."""
    numbers: dict[int, str] = {}
    for path, number in named:
        name = path.partition("/")[2] or path
        if numbers.setdefault(number, name) != name:
            raise DataError(f"{file}: class {number} is called {numbers[number]} and {name}; expected one name")
    if not numbers or sorted(numbers) != list(range(len(numbers))) or len(set(numbers.values())) < len(numbers):
        given = shortened([str(number) for number in sorted(numbers)], 5)
        raise DataError(f"{file}: classes have the numbers {', '.join(given)}; expected 0, 1, 2 ... with a name each")
    return tuple(numbers[number] for number in range(len(numbers)))
