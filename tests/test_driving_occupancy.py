"""Occupancy: the numbers of the released code, and what must not matter."""

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.driving import BACKBONE, Goldens, head_names, rig, views_of
from torch import Tensor

from internimage.checkpoints.layouts import from_ours
from internimage.driving.bev.grid import BEVGrid
from internimage.driving.bev.inputs import VoxelTargets
from internimage.driving.data.occ3d import CLASSES, VoxelGrid, read_space, space_bytes, submission_bytes
from internimage.driving.drawing.space import draw_space, draw_space_above
from internimage.driving.models.occupancy import OccupancyConfig, OccupancyNetwork
from internimage.driving.voxels.losses import VoxelMemory, drawn, lovasz_softmax, voxel_losses
from internimage.driving.voxels.settings import VoxelLosses
from internimage.driving.world.painting import View
from internimage.driving.world.rig import NUSCENES_RIG
from internimage.driving.world.scene import make_scene
from internimage.driving.world.space import SpaceOf
from internimage.errors import ConfigError, DataError
from internimage.recipes import get_recipe

GRID = VoxelGrid()
FREE = np.full(GRID.shape, CLASSES.index("free"), np.uint8)


def golden_network(goldens: Goldens, **changes: Any) -> OccupancyNetwork:
    meta = goldens.meta
    config = OccupancyConfig(
        BACKBONE,
        cameras=tuple(meta["cams"]),
        channels=meta["embed_dims"],
        grid=BEVGrid(meta["bev_h"], meta["bev_w"], tuple(meta["pc_range"]), meta["points_in_pillar"]),
        width=2 * meta["embed_dims"],
        encoder_layers=meta["encoder_layers"],
        heights=meta["pillar_h"],
        voxel_channels=meta["out_dim"],
        **changes,
    )
    model = OccupancyNetwork(config).eval()
    state, names = model.state_dict(), head_names(model)
    goldens.law.fill_state_dict({theirs: state[ours] for ours, theirs in names.items()})
    assert {theirs: list(state[ours].shape) for ours, theirs in names.items()} == meta["head_keys"]
    return model


@pytest.mark.full
@pytest.mark.parametrize("released", [True, False])
@torch.no_grad()
def test_two_frames_are_the_released_code_s(released: bool, shared: Path) -> None:
    """As released, where the present is looked for where the past was, and without that."""
    goldens = Goldens(shared, "occupancy")
    model = golden_network(goldens, released_shift=released)
    meta, history = goldens.meta, None
    projection = goldens["lidar2img_f64"].float() @ goldens["ego2lidar_f64"].float()
    for number in (0, 1):
        motion = goldens[f"frame{number}.can_bus_f64"].numpy()
        views = views_of(projection, motion, meta["img_shape"], continued=number > 0, sides=(80, 80))
        maps = [
            goldens.given(f"frame{number}.feat{level}", (1, 3, meta["embed_dims"], *shape))[0]
            for level, shape in enumerate(meta["feat_shapes"])
        ]
        history = model.encoder(maps, views, history)
        logits = model.decoder(history)
        name = "frame1.fixed." if number and not released else f"frame{number}."
        close(history[0].T.reshape(meta["embed_dims"], meta["bev_h"], meta["bev_w"]), goldens[f"{name}bev_embed_CHW"])
        if number == 0:
            close(logits[0], goldens["frame0.occ_xyz_class"])
            targets = VoxelTargets(goldens["loss.semantics"], goldens["loss.mask_camera"])
            for seen_only, kind in ((False, "all"), (True, "masked")):
                found = learnt(logits, targets, VoxelLosses(seen_only=seen_only))
                assert float(found["class"]) == pytest.approx(meta["loss"][kind], rel=1e-5)
        else:
            places = torch.from_numpy(np.asarray(goldens.law.sample_index(logits.numel(), 4096)))
            close(logits.flatten()[places], goldens[f"{name}occ_xyz_class.samples"])
        if f"{name}argmax" in goldens.arrays:
            assert torch.equal(logits[0].argmax(-1), goldens[f"{name}argmax"].long())


