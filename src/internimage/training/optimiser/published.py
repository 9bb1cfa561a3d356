"""Learning rates and weight decay exactly as the released optimisers had them, oddities included.

Released classifiers (``optimizer.py``): the extra norms inside the third stage keep the full rate instead of their
block's, and ``deformable_lr_scale`` needs ``layer_decay`` to act.  Released detectors and segmenters
(``custom_layer_decay_optimizer_constructor.py``): stem and heads are layers of their own, extra norms have the rate of
the blocks of their numbers, nothing is slowed but offsets of transformers and the offsets and weights of DCNv4;
composite backbones are not seen and keep the full rate; nothing is spared weight decay where the backbone has a rate of
its own.  Those of transformers and segmenters also give embeddings of levels and Mask2Former's queries the rate of the
stem, and spare all that is called a norm or sampling offset from weight decay.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from internimage.backbones.config import BackboneConfig
from internimage.models.model import ReleasedOptimizer

SAMPLING = re.compile(r"\.(sampling_offsets|dcn\.offset_mask)\.")
_SPARED = re.compile(r"norm|sampling_offsets")


def layers_after(name: str, optimizer: ReleasedOptimizer, backbones: Mapping[str, BackboneConfig]) -> int:
    """How many layers the released code counts after the one that a parameter of this name belongs to."""
    configs = list(backbones.values())
    if optimizer.at_stem_rate and re.match(optimizer.at_stem_rate, name):
        return sum(configs[0].depths) + 1
    prefix = next((one for one in backbones if name.startswith(one)), None)
    if prefix is None or (optimizer.by_layer and len(backbones) > 1):  # a composite backbone is not seen
        return 0
    inner, config = name.removeprefix(prefix), backbones[prefix]
    return _among_heads(inner, config) if optimizer.by_layer else _among_blocks(inner, config)


def is_spared(name: str, ndim: int, optimizer: ReleasedOptimizer, backbone_lr_scale: float) -> bool:
    """Whether the released code spares a parameter weight decay."""
    spared = ndim <= 1 or (optimizer.spared_by_name and _SPARED.search(name) is not None)
    return spared and backbone_lr_scale == 1.0


def _place(name: str) -> re.Match[str] | None:
    return re.match(r"stages\.(\d+)\.(?:(blocks|post_norms)\.(\d+)\.)?", name)


def _among_blocks(name: str, config: BackboneConfig) -> int:
    """Blocks after a parameter of a classifier's backbone."""
    depths = config.depths
    last = sum(depths) - 1
    if name.startswith("stem."):
        return last
    found = _place(name)
    if found is None or found[2] == "post_norms":
        return 0
    first = sum(depths[: int(found[1])])
    if found[2] == "blocks":
        return last - (first + int(found[3]))
    return max(0, last - (first + depths[int(found[1])]))  # norm and downsampling go with the next stage


def _among_heads(name: str, config: BackboneConfig) -> int:
    """Layers after a parameter of a detector's or segmenter's backbone: stem, blocks, heads."""
    depths = config.depths
    heads = sum(depths) + 1
    found = _place(name)
    if name.startswith("stem.") or found is None:
        return heads
    stage = int(found[1])
    if found[2]:
        return heads - (1 + sum(depths[:stage]) + int(found[3]))
    # downsampling and a stage's norm go with the first block of the next stage, the last norm with that of its own
    return heads - (1 + sum(depths[: min(stage + 1, len(depths) - 1)]))
