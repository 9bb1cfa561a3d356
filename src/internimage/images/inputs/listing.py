"""Which pictures are meant: files, folders, patterns, batches, iterators, and the frames and pages of files."""

from __future__ import annotations

import glob
import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Literal

from internimage.errors import ImageReadError
from internimage.images.inputs.pages import has_several_pages, read_pages
from internimage.images.inputs.video import count_frames, is_video, read_video
from internimage.images.lazy import BinaryFile, Unreadable, read_whole
from internimage.images.members import Member
from internimage.images.reader import IMAGE_SUFFIXES, ImageInput, ImageInputs, ImageSource, is_url


def list_images(source: ImageInputs) -> list[ImageSource]:
    """List the pictures that ``source`` stands for, without reading them.

    Args:
        source: What :func:`internimage.images.read_image` accepts, or

            - a folder: the files below it with one of ``IMAGE_SUFFIXES`` in any case, not hidden, sorted;
            - a glob pattern as a string, ``**`` included: the files that match, of any suffix, sorted;
            - an :class:`ImageSource`, which stays as it is;
            - a batch: a tensor (N, C, H, W) or an array (N, H, W, C) is N pictures;
            - a list or tuple of any of these, in order, or an iterator, which is taken to its end.

    A missing file is listed: reading it is what fails, so that a long run can report it and go on.  File objects are
    read here, from their current position to their end; they stay open, and may be closed afterwards.

    Raises:
        ImageReadError: A folder holds no pictures, or nothing matches a pattern.
    """
    return list(iterate_images(source))


def iterate_images(source: ImageInputs) -> Iterator[ImageSource]:
    """As :func:`list_images`, each picture when it is asked for: iterators may be endless."""
    return map(_named, _expand(source), itertools.count(1))


def comes_one_by_one(source: ImageInputs) -> bool:
    """Whether pictures come from an iterator, whose end nobody knows; files, batches and lists are known at once."""
    known = isinstance(source, list | tuple | str | Path | bytes | bytearray | memoryview | BinaryFile)
    known = known or isinstance(source, Mapping | set | frozenset)  # no pictures: reading them says so
    return isinstance(source, Iterable) and not known and _dimensions(source) is None


def folders_of(sources: Iterable[str]) -> list[Path]:
    """Folders of which everything below is read: those that are given, and those where recursive patterns begin."""
    folders = []
    for source in sources:
        path = Path(source)
        if path.is_dir():
            folders.append(path)
        elif "**" in path.parts:
            fixed = itertools.takewhile(lambda part: not any(c in part for c in "*?["), path.parts)
            folders.append(Path(*fixed))
    return folders


def unfold(
    sources: Iterable[ImageSource], every: int = 1, pages: Literal["first", "all"] = "first"
) -> Iterator[ImageSource]:
    """Pictures as they are, videos as their frames; with ``pages="all"``, files of several pages as these.

    Args:
        sources: of :func:`list_images`.
        every: give each ``every``-th frame or page of a file.
        pages: of files with several pages and of animations, the first one or all.
    """
    for source in sources:
        if is_video(source):
            yield from read_video(source, every)
        elif pages == "all" and has_several_pages(source):
            yield from read_pages(source, every)
        else:
            yield source


def count_unfolded(
    sources: Sequence[ImageSource], every: int = 1, pages: Literal["first", "all"] = "first"
) -> int | None:
    """About how many pictures :func:`unfold` will give, by the headers of videos; None where nobody knows."""
    counts = [count_frames(source, every) if is_video(source) else 1 for source in sources]
    known = [count for count in counts if count is not None]
    return sum(known) if len(known) == len(counts) and pages == "first" else None


def _named(value: ImageInput | ImageSource, number: int) -> ImageSource:
    if isinstance(value, ImageSource):
        return value
    if isinstance(value, str | Path | Member):
        return ImageSource(str(value), value)
    if isinstance(value, BinaryFile):
        try:
            value = read_whole(value)
        except ImageReadError as error:
            value = Unreadable(error)
    return ImageSource(f"image {number}", value)


def _expand(source: ImageInputs) -> Iterator[ImageInput | ImageSource]:
    if isinstance(source, list | tuple) or comes_one_by_one(source):
        for item in source:  # type: ignore[union-attr]  # mypy does not see that it can be iterated over
            yield from _expand(item)  # type: ignore[arg-type]
    elif isinstance(source, str | Path) and not is_url(source):
        yield from _expand_path(source)
    elif _dimensions(source) == 4:
        yield from source  # type: ignore[misc]  # mypy does not see that only arrays and tensors get here
    else:
        yield source  # type: ignore[misc]


def _dimensions(source: object) -> int | None:
    """Of arrays and tensors."""
    return getattr(source, "ndim", None)


def _expand_path(source: str | Path) -> Sequence[str | Path]:
    if not str(source):
        raise ImageReadError("an empty name; expected a file, a folder or a pattern")
    path = Path(source)
    try:
        if path.is_dir():
            images = sorted(p for p in path.rglob("*") if _is_listed(p, path))
            if not images:
                raise ImageReadError(f"{source}: no images in this folder ({' '.join(IMAGE_SUFFIXES)})")
            return images
        if isinstance(source, str) and any(c in source for c in "*?[") and not path.exists():
            found = glob.glob(source, recursive=True)  # noqa: PTH207  Path.glob takes no absolute patterns
            matches = sorted(p for p in map(Path, found) if not p.is_dir())
            if not matches:
                raise ImageReadError(f"{source}: no file matches this pattern")
            return matches
    except OSError:  # a name that no file can have: reading it says what is wrong
        pass
    return [source]


def _is_listed(path: Path, folder: Path) -> bool:
    hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
    return not hidden and path.suffix.lower() in IMAGE_SUFFIXES and not path.is_dir()
