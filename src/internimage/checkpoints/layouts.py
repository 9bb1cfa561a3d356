"""Layouts of checkpoints: our own names, those of the released ``.pth`` files and those of the Hugging Face models.

The tables in ``names``, one an architecture, are read in both directions; the Hugging Face layout is a rule on top.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from functools import cache
from itertools import count
from typing import Any, Literal

from internimage.checkpoints.names.table import Names
from internimage.errors import CheckpointMismatchError, ConfigError
from internimage.registry import ARCHITECTURES, architecture_of, resolve

Layout = Literal["ours", "official", "hf"]
_HF_PREFIX = "model."


def layout_of(names: Iterable[str]) -> Layout:
    """Recognise a layout by its names."""
    names = list(names)
    roots = {name.split(".", 1)[0] for name in names}
    stems = ("backbone.patch_embed.", "backbone.cb_modules.0.patch_embed.")
    if roots & {"patch_embed", "layer1", "img_backbone", "fused_encoder"} or any(
        name.startswith(stems) for name in names
    ):
        return "official"
    if "model" in roots:
        return "hf"
    if roots & {"backbone", "stem"}:
        return "ours"
    raise CheckpointMismatchError(
        "the checkpoint holds none of the names of an InternImage model in a known layout (official "
        f"'patch_embed...', Hugging Face 'model.patch_embed...', ours 'backbone.stem...'); its tensors start with "
        f"{', '.join(sorted(roots)[:8]) or 'nothing'}"
    )


def second_copies(names: Iterable[str]) -> set[str]:
    """Names under which mmdetection's EMA hook keeps a second copy: ``ema_backbone_stem_weight``, without dots.

    Its checkpoints are written while the averages stand under the ordinary names, so the copies are the weights of
    training, which nobody predicts with.
    """
    names = set(names)
    return names & {"ema_" + name.replace(".", "_") for name in names}


def to_ours(names: Iterable[str], layout: Layout, config: Any) -> dict[str, str]:
    """Map each given name of ``layout`` to ours; names that belong to no part of the model are left out."""
    if layout == "ours":
        place = ARCHITECTURES[architecture_of(type(config))].names
        bare = place is not None and names_of(config).bare_backbone
        return {name: f"backbone.{name}" if bare and name.startswith(("stem.", "stages.")) else name for name in names}
    translate = _translator(names_of(config).rows(config), False)
    mapped = {}
    for name in names:
        ours = translate(_without_hf(name) if layout == "hf" else name)
        if ours is not None:
            mapped[name] = ours
    return mapped


def from_ours(names: Iterable[str], layout: Layout, config: Any) -> dict[str, str]:
    """Map our names to those of ``layout``, in the same order."""
    if layout == "ours":
        return {name: name for name in names}
    translate = _translator(names_of(config).rows(config), True)
    mapped = {}
    for name in names:
        official = translate(name)
        if official is None:
            raise CheckpointMismatchError(f"{name} has no name in the {layout} layout")
        mapped[name] = official if layout == "official" else _with_hf(official)
    return mapped


def names_of(config: Any) -> Names:
    """How the tensors of an architecture are called in files of others.

    Raises:
        ConfigError: nobody else has files of this architecture.
    """
    architecture = architecture_of(type(config))
    place = ARCHITECTURES[architecture].names
    if place is None:
        raise ConfigError(f"a {architecture} has no other layout than ours; load or write a model folder")
    names: Names = resolve(place)
    return names


@cache
def _translator(table: tuple[tuple[str, str], ...], from_first: bool) -> Callable[[str], str | None]:
    rules = []
    for ours, official in table:
        source, target = (ours, official) if from_first else (official, ours)
        pattern = re.escape(source).replace(r"\#", r"(\d+)").replace(r"\*", r"(.+)")
        rules.append((re.compile(pattern), _numbered(target)))

    def translate(name: str) -> str | None:
        for pattern, template in rules:
            match = pattern.fullmatch(name)
            if match:
                return match.expand(template)
        return None

    return translate


def _numbered(template: str) -> str:
    r"""``levels.#.norm.*`` -> ``levels.\1.norm.\2``."""
    numbers = count(1)
    return re.sub(r"[#*]", lambda _: f"\\{next(numbers)}", template)


def _with_hf(official: str) -> str:
    """transformers renames "gamma" on loading, hence the published models avoid the word."""
    return _HF_PREFIX + re.sub(r"\bgamma([12])$", r"layer_scale\1", official)


def _without_hf(name: str) -> str:
    return re.sub(r"\blayer_scale([12])$", r"gamma\1", name.removeprefix(_HF_PREFIX))
