"""Finding the pictures that annotations name, however the tool that wrote them spells paths."""

from __future__ import annotations

import os
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from itertools import islice
from pathlib import Path, PurePosixPath
from urllib.parse import unquote

from internimage.data.formats.parts import part_named
from internimage.errors import ConfigError, DataError
from internimage.images.inputs.unread import UNREAD_PICTURES
from internimage.images.reader import IMAGE_SUFFIXES
from internimage.writing import counted

_STORAGE = re.compile(r"^[a-z][a-z0-9+.-]+://[^/]*/", re.IGNORECASE)  # s3://bucket/, http://host:port/
_LOCAL_FILES = re.compile(r"^/?data/local-files/\?d=")
_DRIVE = re.compile(r"^[A-Za-z]:/*")
_UPLOAD = re.compile(r"^[0-9a-f]{8}-")  # what Label Studio puts before the name of an uploaded file


class PictureFinder:
    """Paths of pictures by the names that annotations give them.

    A name is looked for as it stands in ``folders``, in order; then with slashes for backslashes, without the prefix of
    a storage or of another machine, whatever the case of its letters and the form of its accents, with any folders
    before it left out, anywhere below ``root``.  What lies in a folder of another part than ``folders`` and is not said
    to lie there is another picture of that name.  What is found lies below one of these folders, always.

    Args:
        folders: where pictures are expected.
        root: of the data.

    Attributes:
        spellings: how many names were found by which other spelling.
    """

    def __init__(self, folders: Iterable[Path], root: Path) -> None:
        self.folders = tuple(dict.fromkeys(folder for folder in folders if folder.is_dir()))
        self.root = root
        self.spellings: Counter[str] = Counter()
        self._listed: dict[str, frozenset[str]] = {}
        self._expected: dict[str, tuple[str, ...]] = {}
        self._parts = set().union(*map(self._parts_of, self.folders))

    def find(self, name: str) -> Path | None:
        """The path of a picture; None if there is none, or several fit."""
        path = self.locate(name)
        return None if path is None else Path(path)

    def locate(self, name: str) -> str | None:
        """The path of a picture as text, which is a tenth of the work where there are millions."""
        last = name[name.rfind("/") + 1 :]
        head = name[: len(name) - len(last)]
        for folder in self._expected.get(head) or self._expect(head):
            if last in self._names_in(folder):
                return os.path.join(folder, last)  # noqa: PTH118
        found = self._differently_spelled(name)
        if found is None:
            return None
        self.spellings[_what_differs(name)] += 1
        return str(found)

    def notes(self) -> tuple[str, ...]:
        """What was understood differently than written, a line each."""
        return tuple(f"{counted(count, 'picture')} found by {spelling}" for spelling, count in self.spellings.items())

    def _differently_spelled(self, name: str) -> Path | None:
        steps = _steps(name)
        if not steps:
            return None
        last = _UPLOAD.sub("", steps[-1])
        for ending in (steps, [*steps[:-1], last], [*steps[:-1], f"{steps[-1]}."]):
            candidates = self._by_name.get(_plain(ending[-1]), ())
            if not candidates:
                continue
            wanted = [_plain(step) for step in ending]
            fits = [(_common(wanted, folded), path) for folded, path in candidates]
            fits = [(length, path) for length, path in fits if length > 1 or not self._is_of_other(path)]
            most = max((length for length, _ in fits), default=0)
            best = [path for length, path in fits if length == most]
            if len(best) == 1:
                return best[0]
        return None

    def _parts_of(self, path: Path) -> set[str]:
        """Parts that the folders of a path below the root are called after."""
        steps = path.relative_to(self.root).parts if path.is_relative_to(self.root) else ()
        return {part for step in steps if (part := part_named(step))}

    def _is_of_other(self, path: Path) -> bool:
        parts = self._parts_of(path.parent)
        return bool(parts and self._parts) and not parts & self._parts

    def _expect(self, head: str) -> tuple[str, ...]:
        """Folders where a picture is whose name begins so, if it is there as it is spelled."""
        folders = tuple(str(folder / head) for folder in self.folders) if _is_plain(f"{head}x") else ()
        self._expected[head] = folders
        return folders

    def _names_in(self, folder: str) -> frozenset[str]:
        """What lies in a folder; since a look for each file takes long on a network."""
        if folder not in self._listed:
            self._listed[folder] = frozenset(os.listdir(folder)) if Path(folder).is_dir() else frozenset()  # noqa: PTH208
        return self._listed[folder]

    @cached_property
    def _by_name(self) -> dict[str, list[tuple[list[str], Path]]]:
        """Pictures by their plain names, and by those without the suffix and a dot."""
        found: dict[str, list[tuple[list[str], Path]]] = defaultdict(list)
        for path in pictures_below(self.root):
            steps = [_plain(step) for step in path.parts]
            found[steps[-1]].append((steps, path))
            stem = f"{_plain(path.stem)}."
            found[stem].append(([*steps[:-1], stem], path))
        return found


