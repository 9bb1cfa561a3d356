"""Architecture of M3I's pre-training."""

from __future__ import annotations

from dataclasses import dataclass

from internimage.backbones.config import InternImageConfig
from internimage.errors import ConfigError

_COUNTS = ("width", "layers", "heads", "feed_forward", "shared", "text_width", "text_layers", "text_heads", "longest")


@dataclass(frozen=True)
class M3IConfig:
    """A backbone, and what it is trained with.

    Attributes:
        backbone: what is trained; its last map's tokens are what is mixed, hidden and predicted.
        width, layers, heads, feed_forward: of the two decoders, of the input view and of the other one.
        shared: width in which pictures are compared with classes and texts.
        text_width, text_layers, text_heads: of the encoder of texts; inside its layers it is four times as wide.
        longest: pieces of words of a text.
        vocabulary: ids of CLIP's words that the encoder of texts knows; None for all.
        texts: whether there is one.
        num_classes: whose embeddings pictures are compared with; 0 for none.
        momentum: how much the past weighs in the moving average of the backbone at first; half a cosine raises it to 1.
        temperature: of classes and texts at first.
    """

    backbone: InternImageConfig
    width: int = 512
    layers: int = 4
    heads: int = 8
    feed_forward: int = 2048
    shared: int = 256
    text_width: int = 256
    text_layers: int = 4
    text_heads: int = 4
    longest: int = 64
    vocabulary: tuple[int, ...] | None = ()
    texts: bool = False
    num_classes: int = 0
    momentum: float = 0.996
    temperature: float = 0.07

    def __post_init__(self) -> None:
        for name in _COUNTS:
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} is {getattr(self, name)}; expected 1 or more")
        for width, heads in (("width", "heads"), ("text_width", "text_heads")):
            if getattr(self, width) % getattr(self, heads):
                raise ConfigError(f"{width} is {getattr(self, width)}; expected a multiple of {heads}")
        if self.width % 4:
            raise ConfigError(f"width is {self.width}; expected a multiple of 4")
        if self.num_classes < 0:
            raise ConfigError(f"num_classes is {self.num_classes}; expected 0 or more")
        if not 0 <= self.momentum <= 1:
            raise ConfigError(f"momentum is {self.momentum}; expected 0 to 1")
        if not self.temperature > 0:
            raise ConfigError(f"temperature is {self.temperature}; expected more than 0")
