"""Pascal VOC's development kit: ``VOCdevkit`` with its years, or one year of it.

Corners are counted from 1, fractions too.  Where the labels of 2007's test are there, they are the validation, with
that year's 11-point rule, and all other pictures train, as the published models were trained; else the lists count.
Format: http://host.robots.ox.ac.uk/pascal/VOC/voc2012/htmldoc/.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from internimage.data.formats.gathering import Gathering
from internimage.data.formats.voc import gather
from internimage.data.left_out import shortened
from internimage.data.objects import ObjectImages, Rule
from internimage.labels import load_labels
from internimage.settings.data import DataOptions

_YEAR = re.compile(r"VOC(20\d\d)(test)?")
_AREA_FROM = "2010"  # by the area under the curve, before it at 11 points


def recognise(root: Path) -> bool:
    """Whether there are years with lists of pictures and objects of them."""
    return bool(_years(root))


def read_parts(root: Path, wanted: str | None = None, options: DataOptions | None = None) -> dict[str, ObjectImages]:
    """Training and validation, see above.

    Raises:
        DataError: entries contradict the format.
    """
    years = {year: gather(year, from_one=True) for year in _years(root)}
    labels = set().union(*(part.labels() for parts in years.values() for part in parts.values()))
    known = load_labels("voc")
    strange = sorted(labels - set(known))
    classes = tuple(sorted(labels)) if strange else known  # of own sets laid out like it
    strangers = (
        f"classes that VOC has not ({', '.join(shortened(strange, 5))}): taken for a set of its own, by COCO's rule"
    )
    notes = [strangers] if strange else []
    tested = {year: parts["test"] for year, parts in years.items() if "test" in parts and parts["test"].labels()}
    trained = ("train", "val", "all") if tested else ("train", "all")
    validation = tested or {year: parts["val"] for year, parts in years.items() if "val" in parts}
    training = [parts[name] for parts in years.values() for name in trained if name in parts]
    early = all(_number(year) < _AREA_FROM for year in validation or years)
    rule = Rule() if classes is not known else Rule("voc-11-points" if early else "voc-area")
    found = {"train": training, "val": list(validation.values())}
    parts = {
        part: _joined(root, part, gathered, classes, options or DataOptions(), notes)
        for part, gathered in found.items()
        if gathered and (part == wanted or wanted not in found or not found[wanted])
    }
    return {name: replace(part.measured_by(rule), listed=not strange) for name, part in parts.items()}


def _years(root: Path) -> list[Path]:
    if not root.is_dir():
        return []
    below = [root] if _YEAR.fullmatch(root.name) else sorted((*root.glob("VOC20*"), *root.glob("VOCdevkit/VOC20*")))
    return [
        year
        for year in below
        if _YEAR.fullmatch(year.name) and (year / "ImageSets/Main").is_dir() and any((year / "Annotations").glob("*"))
    ]


def _number(year: Path) -> str:
    match = _YEAR.fullmatch(year.name)
    assert match is not None
    return match[1]


def _joined(
    root: Path,
    name: str,
    gathered: Sequence[Gathering],
    classes: tuple[str, ...],
    options: DataOptions,
    said: Sequence[str],
) -> ObjectImages:
    ids = range(1, len(classes) + 1)
    parts = [part.settle(options, classes, ids) for part in gathered]
    images = [image._replace(identity=Path(str(image.file)).stem) for part in parts for image in part.images]
    left_out = tuple(one for part in parts for one in part.left_out)
    notes = tuple(dict.fromkeys([*said, *(note for part in parts for note in part.notes)]))
    places = f"these are {', '.join(part.name for part in parts)}"
    return replace(
        parts[0], name=f"{root} ({name})", images=images, format="Pascal VOC", left_out=left_out, notes=(*notes, places)
    )
