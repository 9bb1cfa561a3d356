"""BEVFormer: against its definition in float64, and what must not matter."""

import json
import math
from dataclasses import asdict, replace
from itertools import permutations
from typing import Any

import numpy as np
import pytest
import torch
from helpers import fill
from helpers.driving import BACKBONE, frame, rig, sample, small

from internimage.checkpoints.layouts import from_ours, to_ours
from internimage.driving.bev.code import boxes_of, code_of
from internimage.driving.bev.decoding import BoxSelection, best_boxes
from internimage.driving.bev.encoder import BEVEncoderConfig
from internimage.driving.bev.grid import BEVGrid
from internimage.driving.bev.history import turned
from internimage.driving.bev.inputs import BoxTargets, Views
from internimage.driving.bev.losses import box_losses, match
from internimage.driving.bev.projection import look, project
from internimage.driving.bev.spatial_attention import SpatialAttention
from internimage.driving.bev.temporal_attention import TemporalAttention
from internimage.driving.data.frames import NUSCENES_CLASSES
from internimage.driving.geometry.boxes import Boxes
from internimage.driving.geometry.motion import bev_shift, bev_turn, can_bus_vector
from internimage.driving.geometry.poses import Pose
from internimage.driving.models.bevformer import BEVFormer, BEVFormerConfig
from internimage.driving.models.bevformer_v2 import RELEASED_CLASSES
from internimage.driving.recipes.boxes3d import RECIPES
from internimage.errors import ConfigError, InputSizeError, NonFiniteError
from internimage.registry import ARCHITECTURES, resolve
from internimage.settings.plain import from_plain

SHAPES = [(8, 12), (4, 6), (2, 3)]
FROZEN = [
    [0.29973, 0.30624, 0.26814, 0.29852, 0.351, 0.3036],
    [-0.93438, -0.92272, -0.94276, -0.89561, -0.92823, -0.95587],
    [-0.65924, 1.90015, 0.16782, 1.1878],
    [6.26746, 0.3204, 0.59822, 8.7899, 0.5496, -1.32433],
]
CAR = torch.tensor([3.0, 7.0, -1.0, 1.9, 4.5, 1.6, 0.7, 1.0, -2.0])


def random(model: torch.nn.Module) -> torch.nn.Module:
    """Weights that let every input matter."""
    generator = torch.Generator().manual_seed(0)
    for name, parameter in model.named_parameters():
        spread = 1.0 if "sampling_offsets.bias" in name else 0.3
        torch.nn.init.normal_(parameter, std=spread, generator=generator)
    return model.double().eval()


# Geometry


def test_motion_is_told_as_in_the_released_code() -> None:
    """The first frame of a scene, an ordinary one, and one that passes 360 degrees."""
    a, b, c = frame((100, 50, 0.2), 350), frame((103, 49, 0.2), 356), frame((106, 47.5, 0.3), 3)
    first, second, third = can_bus_vector(a, None), can_bus_vector(b, a), can_bus_vector(c, b)
    assert first[:3].tolist() == [0, 0, 0]
    assert (first[16], first[17]) == (pytest.approx(6.1086523819801535), 0)
    assert second[[0, 1, 2, 17]].tolist() == pytest.approx([3, -1, 0, 6])
    assert third[[0, 1, 2, 17]].tolist() == pytest.approx([3, -1.5, 0.1, -353])
    assert third[16] == pytest.approx(0.05235987755982989)
    assert third[3:7].tolist() == pytest.approx([math.cos(math.radians(1.5)), 0, 0, math.sin(math.radians(1.5))])
    assert third[7:16].tolist() == list(range(9))
    old = can_bus_vector(c, b, released=True)
    assert old[3:7].tolist() == pytest.approx([math.cos(math.radians(1.5))] * 4)
    assert old[7:16].tolist() == list(range(100, 109))
    assert bev_turn(third) == third[17]


