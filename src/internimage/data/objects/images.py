"""A data set of images with objects, and by whose rule results on it are measured."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import numpy as np

from internimage.data.left_out import LeftOut
from internimage.data.objects.annotations import ObjectImage, wrong_size
from internimage.data.objects.columns import Array, Paths, Ragged
from internimage.data.objects.table import ObjectTable, Verifieds
from internimage.data.samples import ImageFile, Measured, Part, renumbered, summarised
from internimage.errors import ImageReadError
from internimage.settings.data import DataOptions

_OUTLINES = 0.1  # share of true masks that may be rectangles: a screen, a page
_NAMED = 1000  # of what is left out; millions of names would fill the memory

Metric = Literal["coco", "lvis", "openimages", "voc-11-points", "voc-area", "crowdhuman", "bdd100k"]


@dataclass(frozen=True)
class Rule:
    """How results on a set are measured by its authors.

    Attributes:
        metric: by whose rule.
        frequency: of LVIS, for each class "r", "c" or "f": rare, common, frequent.
        ancestors: of OpenImages, for each class the wider ones that it is of.
    """

    metric: Metric = "coco"
    frequency: tuple[str, ...] = ()
    ancestors: tuple[frozenset[int], ...] = ()

    @property
    def learns_groups(self) -> bool:
        """Whether boxes around groups are learnt as objects, as OpenImages' authors do; measured they are not so."""
        return self.metric == "openimages"

    def renumbered(self, number: Mapping[int, int], count: int) -> Rule:
        """The same for ``count`` classes, of which some had other numbers and the others are new."""
        old = {new: own for own, new in number.items()}
        frequency = (self.frequency[old[new]] if new in old else "" for new in range(count))
        ancestors = (_kept(self.ancestors[old[new]], number) if new in old else frozenset() for new in range(count))
        return Rule(self.metric, tuple(frequency) if self.frequency else (), tuple(ancestors) if self.ancestors else ())


