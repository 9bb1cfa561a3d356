"""The one place that decides what a folder is: which format, and with it what kind of data."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib import import_module
from itertools import islice
from pathlib import Path
from typing import Any, Literal

from internimage.data.formats.beside import with_neighbours
from internimage.data.formats.pictures import is_hidden, pictures_below
from internimage.data.left_out import shortened
from internimage.errors import ConfigError, DataError, MissingExtraError
from internimage.settings.data import DataOptions
from internimage.writing import counted

Kind = Literal["objects", "masks", "labels"]
_MANY = 100_000
_FEW = 1_000  # files that are looked at to say what a folder holds


@dataclass(frozen=True)
class Format:
    """How data may lie on disk.

    Attributes:
        name: for people.
        kind: what each picture has: objects, a class for each pixel, or a label.
        module: where its functions are: ``recognise(root)``, ``read_parts(root, wanted, options)``; where it can be
            told without reading, ``estimate(root, most)``, how many images there are to train on; of files whose
            pictures need not be there, ``read_annotations(file, options)``; and where data can be read in several ways,
            ``readings(root)``, the name of each and what it is, the usual one first.
        example: what is expected where; empty for sets that are recognised by files of their own.
        tool: whether it is what another tool writes, so that its name says enough.
    """

    name: str
    kind: Kind
    module: str
    example: str
    tool: bool = False

    def recognise(self, root: Path) -> bool:
        """Whether data of this format lie at ``root``."""
        return bool(self._functions()["recognise"](root))

    def read_parts(self, root: Path, wanted: str | None, options: DataOptions) -> Mapping[str, Any]:
        """The parts of a data set by name, or the wanted one alone; of all, what lies beside them is counted too.

        Raises:
            DataError: they contradict the format.
            ConfigError: ``options`` say something of another format.
        """
        if options.boxes != DataOptions().boxes and not self.module.endswith(".coco"):
            raise ConfigError(f"--boxes {options.boxes} is for a JSON like COCO's; {root} is read as {self.name}")
        note = self._note_of_reading(root, options.reading)
        parts: Mapping[str, Any] = self._functions()["read_parts"](root, wanted, options)
        if note:
            parts = {name: replace(part, notes=(note, *part.notes)) for name, part in parts.items()}
        counted = self.module.endswith(".class_folders") or list(parts) == [wanted]
        return parts if counted else with_neighbours(root, parts)

    def read_annotations(self, file: Path, options: DataOptions) -> Any:
        """What a file says, also where its pictures are not there; None for formats that need them."""
        function = self._functions().get("read_annotations")
        return None if function is None else function(file, options)

    def estimate(self, root: Path, most: int = _MANY) -> int:
        """How many images there are to train on, about."""
        if (function := self._functions().get("estimate")) is not None:
            return int(function(root, most))
        return len(pictures_below(root)) if root.is_dir() else 0

    def _note_of_reading(self, root: Path, asked: str | None) -> str:
        """Which of several readings is taken where nothing was said."""
        function = self._functions().get("readings")
        offered: Mapping[str, str] = function(root) if function is not None else {}
        if asked is not None and asked not in offered:
            ways = " or ".join(f"{name} ({what})" for name, what in offered.items()) or "in one way"
            raise ConfigError(f"--reading {asked}: {root} is {self.name}, which is read {'as ' * bool(offered)}{ways}")
        if asked is not None or len(offered) < 2:
            return ""
        (taken, what), *others = offered.items()
        return f"read as {taken} ({what}); {' or '.join(f'--reading {name} ({what})' for name, what in others)}"

    def _functions(self) -> Mapping[str, Callable[..., Any]]:
        return vars(import_module(self.module))


_HERE = "internimage.data.formats"
_SETS_OF_MASKS = (
    ("Cityscapes", "cityscapes"),
    ("COCO-Stuff", "coco_stuff"),
    ("Mapillary Vistas", "mapillary"),
    ("NYUv2", "nyu"),
    ("Pascal Context", "pascal_context"),
)
# The first that recognises a folder reads it: what names boxes and outlines before what is only pictures in folders.
FORMATS: tuple[Format, ...] = (
    Format("LVIS", "objects", f"{_HERE}.sets.lvis", "annotations/lvis_v1_train.json", True),
    Format("Objects365", "objects", f"{_HERE}.sets.objects365", "annotations/zhiyuan_objv2_train.json", True),
    Format("OpenImages", "objects", f"{_HERE}.sets.openimages", "annotations/oidv6-train-annotations-bbox.csv", True),
    Format("CrowdHuman", "objects", f"{_HERE}.sets.crowdhuman", "annotation_train.odgt with Images/", True),
    Format("BDD100K", "objects", f"{_HERE}.sets.bdd100k", "labels/det_20/det_train.json", True),
    Format("nuScenes", "objects", f"{_HERE}.sets.nuscenes", "v1.0-trainval/image_annotations.json", True),
    Format("Places", "labels", f"{_HERE}.sets.places", "places365_train_standard.txt with data_256/", True),
    Format("COCO", "objects", f"{_HERE}.coco", "annotations/train.json with images/ or train/"),
    *(Format(name, "masks", f"{_HERE}.sets.{module}", "") for name, module in _SETS_OF_MASKS),
    # after them: Pascal Context's masks lie in VOC2010, beside its boxes
    Format("VOCdevkit", "objects", f"{_HERE}.sets.voc_devkit", "VOCdevkit/VOC2007/ImageSets/Main", True),
    Format("YOLO", "objects", f"{_HERE}.yolo", "data.yaml, obj.data or classes.txt with .txt files in labels/", True),
    Format("Pascal VOC", "objects", f"{_HERE}.voc", "Annotations/*.xml, or .xml files beside the pictures", True),
    Format("labelme", "objects", f"{_HERE}.labelme", "labelme's .json files beside the pictures", True),
    Format("VIA", "objects", f"{_HERE}.via", "VIA's project, .json or .csv beside the pictures", True),
    Format("CVAT", "objects", f"{_HERE}.cvat", "annotations.xml (CVAT for images) with images/", True),
    Format("Label Studio", "objects", f"{_HERE}.labelstudio", "Label Studio's .json or JSON-MIN", True),
    Format("Supervisely", "objects", f"{_HERE}.supervisely", "meta.json with DATASET/ann and DATASET/img", True),
    Format("imagefolder", "objects", f"{_HERE}.imagefolder", "metadata.jsonl with file_name and objects", True),
    Format("WebDataset shards", "objects", f"{_HERE}.shards", "train*.tar of KEY.jpg with KEY.json (objects)", True),
    Format("masks", "masks", f"{_HERE}.masks", "images/ and masks/, or train/images and train/masks"),
    Format("Label Studio", "labels", f"{_HERE}.labelstudio_choices", "Label Studio's .json with choices", True),
    Format("imagefolder", "labels", f"{_HERE}.imagefolder_labels", "metadata.jsonl with file_name and label", True),
    Format(
        "class folders",
        "labels",
        f"{_HERE}.class_folders",
        "CLASS/IMAGE.jpg, or train/CLASS/IMAGE.jpg; train.csv, train.zip, train*.tar",
    ),
)


def find_format(root: Path) -> Format | None:
    """The format of the data at ``root``; None if none recognises them."""
    root = root.expanduser()
    return next((one for one in FORMATS if one.recognise(root)), None)


def has_kind(root: Path, *kinds: Kind) -> bool:
    """Whether data of one of these kinds lie at ``root``."""
    found = find_format(root)
    return found is not None and found.kind in kinds


def read_kinds(root: Path, wanted: str | None, options: DataOptions, *kinds: Kind) -> tuple[Kind, Mapping[str, Any]]:
    """The kind of the data at ``root``, which is one of ``kinds``, and their parts.

    Raises:
        DataError: they are of no format or of another kind, or contradict it.
    """
    root = root.expanduser()
    found = find_format(root)
    if found is None:
        raise DataError(unrecognised(root, [one for one in FORMATS if one.kind in kinds]))
    if found.kind not in kinds:
        expected = _expected([one for one in FORMATS if one.kind in kinds])
        raise DataError(f"{root} is read as {found.name}; expected {expected}")
    return found.kind, found.read_parts(root, wanted, options)


def estimate(root: Path) -> int:
    """How many images there are to train on, about; 0 if nobody knows."""
    root = root.expanduser()
    try:
        found = find_format(root)
        return found.estimate(root) if found else 0
    except (OSError, DataError, KeyError, MissingExtraError):
        return 0


def unrecognised(root: Path, formats: Sequence[Format] = FORMATS) -> str:
    """What is at ``root`` instead of data, and what is expected."""
    if not root.exists():
        return f"{root} does not exist; expected a folder of pictures with labels, or a file of them"
    expected = _expected(formats)
    if root.is_file():
        return f"{root} is in no format that is read; expected {expected}"
    return f"{root} is in no format that is read: it holds {_contents(root)}. Expected {expected}"


def _expected(formats: Sequence[Format]) -> str:
    """Examples, and the names of tools."""
    examples = [f"{one.example} ({one.name})" for one in formats if one.example and not one.tool]
    tools = dict.fromkeys(one.name for one in formats if one.tool)
    return "; ".join([*examples, *([f"or an export of {', '.join(tools)}"] if tools else [])])


def _contents(root: Path) -> str:
    """``3 folders (a, b, c), 12 .jpg, 1 .json``."""
    entries = [path for path in islice(sorted(root.iterdir()), _FEW) if not is_hidden(path.name)]
    folders = [path.name for path in entries if path.is_dir()]
    suffixes = Counter(path.suffix.lower() or "files without suffix" for path in entries if not path.is_dir())
    said = [f"{counted(len(folders), 'folder')} ({', '.join(shortened(folders, 5))})"] if folders else []
    return ", ".join([*said, *(f"{count} {suffix}" for suffix, count in suffixes.most_common(5))]) or "nothing"
