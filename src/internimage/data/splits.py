"""The parts of a data set: choosing one, and setting images aside where there is none to validate on."""

from __future__ import annotations

import hashlib
import random
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Generic, TypeVar

from internimage.data.first_rule import divide_by_first_rule
from internimage.data.samples import ImageFile, Part
from internimage.data.twins import twin_groups
from internimage.errors import DataError
from internimage.settings.data import DataOptions, SplitOptions

AnyPart = TypeVar("AnyPart", bound=Part)
T = TypeVar("T")
Follow = Callable[[Iterable[Any], int, str], Iterable[Any]]
"""Passes on what is looked at, so many, and shows the progress under a name."""

SET_ASIDE = "set aside"
"""In what identifies splits: the names of the images that were set aside."""

_NOTHING = -1  # stands for the class of images that show none


def unseen(items: Iterable[T], total: int, what: str) -> Iterable[T]:
    """Passes ``items`` on, and shows nothing."""
    return items


@dataclass(frozen=True)
class Splits(Generic[AnyPart]):
    """The parts of a data set, all with the classes of ``train``.

    Attributes:
        train, val, test: the parts; ``test`` is None where there is none.
        set_aside: whether ``val`` was taken from the training images.
        notes: what a person should know of the division, a line each.
    """

    train: AnyPart
    val: AnyPart
    test: AnyPart | None
    set_aside: bool
    notes: tuple[str, ...] = ()


def choose_part(parts: Mapping[str, T], root: Path, part: str) -> T:
    """The named one of ``parts``; "all" is the only one there is."""
    if part != "all":
        if part not in parts:
            raise DataError(f"{root} has no part {part!r}; it has {', '.join(parts)}")
        return parts[part]
    if len(parts) > 1:
        raise DataError(f"{root} has the parts {', '.join(parts)}; choose one (--part)")
    return next(iter(parts.values()))


def make_splits(
    parts: Mapping[str, AnyPart],
    root: Path,
    split: SplitOptions | None = None,
    options: DataOptions | None = None,
    known: tuple[str, ...] | None = None,
    follow: Follow = unseen,
) -> Splits[AnyPart]:
    """Training, validation and test images with one list of classes.

    Classes go together by name.  Where the list of the training images has the names of ``known``, in whatever order,
    it is that list, so that nothing is numbered anew; else classes that none of the parts shows are left out.  Without
    validation images, some of the training images are set aside.

    Args:
        parts: by name, as a task reads them: "train" or "all", and "val" and "test" if there are such.
        root: of the data, for messages, and for what names of images are relative to.
        split: how images are set aside.
        options: how annotations are read.
        known: classes of the model to start from.
        follow: shows the progress of setting images aside.

    Raises:
        DataError: there are no training images, too few, or a part shows classes that the training images have not.
    """
    split, options = split or SplitOptions(), options or DataOptions()
    train = parts.get("train") or parts.get("all")
    if train is None:
        raise DataError(f"{root} has no training images; found {', '.join(parts)}")
    train = train.usable(options)
    val, test = (parts[name].usable(options) if name in parts else None for name in ("val", "test"))
    notes: tuple[str, ...] = ()
    set_aside = val is None
    if val is None:
        train, val, notes = divide(train, root, split, follow)
    classes = known if known is not None and set(known) == set(train.classes) else None
    if split.rule == 1:
        classes = train.classes
    if classes is None:
        classes, unused = _used_classes([train, val, *([test] if test else [])])
        if unused:
            notes = (*notes, f"{len(unused)} classes that nothing shows are left out: {', '.join(unused[:8])}")
    if not classes and train.used() is not None:  # of captions and questions nobody says what is shown
        raise DataError(f"{train.name}: nothing in it is of any class; expected annotations to learn from")
    named = [part.with_classes(classes) if part else None for part in (train, val, test)]
    used = train.with_classes(classes).used()
    lacking = [name for number, name in enumerate(classes) if used is not None and number not in used]
    if lacking:
        notes = (*notes, f"classes that no training image shows: {', '.join(lacking[:8])}")
    assert named[0] is not None
    assert named[1] is not None
    return Splits(named[0], named[1], named[2], set_aside, notes)