def pictures_below(folder: Path, *, deep: bool = True, most: int | None = None) -> list[Path]:
    """Files with a picture's suffix below a folder, but for hidden ones and those of runs and trained models.

    Args:
        folder: where to look.
        deep: also in the folders below it.
        most: stop at so many.
    """
    return list(islice(_below(folder, IMAGE_SUFFIXES, deep), most))


def unread_below(folder: Path, *, deep: bool = True) -> list[Path]:
    """Files below a folder that are pictures of formats that are not read."""
    return list(_below(folder, UNREAD_PICTURES, deep))


def _below(folder: Path, suffixes: Sequence[str], deep: bool) -> Iterator[Path]:
    for place, folders, files in os.walk(folder):
        if is_output(Path(place)):
            folders.clear()
            continue
        folders[:] = sorted(name for name in folders if deep and not is_hidden(name))
        for name in sorted(files):
            if not is_hidden(name) and os.path.splitext(name)[1].lower() in suffixes:  # noqa: PTH122
                yield Path(place, name)


def is_hidden(name: str) -> bool:
    """Whether a file or folder is none of the data's: hidden ones, and what a Mac's archives add."""
    return name.startswith(".") or name == "__MACOSX"


def is_output(folder: Path) -> bool:
    """Whether a folder is a run or a trained model of ours, which is never data."""
    marks = (("run.json", "data.json"), ("model.json", "model.safetensors"))
    return any(all((folder / name).is_file() for name in names) for names in marks)


def refuse_inside(option: str, target: Path | None, folder: Path) -> None:
    """Raise :class:`ConfigError` if what is written to ``target`` would be read the next time that ``folder`` is.

    Runs, trained models and hidden folders are no data, wherever they lie, and nor is what lies in them.

    Args:
        option: that names the target, for the message.
        target: file or folder that is to be written; None for none.
        folder: of pictures; a file, or what is not there, has nothing inside.
    """
    if target is None or not folder.expanduser().is_dir():
        return
    place, root = target.expanduser().resolve(), folder.expanduser().resolve()
    above = [place, *place.parents]
    depth = next((number for number, path in enumerate(above) if path.exists() and path.samefile(root)), None)
    if depth is not None and not any(is_hidden(path.name) or is_output(path) for path in above[:depth]):
        raise ConfigError(
            f"{option} {target} is inside the data {folder}: what is written there would be data the next time; choose "
            "another place, outside of it or in the folder of a run"
        )


def check_name(where: str, name: object) -> str:
    """The name of a picture, of which no step leads out of its folder.

    Raises:
        DataError: it is no text, or leads out.
    """
    if not isinstance(name, str) or not name.strip():
        raise DataError(f"{where}: the picture's name is {name!r}; expected a path below the folder of images")
    depth = 0
    for step in _steps(name) if ".." in name else ():
        depth += -1 if step == ".." else 1
        if depth < 0:
            raise DataError(f"{where}: the picture's name {name} leaves the folder of images; expected a path below it")
    return name


def _is_plain(name: str) -> bool:
    """Whether a name is a path below a folder as it stands."""
    path = PurePosixPath(name)
    return not path.is_absolute() and ".." not in path.parts and not _DRIVE.match(name)


def _steps(name: str) -> list[str]:
    """The steps of a path, without what names a storage or a drive."""
    plain = name.replace("\\", "/")
    if _STORAGE.match(plain):
        plain = unquote(_STORAGE.sub("", plain).partition("?")[0])
    elif _LOCAL_FILES.match(plain):
        plain = unquote(_LOCAL_FILES.sub("", plain))
    plain = _DRIVE.sub("", plain)
    return [step for step in plain.split("/") if step not in ("", ".")]


def _plain(text: str) -> str:
    return unicodedata.normalize("NFC", text).casefold()


def _common(one: Sequence[str], other: Sequence[str]) -> int:
    """How many last steps agree."""
    count = 0
    for first, second in zip(reversed(one), reversed(other), strict=False):
        if first != second:
            break
        count += 1
    return count


def _what_differs(name: str) -> str:
    if "\\" in name:
        return "reading backslashes as slashes"
    if _STORAGE.match(name) or _LOCAL_FILES.match(name):
        return "leaving out a storage's prefix"
    if name.startswith("/"):
        return "leaving out another machine's folders"
    return "another spelling or place of their names"
