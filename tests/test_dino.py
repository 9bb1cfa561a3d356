"""DINO and the composite backbone: against the reference, brute force, and odd images."""

import json
from dataclasses import replace
from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.detectors import (
    CB_H,
    CONFIGURATIONS,
    FILES,
    SMALL,
    SMALL_COMPOSITE,
    SMALL_DINO,
    SMALL_MASK_DINO,
    build,
    read,
    reference,
    same,
    truth,
)
from torch import Tensor
from torchvision.ops import generalized_box_iou

from internimage.backbones.composite import CompositeBackbone, CompositeConfig
from internimage.backbones.internimage import InternImage
from internimage.checkpoints.layouts import from_ours
from internimage.errors import ConfigError
from internimage.layers.attention import FeedForward, SplitFeedForward
from internimage.layers.boxes import cxcywh_to_xyxy, xyxy_to_cxcywh
from internimage.layers.queries import denoising, hungarian
from internimage.layers.queries.denoising import noisy_objects
from internimage.layers.queries.hungarian import match_boxes
from internimage.layers.queries.losses import set_box_losses
from internimage.layers.queries.refinement import inverse_sigmoid
from internimage.models import dino as module
from internimage.models.dino import DINO, DINOConfig
from internimage.recipes import get_recipe
from internimage.registry import ARCHITECTURES, architecture_of, resolve
from internimage.structures.detection import DetectionConfig, DetectionTarget

CONFIGS = pytest.mark.parametrize(
    "config", [SMALL_DINO, SMALL_COMPOSITE, SMALL_MASK_DINO], ids=["plain", "composite", "masks"]
)


def tiny(config: DINOConfig) -> DINO:
    torch.manual_seed(0)
    model: DINO = resolve(ARCHITECTURES[architecture_of(type(config))].model)(config)
    for name, parameter in model.named_parameters():
        if "classifiers" in name or "feed_scale" in name or "regressors" in name:
            torch.nn.init.normal_(parameter, std=0.2)
    return model.eval()


@CONFIGS
@torch.no_grad()
def test_an_image_in_a_batch_is_found_like_alone(config: DINOConfig) -> None:
    """Padding and neighbours change nothing; boxes lie in the image; a threshold and a limit of objects hold."""
    model = tiny(config)
    images = torch.randn(2, 3, 96, 128)
    images[1, :, 64:], images[1, :, :, 90:] = 0, 0
    sizes, scales = [(96, 128), (64, 90)], torch.tensor([[0.5, 0.5, 0.5, 0.5], [2.0, 2.0, 2.0, 2.0]])
    both = model(images, sizes, scales)
    for index, one in enumerate(both):
        (alone,) = model(images[index : index + 1], sizes[index : index + 1], scales[index : index + 1])
        same(one, alone)
        assert len(one.boxes) == 60  # 20 queries, 3 classes
        height, width = (side / float(scales[index, 0]) for side in sizes[index])
        assert one.boxes.min() >= 0
        assert (one.boxes.amax(0)[2:] <= torch.tensor([width, height]) + 1e-3).all()
        assert (one.scores.diff() <= 0).all()
        limit = float(one.scores[6:8].mean())
        model.config = replace(config, detections=DetectionConfig(limit, 0.7, 5))
        (few,) = model(images[index : index + 1], sizes[index : index + 1], scales[index : index + 1])
        assert torch.equal(few.boxes, alone.boxes[:5])
        model.config = replace(config, detections=DetectionConfig(limit, 0.7, 300))
        (few,) = model(images[index : index + 1], sizes[index : index + 1], scales[index : index + 1])
        assert len(few.boxes) == 7
        model.config = config
    (found,) = model(torch.randn(1, 3, 32, 32), [(20, 30)], torch.ones(1, 4))  # 22 pixels in all levels
    assert found.boxes.shape == (60, 4)
    assert found.boxes.isfinite().all()


