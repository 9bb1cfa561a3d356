"""Objects as YOLO's text files describe them: a file a picture, a line an object, in shares of the picture.

Formats: https://docs.ultralytics.com/datasets/detect/ and /segment/ (``data.yaml``); darknet's ``obj.data`` and
``obj.names``, as CVAT exports them (https://docs.cvat.ai/docs/dataset_management/formats/format-yolo/); ``classes.txt``
as labelImg and Label Studio write it.  A picture without a text file shows no object.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from internimage.data.formats.documents import read_text, read_yaml
from internimage.data.formats.gathering import DrawnPicture, Gathering, file_sizes, settled
from internimage.data.formats.parts import folders_in, part_folders, part_named
from internimage.data.formats.pictures import PictureFinder, pictures_below
from internimage.data.formats.places import PICTURE_FOLDERS, files_in, holds, places
from internimage.data.formats.shapes import BadEntryError, number, polygon, short
from internimage.data.formats.yolo_turned import refuse_turned_boxes
from internimage.data.objects import ObjectImages
from internimage.errors import DataError
from internimage.settings.data import DataOptions

_BEYOND = 0.01  # share of the picture that rounding goes beyond its edge, as Ultralytics allows
_NAMES = ("obj.names", "classes.txt", "predefined_classes.txt")
_NO_LABELS = {*_NAMES, "train.txt", "valid.txt", "val.txt", "test.txt", "readme.txt"}
_SAMPLE = 20  # text files that are looked at


class _Source(NamedTuple):
    """Where the names of the classes are said, and where the pictures of each part are (folders, lists of them)."""

    file: Path
    classes: tuple[str, ...]
    parts: dict[str, list[Path]]


def recognise(root: Path) -> bool:
    """Whether there is a ``data.yaml`` with names and parts, darknet's files, or names beside text files of labels."""
    if root.is_file():
        return _is_yaml(root)
    if not root.is_dir():
        return False
    if _yaml(root) is not None or (root / "obj.data").is_file():
        return True
    return _names_file(root) is not None and any(True for _ in _label_files(root))


def estimate(root: Path, most: int) -> int:
    """How many images there are to train on."""
    parts = _source(root).parts
    base = root if root.is_dir() else root.parent
    places = parts.get("train") or parts.get("all") or []
    return min(most, sum(len(_pictures([one], PictureFinder([], base))) for one in places))


def read_parts(root: Path, wanted: str | None = None, options: DataOptions | None = None) -> dict[str, ObjectImages]:
    """The parts of a data set as they lie there.

    Raises:
        DataError: the files contradict themselves, or are of another of YOLO's tasks: turned boxes, key points.
    """
    source = _source(root)
    base = root if root.is_dir() else root.parent
    gathered: dict[str, Gathering] = {}
    chosen = {name: where for name, where in source.parts.items() if name == wanted} or source.parts
    for name, where in chosen.items():
        part = gathered[name] = Gathering(f"{root} ({name})" if name != "all" else str(root), "YOLO")
        files = _pictures(where, PictureFinder([], base))
        lines = {file: _lines(text) for file, text in files.items()}
        sizes = file_sizes(files)
        _refuse_key_points(part.name, [values for found in lines.values() for _, values in found])
        refuse_turned_boxes(
            part.name,
            [(values, size) for file, size in zip(files, sizes, strict=True) for _, values in lines[file]],
        )
        for file, size in zip(files, sizes, strict=True):
            with part.entry("pictures", str(file)):
                picture = part.add_picture(file, size)
                for place, values in lines[file]:
                    with part.entry("objects", place):
                        _read_object(part, picture, values, source)
    return settled(gathered, wanted, options, source.classes, first=0)


def _read_object(part: Gathering, picture: DrawnPicture, values: Sequence[str], source: _Source) -> None:
    label, *edges = [number(value, "a value") for value in values]
    if len(edges) < 4:
        raise BadEntryError(f"{short(' '.join(values))}; expected the class and 4 numbers of a box, or 6 of a polygon")
    if not label.is_integer() or not 0 <= label < len(source.classes):
        raise BadEntryError(
            f"class {values[0]}; expected a whole number from 0 to {len(source.classes) - 1} ({source.file.name})"
        )
    if min(edges) < -_BEYOND or max(edges) > 1 + _BEYOND:
        raise BadEntryError(f"{short(' '.join(values))}; expected shares of the picture, from 0 to 1")
    height, width = picture.size
    name = source.classes[int(label)]
    if len(edges) == 4:
        x, y, across, down = edges
        box = ((x - across / 2) * width, (y - down / 2) * height, (x + across / 2) * width, (y + down / 2) * height)
        part.add(picture, name, box)
    elif len(edges) >= 6 and len(edges) % 2 == 0:
        points = zip(edges[::2], edges[1::2], strict=True)
        part.add(picture, name, None, [polygon((x * width, y * height) for x, y in points)])
    else:
        raise BadEntryError(
            f"{short(' '.join(values))}; expected the class and 4 numbers of a box, or 6 or more of a polygon"
        )


