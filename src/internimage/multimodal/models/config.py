"""Architectures of models of pictures and words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from internimage.backbones.config import InternImageConfig
from internimage.errors import ConfigError
from internimage.multimodal.sequences.experts import TOP
from internimage.multimodal.sequences.patches import PatchConfig

LEARNT = ("captions", "pairs", "questions", "names")


@dataclass(frozen=True)
class UniPerceiverConfig:
    """Architecture of a Uni-Perceiver.

    Attributes:
        backbone: patches, or the InternImage whose map becomes tokens.
        out_level: the stage of that map; None for the last.
        vocabulary: ids of CLIP's words that the model knows; None for all.  The end token and SPE are always known.
        width: d, of every token; a multiple of 4 and of the heads.
        layers, heads: of the encoder.
        feed_forward: width inside its layers.
        experts: of each linear layer in every second layer; 0 for none.
        layer_scale: initial scale of each branch; None for no scale.
        longest: positions of a text.
        frames: moments that the table of times knows.
        span: where the end of a map's longer side is in the waves that say where a token is.  The released models
            began with 10 rows of patches and kept the span for larger pictures.
        random_time: in training, pictures and clips begin at a random moment.
        learnt: what the model does: "captions" writes them, "pairs" finds pictures by texts and texts by pictures,
            "questions" chooses among ``answers``, "names" among names of classes.
        answers: that the model chooses among.
        num_classes: 0: names of classes are words.
    """

    backbone: InternImageConfig | PatchConfig = field(default_factory=PatchConfig)
    out_level: int | None = None
    vocabulary: tuple[int, ...] | None = None
    width: int = 768
    layers: int = 12
    heads: int = 12
    feed_forward: int = 3072
    experts: int = 0
    layer_scale: float | None = 1e-3
    longest: int = 512
    frames: int = 8
    span: float = 10.0
    random_time: bool = False
    learnt: tuple[str, ...] = ("captions", "pairs", "names")
    answers: tuple[str, ...] = ()
    num_classes: int = 0

    def __post_init__(self) -> None:
        for name in ("width", "layers", "heads", "feed_forward", "longest", "frames"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} is {getattr(self, name)}; expected 1 or more")
        check_sequences(self, LEARNT)
        if not self.span > 0:
            raise ConfigError(f"span is {self.span}; expected more than 0")
        stages = len(self.backbone.depths)
        if self.out_level is not None and not 0 <= self.out_level < stages:
            raise ConfigError(f"out_level is {self.out_level}; expected a stage of the backbone, which has {stages}")


def check_sequences(config: Any, learnt: Sequence[str]) -> None:
    """Look at what all Uni-Perceivers say of their sequences; ``learnt`` is what such a model can do.

    Raises:
        ConfigError: a number does not fit another, or the model would do what it cannot.
    """
    if config.width % 4 or config.width % config.heads:
        raise ConfigError(f"width is {config.width}; expected a multiple of 4 and of the {config.heads} heads")
    if config.experts and config.experts < TOP:
        raise ConfigError(f"experts is {config.experts}; expected {TOP} or more, or 0 for none")
    if unknown := [one for one in config.learnt if one not in learnt]:
        raise ConfigError(f"learnt has {unknown[0]!r}; expected some of {', '.join(learnt)}")
    if config.num_classes:
        raise ConfigError(
            f"num_classes is {config.num_classes}; expected 0, a Uni-Perceiver has no classifier: names of classes are "
            "words"
        )
