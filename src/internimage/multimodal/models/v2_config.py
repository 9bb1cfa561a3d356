"""Architecture of a Uni-Perceiver v2."""

from __future__ import annotations

from dataclasses import dataclass, field

from internimage.backbones.config import InternImageConfig
from internimage.errors import ConfigError
from internimage.layers.queries import points as sampling
from internimage.models.mask_dino import MaskDINOConfig
from internimage.multimodal.models.config import LEARNT as WORDS
from internimage.multimodal.models.config import check_sequences
from internimage.multimodal.words.towers import TowerConfig

LEARNT = (*WORDS, "objects")


@dataclass(frozen=True)
class ProposalConfig:
    """The network that proposes objects of any kind: see :class:`internimage.models.mask_dino.MaskDINOConfig`.

    Attributes:
        kept: proposals of a picture that become tokens.
    """

    channels: int = 256
    queries: int = 300
    encoder_layers: int = 6
    decoder_layers: int = 9
    width: int = 2048
    encoder_width: int = 1024
    parts: int = 1
    denoising: int = 100
    mask_width: int = 256
    mask_points: int = sampling.POINTS
    kept: int = 200

    def __post_init__(self) -> None:
        if not 1 <= self.kept <= self.queries:
            raise ConfigError(f"kept is {self.kept}; expected 1 to {self.queries}, the proposals that there are")


@dataclass(frozen=True)
class UniPerceiverV2Config:
    """Architecture of a Uni-Perceiver v2; what the paper does not say is as small text towers and decoders usually are.

    Attributes:
        backbone: of four stages.
        proposals: which regions of a picture may be objects.
        text: the tower that reads.
        vocabulary: ids of the words that the model knows, of CLIP's or of a trained tower's; None for all.
        width: d, of every token; a multiple of 4 and of the heads.
        layers, heads, feed_forward: of the decoder.
        experts: in the feed-forward part of each of its layers; 0 for none.
        layer_scale: initial scale of each branch; None for no scale.
        longest: tokens of a text.
        cells: the map of the backbone, 0 to 3, whose cells become tokens of the whole picture; the paper's is the last.
        pooled: tokens that each sum a picture up.
        span: where the end of a map's longer side is in the waves that say where a cell is.
        side: of the square pictures that are described, searched and classified, in pixels; objects are found in
            pictures as the preprocessing gives them.
        learnt: what the model does, some of "captions", "pairs", "questions", "names" (of classes) and "objects".
        answers, names, objects: texts of the answers, classes and objects that it chooses among.
        detections: how many objects of a picture are reported.
        num_classes: 0: names of classes are words.
    """

    backbone: InternImageConfig
    proposals: ProposalConfig = field(default_factory=ProposalConfig)
    text: TowerConfig = field(default_factory=TowerConfig)
    vocabulary: tuple[int, ...] | None = None
    width: int = 768
    layers: int = 6
    heads: int = 12
    feed_forward: int = 3072
    experts: int = 8
    layer_scale: float | None = 1e-3
    longest: int = 64
    cells: int = 3
    pooled: int = 4
    span: float = 10.0
    side: int = 224
    learnt: tuple[str, ...] = ()
    answers: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    objects: tuple[str, ...] = ()
    detections: int = 100
    num_classes: int = 0

    def __post_init__(self) -> None:
        for name in ("width", "layers", "heads", "feed_forward", "longest", "pooled", "side", "detections"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} is {getattr(self, name)}; expected 1 or more")
        check_sequences(self, LEARNT)
        if len(self.backbone.depths) != 4:
            raise ConfigError(f"the backbone has {len(self.backbone.depths)} stages; expected 4, whose maps are needed")
        if not 0 <= self.cells < 4:
            raise ConfigError(f"cells is {self.cells}; expected the number of a map of the backbone, 0 to 3")

    @property
    def mask_dino(self) -> MaskDINOConfig:
        """The network that proposes, with the backbone that it shares."""
        own = {name: value for name, value in vars(self.proposals).items() if name != "kept"}
        return MaskDINOConfig(self.backbone, 1, **own)
