"""BEVFormers for tests, the goldens' among them."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from helpers.goldens import law_of_weights
from internimage.backbones.config import InternImageConfig
from internimage.checkpoints.layouts import from_ours
from internimage.driving.bev.grid import BEVGrid
from internimage.driving.bev.inputs import Views
from internimage.driving.geometry.motion import bev_shift, bev_turn
from internimage.driving.models.bevformer import BEVFormer, BEVFormerConfig

BACKBONE = InternImageConfig(channels=8, depths=(1, 1, 1, 1), groups=(1, 2, 4, 8))
HEAD = "pts_bbox_head."


class Goldens:
    """Arrays of ``goldens/driving/NAME.npz`` by subscription, and what belongs to them."""

    def __init__(self, shared: Path, name: str) -> None:
        self.folder = shared / "goldens" / "driving"
        with np.load(self.folder / f"{name}.npz", allow_pickle=False) as file:
            self.arrays: dict[str, Any] = dict(file)
        self.meta: dict[str, Any] = json.loads(str(self.arrays["meta_json"]))
        self.law = law_of_weights(self.folder / "fill_driving.py")

    def __getitem__(self, key: str) -> Tensor:
        if f"{key}.packed" in self.arrays:
            shape = self.arrays[f"{key}.shape"]
            bits = np.unpackbits(self.arrays[f"{key}.packed"])[: np.prod(shape)]
            return torch.from_numpy(bits.reshape(shape).astype(bool))
        return torch.from_numpy(self.arrays[key])

    def given(self, name: str, shape: tuple[int, ...]) -> Tensor:
        """An input, made of its name."""
        result: Tensor = self.law.tensor_input(name, shape)
        return result


def head_names(model: BEVFormer) -> dict[str, str]:
    """Our names of what the released models keep in their head, to names within that."""
    names = from_ours(model.state_dict(), "official", model.config)
    return {ours: theirs.removeprefix(HEAD) for ours, theirs in names.items() if theirs.startswith(HEAD)}


def golden_model(goldens: Goldens) -> BEVFormer:
    """The small BEVFormer of ``modules.npz``, with any backbone."""
    meta = goldens.meta
    config = BEVFormerConfig(
        BACKBONE,
        cameras=tuple(meta["cams"]),
        channels=meta["embed_dims"],
        grid=BEVGrid(meta["bev"][0], meta["bev"][1], extent=tuple(meta["pc_range"])),
        width=2 * meta["embed_dims"],
        encoder_layers=3,
        decoder_layers=3,
        queries=meta["num_query"],
    )
    model = BEVFormer(config).eval()
    state, names = model.state_dict(), head_names(model)
    goldens.law.fill_state_dict({theirs: state[ours] for ours, theirs in names.items()})
    assert {theirs: list(state[ours].shape) for ours, theirs in names.items()} == meta["head_keys"]
    return model


def golden_frame(goldens: Goldens, number: int, prefix: str = "head") -> tuple[list[Tensor], Views]:
    """Maps of a frame's cameras, and the rest of what a network is given."""
    meta = goldens.meta
    cameras = len(meta["cams"])
    name = "b2.frame" if prefix == "b2" else "frame"
    maps = [
        goldens.given(f"{name}{number}.feat{level}", (1, cameras, meta["embed_dims"], *shape))[0]
        for level, shape in enumerate(meta["feat_shapes"])
    ]
    can_bus = goldens[f"{prefix}.frame{number}.can_bus_f64"].numpy()
    return maps, views_of(goldens[f"{prefix}.lidar2img_f64"], can_bus, meta["img_shape"], continued=number > 0)


def views_of(
    lidar_to_pixels: Tensor, can_bus: Any, size: tuple[int, int], *, continued: bool, sides: Any = (102.4, 102.4)
) -> Views:
    """One frame of black pictures."""
    return Views(
        torch.zeros(1, len(lidar_to_pixels), 3, *size),
        lidar_to_pixels.float()[None],
        torch.ones(1, len(lidar_to_pixels), dtype=torch.bool),
        torch.from_numpy(can_bus).float()[None],
        torch.from_numpy(bev_shift(can_bus, sides)).float()[None],
        torch.tensor([bev_turn(can_bus)]),
        torch.tensor([continued]),
    )