@CONFIGS
@torch.no_grad()
def test_half_precision_moves_boxes_little(config: DINOConfig) -> None:
    """Coordinates are float32 throughout; of the same proposals, because nearly equal scores change places."""
    model = tiny(config)
    for regressor in model.regressors:
        torch.nn.init.normal_(regressor[-1].weight, std=0.02)  # type: ignore[index]
    images = torch.randn(2, 3, 96, 160)
    chosen, results = None, []
    for dtype in (torch.float32, torch.bfloat16):
        model.to(dtype)
        pixels = model.encode(model.backbone(images.to(dtype)), [(96, 160), (80, 100)], (96, 160))
        assert pixels.boxes.dtype == torch.float32
        if chosen is None:
            chosen = model.classifiers[-1](pixels.values).amax(-1).topk(20).indices
        proposals = model.propose(pixels, chosen)
        content = None if model.learns_content else proposals.queries
        results.append(model.decode(pixels, proposals.boxes, content).boxes)
        assert results[-1].dtype == torch.float32
    assert (results[0] - results[1]).abs().max() < 0.02
    (found,) = model(images[:1].bfloat16(), [(96, 160)], torch.ones(1, 4))
    assert found.scores.dtype == found.boxes.dtype == torch.float32
    losses = model.losses(images.bfloat16(), [(96, 160)] * 2, [truth(2, (96, 160))] * 2)
    assert torch.stack(list(losses.values())).isfinite().all()


@pytest.mark.full
@torch.no_grad()
def test_inference_compiles_to_one_graph() -> None:
    model = tiny(SMALL_COMPOSITE)
    inputs = torch.randn(2, 3, 96, 128), [(96, 128), (64, 90)], torch.ones(2, 4)
    compiled = torch.compile(model, backend="eager", fullgraph=True)
    for found, expected in zip(compiled(*inputs), model(*inputs), strict=True):
        same(found, expected)


@pytest.mark.parametrize("counts", [(3, 2), (2, 0), (0, 0), (40, 1)], ids=str)
@pytest.mark.parametrize("classes", [3, 1])
@CONFIGS
def test_every_parameter_learns_from_any_image(config: DINOConfig, classes: int, counts: tuple[int, int]) -> None:
    """Finite losses, the same ones, and a gradient everywhere: without objects, with more of them than queries."""
    model = tiny(replace(config, num_classes=classes)).train()
    targets = [truth(count, (96, 128)) for count in counts]
    targets = [replace(one, labels=one.labels % classes) for one in targets]
    losses = model.losses(torch.randn(2, 3, 96, 128), [(96, 128), (64, 90)], targets)
    assert len(losses) == (5 if model.has_masks else 3) * (1 + 2 * 2) * (1 if config.composite is None else 2)
    total = torch.stack(list(losses.values())).sum()
    assert total.isfinite()
    total.backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
    if counts == (0, 0):
        assert not any(loss.item() for name, loss in losses.items() if not name.endswith("class") or "noise" in name)


def test_predictions_that_are_not_finite_have_such_losses() -> None:
    """The trainer leaves the update out; matching goes on, with objects of no extent as well."""
    model = tiny(SMALL_DINO).train()
    assert (
        match_boxes(
            torch.zeros(1, 3, 2), torch.zeros(1, 3, 4), torch.tensor([1]), torch.zeros(1, 4), torch.ones(4)
        ).max()
        == 0
    )
    with torch.no_grad():
        model.proposal.weight.fill_(torch.nan)
    losses = model.losses(torch.randn(1, 3, 64, 64), [(64, 64)], [truth(2, (64, 64), masks=False)])
    assert not torch.stack(list(losses.values())).sum().isfinite()