def _refuse_key_points(name: str, lines: Sequence[Sequence[str]]) -> None:
    """Boxes with key points are more than five numbers on every line."""
    lengths = {len(values) for values in lines}
    if len(lengths) == 1 and (length := lengths.pop()) > 5 and _has_key_points(lines, length):
        raise DataError(
            f"{name}: every line has {length} numbers, a box and key points (YOLO-pose), which are not read; export "
            "boxes or polygons"
        )


def _has_key_points(lines: Sequence[Sequence[str]], length: int) -> bool:
    """Whether lines of one length are a box and points with a visibility, which is 0, 1 or 2."""
    rest = length - 5
    if rest % 3 or len(lines) < 2:
        return False
    seen = {value for values in lines for value in values[7::3]}
    return all(value in ("0", "1", "2", "0.0", "1.0", "2.0", "0.000000", "1.000000", "2.000000") for value in seen)


def _source(root: Path) -> _Source:
    if root.is_file():
        return _from_yaml(root)
    if (path := _yaml(root)) is not None:
        return _from_yaml(path)
    if (root / "obj.data").is_file():
        return _from_darknet(root)
    names = _names_file(root)
    assert names is not None
    return _Source(names, _listed_names(names), _usual_places(root))


def _from_yaml(path: Path) -> _Source:
    content = read_yaml(path)
    if not isinstance(content, dict):
        raise DataError(f"{path} has no 'names' and no 'train'; expected YOLO's data.yaml")
    if "kpt_shape" in content:
        raise DataError(f"{path} has kpt_shape: key points (YOLO-pose) are not read; export boxes or polygons")
    base = path.parent
    given = content.get("path")
    if isinstance(given, str) and given.strip():  # often a path on another machine
        base = next((one for one in (path.parent / given, path.parent / Path(given).name) if one.is_dir()), path.parent)
    parts: dict[str, list[Path]] = {}
    for key in ("train", "val", "test"):
        value = content.get(key, content.get("valid") if key == "val" else None)
        entries = [value] if isinstance(value, str) else value or []
        if not isinstance(entries, list) or not all(isinstance(one, str) for one in entries):
            raise DataError(
                f"{path}: {key} is {short(value)}; expected a folder, a list of pictures, or several of them"
            )
        if entries and (found := [place for one in entries if (place := _resolved(one, base, path.parent))]):
            parts[key] = found
    if not parts:
        raise DataError(f"{path}: none of the folders of train and val is there; expected them below {base}")
    return _Source(path, _class_names(path, content.get("names")), parts)


def _class_names(path: Path, names: Any) -> tuple[str, ...]:
    """Names from a list, or from an object with numbers as keys."""
    if isinstance(names, dict):
        numbers = {int(key): value for key, value in names.items() if str(key).isdecimal()}
        if sorted(numbers) != list(range(len(names))):
            raise DataError(f"{path}: names has the numbers {short(list(names))}; expected 0 to {len(names) - 1}")
        names = [numbers[index] for index in range(len(numbers))]
    if not isinstance(names, list) or not names:
        raise DataError(f"{path}: names is {short(names)}; expected the names of the classes")
    return _checked(path, [str(name) for name in names])


def _checked(path: Path, names: Sequence[str]) -> tuple[str, ...]:
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise DataError(f"{path}: {twice[0]} is there twice; expected each class once")
    return tuple(names)


def _listed_names(path: Path) -> tuple[str, ...]:
    names = [line.strip() for line in read_text(path).splitlines() if line.strip()]
    if not names:
        raise DataError(f"{path} is empty; expected a class a line")
    return _checked(path, names)