@pytest.mark.parametrize("sides", [(40, 40), (24, 36)], ids=["square", "oblong"])
@pytest.mark.parametrize(("dx", "dy", "yaw", "turn"), [(3, -1, 20, 0), (-2, 1, 200, 30), (1, 2, 355, -350)])
def test_a_post_by_the_road_is_found_where_it_was(
    dx: float, dy: float, yaw: float, turn: float, sides: tuple[int, int]
) -> None:
    """A cell's place in the turned history plus the shift is where the same spot of the ground lay before."""
    width, height = sides
    grid = BEVGrid(height, width, (-width / 2, -height / 2, 0, width / 2, height / 2, 4))
    before, now = frame((10, 5, 0), yaw - turn), frame((10 + dx, 5 + dy, 0), yaw)
    lidar = Pose.from_quaternion((math.sqrt(0.5), 0, 0, -math.sqrt(0.5)), (0, 0, 0))  # x right, y ahead
    motion = can_bus_vector(now, before)
    shift = bev_shift(motion, (width, height)) * sides
    history = grid.metres(grid.centres())[None]  # each cell, a metre wide, remembers where it lay
    found = turned(history, torch.tensor([bev_turn(motion)]), grid)[0].view(height, width, 2).numpy()
    for spot in np.random.default_rng(0).uniform(-7, 7, (20, 2)):
        there = ((before.ego @ lidar).inverse @ (now.ego @ lidar))(np.array([*spot, 0.0]))[:2]
        column, row = np.floor(spot + shift + np.array(sides) / 2).astype(int)
        assert np.hypot(*(found[row, column] - there)) < 2**0.5 + 1e-4
    assert turned(torch.ones(1, grid.cells, 2), torch.tensor([45.0]), grid, (0, 0)).mean() < 0.9
    same = torch.randn(1, grid.cells, 2)
    assert torch.equal(turned(same, torch.tensor([0.0]), grid), same)


def test_cameras_see_what_lies_in_their_pictures() -> None:
    """By the words of the definition, in float64; a missing camera sees nothing."""
    grid = BEVGrid(6, 8, (-12, -9, -2, 12, 9, 2), 2)
    views = rig(2)
    uv, seen = project(grid.points(), views.lidar_to_pixels, (64, 96))
    count = 0
    for camera, matrix in enumerate(views.lidar_to_pixels[0].double()):
        for cell in range(grid.cells):
            for level in range(2):
                row, column = divmod(cell, 8)
                point = torch.tensor([3 * column - 10.5, 3 * row - 7.5, (-1.5, 1.5)[level], 1.0]).double()
                u, v, depth, _ = (matrix @ point).tolist()
                u, v = u / max(depth, 1e-5) / 96, v / max(depth, 1e-5) / 64
                assert bool(seen[0, camera, cell, level]) == (depth > 1e-5 and 0 < u < 1 and 0 < v < 1)
                count += int(seen[0, camera, cell, level])
                if depth > 0.1:
                    assert uv[0, camera, cell, level].tolist() == pytest.approx([u, v], rel=1e-5, abs=1e-5)
    assert 0 < count < grid.cells * 2 * 3
    present = torch.tensor([[True, False, True], [True, True, True]])
    sight = look(grid.points(), views.lidar_to_pixels, present, (64, 96))
    hits = seen.any(-1)
    assert sight.counts == [int(hits[0, 0].sum()), 0, int(hits[0, 2].sum()), *hits[1].sum(1).tolist()]
    assert sum(sight.counts) == len(sight.cells) == len(sight.places)
    assert torch.equal(sight.cameras[grid.cells :], hits[1].sum(0).clamp(min=1).float())


# Attention


