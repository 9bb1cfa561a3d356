"""Uni-Perceivers for tests, the goldens' among them."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from helpers.goldens import law_of_weights
from internimage.backbones.config import InternImageConfig
from internimage.checkpoints.layouts import from_ours
from internimage.multimodal.models.config import UniPerceiverConfig
from internimage.multimodal.models.uniperceiver import UniPerceiver
from internimage.multimodal.sequences.patches import PatchConfig

# of 60 words
SMALL = UniPerceiverConfig(
    InternImageConfig(channels=8, depths=(1, 1), groups=(1, 2)),
    vocabulary=tuple(range(300, 358)),
    width=16,
    layers=3,
    heads=2,
    feed_forward=32,
    layer_scale=None,
    longest=24,
)
PATCHES = UniPerceiverConfig(
    PatchConfig(8, 32), vocabulary=SMALL.vocabulary, width=16, layers=2, heads=2, feed_forward=32, layer_scale=None
)


def perceiver(config: UniPerceiverConfig, seed: int = 0) -> UniPerceiver:
    """In float64, with weights that let every input matter."""
    torch.manual_seed(seed)
    model = UniPerceiver(config).double().eval()
    for name, parameter in model.named_parameters():
        if parameter.dim() > 1 or "bias" in name:
            torch.nn.init.normal_(parameter, std=0.4)
    return model


class Goldens:
    """Arrays of ``goldens/multimodal/NAME.npz`` by subscription, and what belongs to them."""

    def __init__(self, shared: Path, name: str) -> None:
        folder = shared / "goldens" / "multimodal"
        with np.load(folder / f"{name}.npz", allow_pickle=False) as file:
            self.arrays: dict[str, Any] = dict(file)
        self.law = law_of_weights(folder / "fill_multimodal.py")

    def __getitem__(self, key: str) -> Tensor:
        return torch.from_numpy(self.arrays[key])

    def given(self, name: str, shape: tuple[int, ...]) -> Tensor:
        """An input, made of its name."""
        result: Tensor = self.law.tensor_input(name, shape, 0)
        return result.double()

    def texts(self, name: str) -> list[list[int]]:
        """The numbered texts of this name."""
        count = sum(key.startswith(f"{name}.") and key[len(name) + 1 :].isdigit() for key in self.arrays)
        return [self.arrays[f"{name}.{number}"].tolist() for number in range(count)]


def released(goldens: Goldens, *, experts: int) -> tuple[UniPerceiver, dict[str, str]]:
    """The goldens' model in float64, and our names of its tensors to the released ones."""
    config = UniPerceiverConfig(
        PatchConfig(16, 48), width=32, layers=3 if experts else 2, heads=4, feed_forward=64, experts=experts
    )
    model = UniPerceiver(config).eval()
    state = model.state_dict()
    names = from_ours(state, "official", config)
    goldens.law.fill_state_dict({theirs: state[ours] for ours, theirs in names.items()})
    return model.double(), names
