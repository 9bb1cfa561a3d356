"""BEVFormer v2: boxes of single pictures, several moments, groups, augmentation; as released and by definition."""

import copy
import gzip
import itertools
import json
import math
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.driving import BACKBONE, Goldens, head_names, renamed, rig, sample, views_of
from helpers.goldens import GOLDENS
from torch import Tensor

from internimage import registry
from internimage.backbones.config import InternImageConfig
from internimage.checkpoints.layouts import from_ours, layout_of, to_ours
from internimage.checkpoints.loading import ClassTensors
from internimage.driving.augmentation.features import mirrored, turned_ground, variations
from internimage.driving.augmentation.ground import ground_matrix, varied_boxes
from internimage.driving.augmentation.pictures import shown_intrinsic, shown_picture, shown_projection, to_shown
from internimage.driving.augmentation.settings import PUBLISHED, Framing, GroundVariation, SceneAugmentation, Shown
from internimage.driving.bev.decoder import Proposals
from internimage.driving.bev.decoding import BoxSelection, best_boxes
from internimage.driving.bev.fusion import filled
from internimage.driving.bev.grid import BEVGrid
from internimage.driving.bev.inputs import BoxTargets, Cameras, RawBoxes3D, Variations, Views
from internimage.driving.bev.losses import CodeDistance, box_losses, match
from internimage.driving.data.frames import Camera, Frame, Frames
from internimage.driving.geometry.boxes import Boxes, GlobalBoxes
from internimage.driving.geometry.motion import moved_between
from internimage.driving.geometry.poses import Pose, quaternion_of
from internimage.driving.models.bevformer_v2 import BEVFormerV2, BEVFormerV2Config
from internimage.driving.names.bevformer_v2 import PERSPECTIVE
from internimage.driving.perspective.assignment import assign
from internimage.driving.perspective.decoding import CameraBoxes, decoded, rotations, stacked, towards
from internimage.driving.perspective.detection import ViewBoxes, proposals, seen_from_above, view_boxes
from internimage.driving.perspective.head import PerspectiveHead, PerspectiveMaps
from internimage.driving.perspective.losses import bent, perspective_losses
from internimage.driving.perspective.settings import PerspectiveConfig, ViewSelection
from internimage.driving.perspective.targets import NO_ATTRIBUTE, CameraTargets, camera_targets, empty_targets
from internimage.errors import ConfigError, DataError, InputSizeError
from internimage.recipes import get_recipe
from internimage.settings.plain import from_plain

# as the released code calls what we call otherwise
OUTPUTS = {
    "logits": "logits",
    "box2d_reg": "sides",
    "centerness": "centrality",
    "quat": "quaternions",
    "ctr": "centres",
    "depth": "depths",
    "size": "sizes",
    "conf": "confidences",
    "attr": "attributes",
    "speed": "speeds",
}
LOSSES = {
    "cls": "class",
    "box2d_reg": "sides",
    "centerness": "centrality",
    "conf3d": "confidence",
    "box3d_quat": "rotations",
    "box3d_proj_ctr": "centres",
    "box3d_depth": "depths",
    "box3d_size": "sizes",
    "attr": "attribute",
    "speed": "speed",
}
ATTRIBUTE_NAMES = ("vehicle.moving", "vehicle.parked", "vehicle.stopped", "")
GOLDEN = PerspectiveConfig(reaches=(16.0, 32.0, 64.0, 128.0), detections=ViewSelection(candidates=300))


def near(found: Tensor, expected: Tensor, atol: float) -> None:
    torch.testing.assert_close(found.detach(), expected.detach().to(found.dtype), atol=atol, rtol=0, equal_nan=True)


def sampled(goldens: Goldens, key: str, found: Tensor, atol: float) -> None:
    """Near a golden that is kept whole, or at some places."""
    if key in goldens.arrays:
        return near(found, goldens[key], atol)
    samples = goldens[f"{key}.samples"]
    assert list(found.shape) == goldens[f"{key}.shape"].tolist()
    near(found.flatten()[goldens.law.sample_index(found.numel(), len(samples))], samples, atol)


def golden_head(goldens: Goldens) -> tuple[PerspectiveHead, list[Tensor]]:
    """The head of ``bevformer_v2.npz`` and the maps that it is given."""
    meta = goldens.meta
    channels = meta["channels"]
    head = PerspectiveHead(GOLDEN, channels, len(meta["classes"])).eval()
    state = {renamed(ours, PERSPECTIVE): tensor for ours, tensor in head.state_dict().items()}
    assert {name: list(tensor.shape) for name, tensor in state.items()} == meta["key_shapes"]
    goldens.law.fill_perspective(state)
    shape = meta["images"], channels
    return head, [goldens.given(f"mono.feat{level}", (*shape, *one)) for level, one in enumerate(meta["feat_shapes"])]


def golden_targets(goldens: Goldens) -> list[CameraTargets]:
    """The annotations of its three cameras, out of boxes in space, and of a picture without any."""
    targets = []
    for number in range(3):
        given = {name: goldens[f"ann{number}.{name}"].numpy() for name in ("bbox3d", "label", "speed", "attribute")}
        boxes, count = given["bbox3d"], len(given["label"])
        truth = GlobalBoxes(
            *(boxes[:, 4:7], boxes[:, 7:], boxes[:, :4]),
            np.stack([given["speed"].astype(float), np.zeros(count)], 1),
            given["label"],
            tuple(ATTRIBUTE_NAMES[one] for one in given["attribute"]),
            *(np.ones(count), np.full(count, -1)),
        )
        camera = one_camera(goldens[f"ann{number}.K_raw"].numpy(), (900, 1600))
        targets.append(camera_targets(moment(camera, truth), camera, Framing((0, 260, 1600, 900), 0.5)))
    return [*targets, empty_targets(goldens["K"][3].numpy())]


def one_camera(intrinsic: np.ndarray, size: tuple[int, int], pose: Pose | None = None) -> Camera:
    return Camera("CAM_FRONT", Path("none"), intrinsic, pose or Pose.identity(), size, 0)  # type: ignore[arg-type]


def moment(camera: Camera, truth: GlobalBoxes | None, ego: Pose | None = None) -> Frame:
    return Frame("", "", 0, ego or Pose.identity(), Pose.identity(), (camera,), truth=truth)


@pytest.mark.full
@torch.no_grad()
def test_what_cells_say_is_the_released_code_s(shared: Path) -> None:
    goldens = Goldens(shared, "bevformer_v2")
    head, maps = golden_head(goldens)
    for level, found in enumerate(head(maps)):
        for theirs, ours in OUTPUTS.items():
            sampled(goldens, f"eval.{theirs}{level}", getattr(found, ours), 1e-4)


@pytest.mark.full
def test_boxes_of_numbers_are_the_released_code_s(shared: Path) -> None:
    """Also at twice the focal length; what is seen beside the middle is turned."""
    goldens = Goldens(shared, "bevformer_v2")
    quaternions, centres, offsets, depths, sizes, labels = (
        goldens[f"part.{name}"] for name in ("quat", "ctr", "offset", "depth", "size", "label")
    )
    matrix = goldens["inv_K"][:1].expand(len(labels), -1, -1)
    found = decoded(quaternions, centres + offsets, depths, sizes, labels, matrix, GOLDEN)
    near(found.rotations, rotations(goldens["part.box.quat"]), 1e-5)
    near(found.positions(), goldens["part.box.tvec"], 1e-3)
    near(found.sizes, goldens["part.box.size"], 1e-4)
    near(found.corners(), goldens["part.box.corners"], 1e-3)
    near(found.depths[:, None], goldens["part.box.depth"], 1e-3)
    longer = torch.linalg.inv(torch.diag(torch.tensor([2.0, 2.0, 1.0])) @ goldens["K"][0]).expand_as(matrix)
    farther = decoded(quaternions, centres, depths, sizes, labels, longer, GOLDEN)
    near(farther.depths[:, None], goldens["part.box_double_focal.depth"], 1e-3)
    beside = decoded(quaternions, centres, depths, sizes, labels, matrix, GOLDEN)
    near(beside.rotations, rotations(goldens["part.ego_quat"]), 1e-5)
    near(bent(goldens["part.smooth_l1.x"]), goldens["part.smooth_l1.y"], 1e-7)