@torch.no_grad()
def test_attention_in_time_is_its_definition() -> None:
    """Cell by cell, head by head, point by point, in float64."""
    height, width, heads, points = 2, 3, 2, 3
    attention = random(TemporalAttention(8, heads, points))
    assert isinstance(attention, TemporalAttention)
    grid = BEVGrid(height, width)
    centres = grid.centres().double()
    placed, past, now = torch.randn(3, 2, 6, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    shift = torch.tensor([[0.1, -0.2], [0.3, 0.05]]).double()
    references = torch.stack([centres + shift[:, None], centres.expand(2, -1, -1)], 1)
    found = attention(placed, past, now, references, (height, width))
    for n in range(2):
        maps = [attention.value_proj(one[n]).view(height, width, heads, 4) for one in (past, now)]
        for cell in range(6):
            both = torch.cat([past[n, cell], placed[n, cell]])
            offsets = attention.sampling_offsets(both).view(heads, 2, points, 2)
            weights = attention.attention_weights(both).view(heads, 2, points).softmax(-1)
            total = torch.zeros(heads, 4).double()
            for head in range(heads):
                for queue in range(2):
                    for point in range(points):
                        x, y = references[n, queue, cell] * torch.tensor([width, height]) + offsets[head, queue, point]
                        value = sample(maps[queue][:, :, head], float(x), float(y))
                        total[head] += weights[head, queue, point] * value / 2
            torch.testing.assert_close(found[n, cell], attention.output_proj(total.flatten()), atol=1e-10, rtol=0)


@torch.no_grad()
def test_attention_in_space_is_its_definition() -> None:
    """Of two samples with other cameras, one of them missing; where nobody looks stays the bias."""
    heads, levels, points, pillars = 2, 2, 4, 2
    attention = random(SpatialAttention(8, heads, levels, points, pillars))
    assert isinstance(attention, SpatialAttention)
    grid, views, shapes = BEVGrid(4, 5, (-15, -12, -2, 15, 12, 2), pillars), rig(2), [(4, 6), (2, 3)]
    generator = torch.Generator().manual_seed(1)
    query = torch.randn(2, 20, 8, dtype=torch.float64, generator=generator)
    features = torch.randn(6, 30, 8, dtype=torch.float64, generator=generator)
    present = torch.tensor([[True, True, True], [True, False, True]])
    uv, seen = project(grid.points(), views.lidar_to_pixels, (64, 96))
    found = attention(query, features, shapes, look(grid.points(), views.lidar_to_pixels, present, (64, 96)))
    unseen = 0
    for n in range(2):
        for cell in range(20):
            cameras = [k for k in range(3) if present[n, k] and seen[n, k, cell].any()]
            offsets = attention.sampling_offsets(query[n, cell]).view(heads, levels, points, 2)
            weights = attention.attention_weights(query[n, cell]).view(heads, levels * points).softmax(-1)
            total = torch.zeros(heads, 4).double()
            for camera in cameras:
                values = attention.value_proj(features[3 * n + camera]).split([24, 6])
                for head in range(heads):
                    for level, (high, wide) in enumerate(shapes):
                        for point in range(points):
                            x, y = uv[n, camera, cell, point % pillars].double() * torch.tensor([wide, high])
                            x, y = torch.stack([x, y]) + offsets[head, level, point]
                            one = values[level].view(high, wide, heads, 4)[:, :, head]
                            weight = weights[head, level * points + point]
                            total[head] += weight * sample(one, float(x), float(y)) / len(cameras)
            unseen += not cameras
            torch.testing.assert_close(found[n, cell], attention.output_proj(total.flatten()), atol=1e-6, rtol=0)
    assert unseen


# Boxes


def test_codes_are_boxes_and_back() -> None:
    """A yaw of zero looks along x; of old mmdetection3d's angle, -yaw - pi/2, sine and cosine are in the code."""
    yaws = torch.linspace(-3.1, 3.1, 25, dtype=torch.float64)
    boxes = CAR.double().repeat(25, 1)
    boxes[:, 6] = yaws
    codes = code_of(boxes)
    torch.testing.assert_close(codes[:, 6], torch.sin(-yaws - math.pi / 2), atol=1e-12, rtol=0)
    torch.testing.assert_close(codes[:, 7], torch.cos(-yaws - math.pi / 2), atol=1e-12, rtol=0)
    assert codes[0, [0, 1, 4]].tolist() == [3, 7, -1]
    torch.testing.assert_close(boxes_of(codes), boxes, atol=1e-12, rtol=0)
    ahead = boxes_of(code_of(boxes[:1].clone().index_fill(1, torch.tensor(6), 0.0)))[0].numpy()
    one = Boxes(*(np.array([part]) for part in (ahead[:3], ahead[3:6], ahead[6], ahead[7:9], 0, 1.0)))
    assert one.corners()[0, :4, 0] == pytest.approx(3 + 4.5 / 2)


@pytest.mark.parametrize(
    ("report", "expected"),
    [
        (BoxSelection(), [(0, 1), (2, 0), (0, 0)]),  # query 1 lies outside
        (BoxSelection(keep=2), [(0, 1)]),
        (BoxSelection(score_threshold=0.85), [(0, 1)]),
        (BoxSelection(score_threshold=0.99), [(0, 1)]),  # .99, .891: nothing but the best
        (BoxSelection(keep=3, extent=(-9.0, -9.0, -1.0, 9.0, 7.0, 9.0)), [(0, 1), (2, 0)]),  # borders included
    ],
)
def test_best_pairs_of_query_and_class_are_reported(report: BoxSelection, expected: list[tuple[int, int]]) -> None:
    chances = torch.tensor([[0.1, 0.9], [0.0, 0.85], [0.8, 0.0]])
    boxes = CAR.repeat(3, 1)
    boxes[1, 0], boxes[:, 5] = 70.0, torch.tensor([1.0, 2.0, 3.0])
    found = best_boxes(chances.logit(1e-4), code_of(boxes), report)
    pairs = [(int(box[5].round()) - 1, int(label)) for box, label in zip(found.boxes, found.labels, strict=True)]
    assert pairs[: len(expected)] == expected
    assert all(score < 1e-3 for score in found.scores[len(expected) :])
    with pytest.raises(NonFiniteError):
        best_boxes(torch.full((3, 2), torch.nan), code_of(boxes), report)


def test_thresholds_fall_until_something_passes() -> None:
    """By nine tenths; the first is to be exceeded, later ones to be reached; below a hundredth there is none."""
    codes = code_of(CAR.repeat(3, 1))
    for scores, threshold, count in (
        ([0.5, 0.4, 0.3], 0.5, 1),
        ([0.5, 0.46, 0.3], 0.5, 2),
        ([0.5, 0.46, 0.3], 0.49, 1),
        ([0.004, 0.003, 0.002], 0.9, 3),
        ([0.4, 0.4, 0.3], 0.9, 2),
    ):
        logits = torch.tensor(scores).double().logit()[:, None]
        assert len(best_boxes(logits, codes, BoxSelection(score_threshold=threshold)).scores) == count, scores


def test_queries_learn_the_boxes_that_cost_least() -> None:
    """All assignments, and both losses in the words of the paper; unknown velocities count nothing, or all."""
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 2, 4, 3, generator=generator)
    codes = torch.randn(2, 2, 4, 10, generator=generator)
    boxes = CAR + torch.rand(5, 9, generator=generator)
    boxes[4, 7:] = torch.nan
    targets = [
        BoxTargets(boxes[:2], torch.tensor([2, 0])),
        BoxTargets(boxes[2:], torch.tensor([1, 1, 0])),
    ]
    matched = match(logits, codes, targets)
    true, labels = code_of(boxes.double()), torch.cat([one.labels for one in targets])
    weights = torch.tensor([1.0] * 8 + [0.2] * 2)
    losses = {drop: box_losses(logits, codes, matched, targets, weights, drop_incomplete=drop) for drop in (0, 1)}
    for layer in range(2):
        focal, apart = 0.0, {0: 0.0, 1: 0.0}
        for n, numbers in enumerate(([0, 1], [2, 3, 4])):
            chance = logits[layer, n].double().sigmoid()
            hit, miss = 0.25 * (1 - chance) ** 2 * -chance.log(), 0.75 * chance**2 * -(1 - chance).log()
            distance = (codes[layer, n, :, None].double() - true).abs()
            cost = 2 * (hit - miss)[:, labels] + 0.25 * distance[..., :8].sum(-1)
            cheapest = min(
                permutations(range(4), len(numbers)),
                key=lambda rows: sum(float(cost[row, g]) for row, g in zip(rows, numbers, strict=True)),
            )
            pairs = dict(zip(cheapest, numbers, strict=True))
            assert {q: int(g) for q, g in enumerate(matched[layer, n]) if g >= 0} == pairs
            wanted = torch.zeros_like(chance, dtype=torch.bool)
            for row, g in pairs.items():
                wanted[row, labels[g]] = True
                apart[0] += float((distance[row, g] * weights).nan_to_num().sum())
                apart[1] += float((distance[row, g] * weights).sum().nan_to_num())
            focal += float(torch.where(wanted, hit, miss).sum())
        assert float(losses[0][0][layer]) == pytest.approx(2 * focal / 5, rel=1e-5)
        for drop in (0, 1):
            assert float(losses[drop][1][layer]) == pytest.approx(0.25 * apart[drop] / 5, rel=1e-5)


