"""BEVFormer: the numbers of the released code."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.driving import Goldens, frame, golden_frame, golden_model, head_names
from torch import Tensor

from internimage.checkpoints.layouts import from_ours, layout_of, to_ours
from internimage.driving.bev.code import boxes_of, code_of
from internimage.driving.bev.decoding import BoxSelection, best_boxes
from internimage.driving.bev.grid import BEVGrid
from internimage.driving.bev.history import turned
from internimage.driving.bev.inputs import BoxTargets, Views
from internimage.driving.bev.losses import box_losses, match
from internimage.driving.bev.projection import look, project
from internimage.driving.bev.spatial_attention import SpatialAttention
from internimage.driving.bev.temporal_attention import TemporalAttention
from internimage.driving.data.frames import Frame
from internimage.driving.geometry.motion import bev_shift, bev_turn, can_bus_vector
from internimage.driving.geometry.poses import Pose
from internimage.driving.models.bevformer import BEVFormer
from internimage.driving.recipes.boxes3d import RECIPES


def near(found: Tensor, expected: Tensor, atol: float) -> None:
    torch.testing.assert_close(found.detach(), expected.detach().to(found.dtype), atol=atol, rtol=0)


def turned_yaw(boxes: Tensor) -> Tensor:
    """Boxes with the released angle as boxes with ours, in [-pi, pi)."""
    boxes = boxes.clone()
    boxes[:, 6] = (-boxes[:, 6] - math.pi / 2 + math.pi) % (2 * math.pi) - math.pi
    return boxes


@pytest.mark.full
def test_geometry_is_the_released_code_s(shared: Path) -> None:
    """Reference points, projection, visibility, shift and history: all exact."""
    goldens = Goldens(shared, "geometry")
    extent = (-51.2, -51.2, -5.0, 51.2, 51.2, 3.0)
    for tag in ("base16", "occ8", "olv2"):
        size = goldens.meta[tag]
        grid = BEVGrid(size["H"], size["W"], (-1, -1, 0, 1, 1, size["Z"]), size["D"])
        assert torch.equal(grid.shares().transpose(0, 1)[None], goldens[f"ref3d.{tag}"])
        assert torch.equal(grid.centres()[None, :, None], goldens[f"ref2d.{tag}"])
    matrices = goldens["lidar2img_f64"].float()[None]
    uv, seen = project(BEVGrid(25, 25, extent).points(), matrices, (928, 1600))
    near(uv[0], goldens["proj.base25.uv"][:, 0], 1e-5)
    assert torch.equal(seen[0], goldens["proj.base25.mask"][:, 0])
    for tag, side, scale, size in (("tiny25", 25, 0.5, (480, 800)), ("small25", 25, 0.8, (736, 1280))):
        smaller = matrices * torch.tensor([scale, scale, 1, 1])[:, None]
        seen = project(BEVGrid(side, side, extent).points(), smaller, size)[1]
        assert torch.equal(seen[0].sum((1, 2)), goldens[f"proj.{tag}.points_per_cam"])
    hits = look(BEVGrid().points(), matrices, torch.ones(1, 6, dtype=torch.bool), (928, 1600))
    assert hits.counts == goldens["proj.base200.queries_per_cam"].tolist()
    for tag, rows, columns, centre in (
        ("sq16", 16, 16, None),
        ("tiny50", 50, 50, (100, 100)),
        ("rect", 10, 20, None),
        ("rect_cfg", 10, 20, (5, 10)),
    ):
        grid = BEVGrid(rows, columns)
        history = goldens.given(f"prev.{tag}", (1, grid.cells, 16))
        for case in range(7):
            motion = goldens[f"ego.can_bus.{case}_f64"].numpy()
            near(torch.from_numpy(bev_shift(motion, (102.4, 102.4))), goldens[f"ego.{tag}.{case}.shift"][0], 1e-8)
            moved = turned(history, torch.tensor([bev_turn(motion)]), grid, centre)[0, :, :2]
            safe = goldens[f"ego.{tag}.{case}.safe"].flatten()
            assert torch.equal(moved[safe], goldens[f"ego.{tag}.{case}.rotated_prev_ch01"][safe])


@pytest.mark.full
def test_motion_of_a_sequence_is_the_released_code_s(shared: Path) -> None:
    entries = json.loads((shared / "goldens/driving/test_sequence_can_bus.json").read_text())["sequence"]
    previous = None
    for entry in entries:
        now = frame(tuple(entry["abs_xyz"]), entry["abs_yaw_deg"], entry["scene"])
        known = previous if previous is not None and previous.scene == now.scene else None
        assert (known is not None) == entry["history_used"]
        motion, expected = can_bus_vector(now, known), entry["into_head"]
        assert motion[:3].tolist() == pytest.approx(expected["xyz"], abs=1e-9)
        assert motion[16:].tolist() == pytest.approx([expected["yaw_rad_17th"], expected["dyaw_deg_18th"]], abs=1e-9)
        previous = now


@pytest.mark.full
def test_motion_in_tables_is_the_released_code_s(shared: Path) -> None:
    """From the pose of the lidar's moment and the IMU's record after it, with w four times."""
    content = json.loads((shared / "goldens/driving/nuscenes_io.json").read_text())
    tables = content["tables"]
    named = {
        table: {row["token"]: row for row in tables[table]} for table in ("sensor", "calibrated_sensor", "ego_pose")
    }
    poses = {}
    for row in tables["sample_data"]:
        sensor = named["calibrated_sensor"][row["calibrated_sensor_token"]]["sensor_token"]
        if named["sensor"][sensor]["modality"] == "lidar":
            pose = named["ego_pose"][row["ego_pose_token"]]
            poses[row["sample_token"]] = Pose.from_quaternion(pose["rotation"], pose["translation"])
    previous, earlier = None, np.zeros(18)
    for info in content["infos"]:
        expected = np.array(info["can_bus"])
        imu = np.array(info["can_bus_converter"][7:16])
        now = Frame("", info["scene_token"], 0, poses[info["token"]], Pose.identity(), (), imu_after=imu)
        known = previous if info["prev"] else None
        motion = can_bus_vector(now, known, released=True)
        assert motion[3:17].tolist() == pytest.approx(expected[3:17].tolist(), rel=1e-9, abs=1e-12)
        assert now.ego.translation.tolist() == expected[:3].tolist()
        if known is not None:
            assert motion[:3].tolist() == pytest.approx((expected - earlier)[:3].tolist(), abs=1e-9)
            assert motion[17] == pytest.approx((expected - earlier)[17], abs=1e-9)
        previous, earlier = now, expected


@pytest.mark.full
def test_boxes_are_the_released_code_s(shared: Path) -> None:
    goldens = Goldens(shared, "geometry")
    near(code_of(turned_yaw(goldens["box.boxes"])), goldens["box.code"], 1e-5)
    near(boxes_of(goldens["box.code"]), turned_yaw(goldens["box.decoded"]), 1e-5)
    for threshold in (None, 0.6, 0.99):
        for n in range(2):
            report = BoxSelection(keep=60, score_threshold=threshold)
            found = best_boxes(goldens["coder.cls"][n], goldens["coder.code"][n], report)
            prefix = f"coder.thr_{threshold}.{n}."
            assert torch.equal(found.labels, goldens[prefix + "labels"])
            near(found.scores, goldens[prefix + "scores"], 1e-6)
            near(found.boxes, turned_yaw(goldens[prefix + "bboxes"]), 1e-5)


@pytest.mark.full
@torch.no_grad()
def test_attention_is_the_released_code_s(shared: Path) -> None:
    """In time with and without a history; in space with four and eight points above a cell."""
    goldens = Goldens(shared, "modules")
    time = TemporalAttention(32, 8)
    goldens.law.fill_state_dict(time.state_dict(), prefix="tsa.")
    query, past, position = (goldens.given(f"tsa.{name}", (1, 256, 32)) for name in ("query", "prev", "pos"))
    centres = BEVGrid(16, 16).centres()
    moved = centres + torch.tensor(goldens.meta["tsa"]["shift"])
    for name, before, places in (
        ("no_history", query, (centres, centres)),
        ("history", past, (moved, centres)),
        ("history_both_shifted", past, (moved, moved)),
    ):
        found = query + time(query + position, before, query, torch.stack(places)[None], (16, 16))
        near(found, goldens[f"tsa.{name}"], 1e-5)
    shapes = [(height, width) for height, width in goldens.meta["feat_shapes"]]
    query = goldens.given("sca.query", (1, 256, 32))
    levels = [goldens.given(f"sca.value{level}", (3, h * w, 1, 32))[:, :, 0] for level, (h, w) in enumerate(shapes)]
    for points, extent in ((4, (-51.2, -51.2, -5.0, 51.2, 51.2, 3.0)), (8, (-40.0, -40.0, -1.0, 40.0, 40.0, 5.4))):
        space, grid = SpatialAttention(32, 8, 4, 8, points), BEVGrid(16, 16, extent, points)
        inside = "deformable_attention."
        state = {("" if name.startswith("output") else inside) + name: one for name, one in space.state_dict().items()}
        goldens.law.fill_state_dict(state, prefix="sca.")
        matrices = goldens["head.lidar2img_f64"].float()[None]
        assert torch.equal(project(grid.points(), matrices, (72, 128))[1][0], goldens[f"sca.d{points}.mask"][:, 0])
        sight = look(grid.points(), matrices, torch.ones(1, 3, dtype=torch.bool), (72, 128))
        near(query + space(query, torch.cat(levels, 1), shapes, sight), goldens[f"sca.d{points}.out"], 1e-5)


@pytest.mark.full
@torch.no_grad()
def test_two_frames_of_two_samples_are_the_released_code_s(shared: Path) -> None:
    """Each sample as if it were alone, which the released code's batches were not; then what is reported."""
    goldens = Goldens(shared, "modules")
    model = golden_model(goldens)
    history = None
    for number in (0, 1):
        (maps, views), (others, other) = golden_frame(goldens, number), golden_frame(goldens, number, "b2")
        near(model.encoder.motion(views.can_bus), goldens[f"head.frame{number}.can_bus_mlp"], 1e-5)
        both = [torch.cat(pair) for pair in zip(maps, others, strict=True)]
        history = model.encoder(both, Views.stacked([views, other]), history)
        near(history[0], goldens[f"head.frame{number}.bev_embed"], 1e-4)
        near(history[1], goldens[f"b2.frame{number}.bev_alone"], 1e-4)
        logits, codes = model.decoder(history)
        near(logits[:, 0], goldens[f"head.frame{number}.all_cls_scores"], 2e-4)
        near(codes[:, 0], goldens[f"head.frame{number}.all_bbox_preds"], 5e-4)
        last = model.decoder(history, last=True)
        assert torch.equal(last[0][0], logits[-1])
        assert torch.equal(last[1][0], codes[-1])
    found = best_boxes(logits[-1, 0], codes[-1, 0], BoxSelection(keep=60))
    assert torch.equal(found.labels, goldens["head.frame1.decoded.labels"])
    near(found.scores, goldens["head.frame1.decoded.scores"], 1e-5)
    near(found.boxes, turned_yaw(goldens["head.frame1.decoded.bboxes"]), 5e-4)