@pytest.mark.full
def test_what_cells_learn_is_the_released_code_s(shared: Path) -> None:
    goldens = Goldens(shared, "bevformer_v2")
    targets = golden_targets(goldens)
    for number, target in enumerate(targets[:3]):
        boxes = target.boxes()
        for name, found, atol in (
            ("bbox", target.sides, 1e-3),
            ("proj_ctr", boxes.centres, 1e-3),
            ("size", target.sizes, 1e-5),
            ("corners", boxes.corners(), 1e-4),
            ("speed", target.speeds, 1e-6),
        ):
            near(found, goldens[f"ann{number}.{name}"], atol)
        near(target.intrinsic, goldens["K"][number], 1e-4)
        assert torch.equal(target.labels, goldens[f"ann{number}.label"])
        assert torch.equal(target.attributes, goldens[f"ann{number}.attribute"])
    shapes = [(height, width) for height, width in goldens.meta["feat_shapes"]]
    learnt = assign(targets, shapes, GOLDEN)
    for theirs, ours in (("pos_inds", "cells"), ("gt", "boxes"), ("im_inds", "pictures"), ("level", "levels")):
        assert torch.equal(getattr(learnt, ours), goldens[f"target.{theirs}"])
    for theirs, ours in (("location", "places"), ("box2d_reg", "sides"), ("centerness", "centrality")):
        near(getattr(learnt, ours), goldens[f"target.{theirs}"], 1e-3 if ours == "sides" else 1e-5)


@pytest.mark.full
def test_losses_of_cells_and_gradients_are_the_released_code_s(shared: Path) -> None:
    """With running statistics and with those of the batch; gradients of every parameter and every map."""
    goldens = Goldens(shared, "bevformer_v2")
    head, maps = golden_head(goldens)
    targets = golden_targets(goldens)
    for training, name in ((False, "losses_running_stats"), (True, "losses")):
        maps = [one.detach().requires_grad_() for one in maps]
        losses = perspective_losses(head.train(training)(maps), targets, GOLDEN)
        expected = {ours: goldens.meta[name][f"loss_{theirs}"] for theirs, ours in LOSSES.items()}
        assert {kind: one.item() for kind, one in losses.items()} == pytest.approx(expected, rel=1e-5)
    torch.stack(list(losses.values())).sum().backward()
    norms = dict(zip(goldens.meta["grad_keys"], goldens["grad.norm"].tolist(), strict=True))
    found = {renamed(ours, PERSPECTIVE): one.grad for ours, one in head.named_parameters()}
    assert {name: float(one.norm()) for name, one in found.items() if one is not None} == pytest.approx(norms, rel=1e-4)
    for level, one in enumerate(maps):
        assert one.grad is not None
        sampled(goldens, f"grad.feat{level}", one.grad, 1e-4 * float(goldens[f"grad.feat{level}.samples"].abs().max()))


@pytest.mark.full
@torch.no_grad()
def test_boxes_of_pictures_are_the_released_code_s(shared: Path) -> None:
    """Those of each picture in their order, and which of all cameras' are kept, seen from above."""
    goldens = Goldens(shared, "bevformer_v2")
    head, maps = golden_head(goldens)
    views = view_boxes(head(maps), goldens["inv_K"], GOLDEN)
    for number, found in enumerate(views):
        for theirs, ours in (
            ("label", "labels"),
            ("level", "levels"),
            ("location", "places"),
            ("attribute", "attributes"),
        ):
            assert torch.equal(getattr(found, ours), goldens[f"det{number}.{theirs}"])
        for theirs, value in (
            ("boxes", found.boxes),
            ("scores", found.scores),
            ("scores_3d", found.scores_3d),
            ("speed", found.speeds),
            ("tvec", found.space.positions()),
            ("size", found.space.sizes),
            ("proj_ctr", found.space.centres),
        ):
            near(value, goldens[f"det{number}.{theirs}"], 1e-4)
        near(found.space.rotations, rotations(goldens[f"det{number}.quat"]), 1e-5)
    to_lidar = torch.stack([torch.linalg.inv(goldens[f"ann{number}.lidar2cam"]) for number in range(3)])
    kept, centres = seen_from_above(views[:3], to_lidar, 0.3)
    assert torch.equal(kept, goldens["bev_nms.keep"])
    near(centres, goldens["bev_nms.centre"], 1e-4)


def golden_model(goldens: Goldens, frames: tuple[int, ...] = (-2, -1, 0)) -> BEVFormerV2:
    """The network of ``bevformer_v2_temporal.npz``, on any backbone, without dropout."""
    meta = goldens.meta
    config = BEVFormerV2Config(
        BACKBONE,
        cameras=tuple(meta["cameras"]),
        channels=meta["embed_dims"],
        grid=BEVGrid(*meta["bev"], tuple(meta["pc_range"])),
        width=2 * meta["embed_dims"],
        encoder_layers=meta["encoder_layers"],
        decoder_layers=meta["decoder_layers"],
        queries=meta["num_query_per_group"],
        groups=meta["groups"],
        frames=frames,
        fusion_width=64,
        dropout=0.0,
    )
    model = BEVFormerV2(config).eval()
    state = {theirs: model.state_dict()[ours] for ours, theirs in head_names(model).items()}
    assert {name: list(tensor.shape) for name, tensor in state.items()} == meta["key_shapes"]
    goldens.law.fill_state_dict(state)
    return model


def golden_moments(goldens: Goldens, model: BEVFormerV2) -> list[Tensor]:
    """The ground two moments ago, one ago and now: maps given, calibrations moved into the present in float64."""
    arrays, meta = goldens.arrays, goldens.meta
    lidar = Pose.from_quaternion(arrays["lidar2ego_q"], arrays["lidar2ego_t"])
    moments = {
        time: Frame("", "", 0, Pose.from_quaternion(arrays[f"frame{time}.ego2global_q"], place), lidar, ())
        for time in (-2, -1, 0)
        for place in [arrays[f"frame{time}.ego2global_t"]]
    }
    cells = []
    for time, then in moments.items():
        matrices = arrays["lidar2img_single_f64"] @ moved_between(moments[0], then).matrix
        views = views_of(torch.from_numpy(matrices), np.zeros(18), meta["image_shape"], continued=False)
        shape = len(meta["cameras"]), meta["embed_dims"]
        maps = [
            goldens.given(f"frame{time}.feat{n}", (1, *shape, *one))[0] for n, one in enumerate(meta["feat_shapes"])
        ]
        with torch.set_grad_enabled(time == 0):
            cells.append(model.encoder(maps, views))
        near(views.lidar_to_pixels[0], goldens[f"frame{time}.lidar2img_f64"], 1e-2)  # composed in float32 there
        sampled(goldens, f"frame{time}.bev", cells[-1], 1e-4)
    return cells


def old_boxes(boxes: Tensor) -> Tensor:
    """Boxes with the released angle as boxes with ours."""
    boxes = boxes.clone()
    boxes[:, 6] = (math.pi / 2 - boxes[:, 6]) % (2 * math.pi) - math.pi
    return boxes


@pytest.mark.full
@torch.no_grad()
def test_moments_are_fused_as_in_the_released_code(shared: Path) -> None:
    """Of the past, with one and both of them missing; of the future, missing and not."""
    goldens = Goldens(shared, "bevformer_v2_temporal")
    model = golden_model(goldens)
    oldest, older, now = golden_moments(goldens, model)
    whole = torch.cat([oldest, older, now], -1).transpose(1, 2).unflatten(-1, tuple(goldens.meta["bev"]))
    sampled(goldens, "fusion.block0", model.fusion.blocks[0](whole), 1e-4)
    yes, no = torch.tensor([True]), torch.tensor([False])
    for name, moments, place in (
        ("all", [oldest, older, now], 2),
        ("missing_oldest", [None, older, now], 2),
        ("missing_both", [None, None, now], 2),
        ("future_absent", [older, now, None], 1),
        ("future_present", [older, now, oldest], 1),
    ):
        fused = model.fusion(filled(moments, [no if one is None else yes for one in moments], place))
        sampled(goldens, f"{name}.bev_embed", fused.transpose(0, 1).contiguous(), 1e-4)
        if name.startswith("future"):
            continue
        logits, codes = model.decoder(fused)
        near(logits, goldens[f"{name}.all_cls_scores"], 2e-4)
        near(codes, goldens[f"{name}.all_bbox_preds"], 5e-4)
        if name == "all":
            found = best_boxes(logits[-1, 0], codes[-1, 0], BoxSelection(keep=60))
            assert torch.equal(found.labels, goldens["decode.labels"])
            near(found.scores, goldens["decode.scores"], 1e-5)
            near(found.boxes, old_boxes(goldens["decode.boxes"]), 5e-4)