# The network


@torch.no_grad()
def test_two_frames_give_the_numbers_that_they_gave() -> None:
    """In float64; frozen from the code that gave those of the released one."""
    model = small().double()
    for name, parameter in (*model.encoder.named_parameters(), *model.decoder.named_parameters()):
        parameter.copy_(
            torch.from_numpy(fill.uniform(name, tuple(parameter.shape))) * (0.5 if parameter.dim() > 1 else 1)
        )
    maps = [torch.from_numpy(fill.uniform(f"{level}", (6, 16, *shape))).double() for level, shape in enumerate(SHAPES)]
    can_bus = torch.from_numpy(fill.uniform("can_bus", (2, 18)))
    views = replace(rig(2), can_bus=can_bus, shift=can_bus[:, :2] / 10, turn=can_bus[:, 2] * 30)
    history = model.encoder(maps, views)
    bev = model.encoder([-one for one in maps], replace(views, continued=torch.tensor([True, True])), history)
    logits, codes = model.decoder(bev)
    found = [history[:, ::16, 3], bev[:, ::16, 5], logits[:, 0, 3, :2], codes[:, 1, 7, ::4]]
    for one, expected in zip(found, FROZEN, strict=True):
        torch.testing.assert_close(one.double().flatten(), torch.tensor(expected).double(), atol=1e-4, rtol=0)


