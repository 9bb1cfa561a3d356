"""BEVFormers for tests, the goldens' among them."""

import json
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from helpers.goldens import law_of_weights
from internimage.backbones.config import InternImageConfig
from internimage.checkpoints.layouts import from_ours
from internimage.checkpoints.names.table import Rows
from internimage.driving.bev.grid import BEVGrid
from internimage.driving.bev.inputs import Views
from internimage.driving.data.frames import Frame
from internimage.driving.geometry.motion import bev_shift, bev_turn
from internimage.driving.geometry.poses import Pose
from internimage.driving.models.bev import BEVModel
from internimage.driving.models.bevformer import BEVFormer, BEVFormerConfig
from internimage.driving.models.bevformer_v2 import BEVFormerV2Config
from internimage.driving.models.occupancy import EXTENT, OccupancyConfig
from internimage.driving.models.online_map import OnlineMapConfig
from internimage.driving.models.topology import TopologyConfig
from internimage.driving.perspective.settings import PerspectiveConfig
from internimage.driving.voxels.settings import VoxelLosses

BACKBONE = InternImageConfig(channels=8, depths=(1, 1, 1, 1), groups=(1, 2, 4, 8))
SMALL = BEVFormerConfig(
    InternImageConfig(channels=8, depths=(1, 1, 1), groups=(1, 2, 4)),
    out_levels=(1, 2),
    levels=2,
    channels=16,
    grid=BEVGrid(10, 10),
    heads=2,
    points=4,
    width=32,
    encoder_layers=1,
    decoder_layers=2,
    queries=20,
    dropout=0.0,
)
SMALL_SPACE = OccupancyConfig(
    InternImageConfig(channels=8, depths=(1, 1), groups=(1, 2)), out_levels=(1,), levels=1, channels=16,
    grid=BEVGrid(20, 20, EXTENT, 4), heads=2, points=4, width=16, encoder_layers=1, voxel_channels=4,
    decoder="plane", finer=10, dropout=0.0, learning=VoxelLosses(balance=0.5, lovasz=1.0, most=100),
)  # fmt: skip
SMALL_LANES = TopologyConfig(
    InternImageConfig(channels=8, depths=(1, 1), groups=(1, 2)), out_levels=(0, 1), levels=2, channels=16,
    grid=BEVGrid(6, 12, (-51.2, -25.6, -2.3, 51.2, 25.6, 1.7)), heads=2, points=4, width=16, encoder_layers=1,
    decoder_layers=2, queries=12, element_encoder_layers=1, element_decoder_layers=2, element_queries=6, dropout=0.0,
    placed=True,
)  # fmt: skip
SMALL_MAP = OnlineMapConfig(
    InternImageConfig(channels=8, depths=(1, 1), groups=(1, 2)), out_levels=(0, 1), levels=2, channels=8,
    grid=BEVGrid(10, 20, (-30.0, -15.0, -2.0, 30.0, 15.0, 2.0)), heights=(0.0,), head_channels=16, heads=2, width=16,
    decoder_layers=2, elements=8, line_points=6, dropout=0.0,
)  # fmt: skip
SMALL_MOMENTS = BEVFormerV2Config(
    InternImageConfig(channels=8, depths=(1, 1), groups=(1, 2)), out_levels=(0, 1), levels=2, channels=16,
    grid=BEVGrid(8, 8), heads=2, points=4, width=16, encoder_layers=1, decoder_layers=2, queries=10, groups=2,
    dropout=0.0, above=0.25, frames=(-1, 0, 1), fusion_width=16, proposals=4,
    perspective=PerspectiveConfig(1, (4, 8, 16), (16.0, 32.0), (30.0, 20.0, 12.0), (10.0, 8.0, 6.0), focal_length=40.0),
)  # fmt: skip
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