def divide(
    part: AnyPart, root: Path, split: SplitOptions, follow: Follow = unseen
) -> tuple[AnyPart, AnyPart, tuple[str, ...]]:
    """Images to train on, those set aside, and what a person should know of it.

    Of each class, rare ones first, a share is set aside, at least one image of those with two; no class is lost to
    training, and what shows the same picture stays on one side (Sechidis et al., On the Stratification of Multi-Label
    Data, 2011, with groups for images).

    Raises:
        DataError: there are too few images.
    """
    if not 0 < split.fraction < 1:
        raise DataError(f"the validation fraction is {split.fraction}; expected a number between 0 and 1")
    notes: tuple[str, ...] = ()
    kept: list[int] = []
    if split.chosen is not None:
        names = set(split.chosen)
        taken = [number for number, one in enumerate(part.files) if relative_name(one, root) in names]
    elif split.rule == 1:
        kept, taken = divide_by_first_rule(part, split.fraction, split.seed)
    elif part.entries and part.sequence_of(part.entries[0]) is not None:
        taken, notes = _choose_sequences(part, split)
    else:
        files = part.files
        groups = twin_groups(files, lambda looked_at: follow(looked_at, len(files), "pictures that are there twice"))
        twins = sum(len(group) for group in groups if len(group) > 1)
        if twins:
            notes = (f"{twins} of {len(part)} pictures are there more than once; each picture is on one side only",)
        taken = sorted(_choose(part, groups, split, follow))
    if split.rule != 1 or split.chosen is not None:
        kept = sorted(set(range(len(part))) - set(taken))
    if split.chosen is not None and not taken:
        raise DataError(
            f"{part.name} is not as it was when the run began: none of its images is one of the {len(names)} that were "
            f"set aside for validation, such as {min(names)}"
        )
    if not taken or not kept:
        raise DataError(
            f"{part.name} has too few different images of each class to set some aside for validation; "
            "internimage data check lists those that are equal or cannot be read"
        )
    aside = replace(part, left_out=(), notes=())  # type: ignore[type-var]  # each part is a dataclass
    return (
        part.chosen(kept, part.name),
        aside.chosen(taken, f"{part.name} (set aside)"),
        notes,
    )


def _choose_sequences(part: Part, split: SplitOptions) -> tuple[list[int], tuple[str, ...]]:
    """Numbers of the images of whole sequences that are set aside, and what to say of it: moments of one look alike."""
    sequences: dict[str | None, list[int]] = defaultdict(list)
    for number, entry in enumerate(part.entries):
        sequences[part.sequence_of(entry)].append(number)
    if len(sequences) < 2:
        raise DataError(f"{part.name} has one sequence; expected two or more, of which one is set aside for validation")
    count = min(max(1, round(split.fraction * len(sequences))), len(sequences) - 1)
    names = random.Random(f"{split.seed}").sample(list(sequences), count)
    note = f"{count} of {len(sequences)} sequences are set aside for validation, as wholes"
    return sorted(number for name in names for number in sequences[name]), (note,)


def relative_name(file: ImageFile, root: Path) -> str:
    """A picture's name within its data, which stays when they move."""
    path = file if isinstance(file, Path) else Path(str(file))
    base = root if root.is_dir() else root.parent
    return path.relative_to(base).as_posix() if path.is_relative_to(base) else str(file)