@torch.no_grad()
def test_a_frame_in_a_batch_is_seen_like_alone() -> None:
    """Other cameras, other motion, with and without a history, one camera missing, in any order."""
    model = small()
    views, again = rig(3), rig(3, seed=1)
    views = replace(views, continued=torch.tensor([False, True, True]))
    views.present[2, 1] = False
    history = model(again)[1]
    found, bev = model(views, history)
    for n in range(3):
        alone, alone_bev = model(part(views, n), history[n : n + 1] if n else None)
        torch.testing.assert_close(bev[n], alone_bev[0], atol=4e-6, rtol=0)
        torch.testing.assert_close(found[n].scores, alone[0].scores, atol=1e-6, rtol=0)
        assert found[n].boxes.shape == (len(found[n].labels), 9)
    without = model(part(views, 1), None)[1]
    assert (without - bev[1]).abs().max() > 1e-2  # the history is used
    dark = replace(part(views, 2), images=part(views, 2).images.clone())
    dark.images[:, 1] = 7
    torch.testing.assert_close(model(dark, history[2:])[1], bev[2:], atol=4e-6, rtol=0)  # nobody looks there
    blind = replace(part(views, 0), present=torch.zeros(1, 3, dtype=torch.bool))
    assert model(blind)[1].isfinite().all()


def part(views: Views, n: int) -> Views:
    """One of the frames."""
    return Views(**{name: value[n : n + 1] for name, value in vars(views).items()})


def test_another_number_of_cameras_is_named() -> None:
    model = small()
    views = rig(1)
    two = replace(views, images=views.images[:, :2], lidar_to_pixels=views.lidar_to_pixels[:, :2])
    with pytest.raises(InputSizeError, match="a frame has 2 cameras; expected 3: FRONT, LEFT, RIGHT"):
        model(two)


