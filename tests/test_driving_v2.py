"""BEVFormer v2: boxes of single pictures, several moments, groups, augmentation; as released and by definition."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.driving import BACKBONE, Goldens, head_names, renamed, views_of
from torch import Tensor

from internimage.driving.augmentation.features import turned_ground, variations
from internimage.driving.augmentation.ground import ground_matrix, varied_boxes
from internimage.driving.augmentation.settings import Framing, GroundVariation, Shown
from internimage.driving.bev.decoding import BoxSelection, best_boxes
from internimage.driving.bev.fusion import filled
from internimage.driving.bev.grid import BEVGrid
from internimage.driving.bev.inputs import BoxTargets
from internimage.driving.bev.losses import match
from internimage.driving.data.frames import Camera, Frame
from internimage.driving.geometry.boxes import Boxes, GlobalBoxes
from internimage.driving.geometry.motion import moved_between
from internimage.driving.geometry.poses import Pose
from internimage.driving.models.bevformer_v2 import BEVFormerV2, BEVFormerV2Config
from internimage.driving.names.bevformer_v2 import PERSPECTIVE
from internimage.driving.perspective.assignment import assign
from internimage.driving.perspective.decoding import decoded, rotations
from internimage.driving.perspective.detection import seen_from_above, view_boxes
from internimage.driving.perspective.head import PerspectiveHead
from internimage.driving.perspective.losses import bent, perspective_losses
from internimage.driving.perspective.settings import PerspectiveConfig, ViewSelection
from internimage.driving.perspective.targets import CameraTargets, camera_targets, empty_targets

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
        near(views.lidar_to_pixels[0], goldens[f"frame{time}.lidar2img_f64"], 1e-2)
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
    assert torch.equal(matched.view(3, 3, -1) + 1, goldens["train.assigned"].transpose(0, 1)) or torch.equal(
        matched.view(3, 3, -1) + 1, goldens["train.assigned"]
    )
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
        shown = Shown(Framing((0, 0, 1, 1)), ground=GroundVariation(degrees, scale, bool(mirror_x), bool(mirror_y)))
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