@pytest.mark.full
def test_groups_learn_as_in_the_released_code(shared: Path) -> None:
    """Outputs, what each query of each group learns, losses, and gradients of every parameter."""
    goldens = Goldens(shared, "bevformer_v2_temporal")
    model = golden_model(goldens)
    moments = golden_moments(goldens, model)
    model.train()
    logits, codes = model.decoder(model.fusion(moments))
    near(logits, goldens["train.all_cls_scores"], 2e-4)
    near(codes, goldens["train.all_bbox_preds"], 5e-4)
    targets = [BoxTargets(old_boxes(goldens["gt.boxes_centre"]), goldens["gt.labels"])]
    groups = [one.unflatten(2, (3, -1)).movedim(2, 1).flatten(0, 1) for one in (logits, codes)]
    matched = match(*groups, targets, model.config.box_distance)
    assert torch.equal(matched.view(3, 3, -1).transpose(0, 1) + 1, goldens["train.assigned"])  # by group, then layer
    losses = model.learnt(logits, codes, targets, model.config.box_distance)
    kinds = {"cls": "class", "bbox": "box"}
    expected = {
        f"layer{layer}_{ours}": goldens.meta["losses"][f"{prefix}loss_{theirs}"]
        for layer, prefix in enumerate(("d0.", "d1.", ""), 1)
        for theirs, ours in kinds.items()
    }
    assert {kind: one.item() for kind, one in losses.items()} == pytest.approx(expected, rel=1e-5)
    torch.stack(list(losses.values())).sum().backward()
    norms = dict(zip(goldens.meta["grad_keys"], goldens["train.grad_norm"].tolist(), strict=True))
    assert norms.pop("code_weights") == -1  # nothing is learnt of it
    names = head_names(model)
    found = {names[ours]: one.grad for ours, one in model.named_parameters() if ours in names}
    assert {name: float(one.norm()) for name, one in found.items() if one is not None} == pytest.approx(norms, rel=1e-4)


@pytest.mark.full
def test_the_ground_is_varied_as_in_the_released_code(shared: Path) -> None:
    goldens = Goldens(shared, "bevformer_v2_temporal")
    given = old_boxes(goldens["gt.boxes_centre"].double()).numpy()
    boxes = Boxes(given[:, :3], given[:, 3:6], given[:, 6], given[:, 7:], np.zeros(20, np.int64), np.ones(20))
    for number, (degrees, scale, mirror_x, mirror_y) in enumerate(goldens.meta["bda"]):
        shown = Shown(ground=GroundVariation(degrees, scale, bool(mirror_x), bool(mirror_y)))
        matrix = ground_matrix(shown.ground)
        whole = np.eye(4)
        whole[:3, :3] = np.linalg.inv(matrix)
        assert whole[:3, :3] == pytest.approx(goldens[f"bda{number}.matrix_inverse"].numpy(), abs=1e-6)
        moved = varied_boxes(boxes, shown.ground)
        columns = np.concatenate([moved.centres, moved.sizes, moved.yaws[:, None], moved.velocities], axis=1)
        expected = old_boxes(goldens[f"bda{number}.boxes_gravity"])
        near(torch.from_numpy(columns), expected, 1e-4)
        projections = goldens.arrays["lidar2img_single_f64"] @ whole
        assert projections == pytest.approx(goldens.arrays[f"bda{number}.lidar2img_moved"], abs=1e-9)
        cells = goldens.given("bda.bev", (1, 144, 4))
        near(turned_ground(cells, variations([shown]).ground, BEVGrid(12, 12)), goldens[f"bda{number}.bev"], 1e-4)


# By definition

SMALL = PerspectiveConfig(
    convolutions=1,
    strides=(8, 16, 32),
    reaches=(16.0, 32.0),
    mean_depths=(20.0, 12.0, 8.0),
    depth_spreads=(5.0, 5.0, 5.0),
    sizes=((2.0, 4.5, 1.6), (0.7, 0.8, 1.8), (0.6, 1.8, 1.3), (2.5, 7.0, 3.0)),
)
INTRINSIC = torch.tensor([[50.0, 0.0, 48.0], [0.0, 50.0, 32.0], [0.0, 0.0, 1.0]])


def quaternions_of(matrices: Tensor) -> Tensor:
    return torch.from_numpy(np.stack([quaternion_of(one) for one in matrices.double().numpy()]))