def test_without_denoising_such_losses_are_zero() -> None:
    model = tiny(replace(SMALL_DINO, denoising=0)).train()
    losses = model.losses(torch.randn(1, 3, 64, 64), [(64, 64)], [truth(2, (64, 64), masks=False)])
    assert sum("noise" in name for name in losses) == 3 * 2
    assert not any(loss.item() for name, loss in losses.items() if "noise" in name)
    assert losses["layer2_box"].item() > 0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"denoising": -5}, "denoising is -5; expected 0 or more"),
        ({"channels": 100}, "channels is 100; expected a multiple of 32"),
        ({"width": 130, "parts": 4}, "width 130 does not divide into 4 parts"),
        ({"queries": 0}, "queries is 0; expected 1 or more"),
    ],
)
def test_configurations_that_cannot_be_are_named(changes: dict[str, int], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        replace(SMALL_DINO, **changes)


def test_all_but_the_last_branch_count_half() -> None:
    model = tiny(replace(SMALL_COMPOSITE, composite=CompositeConfig(3))).train()
    targets = [truth(2, (64, 64), masks=False)]
    images = torch.randn(1, 3, 64, 64)
    torch.manual_seed(1)
    losses = model.losses(images, [(64, 64)], targets)
    torch.manual_seed(1)
    *earlier, last = model.backbone.forward_branches(images)
    parts = [model.losses_on(maps, [(64, 64)], (64, 64), targets) for maps in (last, *earlier)]
    assert [loss.item() for loss in losses.values()] == pytest.approx(
        [loss.item() * weight for part, weight in zip(parts, (1, 0.5, 0.5), strict=True) for loss in part.values()]
    )


@torch.no_grad()
def test_a_composite_without_feeds_is_the_plain_network() -> None:
    """Any number of branches, any image; float16 scales differ by as much as they are rounded."""
    torch.manual_seed(0)
    plain = InternImage(SMALL).eval()
    images = torch.randn(2, 3, 70, 45)
    expected = plain(images)
    for branches in (2, 3):
        composite = CompositeBackbone(SMALL, CompositeConfig(branches), (0, 2)).eval()
        composite.load_branches(plain.state_dict())
        for found, one in zip(composite(images), (expected[0], expected[2]), strict=True):
            torch.testing.assert_close(found, one, atol=0, rtol=0)
        assert composite.feature_channels == (16, 64)
        assert composite.feature_strides == (4, 16)
    for parameter in (parameter for name, parameter in composite.named_parameters() if "feed_scale" in name):
        parameter.fill_(0.3)
    exact = composite(images)
    composite.composite = replace(composite.composite, half_precision_scale=True)
    difference = max((a - b).abs().max().item() for a, b in zip(exact, composite(images), strict=True))
    assert 1e-7 < difference < 1e-2
    composite.bfloat16()
    assert composite(images.bfloat16())[0].dtype == torch.bfloat16
    composite.freeze(4)
    assert {name.split(".")[-2][:5] for name, one in composite.named_parameters() if one.requires_grad} == {
        "1",
        "2",
        "3",
    }
    with pytest.raises(ConfigError, match="branches is 1; expected an integer, 2 or more"):
        CompositeConfig(1)


def test_queries_get_the_objects_that_cost_least() -> None:
    """All assignments of three objects to four queries, in each of two layers; costs in the words of the paper."""
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 4, 5, generator=generator)
    found, true = (torch.rand(*shape, 4, generator=generator) * 0.4 + 0.3 for shape in ((2, 4), (3,)))
    labels, extent = torch.tensor([4, 0, 0]), torch.tensor([100.0, 50, 100, 50])
    matched = match_boxes(logits, found, labels, true, extent)
    for layer in range(2):
        chance = logits[layer].double().sigmoid()[:, labels]
        focal = 0.25 * (1 - chance) ** 2 * -chance.log() - 0.75 * chance**2 * -(1 - chance).log()
        apart = (found[layer][:, None] - true).abs().sum(-1)
        overlap = generalized_box_iou(cxcywh_to_xyxy(found[layer]) * extent, cxcywh_to_xyxy(true) * extent)
        cost = 2 * focal + 5 * apart - 2 * overlap
        cheapest = min(
            permutations(range(4), 3), key=lambda rows: sum(cost[row, g].item() for g, row in enumerate(rows))
        )
        assert {int(g): q for q, g in enumerate(matched[layer]) if g >= 0} == dict(enumerate(cheapest))
    none = match_boxes(logits, found, labels[:0], true[:0], extent)
    assert (none == -1).all()
    focal, apart, overlap = set_box_losses(
        logits[:, None], found[:, None], matched[:, None], labels, true, extent[None]
    )
    rows = [(query, int(g)) for query, g in enumerate(matched[1]) if g >= 0]
    wanted = torch.zeros(4, 5, dtype=torch.float64)
    for query, g in rows:
        wanted[query, labels[g]] = 1
    chance = logits[1].double().sigmoid()
    right = torch.where(wanted == 1, chance, 1 - chance)
    weight = torch.where(wanted == 1, 0.25, 0.75)
    assert focal[1].item() == pytest.approx(float((weight * (1 - right) ** 2 * -right.log()).sum() / 3), rel=1e-5)
    apart_by_hand = sum((found[1, query] - true[g]).abs().sum().item() for query, g in rows)
    assert apart[1].item() == pytest.approx(5 * apart_by_hand / 3, rel=1e-5)
    pairs = generalized_box_iou(cxcywh_to_xyxy(found[1]) * extent, cxcywh_to_xyxy(true) * extent)
    assert overlap[1].item() == pytest.approx(2 * sum(1 - pairs[row].item() for row in rows) / 3, rel=1e-5)