@dataclass(frozen=True)
class ObjectImages(Part):
    """Images with objects.

    Attributes:
        name, classes, format, left_out, notes: see :class:`internimage.data.samples.Part`; a label is an index into
            ``classes``.
        category_ids: the file's id of each class.
        images: in the order of the file; whatever sequence is given becomes a table.
        rule: how results are measured.
        listed: see :class:`internimage.data.samples.Part`.
    """

    name: str
    classes: tuple[str, ...]
    category_ids: tuple[int | str, ...]
    images: Sequence[ObjectImage]
    format: str = "COCO"
    left_out: tuple[LeftOut, ...] = ()
    notes: tuple[str, ...] = ()
    rule: Rule = Rule()
    listed: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "images", ObjectTable.of(self.images))

    @property
    def table(self) -> ObjectTable:
        """The images as columns."""
        assert isinstance(self.images, ObjectTable)
        return self.images

    @property
    def entries(self) -> Sequence[ObjectImage]:
        """The images; what every data set calls them."""
        return self.images

    @property
    def files(self) -> Sequence[ImageFile]:
        return self.table.files

    def measured(self, entry: ObjectImage, size: tuple[int, int]) -> Measured:
        """The image's id; its objects are in ``images``."""
        if wrong := wrong_size(entry, size):
            raise ImageReadError(f"{entry.file}: {wrong}")
        return Measured(entry.identity)

    def counts(self) -> list[int]:
        """Objects of each class, those left out that are not learnt."""
        counts: list[int] = np.bincount(self.table.labels[self.learnt], minlength=len(self.classes)).tolist()
        return counts

    @property
    def learnt(self) -> Array:
        """Which objects a detector learns: single ones, and groups where the set's authors do: bool (M,)."""
        crowds = self.table.crowds
        return np.ones_like(crowds) if self.rule.learns_groups else ~crowds

    def usable(self, options: DataOptions) -> ObjectImages:
        """What training learns from and evaluation measures with; what is left out is counted.

        That is: boxes with at least a pixel inside their picture; of sets with a rule of their own all, since their
        authors measure all.  Crowds stay, for they say where nothing is missed, and are counted as left out; or they
        become single objects.
        """
        table, own = self.table, self.rule.metric != "coco"
        if options.crowds == "learn":
            table = replace(table, crowds=np.zeros_like(table.crowds))
        crowds = table.crowds & (not self.rule.learns_groups)
        height, width = table.sizes[table.image_of].T
        x1, y1, x2, y2 = table.boxes.T
        sides = np.minimum(x2, width) - np.maximum(x1, 0), np.minimum(y2, height) - np.maximum(y1, 0)
        kept = (sides[0] >= 1) & (sides[1] >= 1) | table.crowds | own
        degenerate = (x2 - x1 < 1) | (y2 - y1 < 1)
        learn = "--crowds learn takes them for single objects (in Python DataOptions(crowds='learn'))"
        if crowds.any() and crowds.all():
            learn = f"every object is marked so (iscrowd), as some tools mark drawn masks: {learn}"

        def found(reason: str, which: Array, advice: str = "", *, meant: bool = False) -> LeftOut:
            names = tuple(map(table.where, np.flatnonzero(which)[:_NAMED].tolist()))
            return LeftOut(reason, "objects", names, int(which.sum()), len(which), advice, meant)

        counted = (
            found("crowds, neither learnt nor missed", crowds, learn, meant=own or self.listed),
            found("boxes of less than a pixel", ~kept & degenerate),
            found("boxes outside their picture", ~kept & ~degenerate),
        )
        left_out = (*self.left_out, *(one for one in counted if one.count))
        return replace(self, images=table.with_objects(kept), left_out=left_out)

    def summary(self) -> str:
        return summarised(len(self), self.classes, self.counts())

    def measured_by(self, rule: Rule) -> ObjectImages:
        """The same images as those of a known set, which has a rule and a list of classes of its own."""
        return replace(self, rule=rule, listed=True)

    def with_entries(self, entries: Sequence[Any], name: str) -> ObjectImages:
        return replace(self, images=entries, name=name)

    def chosen(self, numbers: Sequence[int], name: str) -> ObjectImages:
        return replace(self, images=self.table.take(np.array(numbers, np.int64)), name=name)

    def with_classes(self, classes: tuple[str, ...]) -> ObjectImages:
        """See :class:`internimage.data.samples.Part`; a class that the file has not gets an id that no other has."""
        if classes == self.classes:
            return self
        number = renumbered(self, classes)
        place = {name: index for index, name in enumerate(classes)}
        every = {index: place[name] for index, name in enumerate(self.classes) if name in place}
        table, places = self.table, np.zeros(len(self.classes), np.int32)
        for old, new in number.items():
            places[old] = new
        images = replace(table, labels=places[table.labels])
        if table.verified is not None:
            images = replace(images, verified=_renumbered(table.verified, every))
        known = dict(zip(self.classes, self.category_ids, strict=True))
        free = max((one for one in self.category_ids if isinstance(one, int)), default=0) + 1
        ids = tuple(known.get(name, free + index) for index, name in enumerate(classes))
        rule = self.rule.renumbered(every, len(classes))
        return replace(self, classes=classes, category_ids=ids, images=images, rule=rule)

    def labels_of(self, entry: ObjectImage) -> frozenset[int]:
        return frozenset(one.label for one in entry.objects)

    def shown(self) -> list[frozenset[int]]:
        labels, first = self.table.labels.tolist(), self.table.first.tolist()
        return [frozenset(labels[start:end]) for start, end in pairwise(first)]

    def used(self) -> frozenset[int]:
        return frozenset(np.flatnonzero(np.bincount(self.table.labels)).tolist())

    def missing(self) -> list[Path]:
        """Image files that are not there; folders are listed, since a look for each file takes long on a network."""
        files = self.table.files
        if not isinstance(files, Paths):
            return [file for file in files if isinstance(file, Path) and not file.exists()]
        there = [
            {entry.name for entry in os.scandir(folder or ".")} if Path(folder).is_dir() else set[str]()
            for folder in files.folders
        ]
        folders = files.folder.tolist()
        return [files[row] for row, folder in enumerate(folders) if files.name(row) not in there[folder]]

    @cached_property
    def has_masks(self) -> bool:
        """Whether every object has a mask, and they are more than outlines of the boxes."""
        single = ~self.table.crowds
        if not single.any() or not self.table.with_shapes[single].all():
            return False
        return bool(self.table.outlined[single].sum() <= _OUTLINES * single.sum())


def _kept(labels: Iterable[int], number: Mapping[int, int]) -> frozenset[int]:
    """Classes by their new numbers, those that have one."""
    return frozenset(number[one] for one in labels if one in number)


def _renumbered(verified: Verifieds, number: Mapping[int, int]) -> Verifieds:
    """The same for classes as a table packs them."""

    def one(classes: Ragged) -> Ragged:
        rows = (np.frombuffer(classes[row], np.int32).tolist() for row in range(len(classes)))
        return Ragged.of(np.array(sorted(_kept(row, number)), np.int32).tobytes() for row in rows)

    present, absent, partly = verified
    return one(present), one(absent), one(partly)
