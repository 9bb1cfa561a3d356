"""Where everything with a name lives: tasks and architectures, as strings, so that nothing is loaded before it is used.

A new task is one line in :data:`TASKS`, a new architecture one line in :data:`ARCHITECTURES`.  A place is
``"module:name"``.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from internimage.errors import ConfigError


@dataclass(frozen=True)
class TaskEntry:
    """Where a task lives.

    Attributes:
        spec: of its :class:`internimage.contracts.TaskSpec`.
        recipes: of the lists of its models, tuples of :class:`internimage.recipes.Recipe`.
    """

    spec: str
    recipes: tuple[str, ...]


@dataclass(frozen=True)
class ArchitectureEntry:
    """Where an architecture lives.

    Attributes:
        task: a key of :data:`TASKS`; None for a backbone alone.
        config: of its configuration, a dataclass.
        model: of the module that is built from it, see :class:`internimage.models.model.Model`.
        names: of its :class:`internimage.checkpoints.names.table.Names`; None if nobody else has files of it.
        describer: of a function that opens a model by name or folder, with ``device`` and ``dtype``, as what captions
            and answers (:class:`internimage.multimodal.backends.describing.Describer`); None if it does neither.
    """

    task: str | None
    config: str
    model: str
    names: str | None = None
    describer: str | None = None


# Data belong to the last of these tasks that recognises them; the first takes what no other knows.
_CORE = ("classification", "detection", "segmentation")
_DRIVING = ("occupancy", "online_map", "topology", "boxes3d")
_DESCRIBING = TaskEntry("internimage.multimodal.describing.spec:SPEC", ("internimage.multimodal.recipes:RECIPES",))
_PRETRAINING = TaskEntry(
    "internimage.multimodal.pretraining.spec:SPEC", ("internimage.multimodal.recipes:PRETRAINING",)
)
TASKS: dict[str, TaskEntry] = {
    **{
        name: TaskEntry(f"internimage.tasks.{name}.spec:SPEC", (f"internimage.recipes.{name}:RECIPES",))
        for name in _CORE
    },
    **{
        name: TaskEntry(f"internimage.driving.{name}.spec:SPEC", (f"internimage.driving.recipes.{name}:RECIPES",))
        for name in _DRIVING
    },
    "describing": _DESCRIBING,
    "pretraining": _PRETRAINING,
    "generalist": TaskEntry(
        "internimage.multimodal.generalist.spec:SPEC", ("internimage.multimodal.recipes:GENERALISTS",)
    ),
}

# Drawn worlds by name, for first steps: a function of a folder, and of how much of what is drawn.
WORLDS = {
    "roads": "internimage.driving.world.writing:write_world",
    "lanes": "internimage.driving.world.lane_writing:write_lanes",
    "shapes": "internimage.multimodal.world.writing:write_shapes",
}

# What `internimage caption` and `ask` call.
DESCRIBE = "internimage.multimodal.backends.opening:describe"

# What `internimage search` calls.
SEARCH = {
    "settings": "internimage.multimodal.search.indexing:IndexSettings",
    "index": "internimage.multimodal.search.indexing:index_album",
    "approximate": "internimage.multimodal.search.commands:approximate",
    "filter": "internimage.multimodal.search.entries:Filter",
    "path": "internimage.multimodal.search.entries:clean_path",
    "query": "internimage.multimodal.search.querying:query_album",
    "sheet": "internimage.multimodal.search.sheet:draw_hits",
    "show": "internimage.multimodal.search.commands:show",
    "delete": "internimage.multimodal.search.commands:delete",
}


def _entry(task: str | None, file: str, name: str) -> ArchitectureEntry:
    """An architecture of ours: a file in ``models``, its names in ``checkpoints/names``."""
    place = f"internimage.models.{file}:{name}"
    return ArchitectureEntry(task, f"{place}Config", place, f"internimage.checkpoints.names.{file}:NAMES")


ARCHITECTURES: dict[str, ArchitectureEntry] = {
    "image_classifier": ArchitectureEntry(
        "classification",
        "internimage.models.classifier:ClassifierConfig",
        "internimage.models.classifier:ImageClassifier",
        "internimage.checkpoints.names.image_classifier:NAMES",
    ),
    "mask_rcnn": _entry("detection", "mask_rcnn", "MaskRCNN"),
    "cascade_rcnn": _entry("detection", "cascade_rcnn", "CascadeRCNN"),
    "dino": _entry("detection", "dino", "DINO"),
    "mask_dino": ArchitectureEntry(
        "detection", "internimage.models.mask_dino:MaskDINOConfig", "internimage.models.mask_dino:MaskDINO"
    ),
    "upernet": _entry("segmentation", "upernet", "UperNet"),
    "segformer": _entry("segmentation", "segformer", "SegFormer"),
    "mask2former": _entry("segmentation", "mask2former", "Mask2Former"),
    "bevformer": ArchitectureEntry(
        "boxes3d",
        "internimage.driving.models.bevformer:BEVFormerConfig",
        "internimage.driving.models.bevformer:BEVFormer",
        "internimage.driving.names.bevformer:NAMES",
    ),
    "bevformer_v2": ArchitectureEntry(
        "boxes3d",
        "internimage.driving.models.bevformer_v2:BEVFormerV2Config",
        "internimage.driving.models.bevformer_v2:BEVFormerV2",
        "internimage.driving.names.bevformer_v2:NAMES",
    ),
    "topology": ArchitectureEntry(
        "topology",
        "internimage.driving.models.topology:TopologyConfig",
        "internimage.driving.models.topology:TopologyNetwork",
        "internimage.driving.names.topology:NAMES",
    ),
    "occupancy": ArchitectureEntry(
        "occupancy",
        "internimage.driving.models.occupancy:OccupancyConfig",
        "internimage.driving.models.occupancy:OccupancyNetwork",
        "internimage.driving.names.occupancy:NAMES",
    ),
    "online_map": ArchitectureEntry(
        "online_map",
        "internimage.driving.models.online_map:OnlineMapConfig",
        "internimage.driving.models.online_map:OnlineMap",
    ),
    "uniperceiver": ArchitectureEntry(
        "describing",
        "internimage.multimodal.models.config:UniPerceiverConfig",
        "internimage.multimodal.models.uniperceiver:UniPerceiver",
        "internimage.multimodal.names.uniperceiver:NAMES",
        "internimage.multimodal.backends.ours:OwnDescriber",
    ),
    "uniperceiver_v2": ArchitectureEntry(
        "generalist",
        "internimage.multimodal.models.v2_config:UniPerceiverV2Config",
        "internimage.multimodal.models.uniperceiver_v2:UniPerceiverV2",
        describer="internimage.multimodal.backends.ours:OwnDescriber",
    ),
    "m3i": ArchitectureEntry(
        "pretraining",
        "internimage.multimodal.models.m3i_config:M3IConfig",
        "internimage.multimodal.models.m3i:M3I",
    ),
    "internimage": ArchitectureEntry(
        None,
        "internimage.backbones.config:InternImageConfig",
        "internimage.backbones.internimage:InternImage",
        "internimage.checkpoints.names.backbone:NAMES",
    ),
    "resnet": ArchitectureEntry(
        None,
        "internimage.backbones.config:ResNetConfig",
        "internimage.backbones.resnet:ResNet",
        "internimage.checkpoints.names.resnet:NAMES",
    ),
}


def resolve(place: str) -> Any:
    """What is at ``"module:name"``."""
    module, _, name = place.partition(":")
    return getattr(import_module(module), name)


def architecture_of(kind: type[Any]) -> str:
    """The name of the architecture whose configuration or module is of this type, or derived from it.

    Raises:
        ConfigError: there is none.
    """
    for base in kind.__mro__:
        place = f"{base.__module__}:{base.__qualname__}"
        for name, entry in ARCHITECTURES.items():
            if place in (entry.config, entry.model):
                return name
    raise ConfigError(
        f"a {kind.__name__} is no architecture of this package; expected a configuration or module of "
        f"{', '.join(ARCHITECTURES)}"
    )


def moved(module: str, places: Mapping[str, str]) -> Callable[[str], Any]:
    """``__getattr__`` for a module whose public names live elsewhere now; stays for one release."""

    def get(name: str) -> Any:
        if name not in places:
            raise AttributeError(f"module {module!r} has no attribute {name!r}")
        now = places[name].replace(":", ".")
        warnings.warn(f"{module}.{name} is now {now}", DeprecationWarning, stacklevel=2)
        return resolve(places[name])

    return get