@pytest.mark.parametrize("counts", [(3, 1), (0, 2), (0, 0), (30, 0)], ids=str)
def test_every_parameter_learns_from_any_frames(counts: tuple[int, int]) -> None:
    """Without boxes, with more of them than queries, with unknown velocities; history changes no mode or statistic."""
    model = small().train()
    model.backbone.freeze(1)
    modes = [module.training for module in model.modules()]
    targets = []
    for count in counts:
        boxes = CAR + torch.rand(count, 9)
        boxes[::2, 7:] = torch.nan
        targets.append(BoxTargets(boxes, torch.randint(4, (count,))))
    now = replace(rig(2, seed=1), continued=torch.tensor([True, False]))
    losses = model.losses([rig(2), now], targets)
    assert set(losses) == {f"layer{layer}_{kind}" for layer in (1, 2) for kind in ("class", "box")}
    assert [module.training for module in model.modules()] == modes
    total = torch.stack(list(losses.values())).sum()
    assert total.isfinite()
    total.backward()
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            assert parameter.grad is not None, name
            assert parameter.grad.isfinite().all(), name
    if counts == (0, 0):
        assert losses["layer2_box"].item() == 0


@pytest.mark.parametrize("mixed", [True, False], ids=["mixed", "weights"])
def test_half_precision_moves_boxes_little(mixed: bool) -> None:
    """Places stay float32: only maps, weights and what is computed from them are rounded."""
    model, views = small(), rig(2)
    now = replace(rig(2, seed=3), continued=torch.tensor([True, False]))  # where rounding changes no match
    targets = [BoxTargets(CAR[None], torch.tensor([1])), BoxTargets(CAR[None][:0], torch.tensor([1])[:0])]
    with torch.no_grad():
        exact = model.losses([views, now], targets)
    if not mixed:
        model.bfloat16()
        views, now = (one.to(torch.device("cpu"), torch.bfloat16) for one in (views, now))
    with torch.autocast("cpu", torch.bfloat16, enabled=mixed):
        rounded = model.losses([views, now], targets)
        with torch.inference_mode():
            found = model(now, model(views)[1])[0]
    torch.stack(list(rounded.values())).sum().backward()
    for name, loss in rounded.items():
        assert loss.item() == pytest.approx(exact[name].item(), rel=0.05)
    assert found[0].boxes.dtype == found[0].scores.dtype == torch.float32


def test_frames_without_any_camera_can_be_learnt_from() -> None:
    model, views = small().train(), rig(2)
    dark = replace(views, present=torch.zeros(2, 3, dtype=torch.bool))
    losses = model.losses([dark], [BoxTargets(CAR[None], torch.tensor([1]))] * 2)
    torch.stack(list(losses.values())).sum().backward()
    assert all(one.grad is not None and one.grad.isfinite().all() for one in model.parameters())


def test_dropout_acts_in_training_alone_and_history_has_none() -> None:
    model, views = small(), rig(1)
    targets = [BoxTargets(CAR[None], torch.tensor([1]))]
    torch.manual_seed(0)
    once, twice = (model.train().losses([views], targets)["layer2_class"].item() for _ in range(2))
    assert once != twice
    calm = BEVFormer(replace(model.config, dropout=0.0))
    calm.load_state_dict(model.state_dict())
    model.eval()
    for queue in ([views], [views, replace(views, continued=torch.tensor([True]))]):
        for one in ("layer2_class", "layer1_box"):
            assert model.losses(queue, targets)[one] == calm.train().losses(queue, targets)[one]


def test_groups_of_queries_learn_beside_each_other() -> None:
    """Losses and gradients are the mean of those of networks with one group each; prediction asks the first."""
    config = replace(small().config, groups=3, dropout=0.0)
    model = BEVFormer(config).double().train()
    targets = [BoxTargets(CAR + torch.rand(count, 9), torch.randint(4, (count,))) for count in (3, 1)]
    views = rig(2).to(torch.device("cpu"), torch.float64)
    losses, gradients = [], []
    for group in range(3):
        alone = BEVFormer(replace(config, groups=1)).double().train()
        rows = slice(group * config.queries, (group + 1) * config.queries)
        state = model.state_dict()
        state["decoder.query_embedding.weight"] = state["decoder.query_embedding.weight"][rows].clone()
        alone.load_state_dict(state)
        losses.append(alone.losses([views], targets))
        torch.stack(list(losses[-1].values())).sum().backward()
        gradients.append(alone.encoder.cells.weight.grad)
        if group == 0:
            expected = alone.eval()(views)[0][0]
    together = model.losses([views], targets)
    for name, loss in together.items():
        torch.testing.assert_close(loss, torch.stack([one[name] for one in losses]).mean())
    torch.stack(list(together.values())).sum().backward()
    torch.testing.assert_close(model.encoder.cells.weight.grad, torch.stack(gradients).mean(0))
    torch.testing.assert_close(model.eval()(views)[0][0].boxes, expected.boxes)