def _resolved(entry: str, base: Path, beside: Path) -> Path | None:
    """A folder or list that is there, by its path, or by its last steps: Roboflow writes ../train/images."""
    plain = Path(entry.replace("\\", "/"))
    steps = [step for step in plain.parts if step not in ("..", ".", plain.anchor)]
    candidates = [place / plain for place in (base, beside)]
    candidates += [place.joinpath(*steps[-count:]) for place in (base, beside) for count in range(len(steps), 0, -1)]
    return next((path for path in candidates if path.exists() and _is_below(path, base, beside)), None)


def _is_below(path: Path, *folders: Path) -> bool:
    return any(path.resolve().is_relative_to(folder.resolve()) for folder in folders)


def _from_darknet(root: Path) -> _Source:
    """``obj.data``: ``train = train.txt``, ``valid = valid.txt``, ``names = obj.names``."""
    lines = [line.partition("=") for line in read_text(root / "obj.data").splitlines() if "=" in line]
    values = {key.strip(): value.strip() for key, _, value in lines}
    parts: dict[str, list[Path]] = {}
    for key, value in values.items():
        part, place = part_named(key), _resolved(value, root, root)
        if part is not None and place is not None:
            parts[part] = [place]
    names = _resolved(values.get("names", "obj.names"), root, root)
    if names is None or not parts:
        raise DataError(f"{root / 'obj.data'}: expected names, and train = a list of pictures, that are there")
    return _Source(names, _listed_names(names), parts if len(parts) > 1 else {"all": next(iter(parts.values()))})


def _usual_places(root: Path) -> dict[str, list[Path]]:
    """Folders of pictures by part, where no file says: ``train/images``, ``images/train``, ``images``, the top."""
    found: dict[str, list[Path]] = {}
    inner = [path for path in folders_in(root) if path.name.lower() in PICTURE_FOLDERS]
    for folder in (root, *inner):
        for part, path in part_folders(folder).items():
            found.setdefault(part, []).append(path)
    return found or {"all": inner or [root]}


def _pictures(where: Iterable[Path], finder: PictureFinder) -> dict[Path, Path]:
    """Pictures of folders and of lists, with their text files."""
    found: dict[Path, Path] = {}
    for place in where:
        if place.is_dir():
            found |= {path: _label_file(path) for path in pictures_below(place)}
            continue
        for name in [line.strip() for line in read_text(place).splitlines() if line.strip()]:
            direct = place.parent / name
            path = direct if direct.is_file() and _is_below(direct, finder.root) else finder.find(name) or direct
            text = _label_file(path)
            if not text.is_file():  # pictures elsewhere than the list says, as in exports without them
                text = _resolved(str(Path(name).with_suffix(".txt")), place.parent, finder.root) or text
            found[path] = text
    return found


def _label_file(picture: Path) -> Path:
    """The text file of a picture: in ``labels`` for the last ``images`` of its path, or beside it."""
    steps = list(picture.parts)
    for place in range(len(steps) - 2, -1, -1):
        if steps[place].lower() == "images":
            for name in ("labels", "Labels"):
                there = Path(*steps[:place], name, *steps[place + 1 :]).with_suffix(".txt")
                if there.is_file():
                    return there
            break
    return picture.with_suffix(".txt")


def _lines(path: Path) -> list[tuple[str, list[str]]]:
    """The words of each line, and its place for messages; nothing where there is no file."""
    if not path.is_file():
        return []
    lines = [line.split() for line in read_text(path).splitlines()]
    return [(f"{path}:{index}", words) for index, words in enumerate(lines, 1) if words]


def _yaml(root: Path) -> Path | None:
    files = files_in(root, ".yaml", ".yml")
    return next((path for path in sorted(files, key=lambda path: path.stem != "data") if _is_yaml(path)), None)


def _is_yaml(path: Path) -> bool:
    return path.suffix.lower() in (".yaml", ".yml") and holds(path, b"names:") and holds(path, b"train:")


def _names_file(root: Path) -> Path | None:
    folders = [folder for folder, _ in places(root)]
    return next((folder / name for name in _NAMES for folder in folders if (folder / name).is_file()), None)


def _label_files(root: Path) -> Iterator[Path]:
    """Text files whose lines are numbers, or that are empty."""
    for folder, _ in places(root):
        for path in [one for one in files_in(folder, ".txt") if one.name.lower() not in _NO_LABELS][:_SAMPLE]:
            words = [values for _, values in _lines(path)]
            if words and all(len(values) >= 5 and _are_numbers(values) for values in words[:_SAMPLE]):
                yield path


def _are_numbers(words: Sequence[str]) -> bool:
    try:
        return bool([float(word) for word in words])
    except ValueError:
        return False