def renamed(ours: str, rows: Rows) -> str:
    """The released name of a tensor by a table of a part."""
    for first, second in rows:
        pattern = re.escape(first).replace(r"\#", r"(\d+)").replace(r"\*", "(.*)")
        if found := re.fullmatch(pattern, ours):
            return re.sub(r"[#*]", "{}", second).format(*found.groups())
    raise KeyError(ours)


def head_names(model: BEVModel) -> dict[str, str]:
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
        torch.tensor(size).expand(1, len(lidar_to_pixels), 2),
    )


def rig(frames: int, seed: int = 0) -> Views:
    """Frames of three cameras of 64x96 pixels: ahead, to the left and to the right, each a little elsewhere."""
    generator = torch.Generator().manual_seed(seed)
    matrices = torch.zeros(frames, 3, 4, 4)
    for n in range(frames):
        for camera, degrees in enumerate((0, 60, -60)):
            angle = torch.tensor(degrees + 5.0 * n + seed).deg2rad()
            right = torch.stack([angle.cos(), angle.sin(), torch.zeros(())])
            ahead = torch.stack([-angle.sin(), angle.cos(), torch.zeros(())])
            rotation = torch.stack([right, torch.tensor([0.0, 0.0, -1.0]), ahead])
            intrinsic = torch.tensor([[50.0, 0.0, 48.0], [0.0, 50.0, 32.0], [0.0, 0.0, 1.0]])
            place = torch.tensor([0.1 * camera, 0.5, 0.3])
            matrices[n, camera, :3] = intrinsic @ torch.cat([rotation, -(rotation @ place)[:, None]], 1)
            matrices[n, camera, 3, 3] = 1
    return Views(
        torch.randn(frames, 3, 3, 64, 96, generator=generator),
        matrices,
        torch.ones(frames, 3, dtype=torch.bool),
        torch.randn(frames, 18, generator=generator),
        torch.rand(frames, 2, generator=generator) * 0.1,
        torch.rand(frames, generator=generator) * 20 - 10,
        torch.zeros(frames, dtype=torch.bool),
        torch.tensor((64, 96)).expand(frames, 3, 2),
    )


def small() -> BEVFormer:
    """A BEVFormer that predicts in milliseconds, for :func:`rig`."""
    torch.manual_seed(0)
    config = BEVFormerConfig(
        InternImageConfig(channels=8, depths=(1, 1, 1), groups=(1, 2, 4)),
        num_classes=4,
        out_levels=(1, 2),
        levels=3,
        cameras=("FRONT", "LEFT", "RIGHT"),
        channels=16,
        grid=BEVGrid(6, 8, (-12, -9, -2, 12, 9, 2), 2),
        heads=2,
        points=4,
        width=32,
        encoder_layers=2,
        decoder_layers=2,
        queries=12,
    )
    model = BEVFormer(config)
    for name, parameter in model.named_parameters():
        if "attention_weights.weight" in name or "sampling_offsets.weight" in name:
            torch.nn.init.normal_(parameter, std=0.3)
    return model.eval()


def sample(maps: Tensor, x: float, y: float) -> Tensor:
    """Bilinear value of a map (H, W, C) at (x, y) in pixels from its corner; zero outside."""
    total = maps.new_zeros(maps.shape[2])
    left, top = int(np.floor(x - 0.5)), int(np.floor(y - 0.5))
    for row in (top, top + 1):
        for column in (left, left + 1):
            if 0 <= row < maps.shape[0] and 0 <= column < maps.shape[1]:
                total = total + (1 - abs(x - 0.5 - column)) * (1 - abs(y - 0.5 - row)) * maps[row, column]
    return total


def frame(place: tuple[float, float, float], degrees: float, scene: str = "A") -> Frame:
    """A vehicle somewhere, and an IMU that counts."""
    half = math.radians(degrees) / 2
    ego = Pose.from_quaternion((math.cos(half), 0, 0, math.sin(half)), place)
    return Frame("", scene, 0, ego, Pose.identity(), (), np.arange(9.0), np.arange(9.0) + 100)