def test_classes_and_reports_can_be_changed() -> None:
    model = small()
    few = model.keeping(2)(rig(1))[0][0]
    assert len(few.labels) == 2
    model.reset_classifier(7)
    assert model.decoder(torch.zeros(1, model.config.grid.cells, 16))[0].shape == (2, 1, 12, 7)
    with pytest.raises(ConfigError, match="100 objects a frame; expected 1 to 84"):
        model.keeping(100)


@pytest.mark.parametrize(
    ("kind", "changes", "message"),
    [
        (BEVFormerConfig, {"channels": 24}, "channels is 24; expected a multiple of twice the 8 heads"),
        (BEVFormerConfig, {"points": 6}, "points is 6; expected a multiple of the grid's 4 pillars"),
        (BEVFormerConfig, {"cameras": ("A", "A")}, "expected names, each once"),
        (BEVFormerConfig, {"levels": 2}, "levels is 2; expected 3 or more, as out_levels has"),
        (BEVEncoderConfig, {"dropout": 1.0}, "dropout is 1.0"),
        (BEVGrid, {"width": 0}, "a grid of 200x0 cells"),
        (BEVGrid, {"extent": (0, 0, 0, 1, 1, 1)}, "more than a metre high"),
        (BoxSelection, {"keep": 0}, "keep is 0"),
        (BoxSelection, {"extent": (0, 0, 0, 0, 1, 1)}, "the latter greater"),
    ],
)
def test_configurations_that_cannot_be_are_named(kind: Any, changes: dict[str, Any], message: str) -> None:
    first = {"backbone": BACKBONE} if kind is BEVFormerConfig else {}
    with pytest.raises(ConfigError, match=message):
        kind(**first, **changes)


def test_later_layers_do_not_move_the_places_of_earlier_ones() -> None:
    """Gradients end at reference points; those at the very edge of the grid are moved by a hundred-thousandth."""
    decoder = small().decoder
    torch.nn.init.zeros_(decoder.reference.weight)
    decoder.reference.bias.data = torch.tensor([-20.0, 20.0, 0.0])
    for regressor in decoder.regressors:
        for parameter in regressor[-1].parameters():  # type: ignore[index]
            torch.nn.init.zeros_(parameter)
    codes = decoder(torch.zeros(1, 48, 16))[1]
    assert codes[-1, 0, 0, [0, 1, 4]].tolist() == pytest.approx([-12 + 24e-5, 9 - 18e-5, 0], abs=1e-5)
    codes[-1].sum().backward()
    assert not decoder.regressors[0][-1].bias.grad.any()  # type: ignore[index]


def test_recipes_are_models() -> None:
    """With the classes in the order of the released outputs; every tensor of one has a name in the other layout."""
    small = 0
    for recipe in RECIPES:
        assert from_plain(type(recipe.config), json.loads(json.dumps(asdict(recipe.config)))) == recipe.config
        known = NUSCENES_CLASSES if recipe.architecture == "bevformer" else RELEASED_CLASSES
        assert recipe.class_names in (None, known)
        if "atto" not in recipe.name and recipe.name not in ("bevformer_tiny", "bevformer_v2_t2"):
            continue
        small += 1
        with torch.device("meta"):
            model = resolve(ARCHITECTURES[recipe.architecture].model)(recipe.config)
        names = from_ours(model.state_dict(), "official", model.config)
        assert to_ours(names.values(), "official", model.config) == {theirs: ours for ours, theirs in names.items()}
    assert small == 4
