"""Lanes: curves, and what belongs to what; against the released code and by definition."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.driving import Goldens, renamed, views_of
from PIL import Image

from internimage.checkpoints.names.table import within
from internimage.driving.bev.encoder import BEVEncoder, BEVEncoderConfig
from internimage.driving.bev.grid import BEVGrid
from internimage.driving.data import openlane
from internimage.driving.drawing.lanes import draw_elements, draw_lanes_above
from internimage.driving.geometry.lane_graph import LaneGraph
from internimage.driving.lanes.curves import CONTROLS, curve_points, fitted
from internimage.driving.lanes.decoder import LaneDecoder
from internimage.driving.lanes.elements import ElementDecoder
from internimage.driving.lanes.losses import lane_losses, match_lanes
from internimage.driving.lanes.relations import LanePlaces, RelationHead, related, relation_loss
from internimage.driving.metrics.openlane.score import OpenLaneScore
from internimage.driving.names.bevformer import DECODER, ENCODER
from internimage.driving.world.lanes import REACH, lane_graph_of
from internimage.driving.world.painting import View
from internimage.driving.world.rig import ARGOVERSE_RIG
from internimage.driving.world.scene import make_scene
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


def test_a_lane_goes_on_where_the_next_begins_and_nothing_pulls_it_there() -> None:
    """Logits by the gap between ends and starts in metres, in closed form; the loss by what belongs together."""
    places = LanePlaces(8)
    curves = torch.zeros(1, 2, CONTROLS, 3)
    curves[0, 0, :, 0] = torch.linspace(0, 10, CONTROLS)  # ends at (10, 0, 0)
    curves[0, 1, :, 0] = torch.linspace(13, 20, CONTROLS)
    curves[0, 1, :, 1] = 4.0  # begins five metres further on
    curves.requires_grad_()
    gaps = torch.tensor([[10.0, 5.0], [math.hypot(20, 4), 7.0]])
    logits = places.follows(curves)
    torch.testing.assert_close(logits, (4 - 4 * gaps.log1p())[None])
    torch.testing.assert_close(
        places(torch.zeros(1, 2, 8), curves)[0, 0], places.controls(2 * curves[0, 0].flatten() - 1)
    )
    wanted = torch.tensor([[0.0, 1.0], [0.0, 0.0]])
    loss = relation_loss(logits, [wanted], of_pairs=False)
    chance = logits[0].detach().double().sigmoid()
    hit, miss = -0.25 * (1 - chance) ** 2 * chance.log(), -0.75 * chance**2 * (1 - chance).log()
    assert float(loss.detach()) == pytest.approx(float(torch.where(wanted > 0, hit, miss).sum()), rel=1e-5)
    assert float(relation_loss(logits, [wanted]).detach()) == pytest.approx(float(loss.detach()) / 4, rel=1e-6)
    loss.backward()
    assert curves.grad is None
    assert places.near.grad is not None


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


# Records of OpenLane-V2

LANES = [
    [[float(x), 0.1 * x, 0.0] for x in range(201)],
    [[20.0 + x, 2.0, 0.1] for x in range(11)],
]


def record(**changes: Any) -> dict[str, Any]:
    """Of a frame with two cameras, two lanes and a traffic light."""
    turn = [[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]]  # the camera looks ahead
    sensor = {
        name: {
            "image_path": f"val/a/image/{name}/7.jpg",
            "extrinsic": {"rotation": turn, "translation": [1.5, 0.0, 1.4]},
            "intrinsic": {"K": [[100.0, 0, 16], [0, 100.0, 12], [0, 0, 1]], "distortion": [0.0, 0.0, 0.0]},
        }
        for name in ("ring_side_left", "ring_front_center")
    }
    annotation = {
        "lane_centerline": [{"id": 5 + number, "points": points} for number, points in enumerate(LANES)],
        "traffic_element": [{"id": 9, "category": 1, "attribute": 2, "points": [[3.0, 4.0], [7.5, 9.0]]}],
        "topology_lclc": [[0, 1], [0, 0]],
        "topology_lcte": [[1], [0]],
    }
    annotation |= changes.pop("annotation", {})
    return {
        "version": "OpenLane-V2_v1.0",
        "segment_id": "a",
        "meta_data": {"source": "Argoverse 2", "source_id": "x"},
        "timestamp": 7,
        "sensor": sensor,
        "pose": {"rotation": np.eye(3).tolist(), "translation": [100.0, 200.0, 1.0]},
        "annotation": annotation,
    } | changes


def written(root: Path, content: Any) -> Path:
    for name in ("ring_side_left", "ring_front_center"):
        file = root / "val" / "a" / "image" / name / "7.jpg"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (32, 24)).save(file)
    info = root / "val" / "a" / "info" / "7.json"
    info.parent.mkdir(exist_ok=True)
    info.write_text(content if isinstance(content, str) else json.dumps(content))
    return info


def test_a_record_is_a_frame_and_its_graph(tmp_path: Path) -> None:
    info = written(tmp_path, record())
    assert openlane.recognise(tmp_path)
    assert not openlane.recognise(tmp_path / "val")
    frame, graph = openlane.read_frame(tmp_path, info)
    assert (frame.token, frame.scene, frame.time) == ("a/7", "a", 7)
    assert [camera.channel for camera in frame.cameras] == ["ring_front_center", "ring_side_left"]
    assert frame.ego.translation.tolist() == [100, 200, 1]
    u, v, depth, _ = frame.cameras[0].lidar_to_pixels @ (11.5, 1.0, 2.4, 1.0)  # ten metres ahead, one left, one up
    assert (u / depth, v / depth, depth) == pytest.approx((16 - 10, 12 - 10, 10))
    assert graph is not None
    assert [len(lane) for lane in graph.lanes] == [201, 11]
    assert graph.lane_lane.tolist() == [[0, 1], [0, 0]]
    assert graph.lane_element.tolist() == [[1], [0]]
    assert graph.elements.tolist() == [[3, 4, 7.5, 9]]
    assert openlane.ATTRIBUTES[graph.attributes[0]] == "green"
    again = openlane.lane_graph(openlane.annotation_of(graph), "again")
    assert all((one == other).all() for one, other in zip(again.lanes, graph.lanes, strict=True))
    assert (again.lane_lane == graph.lane_lane).all()
    hidden = {key: value for key, value in record().items() if key != "annotation"}
    assert openlane.read_frame(tmp_path, written(tmp_path, hidden))[1] is None


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "is not readable JSON"),
        ({"segment_id": "a"}, "is no record of OpenLane-V2"),
        (record(sensor={}), "has no camera; expected any of ring_front_center"),
        (record(annotation={"topology_lclc": [[0, 1]]}), r"topology_lclc has 1 rows of \[2\] numbers; expected 2 of 2"),
        (
            record(annotation={"topology_lcte": [[1], []]}),
            r"topology_lcte has 2 rows of \[0, 1\] numbers; expected 2 of 1",
        ),
        (
            record(annotation={"traffic_element": [{"attribute": 13, "points": [[0, 0], [1, 1]]}]}),
            "attributes from 13 to 13; expected 0 to 12",
        ),
        (record(annotation={"lane_centerline": [{"points": LANES[0][:1]}, {"points": LANES[1]}]}), "lane 0 is of"),
        (
            record(pose={"rotation": [[2.0, 0, 0], [0, 1, 0], [0, 0, 1]], "translation": [0, 0, 0]}),
            "pose: .* is no rot",
        ),
        (record(pose={"rotation": [[1.0]], "translation": [0, 0, 0]}), "expected a rotation of 3 rows of 3"),
    ],
)
def test_records_that_are_none_are_refused(content: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=message):
        openlane.read_frame(tmp_path, written(tmp_path, content))


@pytest.mark.parametrize("path", ["../../../etc/passwd", "val/a/image/nowhere/7.jpg"])
def test_pictures_that_are_not_there_are_named(path: str, tmp_path: Path) -> None:
    content = record()
    content["sensor"]["ring_side_left"]["image_path"] = path
    with pytest.raises(DataError, match=r"leaves the folder|the picture of ring_side_left cannot be read"):
        openlane.read_frame(tmp_path, written(tmp_path, content))


# The drawn world


def test_drawn_lanes_follow_each_other_and_signals_stand_where_they_are_seen() -> None:
    """A lane begins where the one before it ends; boxes are the pixels of their elements."""
    view = View(ARGOVERSE_RIG[0], 0.25)
    pairs = signals = 0
    for seed in range(8):
        scene = make_scene(seed)
        painting = view.painted(scene, 0.5)
        graph = lane_graph_of(scene, 0.5, view, painting).checked("drawn")
        for row, column in np.argwhere(graph.lane_lane):
            end, start = graph.lanes[row][-1], graph.lanes[column][0]
            assert np.linalg.norm(end - start) < 0.2
            pairs += 1
        for place, box in enumerate(graph.elements):
            named = [
                number
                for number, element in enumerate(scene.elements)
                if openlane.ATTRIBUTES[graph.attributes[place]].endswith(element.says)
            ]
            rows, columns = np.nonzero(np.isin(painting.owner, [len(scene.things) + number for number in named]))
            inside = (columns + 0.5 >= box[0]) & (columns + 0.5 <= box[2]) & (rows + 0.5 >= box[1])
            inside &= rows + 0.5 <= box[3]
            assert inside.sum() >= 0.5 * (box[2] - box[0]) * (box[3] - box[1])
            assert graph.lane_element[:, place].sum() <= 1
            signals += 1
        assert all(len(lane) == 201 and (np.abs(lane[:, :2]) <= REACH).all() for lane in graph.lanes)
        score = OpenLaneScore(openlane.ATTRIBUTES)
        score.add("a", graph, graph)
        found = score.compute()
        assert found["det_l"] == found["det_t"] == found["top_ll"] == 1
    assert pairs > 20
    assert signals > 5


def test_lanes_are_drawn_where_they_lie_and_as_what_governs_them() -> None:
    """A lane ahead to the left under a red light is red, above and left of the middle; one without a light is not."""
    lanes = [np.array([[x, 10.0, 0.0] for x in range(10, 40)]), np.array([[-x, -10.0, 0.0] for x in range(10, 40)])]
    red = openlane.ATTRIBUTES.index("red")
    graph = LaneGraph(
        lanes,
        np.ones(2),
        np.array([[10.0, 10, 30, 30]]),
        np.array([red]),
        np.ones(1),
        np.zeros((2, 2)),
        np.array([[1.0], [0.0]]),
    )
    picture = draw_lanes_above(graph, openlane.ATTRIBUTES, height=300)
    pixels = np.asarray(picture, int)
    rows, columns = np.nonzero((pixels[..., 0] > 180) & (pixels[..., 1] < 100))
    assert len(rows) > 50
    assert rows.max() < picture.height / 2
    assert columns.max() < picture.width / 2
    front = draw_elements(Image.new("RGB", (60, 60), "white"), graph, openlane.ATTRIBUTES)
    assert front.getpixel((10, 20)) == (214, 48, 40)
    assert front.getpixel((20, 20)) == (255, 255, 255)