def test_noise_moves_objects_and_groups_do_not_see_each_other() -> None:
    labels = [torch.tensor([2, 0, 1]), torch.tensor([1]), torch.zeros(0, dtype=torch.int64)]
    boxes = [torch.rand(len(one), 4) * 0.2 + torch.tensor([0.4, 0.4, 0.1, 0.1]) for one in labels]
    torch.manual_seed(3)
    noise = noisy_objects(labels, boxes, 5, queries=7, wanted=8)
    assert noise is not None
    torch.manual_seed(3)
    again = noisy_objects(labels, boxes, 5, queries=7, wanted=8)
    assert again is not None
    assert torch.equal(noise.boxes, again.boxes)
    groups, most = 2, 3
    assert noise.labels.shape == (3, groups * 2 * most)
    everything = torch.cat(boxes)
    for image, count in enumerate((3, 1, 0)):
        for place in range(noise.labels.shape[1]):
            group, rest = divmod(place, 2 * most)
            wrong, slot = divmod(rest, most)
            if slot >= count:
                assert (noise.labels[image, place], noise.objects[image, place]) == (-1, -1)
                continue
            number = (0, 3)[image] + slot
            assert noise.objects[image, place] == (-1 if wrong else number)
            shift = (cxcywh_to_xyxy(noise.boxes[image, place]) - cxcywh_to_xyxy(everything[number])).abs()
            share = shift / everything[number, 2:].repeat(2) * 2
            assert (share >= wrong - 1e-5).all()
            assert (share <= wrong + 1 + 1e-5).all()
    place = torch.arange(groups * 2 * most + 7)
    group = torch.where(place < groups * 2 * most, place // (2 * most), groups)
    for one in place.tolist():
        for other in place.tolist():
            assert noise.attention_mask[one, other] == (group[other] == groups or group[one] == group[other])
    many = noisy_objects([torch.arange(200) % 5], [torch.rand(200, 4) * 0.1 + 0.4], 5, queries=7, wanted=100)
    assert many is not None
    assert many.labels.shape == (1, 400)  # each at least once
    changed = (many.labels[0] != (torch.arange(200) % 5).repeat(2)).float().mean()
    assert 0.1 < changed < 0.3  # a fifth of a quarter stays what it was
    assert noisy_objects(labels[2:], boxes[2:], 5, queries=7, wanted=8) is None


def test_linear_layers_in_parts_are_the_whole() -> None:
    torch.manual_seed(0)
    split, whole = SplitFeedForward(8, 16, 4).double(), FeedForward(8, 16).double()
    whole.linear1.weight.data = torch.cat([one.weight for one in split.linear1])  # type: ignore[arg-type]
    whole.linear1.bias.data = torch.cat([one.bias for one in split.linear1])  # type: ignore[arg-type]
    whole.linear2.weight.data = torch.cat([one.weight for one in split.linear2], dim=1)  # type: ignore[arg-type]
    whole.linear2.bias.data = split.bias.data.normal_()
    x = torch.randn(5, 8, dtype=torch.float64)
    torch.testing.assert_close(split(x), whole(x))


# --- against the reference -------------------------------------------------------------------------------------------


def reduced(shared: Path) -> DINOConfig:
    """The reference's small composite detector."""
    given = read(shared / CONFIGURATIONS / "reduced_cbinternimage_dino.json")["backbone"]
    config = get_recipe(CB_H).config
    assert isinstance(config, DINOConfig)
    numbers = {name: tuple(given[name]) for name in ("depths", "groups")}
    after = tuple(given["level2_post_norm_block_ids"])
    return replace(
        config, backbone=replace(config.backbone, channels=given["channels"], post_norm_blocks=after, **numbers)
    )


@pytest.mark.full
def test_names_and_shapes_are_those_of_every_released_dino(shared: Path) -> None:
    paths = [
        *(shared / CONFIGURATIONS).glob("dino_*.json"),
        shared / CONFIGURATIONS / "reduced_cbinternimage_dino.json",
    ]
    assert len(paths) == 12
    for path in paths:
        manifest = read(path)
        with torch.device("meta"):
            model = DINO(reduced(shared)) if path.stem[0] == "r" else build(FILES.get(path.stem, path.stem), "meta")
        assert sum(parameter.numel() for parameter in model.parameters()) == manifest["total_params"]
        official = from_ours(model.state_dict(), "official", model.config)
        shapes = [(official[name], list(tensor.shape)) for name, tensor in model.state_dict().items()]
        assert shapes == [(name, entry[0]) for name, entry in manifest["state_dict"].items()], path.name


def loaded(shared: Path, golden: str) -> tuple[Any, Any, dict[str, Any], Any]:
    stem = Path(
        json.loads(str(np.load(shared / "goldens" / "detection" / f"{golden}.npz")["meta_json"]))["config"]
    ).stem
    if stem == "reduced_cbinternimage_dino":
        return reference(shared, golden, stem, DINO(reduced(shared)).eval())
    return reference(shared, golden, stem, build(FILES[stem]))


@torch.no_grad()
@pytest.mark.full
@pytest.mark.parametrize("golden", ["dino_t", "dino_cb_reduced", "dino_h"])
def test_whole_images_give_the_reference_numbers(shared: Path, golden: str) -> None:
    """One image, and two padded together; the reference's choice of proposals is given where scores nearly tie."""
    fill, data, meta, model = loaded(shared, golden)
    for batch, metas in meta["metas"].items():

        def close(found: Tensor, name: str, atol: float, batch: str = batch) -> None:
            samples = data[f"b{batch}.{name}.samples"]
            indices = torch.as_tensor(fill.sample_index(found.numel(), len(samples)))
            torch.testing.assert_close(found.flatten()[indices], torch.from_numpy(samples), atol=atol, rtol=1e-4)

        def given(name: str, batch: str = batch) -> Tensor:
            return torch.from_numpy(data[f"b{batch}.{name}"])

        height, width = metas[0]["batch_input_shape"]
        sizes = [tuple(one["img_shape"][:2]) for one in metas]
        scales = torch.tensor([one["scale_factor"] for one in metas])
        images = torch.cat([fill.make_input((1, 3, height, width), [size], seed=i) for i, size in enumerate(sizes)])
        if isinstance(model.backbone, CompositeBackbone):
            for branch, branch_maps in enumerate(maps := model.backbone.forward_branches(images)):
                for level, one in enumerate(branch_maps):
                    close(one, f"cb{branch}.backbone.{level}", 1e-4)
            maps = maps[-1]
        else:
            for level, one in enumerate(maps := model.backbone(images)):
                close(one, f"backbone.{level}", 1e-4)
        for level, one in enumerate(model.neck(maps)):
            close(one, f"neck.{level}", 1e-4)
        pixels = model.encode(maps, sizes, (height, width))
        assert torch.equal(pixels.padding, given("padding_mask"))
        close(pixels.values.transpose(0, 1), "memory_nbc", 1e-4)
        proposals = model.propose(pixels, given("topk_indices").long())
        best = given("enc_max_class_logit").topk(proposals.boxes.shape[1]).values
        torch.testing.assert_close(model.propose(pixels).logits.amax(-1), best, atol=1e-3, rtol=1e-4)
        close(proposals.logits, "topk_score", 1e-3)
        torch.testing.assert_close(proposals.boxes, given("topk_anchor"), atol=1e-5, rtol=0)
        layers = model.decode_all(pixels, proposals.boxes, None)
        torch.testing.assert_close(layers.boxes, given("all_boxes_cxcywh"), atol=1e-5, rtol=0)
        for number, logits in enumerate(layers.logits):
            close(logits, f"cls_logits.{number}", 1e-3)
        last = model.decode(pixels, proposals.boxes)
        assert torch.equal(last.boxes, layers.boxes[-1])
        assert torch.equal(last.logits, layers.logits[-1])
        for image, (size, scale) in enumerate(zip(sizes, scales, strict=True)):
            found = model.postprocess(last.logits[image], last.boxes[image], size, scale)
            expected, labels = given(f"img{image}.det_boxes"), given(f"img{image}.det_labels")
            torch.testing.assert_close(found.scores, expected[:, 4], atol=1e-3, rtol=0)
            distance = (found.boxes[:, None] - expected[None, :, :4]).abs().amax(-1)
            distance = torch.where(found.labels[:, None] == labels, distance, torch.inf)
            assert (distance.min(1).values < 0.01).float().mean() >= 0.99
            assert (distance.min(0).values < 0.01).float().mean() >= 0.99


@pytest.mark.full
def test_losses_and_gradients_are_the_reference_s(shared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the noise that the reference drew and the proposals that it chose."""
    fill, data, meta, model = loaded(shared, "train_dino_t")
    model.train()
    model.backbone.eval()  # no stochastic depth
    draws = iter([torch.from_numpy(data[f"dn.random{number}"]) for number in ("0.rand_like", "1.randint_like")])
    more = iter([torch.from_numpy(data[f"dn.random{number}"]) for number in ("3.rand_like", "2.randint_like")])
    drawn = {"rand": [next(draws), next(more)], "randint": [next(draws), next(more)]}
    matched: list[Tensor] = []

    def spy(*arguments: Tensor) -> Tensor:
        matched.append(match_boxes(*arguments))
        return matched[-1]

    monkeypatch.setattr(hungarian, "match_boxes", spy)
    with monkeypatch.context() as patch:
        for name in drawn:
            patch.setattr(denoising.torch, name, lambda *_, name=name, **__: drawn[name].pop(0))
        metas = meta["metas"]
        sizes = [tuple(one["img_shape"][:2]) for one in metas]
        given = [torch.from_numpy(data[f"img{i}.{name}"]) for i in range(2) for name in ("gt_boxes", "gt_labels")]
        targets = [DetectionTarget(*given[:2]), DetectionTarget(*given[2:])]
        extents = [torch.tensor([width, height, width, height]) for height, width in sizes]
        boxes = [xyxy_to_cxcywh(one.boxes / extent) for one, extent in zip(targets, extents, strict=True)]
        noise = noisy_objects([one.labels for one in targets], boxes, 80, 900, 100)
    assert noise is not None
    monkeypatch.setattr(module, "noisy_objects", lambda *_: noise)
    assert np.array_equal(np.packbits(~noise.attention_mask.numpy(), axis=1), data["dn.attn_mask_packed"])
    logits = torch.from_numpy(data["dn.bbox_query_unact"])
    torch.testing.assert_close(inverse_sigmoid(noise.boxes), logits, atol=1e-4, rtol=0)
    names = model.label_embedding(noise.labels.clamp(min=0)) * (noise.labels >= 0)[..., None]
    assert torch.equal(names, torch.from_numpy(data["dn.label_query"]))
    chosen, propose = torch.from_numpy(data["topk_indices"]).long(), model.propose
    monkeypatch.setattr(model, "propose", lambda pixels: propose(pixels, chosen))
    height, width = metas[0]["batch_input_shape"]
    images = torch.cat([fill.make_input((1, 3, height, width), [size], seed=i) for i, size in enumerate(sizes)])
    losses = model.losses(images, sizes, targets)
    assert np.array_equal(torch.stack(matched, dim=1) + 1, data["assigned_gt_inds"])
    kinds = {"class": "loss_cls", "box": "loss_bbox", "overlap": "loss_iou"}
    for name, loss in losses.items():
        place, kind = name.removeprefix("noise_").rsplit("_", 1)
        number = int(place.removeprefix("layer")) if place != "proposal" else 0
        layer = {0: "interm_", 6: ""}.get(number, f"d{number - 1}.")
        expected = data[f"loss.{layer}{'dn_' if name.startswith('noise') else ''}{kinds[kind]}"][0]
        assert loss.item() == pytest.approx(float(expected), rel=1e-4), name
    assert len(losses) == 39
    torch.stack(list(losses.values())).sum().backward()
    norms = dict(zip(data["grad_names"].tolist(), data["grad_l2"].tolist(), strict=True))
    official = from_ours(model.state_dict(), "official", model.config)
    assert len(norms) == len(official)
    for name, parameter in model.named_parameters():
        assert float(parameter.grad.norm()) == pytest.approx(norms[official[name]], rel=2e-3, abs=1e-7), name