@pytest.mark.full
def test_losses_and_gradients_are_the_released_code_s(shared: Path) -> None:
    """Of every parameter and every map; one box has no velocity and is left out, as in the released code."""
    goldens, gradients = Goldens(shared, "modules"), Goldens(shared, "gradients")
    model = golden_model(goldens)
    with torch.no_grad():
        history = model.encoder(*golden_frame(goldens, 0))
    maps, views = golden_frame(goldens, 1)
    maps = [one.requires_grad_() for one in maps]
    logits, codes = model.decoder(model.encoder(maps, views, history))
    targets = [BoxTargets(turned_yaw(goldens["loss.gt_boxes_gravity"]), goldens["loss.gt_labels"])]
    matched = match(logits, codes, targets)
    assert torch.equal(matched[-1, 0] + 1, goldens["loss.assigned_gt_inds"])
    losses = box_losses(logits, codes, matched, targets, model.code_weights, drop_incomplete=True)
    for kind, own in zip(("cls", "bbox"), losses, strict=True):
        for layer, prefix in enumerate(("d0.", "d1.", "")):
            assert own[layer].item() == pytest.approx(goldens.meta["loss"][f"{prefix}loss_{kind}"], rel=1e-5)
    torch.stack(losses).sum().backward()
    names, norms = head_names(model), gradients.meta["grad_norm"]
    assert set(names.values()) == set(norms)
    for name, parameter in model.named_parameters():
        if name in names:
            assert parameter.grad is not None
            assert float(parameter.grad.norm()) == pytest.approx(norms[names[name]], rel=1e-4), name
    for level, one in enumerate(maps):
        assert one.grad is not None
        index = gradients.law.sample_index(one.numel(), 512)
        expected = gradients[f"grad.feat{level}.samples"]
        near(one.grad.flatten()[index], expected, 1e-4 * float(expected.abs().max()))


@pytest.mark.full
@pytest.mark.parametrize("name", ["tiny", "small", "base"])
def test_tensors_are_the_released_files_(shared: Path, name: str) -> None:
    """Every key with its shape, and none besides; both ways."""
    recipe = next(one for one in RECIPES if one.name == f"bevformer_{name}")
    with torch.device("meta"):
        model = BEVFormer(recipe.config)
    keys = json.loads((shared / f"goldens/driving/manifests/bevformer_{name}.json").read_text())["keys"]
    state = model.state_dict()
    names = from_ours(state, "official", model.config)
    integers = {theirs for ours, theirs in names.items() if not state[ours].is_floating_point()}
    assert integers == {key for key, shape in keys.items() if shape == ["int64"]}
    found = {theirs: list(state[ours].shape) for ours, theirs in names.items() if theirs not in integers}
    assert found == {key: shape for key, shape in keys.items() if key not in integers}
    assert layout_of(keys) == "official"
    assert to_ours(keys, "official", model.config) == {theirs: ours for ours, theirs in names.items()}
