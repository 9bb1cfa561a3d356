"""Lanes: curves, and what belongs to what; against the released code and by definition."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.driving import Goldens, renamed, views_of

from internimage.checkpoints.names.table import within
from internimage.driving.bev.encoder import BEVEncoder, BEVEncoderConfig
from internimage.driving.bev.grid import BEVGrid
from internimage.driving.lanes.curves import curve_points, fitted
from internimage.driving.lanes.decoder import LaneDecoder
from internimage.driving.lanes.elements import ElementDecoder
from internimage.driving.lanes.losses import lane_losses, match_lanes
from internimage.driving.lanes.relations import RelationHead, related, relation_loss
from internimage.driving.names.bevformer import DECODER, ENCODER
from internimage.errors import DataError


@pytest.mark.full
@pytest.mark.parametrize(("name", "other"), [("lclc", "rel.a"), ("lcte", "rel.b")])
def test_relations_are_the_released_code_s(name: str, other: str, shared: Path) -> None:
    """Chances of all pairs of two frames, and what is learnt from those that are matched."""
    goldens = Goldens(shared, "openlane_modules")
    channels = goldens.meta["embed_dims"]
    head = RelationHead(channels).eval()
    state = head.state_dict()
    parts = {"rows": "MLP_o1", "columns": "MLP_o2", "classifier": "classifier"}
    names = {}
    for ours in state:
        part, place, kind = ours.split(".")
        names[f"{parts[part]}.layers.{int(place) // 2}.{kind}"] = state[ours]
    goldens.law.fill_state_dict(names, prefix=f"{name}_head.")
    rows = goldens.given("rel.a", (3, 2, 20, channels))[-1]
    columns = rows if other == "rel.a" else goldens.given("rel.b", (3, 2, 12, channels))[-1]
    with torch.no_grad():
        logits = head(rows, columns)
    torch.testing.assert_close(logits, goldens[f"rel.{name}.logits"], atol=1e-5, rtol=0)
    torch.testing.assert_close(logits.sigmoid(), goldens[f"rel.{name}.prob"], atol=1e-5, rtol=0)
    wanted = []
    for frame in (0, 1):
        pairs = [
            tuple(torch.tensor(part) for part in zip_frame(goldens.meta[f"rel.{name}.assign{side}"], frame))
            for side in (1, 2)
        ]
        wanted.append(related(goldens[f"rel.{name}.gt{frame}"], pairs[0], pairs[1], logits[frame]))
    loss = 5 * relation_loss(logits, wanted)
    assert float(loss) == pytest.approx(goldens.meta[f"rel.{name}.loss"], rel=1e-5)


@pytest.mark.full
@pytest.mark.parametrize(
    ("twice", "motion", "name"),
    [
        (True, "can_bus_f64", "bev"),
        (False, "can_bus_f64", "bev.single_value_proj"),
        (True, "can_bus_abs_f64", "bev.absolute_can_bus"),
    ],
)
@torch.no_grad()
def test_the_grid_s_features_are_the_released_code_s(twice: bool, motion: str, name: str, shared: Path) -> None:
    goldens = Goldens(shared, "openlane_modules")
    meta = goldens.meta
    channels, cameras = meta["embed_dims"], len(meta["cams"])
    grid = BEVGrid(meta["bev_h"], meta["bev_w"], tuple(meta["pc_range"]))
    config = BEVEncoderConfig(grid, meta["encoder_layers"], 8, 8, 2 * channels, values_twice=twice)
    encoder = BEVEncoder(config, channels, len(meta["feat_shapes"]), cameras).eval()
    head = "bev_constructor."
    state = encoder.state_dict()
    names = {renamed(ours, ENCODER).removeprefix("transformer."): value for ours, value in state.items()}
    wanted = {key.removeprefix(head): shape for key, shape in meta["keys"].items() if key.startswith(head)}
    assert {key: list(value.shape) for key, value in names.items()} == wanted
    goldens.law.fill_state_dict(names, prefix=head)
    maps = [
        goldens.given(f"olv2.feat{level}", (1, cameras, channels, *shape))[0]
        for level, shape in enumerate(meta["feat_shapes"])
    ]
    views = views_of(goldens["lidar2img_f64"], goldens[motion].numpy(), meta["img_shape"], continued=False)
    torch.testing.assert_close(encoder(maps, views)[0], goldens[name], atol=1e-4, rtol=0)


@pytest.mark.full
def test_lanes_are_the_released_code_s(shared: Path) -> None:
    """Of every layer, from the released features of the grid: chances, control points, which learns what, losses."""
    goldens = Goldens(shared, "openlane_modules")
    meta = goldens.meta
    grid = BEVGrid(meta["bev_h"], meta["bev_w"], tuple(meta["pc_range"]))
    channels = meta["embed_dims"]
    decoder = LaneDecoder(grid, channels, 8, meta["decoder_layers"], 2 * channels, meta["num_query"]).eval()
    state = decoder.state_dict()
    names = {renamed(ours, DECODER): value for ours, value in state.items()}
    head = "pts_bbox_head."
    wanted = {key.removeprefix(head): shape for key, shape in meta["keys"].items() if key.startswith(head)}
    wanted.pop("code_weights", None)
    assert {key: list(value.shape) for key, value in names.items()} == wanted
    goldens.law.fill_state_dict(names, prefix=head)
    logits, curves, features = decoder(goldens["bev"][None])
    torch.testing.assert_close(features[:, 0], goldens["lane.history_states"], atol=1e-4, rtol=0)
    torch.testing.assert_close(logits[:, 0, :, None], goldens["lane.all_cls_scores"], atol=2e-4, rtol=0)
    torch.testing.assert_close(curves[-1, 0].flatten(1), goldens["lane.decoded_points15"], atol=5e-4, rtol=0)
    truth = [goldens["bezier.control15"].view(-1, 5, 3)]
    matched = match_lanes(logits, curves, truth)
    assert [part.tolist() for part in matched[-1][0]] == meta["lane_assign_last"]
    for kind, own in zip(("cls", "reg"), lane_losses(logits, curves, matched, truth), strict=True):
        for layer, prefix in enumerate(("d0.", "d1.", "")):
            assert own[layer].item() == pytest.approx(meta["lane_loss"][f"{prefix}loss_lane_{kind}"], rel=1e-5)


ELEMENT_LAYER = (
    ("attention.*", "attentions.0.*"),
    ("feed_forward.linear1.*", "ffns.0.layers.0.0.*"),
    ("feed_forward.linear2.*", "ffns.0.layers.1.*"),
    ("norm1.*", "norms.0.*"),
    ("norm2.*", "norms.1.*"),
)
ELEMENTS = (
    ("level_embedding", "transformer.level_embeds"),
    *within("encoder.#.", "transformer.encoder.layers.#.", ELEMENT_LAYER),
    *DECODER,
)


@pytest.mark.full
@torch.no_grad()
def test_traffic_elements_are_the_released_code_s(shared: Path) -> None:
    """Of every layer; the picture does not fill its batch."""
    goldens = Goldens(shared, "openlane_te_head")
    meta = goldens.meta
    channels, shapes = meta["embed_dims"], meta["feat_shapes"]
    decoder = ElementDecoder(
        channels, 8, len(shapes), meta["encoder_layers"], meta["decoder_layers"], 2 * channels, meta["num_query"], 13
    ).eval()
    head = "bbox_head."
    names = {renamed(ours, ELEMENTS): value for ours, value in decoder.state_dict().items()}
    wanted = {key.removeprefix(head): shape for key, shape in meta["keys"].items()}
    assert {key: list(value.shape) for key, value in names.items()} == wanted
    goldens.law.fill_state_dict(names, prefix=head)
    maps = [goldens.given(f"te.feat{level}", (1, channels, *shape)) for level, shape in enumerate(shapes)]
    logits, boxes, features = decoder(maps, [tuple(meta["img_shape"])], meta["batch_input_shape"])
    torch.testing.assert_close(features[:, 0], goldens["history_states"], atol=1e-4, rtol=0)
    torch.testing.assert_close(logits[:, 0], goldens["all_cls_scores"], atol=1e-4, rtol=0)
    torch.testing.assert_close(boxes[:, 0], goldens["all_bbox_preds"], atol=1e-4, rtol=0)


def zip_frame(assigned: Any, frame: int) -> tuple[Any, Any]:
    """Places of predictions and of what is true in a frame."""
    return assigned[0][frame], assigned[1][frame]


@pytest.mark.full
def test_curves_are_the_released_code_s(shared: Path) -> None:
    goldens = Goldens(shared, "openlane_modules")
    lanes = goldens["bezier.gt_points"].double().numpy()
    found = np.stack([fitted(lane) for lane in lanes])
    assert found.reshape(8, 15) == pytest.approx(goldens["bezier.control15"].numpy(), abs=1e-3)
    assert curve_points(found) == pytest.approx(goldens["bezier.curve11"].numpy(), abs=1e-3)


def test_a_curve_is_found_again_and_no_other_lies_nearer() -> None:
    """Points of a curve give its control points; of any lane, control points moved a little fit it worse."""
    numbers = np.random.default_rng(0)
    controls = numbers.normal(0, 10, (5, 3))
    assert fitted(curve_points(controls, 30)) == pytest.approx(controls)
    lane = numbers.normal(0, 1, (20, 3)).cumsum(0)
    best = fitted(lane)
    assert (best[[0, -1]] == lane[[0, -1]]).all()
    least = ((curve_points(best, 20) - lane) ** 2).sum()
    for place in (1, 2, 3):
        for axis in range(3):
            for step in (0.01, -0.01):
                moved = best.copy()
                moved[place, axis] += step
                assert ((curve_points(moved, 20) - lane) ** 2).sum() > least
    with pytest.raises(DataError, match="a lane of 1 points"):
        fitted(lane[:1])