def some_boxes(count: int, seed: int = 0) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Rotations, places before a camera, sizes and labels, float64."""
    numbers = torch.Generator().manual_seed(seed)
    turned = rotations(torch.randn(count, 4, generator=numbers, dtype=torch.float64))
    places = torch.rand(count, 3, generator=numbers, dtype=torch.float64) * torch.tensor([16.0, 6.0, 40.0])
    labels = torch.randint(4, (count,), generator=numbers)
    spread = torch.rand(count, 3, generator=numbers, dtype=torch.float64) + 0.5
    return (
        turned,
        places - torch.tensor([8.0, 3.0, -4.0]),
        torch.tensor(SMALL.sizes, dtype=torch.float64)[labels] * spread,
        labels,
    )


def test_a_box_is_decoded_to_itself() -> None:
    """What a network would have to say of a box gives the box; how it looks does not change with the place it is seen
    at."""
    turned, places, sizes, labels = some_boxes(50)
    back = torch.linalg.inv(INTRINSIC.double()).expand(50, -1, -1)
    pixels = (places @ INTRINSIC.double().T)[:, :2] / places[:, 2:]
    looks = quaternions_of(towards(places).transpose(1, 2) @ turned)
    depths = places[:, 2] * math.hypot(1 / 50, 1 / 50) * 500
    told = (sizes / torch.tensor(SMALL.sizes, dtype=torch.float64)[labels] - 1).atanh()
    found = decoded(3 * looks, pixels, depths, told, labels, back, SMALL)
    corners = [
        place + turn @ (size[[1, 0, 2]] * torch.tensor(signs).double() / 2)
        for place, turn, size in zip(places, turned, sizes, strict=True)
        for signs in zip(
            (1, 1, 1, 1, -1, -1, -1, -1), (1, -1, -1, 1, 1, -1, -1, 1), (1, 1, -1, -1, 1, 1, -1, -1), strict=True
        )
    ]
    near(found.corners(), torch.stack(corners).view(50, 8, 3), 1e-9)
    # a car that goes round the camera, always showing it the same side, looks the same
    around = torch.linspace(-0.8, 0.8, 9, dtype=torch.float64)
    rays = torch.stack([around.sin(), torch.zeros(9), around.cos()], dim=1)
    ahead = torch.stack([torch.stack([c, 0 * c, s]) for c, s in zip(around.cos(), -around.sin(), strict=True)])
    near(towards(rays)[:, :, 0], ahead, 1e-12)
    near(towards(rays)[:, :, 2], rays, 1e-12)


def test_twice_the_focal_length_is_twice_the_depth() -> None:
    numbers = torch.randn(6, 4, dtype=torch.float64), torch.rand(6, 2, dtype=torch.float64) * 60, torch.ones(6).double()
    labels = torch.zeros(6, dtype=torch.int64)
    depths = []
    for focal in (50.0, 100.0):
        back = torch.linalg.inv(torch.tensor([[focal, 0, 48], [0, focal, 32], [0, 0, 1]], dtype=torch.float64))
        sizes = torch.zeros(6, 3, dtype=torch.float64)
        found = decoded(*numbers[:2], 50 * numbers[2], sizes, labels, back.expand(6, -1, -1), SMALL)
        depths.append(found.depths)
        near(found.sizes, torch.tensor(SMALL.sizes[:1]).double().expand(6, -1), 1e-6)
    near(depths[1], 2 * depths[0], 1e-12)
    far = decoded(*numbers[:2], 1e6 * numbers[2], sizes, labels, back.expand(6, -1, -1), SMALL)
    assert far.depths.tolist() == [SMALL.farthest] * 6


def made_targets(count: int, seed: int, size: tuple[float, float] = (96.0, 64.0)) -> CameraTargets:
    """Boxes anywhere in a picture."""
    turned, places, sizes, labels = some_boxes(count, seed)
    numbers = torch.Generator().manual_seed(seed)
    corners = torch.rand(count, 2, 2, generator=numbers) * torch.tensor(size)
    sides = torch.cat([corners.amin(1), corners.amax(1)], dim=1)
    attributes = torch.arange(count) % 4
    speeds = torch.where(attributes == 2, torch.nan, torch.rand(count, generator=numbers))
    pieces = turned.float(), places.float(), sizes.float()
    return CameraTargets(sides, labels, *pieces, attributes, speeds, INTRINSIC)


def test_cells_learn_what_the_definition_says() -> None:
    """Cell by cell and box by box, in plain Python."""
    large = (256.0, 160.0)
    targets = [made_targets(60, 1, large), made_targets(0, 2), made_targets(20, 3, large)]
    shapes = [(20, 32), (10, 16), (5, 8)]
    expected = []
    cell = 0
    for level, (shape, stride) in enumerate(zip(shapes, SMALL.strides, strict=True)):
        least, most = ((-1, 16), (16, 32), (32, 1e8))[level]
        for picture, target in enumerate(targets):
            for row in range(shape[0]):
                for column in range(shape[1]):
                    x, y, best = column * stride, row * stride, (math.inf, -1)
                    for box, (left, top, right, bottom) in enumerate(target.sides.tolist()):
                        sides = x - left, y - top, right - x, bottom - y
                        near_middle = max(abs(x - (left + right) / 2), abs(y - (top + bottom) / 2)) < 1.5 * stride
                        if min(sides) > 0 and near_middle and least <= max(sides) <= most:
                            best = min(best, ((right - left) * (bottom - top), box))
                    if best[1] >= 0:
                        expected.append((cell, best[1] + (60 if picture == 2 else 0), picture, level, x, y))
                    cell += 1
    learnt = assign(targets, shapes, SMALL)
    columns = learnt.cells, learnt.boxes, learnt.pictures, learnt.levels, *learnt.places.long().unbind(1)
    assert list(zip(*(one.tolist() for one in columns), strict=True)) == expected
    assert len(expected) > 50
    left, top, right, bottom = learnt.sides.unbind(1)
    centred = (torch.minimum(left, right) / torch.maximum(left, right)).sqrt()
    centred = centred * (torch.minimum(top, bottom) / torch.maximum(top, bottom)).sqrt()
    near(learnt.centrality, centred, 1e-6)


def test_a_picture_shows_what_is_before_its_camera() -> None:
    """A camera that looks along the global x axis, and boxes around it; pixels by hand."""
    look = Pose(np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]]), np.array([1.0, 0.0, 2.0]))
    ego = Pose(np.eye(3), np.array([1000.0, 500.0, 0.0]))
    camera = one_camera(np.array([[100.0, 0.0, 80.0], [0.0, 100.0, 60.0], [0.0, 0.0, 1.0]]), (120, 160), look)
    rows = [  # x, y, z before the vehicle, points, label; what becomes of it
        (21.0, 0.0, 2.0, 9, 0),
        (21.0, 4.0, 2.0, -1, 1),  # nobody counted its points
        (21.0, 0.0, 2.0, 2, 0),  # too few
        (21.0, 0.0, 2.0, 9, -1),  # of no class
        (-20.0, 0.0, 2.0, 9, 0),  # behind
        (1.9, 0.0, 2.0, 9, 0),  # the camera is inside, four corners are seen
        (11.0, 9.2, 2.0, 9, 0),  # a small part is seen
        (11.0, 7.5, 2.0, 9, 2),  # half of it is
        (21.0, 0.0, 13.0, 9, 0),  # above what is shown
    ]
    places = np.array([row[:3] for row in rows]) + ego.translation
    count = len(rows)
    names = ("vehicle.parked", "cycle.without_rider", *[""] * (count - 2))
    truth = GlobalBoxes(
        *(places, np.full((count, 3), 2.0), np.tile([1.0, 0, 0, 0], (count, 1)), np.full((count, 2), [3.0, -4.0])),
        *(np.array([row[4] for row in rows]), names, np.ones(count), np.array([row[3] for row in rows])),
    )
    truth.velocities[1] = np.nan
    found = camera_targets(moment(camera, truth, ego), camera, Framing((0, 20, 160, 120), 0.5))
    near_side = 100 / 19  # pixels a metre, of the side that faces the camera
    low, high = 40 - near_side / 2, 40 + near_side / 2
    assert found.labels.tolist() == [0, 1, 2]
    assert found.sides[0].tolist() == pytest.approx([low, low - 20, high, high - 20], abs=1e-4)
    assert found.sides[2].tolist() == pytest.approx([0, 20 - 50 / 9, 40 - 50 * 6.5 / 11, 20 + 50 / 9], abs=1e-4)
    assert found.attributes.tolist() == [1, 1, NO_ATTRIBUTE]
    assert found.speeds.tolist() == pytest.approx([5.0, math.nan, 5.0], nan_ok=True)
    boxes = found.boxes()
    assert boxes.centres[0].tolist() == pytest.approx([40, 20])
    assert boxes.positions()[1].tolist() == pytest.approx([-4, 0, 20], abs=1e-5)
    assert boxes.rotations[0, :, 0].tolist() == pytest.approx([0, 0, 1])  # heads away
    assert not len(camera_targets(moment(camera, None), camera, Framing((0, 0, 160, 120))).labels)


def said_exactly(targets: Sequence[CameraTargets], shapes: Sequence[tuple[int, int]]) -> list[PerspectiveMaps]:
    """Maps of cells that say just what they are to learn, of four classes."""
    learnt = assign(targets, shapes, SMALL)
    labels = torch.cat([one.labels for one in targets])[learnt.boxes]
    boxes = stacked([one.boxes() for one in targets]).chosen(learnt.boxes)
    rays = boxes.positions()
    pick, cells = torch.arange(len(labels)), sum(height * width for height, width in shapes) * len(targets)
    told = {
        "quaternions": quaternions_of(towards(rays).transpose(1, 2) @ boxes.rotations).float(),
        "centres": boxes.centres - learnt.places,
        "depths": (boxes.depths * math.hypot(1 / 50, 1 / 50) * 500)[:, None],
        "sizes": (boxes.sizes / torch.tensor(SMALL.sizes)[labels] - 1).atanh(),
        "confidences": torch.full((len(labels), 1), 20.0),
        "logits": torch.full((len(labels), 1), 20.0),
    }
    rows = {
        name: torch.full((cells, one.shape[1], 4), -20.0 if name == "logits" else 0.0) for name, one in told.items()
    }
    for name, values in told.items():
        rows[name][learnt.cells[pick], :, labels] = values
    plain = {"sides": learnt.sides, "centrality": learnt.centrality.logit(1e-6)[:, None]}
    plain["attributes"] = 30 * torch.eye(4)[torch.cat([one.attributes for one in targets])[learnt.boxes], :3]
    plain["speeds"] = torch.cat([one.speeds for one in targets])[learnt.boxes].nan_to_num()[:, None]
    whole = {name: one.flatten(1) for name, one in rows.items()}
    for name, values in plain.items():
        whole[name] = torch.zeros(cells, values.shape[1])
        whole[name][learnt.cells] = values
    maps, start = [], 0
    for height, width in shapes:
        end = start + len(targets) * height * width
        level = {
            name: one[start:end].view(len(targets), height, width, -1).movedim(3, 1) for name, one in whole.items()
        }
        maps.append(PerspectiveMaps(**level))
        start = end
    return maps


def test_what_is_said_exactly_costs_nothing_and_each_part_its_own() -> None:
    """But for the centrality, whose entropy stays; doubled depths cost depth and confidence alone."""
    targets, shapes = [made_targets(12, 1), made_targets(6, 3)], [(8, 12), (4, 6), (2, 3)]
    maps = said_exactly(targets, shapes)
    exact = perspective_losses(maps, targets, SMALL)
    assert {name for name, loss in exact.items() if loss.item() > 1e-3} == {"centrality"}
    learnt = assign(targets, shapes, SMALL)
    entropy = torch.nn.functional.binary_cross_entropy(learnt.centrality, learnt.centrality, reduction="mean")
    assert exact["centrality"].item() == pytest.approx(entropy.item(), rel=1e-4)
    deeper = perspective_losses([replace(one, depths=one.depths * 1.25) for one in maps], targets, SMALL)
    assert {name for name in exact if abs(deeper[name] - exact[name]) > 1e-4} == {"depths", "confidence"}
    boxes = stacked([one.boxes() for one in targets]).chosen(learnt.boxes)
    away = (0.25 * boxes.positions()).abs()
    away = torch.where(away < 0.05, 0.5 * away**2, away - 0.025).mean(1)
    expected = 2 * (learnt.centrality * away).sum() / learnt.centrality.sum()
    assert deeper["depths"].item() == pytest.approx(expected.item(), rel=1e-4)
    wider = perspective_losses([replace(one, sides=one.sides * 2) for one in maps], targets, SMALL)
    areas = [(side[:, :2] + side[:, 2:]).prod(1) for side in (learnt.sides, 2 * learnt.sides)]
    share = (areas[0] + 1) / (areas[1] + 1)
    expected = (learnt.centrality * (1 - share)).sum() / learnt.centrality.sum()
    assert wider["sides"].item() == pytest.approx(expected.item(), rel=1e-4)


def test_without_boxes_only_classes_are_learnt() -> None:
    head = PerspectiveHead(SMALL, 8, 4)
    maps = [torch.randn(2, 8, *shape) for shape in ((8, 12), (4, 6), (2, 3))]
    losses = perspective_losses(head(maps), [made_targets(0, 0)] * 2, SMALL)
    assert {name for name, loss in losses.items() if loss.item() != 0} == {"class"}
    torch.stack(list(losses.values())).sum().backward()
    assert all(one.grad is not None and one.grad.isfinite().all() for one in head.parameters())


@torch.no_grad()
def test_boxes_said_exactly_are_found() -> None:
    """Each once, where it is; of two cameras that see the same box, one keeps it."""
    targets, shapes = [made_targets(12, 1), made_targets(6, 3)], [(8, 12), (4, 6), (2, 3)]
    learnt = assign(targets, shapes, SMALL)
    back = torch.linalg.inv(INTRINSIC).expand(2, -1, -1)
    views = view_boxes(said_exactly(targets, shapes), back, SMALL)
    for picture, (found, target) in enumerate(zip(views, targets, strict=True)):
        mine = learnt.boxes[learnt.pictures == picture] - (12 if picture else 0)
        apart = (found.boxes[:, None] - target.sides).abs().amax(2) + (found.labels[:, None] != target.labels) * 1e3
        assert apart.amin(1).max() < 1e-3
        assert set(apart.argmin(1).tolist()) <= set(mine.tolist())
        near(found.space.positions(), target.positions[apart.argmin(1)], 1e-3)
        assert found.scores_3d.tolist() == sorted(found.scores_3d.tolist(), reverse=True)
        assert (found.scores > math.sqrt(SMALL.detections.score_threshold)).all()
    fewer = view_boxes(said_exactly(targets, shapes), back, replace(SMALL, detections=ViewSelection(keep=2)))
    assert [sorted(one.scores.tolist()) for one in fewer] == [
        sorted(one.scores.topk(2).values.tolist()) for one in views
    ]


@torch.no_grad()
def test_boxes_in_space_are_better_by_confidence_and_kept_by_class() -> None:
    """Three boxes of a class in a row: the first overlaps the second, which is surer where it stands in space."""
    config = PerspectiveConfig(1, (8,), (), (10.0,), (1.0,), ((2.0, 4.0, 1.5),))
    one = torch.zeros(1, 1, 1, 3)
    maps = PerspectiveMaps(
        one + torch.tensor([3.0, 2.0, 1.0]),
        torch.tensor([50.0, 50.0, 50.0, 50.0]).view(1, 4, 1, 1).repeat(1, 1, 1, 3) * torch.tensor([1.0, 1.0, 0.1]),
        one + 3,
        one.repeat(1, 4, 1, 1) + 1,
        one.repeat(1, 2, 1, 1),
        one + 10,
        one.repeat(1, 3, 1, 1),
        one + torch.tensor([0.0, 2.0, 3.0]),
        one.repeat(1, 3, 1, 1),
        one,
    )
    back = torch.linalg.inv(INTRINSIC)[None]
    found = view_boxes([maps], back, config)[0]
    assert found.places[:, 0].tolist() == [8.0, 16.0]  # the first one fell
    assert found.scores_3d[0] > found.scores_3d[1]
    surer = replace(maps, confidences=one + torch.tensor([0.0, 2.0, 9.0]))
    assert view_boxes([surer], back, config)[0].places[:, 0].tolist() == [16.0, 8.0]
    alone = view_boxes([surer], back, replace(config, detections=ViewSelection(keep=1)))[0]
    assert alone.places[:, 0].tolist() == [8.0]  # by its class, though the other is surer


def lying(xs: Sequence[float], labels: Sequence[int], degrees: float = 0.0) -> ViewBoxes:
    """Boxes of 2 by 2 metres at these x, upright before a camera that looks down from 10 metres; scores fall."""
    count = len(xs)
    turn = torch.tensor(degrees).deg2rad()
    flat = torch.tensor([[turn.cos(), -turn.sin(), 0], [-turn.sin(), -turn.cos(), 0], [0, 0, -1.0]])
    places = torch.tensor([[x, 0.0, 10.0] for x in xs]).view(-1, 3)
    space = CameraBoxes(
        flat.expand(count, -1, -1),
        places[:, :2] / 10,
        places[:, 2],
        torch.tensor([[2.0, 2.0, 1e-3]]).expand(count, -1),
        torch.eye(3).expand(count, -1, -1),
    )
    scores, whole = torch.linspace(0.9, 0.5, count), torch.tensor(labels)
    return ViewBoxes(torch.zeros(count, 4), scores, scores, whole, whole, scores, whole, torch.zeros(count, 2), space)


DOWN = torch.tensor([[1.0, 0, 0, 0], [0, -1.0, 0, 0], [0, 0, -1.0, 10], [0, 0, 0, 1]])


def test_cameras_that_see_the_same_agree() -> None:
    """Squares of 2 metres: of a class, more than 0.3 of the union common drops the one of the lower score."""
    for shift, kept in ((1.0, 1), (1.05, 1), (1.1, 2)):  # overlaps 1/3, 0.311, 0.290
        found, centres = seen_from_above([lying([0.0], [1]), lying([shift], [1])], torch.stack([DOWN, DOWN]), 0.3)
        assert len(found) == kept, shift
        near(centres, torch.tensor([[0.0, 0.0, 0.0], [shift, 0.0, 0.0]]), 1e-6)
    assert len(seen_from_above([lying([0.0, 0.0], [1, 2])], DOWN[None], 0.3)[0]) == 2  # of other classes
    turned = [lying([0.0], [1]), lying([1.3], [1], 45.0)]  # common 1.228 of both squares' 8: 0.181
    assert len(seen_from_above(turned, torch.stack([DOWN, DOWN]), 0.18)[0]) == 1
    assert len(seen_from_above(turned, torch.stack([DOWN, DOWN]), 0.19)[0]) == 2
    # what a dropped box covers stays; the first of a chain does not reach the third
    chain = lying([0.0, 0.9, 1.8], [1, 1, 1])
    assert seen_from_above([chain], DOWN[None], 0.3)[0].tolist() == [0, 2]
    grid = BEVGrid(4, 4, (-2.0, -2.0, -1.0, 2.0, 2.0, 3.0))
    shares = proposals([lying([0.0, 1.5, 5.0], [1, 1, 1])], DOWN[None], grid, 0.3)
    near(shares, torch.tensor([[0.5, 0.5, 0.25], [0.875, 0.5, 0.25]]), 1e-6)  # the third lies outside
    left = torch.tensor([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
    near(proposals([lying([1.5], [0])], DOWN[None], grid, 0.3, left), torch.tensor([[0.5, 0.875, 0.25]]), 1e-6)
    assert not len(seen_from_above([lying([], [])], DOWN[None], 0.3)[0])


# Moments, groups, proposals, and the whole network


def small(**changes: Any) -> BEVFormerV2:
    """A network that predicts in milliseconds, for :func:`helpers.driving.rig`."""
    torch.manual_seed(0)
    config = BEVFormerV2Config(
        InternImageConfig(channels=8, depths=(1, 1, 1), groups=(1, 2, 4)),
        num_classes=4,
        out_levels=(1, 2),
        levels=2,
        cameras=("FRONT", "LEFT", "RIGHT"),
        channels=16,
        grid=BEVGrid(6, 8, (-12, -9, -2, 12, 9, 2), 2),
        heads=2,
        points=4,
        width=32,
        encoder_layers=1,
        decoder_layers=2,
        queries=12,
        dropout=0.0,
        perspective=replace(SMALL, detections=ViewSelection(candidates=40, keep=15)),
        **{"groups": 2, "frames": (-2, -1, 0, 1), **changes},
    )
    model = BEVFormerV2(config)
    for name, parameter in model.named_parameters():
        if "attention_weights.weight" in name or "sampling_offsets.weight" in name:
            torch.nn.init.normal_(parameter, std=0.3)
    torch.nn.init.zeros_(model.perspective.logits.bias)  # type: ignore[arg-type] # so that boxes are found
    return model.eval()


def moments(count: int = 4, frames: int = 2) -> list[Views]:
    return [rig(frames, seed) for seed in range(count)]


def cameras_of(views: Views) -> Cameras:
    """Of a rig: out of its projections, whose intrinsics are known."""
    to_camera = torch.linalg.inv(INTRINSIC.double()) @ views.lidar_to_pixels[:, :, :3].double()
    whole = torch.eye(4).double().repeat(*to_camera.shape[:2], 1, 1)
    whole[:, :, :3] = to_camera
    return Cameras(INTRINSIC.repeat(*to_camera.shape[:2], 1, 1), torch.linalg.inv(whole).float())


def without(views: Views, *samples: int) -> Views:
    """Frames of which some are missing."""
    present = views.present.clone()
    present[list(samples)] = False
    return replace(views, present=present)


def some_targets(frames: int) -> list[BoxTargets]:
    numbers = torch.Generator().manual_seed(5)
    boxes = torch.rand(frames, 5, 9, generator=numbers) * 3 + 0.5
    boxes[0, 0, 7:] = torch.nan
    return [BoxTargets(one, torch.arange(5) % 4) for one in boxes]


def same(found: Sequence[RawBoxes3D], expected: Sequence[RawBoxes3D], atol: float = 1e-5) -> None:
    for one, other in zip(found, expected, strict=True):
        assert torch.equal(one.labels, other.labels)
        near(one.boxes, other.boxes, atol)
        near(one.scores, other.scores, atol)


@torch.no_grad()
def test_a_missing_frame_is_its_neighbour_nearer_to_the_present() -> None:
    """Of one sample of two, of both, in the past and in the future; what the other sample has stays its own."""
    model, (oldest, older, now, later) = small(), moments()
    whole = model([oldest, older, now, later])
    known = torch.tensor([False, True])

    def mixed(first: Views, second: Views) -> Views:
        """The second sample of one, the first of another."""
        chosen = {
            one.name: torch.where(
                known.view(-1, *[1] * (getattr(first, one.name).dim() - 1)),
                getattr(first, one.name),
                getattr(second, one.name),
            )
            for one in fields(Views)
        }
        return Views(**chosen)

    same(model([without(oldest, 0), older, now, later]), model([mixed(oldest, older), older, now, later]))
    both = [mixed(oldest, now), mixed(older, now), now, later]
    same(model([without(oldest, 0), without(older, 0), now, later]), model(both))
    same(model([oldest, older, now, without(later, 0, 1)]), model([oldest, older, now, now]))
    same(model([without(oldest, 0, 1), without(older, 0, 1), now, without(later, 0, 1)]), model([now] * 4))
    with pytest.raises(AssertionError):
        same(model([now] * 4), whole)
    copied = filled([None, torch.ones(1, 2, 3, requires_grad=True)], [torch.tensor([False]), torch.tensor([True])], 1)
    assert not copied[0].requires_grad


@torch.no_grad()
def test_frames_of_a_batch_do_not_know_each_other() -> None:
    model, queue = small(proposals=5), moments()
    queue[2] = replace(queue[2], present=torch.tensor([[True, True, True], [True, False, True]]))
    cameras = cameras_of(queue[2])
    cameras.intrinsics[1, 1] = 0  # whatever a camera that is missing has
    found = model(queue, cameras)
    for number in range(2):
        alone = [Views(*(getattr(one, part.name)[number : number + 1] for part in fields(Views))) for one in queue]
        own = Cameras(cameras.intrinsics[number : number + 1], cameras.to_lidar[number : number + 1])
        same(model(alone, own), found[number : number + 1], 1e-4)


def test_a_point_of_the_present_in_a_picture_of_the_past() -> None:
    """Through the global frame, far from its origin, with a lidar that leans."""
    poses = [
        Pose.from_quaternion(one, place)
        for one, place in (
            ((0.8, 0.0, 0.0, 0.6), (1000.0, 2000.0, 1.0)),
            ((0.6, 0.0, 0.0, 0.8), (1004.0, 2003.0, 1.5)),
            ((0.8, 0.6, 0.0, 0.0), (0.9, 0.1, 1.8)),
        )
    ]
    camera = one_camera(INTRINSIC.double().numpy(), (64, 96), poses[2])
    then, now = (Frame("", "", 0, ego, poses[2], (camera,)) for ego in poses[:2])
    point = np.array([3.0, 12.0, -1.0])
    seen = camera.intrinsic @ camera.pose.inverse(then.lidar.inverse(then.ego.inverse(now.ego(now.lidar(point)))))
    found = camera.lidar_to_pixels @ moved_between(now, then).matrix @ np.append(point, 1)
    assert found[:3] == pytest.approx(seen, rel=1e-11)
    frames = [replace(then, token=str(number), scene="AAABB"[number]) for number in range(5)]
    part = Frames("drives", (), frames)
    for place, offsets, expected in (
        (2, (-3, -1, 0, 1), [None, "1", "2", None]),
        (4, (-2, -1, 0, 1), [None, "3", "4", None]),
    ):
        found = [part.near(frames[place], offset) for offset in offsets]
        assert [one and one.token for one in found] == expected


def test_everything_learns_and_the_other_moments_change_nothing() -> None:
    """Every parameter has a gradient; statistics and modes are those that the present alone makes."""
    model, queue = small(proposals=5).train(), moments()
    pictures = [made_targets(4, seed) for seed in range(6)]
    shown = Variations(torch.tensor([True, False]), torch.eye(3).repeat(2, 1, 1) * 1.04)
    twin = copy.deepcopy(model)
    ways = []
    hook = model.encoder.register_forward_hook(
        lambda module, *_: ways.append((module.training, torch.is_grad_enabled()))
    )
    losses = model.losses(queue, some_targets(2), cameras_of(queue[2]), pictures, shown)
    hook.remove()
    assert ways == [(True, True), *[(False, False)] * 3]
    kinds = (
        "class",
        "sides",
        "centrality",
        "rotations",
        "centres",
        "depths",
        "sizes",
        "confidence",
        "attribute",
        "speed",
    )
    assert set(losses) == {f"layer{n}_{kind}" for n in (1, 2) for kind in ("class", "box")} | {
        f"perspective_{kind}" for kind in kinds
    }
    torch.stack(list(losses.values())).sum().backward()
    assert [name for name, one in model.named_parameters() if one.grad is None or not one.grad.isfinite().all()] == []
    assert all(module.training for module in model.modules())
    once = [replace(one, present=one.present & (place == 2)) for place, one in enumerate(queue)]
    twin.losses(once, some_targets(2), cameras_of(queue[2]), pictures, shown)
    own, other = model.perspective.state_dict(), twin.perspective.state_dict()
    assert all(torch.equal(own[name], other[name]) for name in own)
    assert own["space_tower.0.norms.0.num_batches_tracked"] == 1
    some = replace(queue[2], present=torch.tensor([[True, True, True], [True, False, False]]))
    twin.losses([*queue[:2], some, queue[3]], some_targets(2), cameras_of(some), pictures)  # cameras are missing


def test_groups_are_matched_alone_and_proposals_belong_to_the_first() -> None:
    """Losses are means over groups, each as if it were the only one."""
    model = small(proposals=3, groups=3).train()
    numbers = torch.Generator().manual_seed(1)
    logits = torch.randn(2, 2, 3 * 12 + 3, 4, generator=numbers)
    codes = torch.randn(2, 2, 3 * 12 + 3, 10, generator=numbers)
    targets, distance = some_targets(2), model.config.box_distance
    found = model.learnt(logits, codes, targets, distance)
    members = [[*range(12), 36, 37, 38], range(12, 24), range(24, 36)]
    totals = torch.zeros(2, 2)
    for group in members:
        own_logits, own_codes = logits[:, :, list(group)], codes[:, :, list(group)]
        matched = match(own_logits, own_codes, targets, distance)
        totals += torch.stack(
            box_losses(own_logits, own_codes, matched, targets, model.code_weights, distance=distance)
        )
    expected = {f"layer{n + 1}_{kind}": totals[k, n] / 3 for n in (0, 1) for k, kind in enumerate(("class", "box"))}
    assert {name: loss.item() for name, loss in found.items()} == pytest.approx(
        {name: loss.item() for name, loss in expected.items()}, rel=1e-5
    )
    apart = model.decoder.apart()[0]
    group = torch.tensor([0] * 12 + [1] * 12 + [2] * 12 + [0] * 3)
    assert torch.equal(apart, group[:, None] == group)
    one, other = torch.randn(3, 8), 3 * torch.randn(5, 8)
    for smooth in (False, True):
        size = (one[:, None] - other).abs()
        kept = torch.where(size < 1, size**2 / 2, size - 0.5) if smooth else size
        near(CodeDistance(0.75, smooth).between(one, other), 0.75 * kept.sum(2), 1e-5)


@torch.no_grad()
def test_proposals_are_where_queries_begin() -> None:
    """A network whose regressors say nothing predicts boxes just there; a place that is not there is learnt."""
    model = small(proposals=4)
    for regressor in model.decoder.regressors:
        for parameter in regressor[-1].parameters():  # type: ignore[index]
            torch.nn.init.zeros_(parameter)
    places = torch.rand(2, 4, 3) * 0.8 + 0.1
    there = torch.tensor([[True, True, False, False], [True] * 4])
    cells = torch.randn(2, 48, 16)
    logits, codes = model.decoder(cells, Proposals(places, there))
    found = codes[-1, :, 12:, [0, 1, 4]]
    near(found[there], model.config.grid.metres(places)[there], 1e-3)
    alone = model.decoder(cells)[1][-1, :, :, [0, 1, 4]]
    near(found[~there], alone[:, 12:][~there], 1e-4)
    assert logits.shape == (2, 2, 16, 4)
    # what the perspective head sees is where they begin
    queue = moments()
    cameras = cameras_of(queue[2])
    said = model.perspective(model.shown_maps(queue[2], None))
    proposed = model.proposed(said, cameras, queue[2].present)
    boxes = view_boxes(said, torch.linalg.inv(INTRINSIC).expand(6, -1, -1), model.config.perspective)
    for frame in range(2):
        own = boxes[3 * frame : 3 * frame + 3]
        best = proposals(own, cameras.to_lidar[frame], model.config.grid, SMALL.detections.ground_overlap)[:4]
        count = len(best)
        near(proposed.places[frame, :count], best, 1e-5)
        assert count
        assert proposed.there[frame].tolist() == [place < count for place in range(4)]


@torch.no_grad()
def test_mirrored_pictures_and_the_ground_that_turns() -> None:
    """Maps come back without a shift; each cell has what lay where it comes from; corners of boxes move along."""
    model, views = small(), rig(2)
    shown = Variations(torch.tensor([True, False]), torch.eye(3).repeat(2, 1, 1))
    plain, found = model.shown_maps(views, None), model.shown_maps(views, shown)
    turned = model.maps(views.images.flip(-1).flatten(0, 1))
    for one, other, back in zip(plain, found, turned, strict=True):
        near(other[3:], one[3:], 1e-5)
        near(other[:3], back[:3].flip(-1), 1e-5)
    one, angle = small(frames=(0,), proposals=4), math.radians(30)
    ground = torch.eye(3).repeat(2, 1, 1)
    ground[1, :2, :2] = torch.tensor([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    shown = Variations(torch.zeros(2, dtype=torch.bool), ground)
    maps, grid, cameras = one.shown_maps(views, None), one.config.grid, cameras_of(views)
    flat = one.encode_moments([views], maps)
    near(one.encode_moments([views], maps, shown), turned_ground(flat, ground, grid), 1e-6)
    said = one.perspective(maps)
    before, after = (one.proposed(said, cameras, views.present, how) for how in (None, shown))
    there = before.there[1] & after.there[1]
    assert there[0]
    turned_places = grid.metres(before.places[1]) @ ground[1].T
    apart = torch.cdist(grid.metres(after.places[1][after.there[1]]), turned_places[before.there[1]])
    assert apart.amin(1)[0] < 1e-3
    picture = torch.zeros(1, 1, 2, 4)
    picture[..., 0] = 1
    assert mirrored(picture, torch.tensor([True]))[0, 0, 0].tolist() == [0, 0, 0, 1]
    grid = BEVGrid(6, 8, (-10.0, -9.0, -2.0, 14.0, 9.0, 2.0))  # the vehicle is not in its middle
    cells = torch.randn(1, 48, 3)
    variation = GroundVariation(20.0, 1.1, mirror_x=True)
    matrix = ground_matrix(variation)
    moved = turned_ground(cells, variations([Shown(ground=variation)]).ground, grid)
    for number, place in enumerate(grid.metres(grid.centres()).double().numpy()):
        x, y = np.linalg.inv(matrix)[:2, :2] @ place
        near(moved[0, number], sample(cells[0].view(6, 8, 3), (x + 10) / 3, (y + 9) / 3), 1e-4)


def test_corners_of_boxes_move_with_the_ground() -> None:
    numbers = np.random.default_rng(0)
    boxes = Boxes(
        *(numbers.normal(0, 10, (9, 3)), numbers.uniform(0.5, 5, (9, 3)), numbers.uniform(-np.pi, np.pi, 9)),
        *(numbers.normal(0, 5, (9, 2)), np.zeros(9, np.int64), np.ones(9)),
    )
    for mirror_x in (False, True):
        for mirror_y in (False, True):
            variation = GroundVariation(33.0, 1.2, mirror_x, mirror_y)
            found, matrix = varied_boxes(boxes, variation), ground_matrix(variation)
            expected = boxes.corners() @ matrix.T
            if mirror_x != mirror_y:  # left and right change places
                expected = expected[:, [1, 0, 3, 2, 5, 4, 7, 6]]
            assert found.corners() == pytest.approx(expected)
            assert found.velocities == pytest.approx(boxes.velocities @ matrix[:2, :2].T)
            assert (np.abs(found.yaws) <= np.pi).all()


def test_a_part_of_a_picture_and_its_calibration() -> None:
    """A pixel that is marked is found where the calibration says; what is drawn stays within the settings."""
    framing = Framing((10, 20, 90, 60), 2.0)
    assert framing.size == (80, 160)
    picture = np.zeros((64, 96, 3), np.uint8)
    picture[40, 50] = 255
    found = shown_picture(picture, framing)[..., 0].astype(float)
    rows, columns = np.mgrid[: found.shape[0], : found.shape[1]]
    where = np.array([(found * columns).sum(), (found * rows).sum()]) / found.sum() + 0.5
    assert to_shown(framing) @ (50.5, 40.5, 1) == pytest.approx([*where, 1], abs=1e-6)
    intrinsic, projection = INTRINSIC.double().numpy(), np.random.default_rng(0).normal(size=(4, 4))
    assert shown_intrinsic(intrinsic, framing) == pytest.approx(to_shown(framing) @ intrinsic)
    assert shown_projection(projection, framing)[:3] == pytest.approx(to_shown(framing) @ projection[:3])
    with pytest.raises(DataError, match="a picture of 96x50 pixels"):
        shown_picture(picture[:50], framing)
    generator = np.random.default_rng(0)
    drawn = [PUBLISHED.drawn(generator) for _ in range(200)]
    assert {round(640 * one.zoom) for one in drawn} == set(range(512, 769, 32))
    assert SceneAugmentation().drawn(generator) == Shown()
    assert {(one.mirrored, one.ground.mirror_x, one.ground.mirror_y) for one in drawn} == set(
        itertools.product((False, True), repeat=3)
    )
    assert max(abs(one.ground.degrees) for one in drawn) <= 22.5
    assert all(0.95 <= one.ground.scale <= 1.05 for one in drawn)


@pytest.mark.parametrize("name", ["t1", "t2", "t8", "t1_base"])
def test_tensors_are_the_released_files_(name: str) -> None:
    """Every key with its shape, and none besides; both ways."""
    manifests = json.loads(gzip.decompress((GOLDENS / "bevformer_v2_names.json.gz").read_bytes()))
    keys = dict(manifests[name[:2]])
    if name == "t1_base":
        keys["pts_bbox_head.query_embedding.weight"] = [900, 512]
    with torch.device("meta"):
        model = BEVFormerV2(get_recipe(f"bevformer_v2_{name}").config)
    state = model.state_dict()
    names = from_ours(state, "official", model.config)
    found = {
        theirs: list(state[ours].shape) if state[ours].is_floating_point() else ["int64"]
        for ours, theirs in names.items()
    }
    assert found == keys
    assert layout_of(keys) == "official"
    assert to_ours(keys, "official", model.config) == {theirs: ours for ours, theirs in names.items()}


@pytest.mark.full
def test_names_in_the_repository_are_those_of_the_manifests(shared: Path) -> None:
    for name, keys in json.loads(gzip.decompress((GOLDENS / "bevformer_v2_names.json.gz").read_bytes())).items():
        whole = json.loads((shared / f"goldens/driving/manifests/bevformerv2_r50_{name}.json").read_text())
        assert whole["keys"] == keys


def test_networks_on_internimage() -> None:
    """Every tensor has a name in the other layout as well; a configuration is plain data."""
    config = get_recipe("bevformer_v2_internimage_b").config
    assert from_plain(BEVFormerV2Config, json.loads(json.dumps(asdict(config)))) == config
    with torch.device("meta"):
        model = BEVFormerV2(config)
    names = from_ours(model.state_dict(), "official", config)
    assert to_ours(names.values(), "official", config) == {theirs: ours for ours, theirs in names.items()}
    assert registry.architecture_of(BEVFormerV2) == registry.architecture_of(BEVFormerV2Config) == "bevformer_v2"


def test_other_classes_and_other_numbers_of_boxes() -> None:
    model = small()
    before = model.perspective.space_tower[0].conv.weight.clone()  # type: ignore[union-attr]
    model.reset_classifier(2)
    assert model.config.perspective.sizes == (pytest.approx((1.45, 3.525, 1.925)),) * 2
    model.take_sizes([(2.0, 4.0, 1.5), (0.6, 0.6, 1.7)])
    queue = moments()
    found = model.keeping(7)(queue)
    assert {len(one.scores) for one in found} <= set(range(8))
    assert {int(label) for one in found for label in one.labels} <= {0, 1}
    assert torch.equal(before, model.perspective.space_tower[0].conv.weight)  # type: ignore[union-attr]
    losses = model.losses(
        queue,
        [BoxTargets(torch.zeros(0, 9), torch.zeros(0, dtype=torch.int64))] * 2,
        cameras_of(queue[2]),
        [empty_targets(INTRINSIC.numpy())] * 6,
    )
    assert all(loss.isfinite() for loss in losses.values())


def test_classes_that_a_network_knew_stay_known() -> None:
    """What it said of them it says of them where they stand now, whatever it learns of others."""
    before, after = small(), small()
    classes, names = ("truck", "bird", "car"), ("car", "pedestrian", "bicycle", "truck")
    after.reset_classifier(3)
    kept = ClassTensors.of(after).carry(dict(before.named_parameters()), after, names, classes)
    assert kept == 2
    maps = [torch.randn(1, 16, *shape) for shape in ((8, 12), (4, 6), (2, 3))]
    for one, other in zip(before.perspective(maps), after.perspective(maps), strict=True):
        for part in ("logits", "quaternions", "centres", "depths", "sizes", "confidences"):
            former, now = (getattr(said, part).unflatten(1, (-1, n)) for said, n in ((one, 4), (other, 3)))
            near(now[:, :, [0, 2]], former[:, :, [3, 0]], 1e-4)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: small(frames=(-1, 1)), "frames are"),
        (lambda: small(frames=(0, -1)), "frames are"),
        (lambda: small(proposals=-1), "proposals is -1"),
        (lambda: small(fusion_width=0), "fusion_width 0"),
        (lambda: small().take_sizes([(1.0, 1.0, 1.0)]), "sizes of 1 classes"),
        (lambda: replace(small().config, perspective=replace(SMALL, strides=(4, 8, 16))), "expected \\(8, 16, 32\\)"),
        (lambda: replace(small().config, levels=4), "levels is 4"),
        (lambda: small()(moments(3)), "3 moments; expected 4"),
        (lambda: small(proposals=2)(moments()), "no cameras"),
        (lambda: small().losses(moments(), some_targets(2), cameras_of(rig(2)), []), "targets of 0 pictures"),
        (lambda: replace(SMALL, convolutions=0), "0 convolutions"),
        (lambda: replace(SMALL, reaches=(32.0, 16.0)), "ascending"),
        (lambda: replace(SMALL, mean_depths=(1.0,)), "expected 3 for 3 strides"),
        (lambda: replace(SMALL, sizes=((1.0, 0.0, 1.0),)), "above 0 of each class"),
        (lambda: replace(SMALL, sizes=((1.0, math.nan, 1.0),)), "above 0 of each class"),
        (lambda: replace(SMALL, nearest=90.0), "nearest < farthest"),
        (lambda: ViewSelection(keep=0), "keep is 0"),
        (lambda: ViewSelection(overlap=1.5), "overlap is 1.5"),
        (lambda: Framing((5, 0, 5, 9)), "0 <= left < right"),
        (lambda: GroundVariation(scale=0.0), "scale is 0.0"),
        (lambda: SceneAugmentation(mirrored=2.0), "mirrored is 2.0"),
        (lambda: SceneAugmentation(zooms=(0.0,)), "numbers above 0"),
        (lambda: SceneAugmentation(scales=(1.1, 0.9)), "the least first"),
        (lambda: CodeDistance(-1.0), "the weight of boxes is -1.0"),
    ],
)
def test_what_does_not_fit_is_refused(call: Callable[[], Any], message: str) -> None:
    with pytest.raises((ConfigError, InputSizeError), match=message):
        call()


def test_settings_need_no_torch() -> None:
    modules = "augmentation.settings", "augmentation.pictures", "augmentation.ground", "perspective.settings"
    script = "; ".join(f"import internimage.driving.{one}" for one in modules) + "; import sys; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.split()
    assert "torch" not in loaded