def close(found: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(found, expected.to(found.dtype), atol=1e-4, rtol=0)


def learnt(logits: Tensor, targets: VoxelTargets, settings: VoxelLosses, shares: Tensor | None = None) -> Any:
    """What is learnt of voxels of which the logits of all are known."""
    voxels, standing = drawn(targets, settings, logits.shape[-1])
    return voxel_losses(logits[voxels], targets.labels[voxels].long(), settings, standing, shares)


@pytest.mark.full
@pytest.mark.parametrize("name", ["bevformer_base", "bevformer_small", "internimage_s"])
def test_released_files_fit(name: str, shared: Path) -> None:
    """All their keys and shapes, and no other."""
    keys = json.loads((shared / f"goldens/driving/manifests/occupancy_{name}.json").read_text())["keys"]
    with torch.device("meta"):
        model = OccupancyNetwork(get_recipe(f"occupancy_{name}").config)
    state = model.state_dict()
    names = from_ours(state, "official", model.config)
    shapes = {theirs: list(state[ours].shape) for ours, theirs in names.items()}
    assert shapes == {key: [] if shape == ["int64"] else shape for key, shape in keys.items()}


def test_a_painted_place_above_the_ground_lands_at_its_voxel() -> None:
    """x ahead along the first index, y to the left along the second, z up along the third; channels are heights."""
    config = small(num_classes=3)
    model = OccupancyNetwork(config).eval()
    for convolution in model.decoder.convolutions:
        torch.nn.init.dirac_(convolution.conv.weight)
    cells = torch.zeros(1, config.grid.cells, config.channels)
    x, y, z = 7, 2, 3
    cells[0, y * config.grid.width + x, z] = 1.0  # the first channel at that height
    space = model.decoder.convolutions(
        cells.transpose(1, 2).unflatten(1, (-1, config.heights)).unflatten(-1, (config.grid.height, config.grid.width))
    )
    assert space[0, 0].nonzero().tolist() == [[z, y, x]]
    with torch.no_grad():
        away = (model.decoder(cells) - model.decoder(torch.zeros_like(cells))).abs().sum(-1)[0]
    assert away.nonzero().tolist() == [[x, y, z]]


def small(**changes: Any) -> OccupancyConfig:
    grid = BEVGrid(6, 10, (-10.0, -6.0, -1.0, 10.0, 6.0, 2.2), 4)
    return OccupancyConfig(
        BACKBONE, **{"cameras": ("a", "b", "c"), "channels": 16, "grid": grid, "heads": 2, "points": 4, "width": 32}
        | {"encoder_layers": 1, "heights": 8, "voxel_channels": 8, "dropout": 0.0} | changes
    )  # fmt: skip


def test_history_is_ignored_where_nothing_was_before_and_used_where_something_was() -> None:
    torch.manual_seed(0)
    model = OccupancyNetwork(small()).eval()
    views = rig(2)
    with torch.no_grad():
        alone, bev = model(views)
        again, _ = model(views, torch.randn_like(bev))
    torch.testing.assert_close(alone, again)
    assert alone.shape == (2, 10, 6, 8, 18)


def test_lovasz_is_one_minus_the_overlap_of_hard_answers() -> None:
    """Where chances are 0 and 1, the extension equals what it extends: a mean over classes that are there."""
    generator = torch.Generator().manual_seed(0)
    labels, found = (torch.randint(0, 4, (500,), generator=generator) for _ in range(2))
    labels = labels.clamp(max=2)  # the last class is nowhere
    overlaps = [
        float(((labels == one) & (found == one)).sum() / ((labels == one) | (found == one)).sum()) for one in range(3)
    ]
    hard = torch.nn.functional.one_hot(found, 4).float()
    assert float(lovasz_softmax(hard, labels)) == pytest.approx(1 - sum(overlaps) / 3, abs=1e-6)


def test_lovasz_with_a_memory_is_what_all_frames_lose() -> None:
    """Hard answers again: the loss is by how much the overlap of all voxels falls below that of these found rightly;
    and what is found of a class that is not there costs something."""
    generator = torch.Generator().manual_seed(1)
    labels, found = (torch.randint(0, 3, (400,), generator=generator) for _ in range(2))
    counts = torch.randint(1, 4, (400,), generator=generator).float()
    memory, hard = VoxelMemory(4, 5.0), torch.nn.functional.one_hot(found, 4).float()
    memory.add(hard, labels, counts)
    hits = torch.tensor([float(counts[(labels == one) & (found == one)].sum()) for one in range(4)])
    unions = torch.tensor([float(counts[(labels == one) | (found == one)].sum()) for one in range(4)])
    torch.testing.assert_close(memory.totals, torch.stack([hits, unions], 1))
    memory.add(hard.roll(1, 1), labels, counts)
    before = memory.before()
    assert not torch.equal(before, 5 * torch.stack([hits, unions], 1))
    lost = []
    for one in range(4):
        if before[one, 1]:
            true = float(counts[labels == one].sum())
            best = (before[one, 0] + true) / (before[one, 1] + true)
            lost.append(float(best - (before[one, 0] + hits[one]) / (before[one, 1] + unions[one])))
    assert float(lovasz_softmax(hard, labels, counts, before)) == pytest.approx(sum(lost) / len(lost), abs=1e-6)
    absent = torch.zeros(50, dtype=torch.int64)
    wrong, right = (torch.nn.functional.one_hot(absent + one, 4).float() for one in (1, 0))
    assert lovasz_softmax(wrong, absent, None, before) > lovasz_softmax(right, absent, None, before) == 0


def test_rare_classes_count_as_much_as_they_are_told_to() -> None:
    """By hand: with power 1 every class has the same share of the loss, the mean weight is 1, and what is best to say
    without looking stays how frequent each is."""
    logits = torch.zeros(1, 2, 2, 2, 2)
    labels = torch.tensor([0] * 6 + [1] * 2, dtype=torch.uint8).view(1, 2, 2, 2)
    targets, shares = VoxelTargets(labels, torch.ones_like(labels, dtype=torch.bool)), torch.tensor([0.75, 0.25])
    logits[..., 1] = torch.tensor([0.3, -1.0, 0.7, 2.0]).view(2, 2, 1)
    shifted = logits.flatten(0, 3) + torch.tensor([2 / 3, 2.0]).log()
    plain = torch.nn.functional.cross_entropy(shifted, labels.flatten().long(), reduction="none")
    means = [plain[labels.flatten() == one].mean() for one in (0, 1)]
    found = learnt(logits, targets, VoxelLosses(balance=1.0), shares)["class"]
    assert float(found) == pytest.approx(float(sum(means)) / 2, rel=1e-6)
    blind = shares.log().requires_grad_()
    learnt(blind.expand(1, 2, 2, 2, 2), targets, VoxelLosses(balance=0.5), shares)["class"].backward()
    assert blind.grad is not None
    assert blind.grad.abs().max() < 1e-6
    with pytest.raises(ConfigError, match="needs the shares"):
        learnt(logits, targets, VoxelLosses(balance=1.0))
    unknown = targets.labels.clone()
    unknown[0, 0, 0, 0] = 255  # nobody knows what it is: the mean of the others
    others = learnt(logits, VoxelTargets(unknown, targets.seen), VoxelLosses(seen_only=False))["class"]
    plain = torch.nn.functional.cross_entropy(logits.flatten(0, 3), labels.flatten().long(), reduction="none")
    assert float(others) == pytest.approx(float(plain[1:].mean()), rel=1e-6)
    nothing = learnt(logits, VoxelTargets(labels, targets.seen & False), VoxelLosses(lovasz=1.0))
    assert {name: float(loss) for name, loss in nothing.items()} == {"class": 0, "lovasz": 0}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"heights": 3}, "expected a multiple of the 3 heights"),
        ({"heights": 0}, "heights is 0"),
        ({"cameras": ()}, "expected names"),
        ({"levels": 1}, "levels is 1; expected 3 or more"),
    ],
)
def test_architectures_that_cannot_be_say_why(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        small(**changes)


# Labels, the drawn world, pictures


@pytest.fixture(scope="module")
def a_space() -> tuple[Any, Any, Any]:
    """Scene, views and space of a seed with a crossing, one second on, in small pictures."""
    scene = make_scene(2)
    views = [View(camera, 0.1) for camera in NUSCENES_RIG]
    return scene, views, SpaceOf(views, GRID)(scene, 1.0, [view.painted(scene, 1.0) for view in views])


def test_drawn_space_has_each_thing_where_its_box_is(a_space: tuple[Any, Any, Any]) -> None:
    """Volumes of things that are whole inside, within a voxel a side; the ground is one layer of what is painted."""
    scene, _, space = a_space
    ego = scene.ego.pose(1.0)
    checked = 0
    for thing in scene.things:
        cuboid = thing.at(1.0)
        centre = ego.inverse(cuboid.centre[None])[0]
        if max(abs(centre[:2])) > 34 or thing.kind not in ("car", "truck", "bus"):
            continue
        x, y, z = GRID.voxel_of(centre[None])[0]
        assert CLASSES[space.labels[x, y, z]] == thing.kind
        reach = int(np.hypot(*cuboid.size[:2]) / 2 / GRID.side) + 1
        around = space.labels[max(0, x - reach) : x + reach + 1, max(0, y - reach) : y + reach + 1]
        assert (around == CLASSES.index(thing.kind)).sum() * GRID.side**3 >= 0.6 * np.prod(cuboid.size)
        checked += 1
    assert checked
    ground = space.labels[:, :, 2]  # 0.2 m under to 0.2 m above the plane
    painted = {CLASSES.index(one) for one in ("driveable_surface", "sidewalk", "terrain")}
    assert set(np.unique(ground[ground > CLASSES.index("truck")])) <= {*painted, CLASSES.index("manmade")}
    assert (space.labels[:, :, 0] == CLASSES.index("free")).all()
    x, y, _ = GRID.voxel_of(np.array([[0.2, 0.2, 0.0]]))[0]
    assert CLASSES[ground[x, y]] == "driveable_surface"


def test_what_a_camera_sees_is_what_its_depth_says(a_space: tuple[Any, Any, Any]) -> None:
    """A wall of depth 12 m: voxels before it are seen, a voxel behind it too, nothing further, nothing beside it."""
    _, views, _ = a_space
    front = views[0]
    seen = SpaceOf([front], GRID).seen([np.full(front.size, 12.0, np.float32)])
    centre = front.camera.pose.translation
    for ahead, expected in ((3.0, True), (11.5, True), (12.1, True), (13.0, False), (-5.0, False)):
        x, y, z = GRID.voxel_of(centre[None] + np.array([[ahead, 0.0, 0.0]]))[0]
        assert seen[x, y, z] == expected, ahead


def test_labels_and_submissions_are_written_as_they_are_read(a_space: tuple[Any, Any, Any], tmp_path: Path) -> None:
    space, file = a_space[2], tmp_path / "labels.npz"
    file.write_bytes(space_bytes(space))
    again = read_space(file)
    for name in ("labels", "lidar", "camera"):
        assert (getattr(again, name) == getattr(space, name)).all()
    with np.load(io.BytesIO(submission_bytes(space.labels))) as stored:
        (name,) = stored.files
        assert stored[name].dtype == np.uint8
        assert (stored[name] == space.labels).all()


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        (None, "is not there; expected the labels of a frame"),
        (b"none", "cannot be read as labels of voxels"),
        ({"semantics": FREE}, "has no mask_lidar; expected semantics, mask_lidar, mask_camera"),
        ({"semantics": FREE[:3], "mask_lidar": FREE, "mask_camera": FREE}, r"semantics is uint8 of \(3, 200, 16\)"),
        ({"semantics": FREE.astype(float), "mask_lidar": FREE, "mask_camera": FREE}, "semantics is float64 of"),
        ({"semantics": FREE + 3, "mask_lidar": FREE, "mask_camera": FREE}, "has 20; expected 0 to 17, or 255"),
        ({"semantics": np.array([None]), "mask_lidar": FREE, "mask_camera": FREE}, "cannot be read as labels"),
    ],
)
def test_labels_that_are_none_are_refused(arrays: Any, message: str, tmp_path: Path) -> None:
    file = tmp_path / "labels.npz"
    if isinstance(arrays, bytes):
        file.write_bytes(arrays)
    elif arrays is not None:
        np.savez_compressed(file, **arrays)
    with pytest.raises(DataError, match=message):
        read_space(file)


def test_space_is_drawn_from_behind_and_from_above() -> None:
    """A red block ahead and to the left on grey ground: above and left of the middle in both pictures."""
    labels = FREE.copy()
    labels[:, :, 1] = CLASSES.index("driveable_surface")
    x, y, z = GRID.voxel_of(np.array([[20.0, 10.0, 1.0]]))[0]
    labels[x - 4 : x + 4, y - 4 : y + 4, 2 : z + 4] = CLASSES.index("car")
    for picture in (draw_space(labels, GRID, (160, 90)), draw_space_above(labels, GRID, 100)):
        pixels = np.asarray(picture, int)
        rows, columns = np.nonzero((pixels[..., 0] > 100) & (pixels[..., 1] < 90))
        assert len(rows) > 10
        assert rows.mean() < 0.55 * picture.height
        assert columns.mean() < 0.5 * picture.width