def _choose(part: Part, groups: Sequence[Sequence[int]], split: SplitOptions, follow: Follow) -> set[int]:
    """Numbers of the images that are set aside."""
    with ThreadPoolExecutor() as pool:
        found = pool.map(lambda entry: part.labels_of(entry) or frozenset((_NOTHING,)), part.entries)
        labels = list(follow(found, len(part), "what the pictures show"))
    shown = [frozenset().union(*(labels[number] for number in group)) for group in groups]
    images = Counter(label for one in labels for label in one)
    left = Counter(label for one in shown for label in one)  # groups in training that show a class
    order = random.Random(f"{split.seed}").sample(range(len(groups)), len(groups))
    aside: Counter[int] = Counter()
    taken: set[int] = set()
    for label in sorted(images, key=lambda label: (images[label], label)):
        wanted = max(1, round(images[label] * split.fraction))
        for number in order:
            if aside[label] >= wanted:
                break
            if number in taken or label not in shown[number] or any(left[one] < 2 for one in shown[number]):
                continue
            if aside[label] and aside[label] + len(groups[number]) > 2 * wanted:
                continue  # many twins, where there are others
            taken.add(number)
            left.subtract(shown[number])
            aside.update(one for image in groups[number] for one in labels[image])
    return {image for number in taken for image in groups[number]}


def _used_classes(parts: Iterable[Part]) -> tuple[tuple[str, ...], list[str]]:
    """Classes that any part shows, in the order of the first part's list, and its others."""
    listed = list(parts)
    classes = listed[0].classes
    names: set[str] = set()
    for part in listed:
        used = None if part.listed else part.used()
        if used is None:
            return classes, []
        names |= {part.classes[number] for number in used}
    if extra := sorted(names - set(classes)):
        where = next(part for part in listed if set(part.classes) & set(extra))
        raise DataError(
            f"{where.name} has objects or images of classes that {listed[0].name} has not: {', '.join(extra[:5])}"
        )
    return tuple(name for name in classes if name in names), [name for name in classes if name not in names]


def describe(noun: str, parts: Mapping[str, Part]) -> list[str]:
    """What was understood, a line a part: ``detector data, COCO: train 10 pictures, disc 20, square 10``."""
    first = next(iter(parts.values()))
    lines = [f"{noun} data, {first.format}: " + "; ".join(_named(name, part) for name, part in parts.items())]
    return lines + list(dict.fromkeys(note for part in parts.values() for note in part.notes))


def _named(name: str, part: Part) -> str:
    return part.summary() if name == "all" else f"{name} {part.summary()}"


def left_out_lines(parts: Mapping[str, Part]) -> list[str]:
    """What of each part is left out, a line for each reason."""
    return [f"{_named_part(name)}{one}" for name, part in parts.items() for one in part.left_out]


def _named_part(name: str) -> str:
    return "" if name == "all" else f"{name}: "


def identity(splits: Splits[Any], root: Path) -> dict[str, Any]:
    """What must not change within a run: classes, which images there are, and which of them are set aside.

    Plain data; names are relative to the data, which may move.
    """
    content: dict[str, Any] = {**_common(splits), **_names(splits, root)}
    if splits.set_aside:
        content[SET_ASIDE] = [relative_name(file, root) for file in splits.val.files]
    return content


def changes(before: dict[str, Any], splits: Splits[Any], root: Path, *, moved: bool) -> list[str]:
    """What differs from before; runs of older versions know whole paths, which say nothing once the data moved."""
    now = {**_common(splits), **_names(splits, root), **({} if moved else _whole_paths(splits))}
    return [name for name, value in now.items() if name in before and before[name] != value]


def _common(splits: Splits[Any]) -> dict[str, Any]:
    counts = [len(splits.train), len(splits.val)]
    return {"classes": list(splits.train.classes), "numbers of training and validation images": counts}


def _names(splits: Splits[Any], root: Path) -> dict[str, str]:
    def names(part: Part) -> str:
        return _digest([relative_name(one, root) for one in part.files])

    return {"names of training images": names(splits.train), "names of validation images": names(splits.val)}


def _whole_paths(splits: Splits[Any]) -> dict[str, str]:
    def paths(part: Part) -> str:
        return _digest(list(map(str, part.files)))

    return {"training images": paths(splits.train), "validation images": paths(splits.val)}


def _digest(names: list[str]) -> str:
    return hashlib.sha256("\n".join(names).encode(errors="surrogateescape")).hexdigest()  # names need not be UTF-8
