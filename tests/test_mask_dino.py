"""Mask DINO: masks, boxes, matching and losses computed anew in float64; what it has of DINO is tested with DINO."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from helpers.detectors import SMALL_MASK_DINO, truth
from PIL import Image, ImageDraw
from scipy.optimize import linear_sum_assignment
from torch import Tensor
from torchvision.ops import generalized_box_iou, roi_align

import internimage as ii
from internimage.data.objects import ObjectAnnotation, ObjectImage, ObjectImages
from internimage.errors import ConfigError, DataError
from internimage.images import FitPreprocessing
from internimage.layers.boxes import cxcywh_to_xyxy, xyxy_to_cxcywh
from internimage.layers.queries import points as sampling
from internimage.layers.queries.denoising import noisy_objects
from internimage.layers.queries.masks import mask_boxes
from internimage.metrics.average_precision import AveragePrecision
from internimage.models.mask_dino import MaskDINO, MaskDINOConfig
from internimage.results.detections import run_lengths
from internimage.structures.detection import DetectionTarget

pytestmark = pytest.mark.usefixtures("one_thread")

SIZES, EXTENT = [(96, 128), (64, 90)], (96, 128)


def tiny(config: MaskDINOConfig = SMALL_MASK_DINO) -> MaskDINO:
    """With boxes, classes and masks that differ from query to query."""
    torch.manual_seed(0)
    model = MaskDINO(config)
    for name, parameter in model.named_parameters():
        if "classifiers" in name or "regressors" in name or "mask_embedding" in name:
            torch.nn.init.normal_(parameter, std=0.2)
        elif not parameter.any():  # and nothing is at rest
            torch.nn.init.normal_(parameter, std=0.02)
    return model.eval()


def images() -> Tensor:
    result = torch.randn(2, 3, *EXTENT, generator=torch.Generator().manual_seed(1))
    result[1, :, 64:], result[1, :, :, 90:] = 0, 0
    return result


def objects() -> list[DetectionTarget]:
    return [truth(3, EXTENT), truth(2, EXTENT)]


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Tensor]:
    """The random points, in the order in which they are drawn."""
    calls: list[Tensor] = []

    def random_points(shape: tuple[int, int], device: torch.device) -> Tensor:
        calls.append(torch.rand(*shape, 2))
        return calls[-1]

    monkeypatch.setattr(sampling, "random_points", random_points)
    return calls


def sampled(maps: Tensor, points: Tensor) -> Tensor:
    """(K, P) float64 of maps (K, H, W) at points (K, P, 2), bilinear."""
    return F.grid_sample(maps.double()[:, None], 2 * points.double()[:, None] - 1, align_corners=False)[:, 0, 0]


def pixel_and_dice(logits: Tensor, wanted: Tensor) -> tuple[Tensor, Tensor]:
    """Of each mask at points (K, P), in the words of the papers."""
    chance = logits.sigmoid()
    entropy = -(wanted * chance.log() + (1 - wanted) * (1 - chance).log()).mean(1)
    return entropy, 1 - (2 * (chance * wanted).sum(1) + 1) / (chance.sum(1) + wanted.sum(1) + 1)


def test_queries_get_the_objects_that_cost_least_in_class_box_and_mask(drawn: list[Tensor]) -> None:
    """The last layer's matching and losses from what its queries say, the masks sampled after they were multiplied."""
    model = tiny(replace(SMALL_MASK_DINO, denoising=0))
    targets, differ = objects(), 0
    learnt = model.learn_on(model.backbone(images()), SIZES, EXTENT, targets)
    found = learnt.proposals
    assert found.masks is not None
    assert (learnt.objects >= 0).sum(1).tolist() == [3, 2]
    focal, matched, true_masks = torch.zeros((), dtype=torch.float64), [], []
    for image, (target, (height, width)) in enumerate(zip(targets, SIZES, strict=True)):
        extent = torch.tensor([width, height, width, height], dtype=torch.float64)
        chance = found.logits[image].detach().double().sigmoid()
        hit, miss = -0.25 * (1 - chance) ** 2 * chance.log(), -0.75 * chance**2 * (1 - chance).log()
        boxes, true = found.boxes[image].detach().double(), xyxy_to_cxcywh(target.boxes.double() / extent)
        cost = 4 * (hit - miss)[:, target.labels] + 5 * (boxes[:, None] - true).abs().sum(-1)
        cost -= 2 * generalized_box_iou(cxcywh_to_xyxy(boxes) * extent, cxcywh_to_xyxy(true) * extent)
        assert target.masks is not None
        logits = sampled(found.masks[image].detach(), drawn[0].expand(20, -1, -1))
        wanted = sampled(target.masks, drawn[0].expand(len(target.labels), -1, -1))
        without, _ = linear_sum_assignment(cost)
        for number, one in enumerate(wanted):
            pixels, dice = pixel_and_dice(logits, one.expand(20, -1))
            cost[:, number] += 5 * pixels + 5 * dice
        rows, columns = linear_sum_assignment(cost)
        differ += list(without) != list(rows)
        expected = torch.full((20,), -1)
        expected[rows] = torch.from_numpy(columns) + (0, 3)[image]
        assert torch.equal(learnt.objects[image], expected)
        is_object = torch.zeros_like(chance)
        is_object[rows, target.labels[columns]] = 1
        focal += torch.where(is_object == 1, hit, miss).sum()
        order = torch.from_numpy(columns)
        matched.append(found.masks[image, rows])
        true_masks.append(target.masks[order])
    assert differ  # masks have a say
    assert learnt.losses["layer2_class"].item() == pytest.approx(4 * float(focal) / 5, rel=1e-4)
    compare(learnt.losses, "layer2", torch.cat(matched), torch.cat(true_masks), drawn[-2:])
    kept = found.best(6, learnt.objects >= 0)
    for chosen, own in zip(kept, learnt.objects, strict=True):
        assert set((own >= 0).nonzero()[:, 0].tolist()) <= set(chosen.tolist())
    assert torch.equal(found.best(6), found.logits.amax(-1).topk(6).indices)


def compare(losses: dict[str, Tensor], name: str, masks: Tensor, true: Tensor, drawn: list[Tensor]) -> None:
    """Losses of masks in float64: at the least certain of the candidates drawn, a quarter of 256 elsewhere."""
    candidates, others = drawn
    assert (candidates.shape[1], others.shape[1]) == (3 * 256, 64)
    certainty = sampled(masks.detach(), candidates).abs()
    picked = certainty.argsort(dim=1)[:, :192]
    points = torch.cat([candidates.gather(1, picked[..., None].expand(-1, -1, 2)), others], dim=1)
    pixels, dice = pixel_and_dice(sampled(masks.detach(), points), sampled(true, points))
    assert losses[f"{name}_pixels"].item() == pytest.approx(5 * float(pixels.mean()), rel=1e-4)
    assert losses[f"{name}_dice"].item() == pytest.approx(5 * float(dice.mean()), rel=1e-4)


def test_noisy_objects_learn_masks(drawn: list[Tensor]) -> None:
    """The last layer's losses of masks, from queries that the decoder makes of the same noise."""
    model, targets = tiny(replace(SMALL_MASK_DINO, boxes_of_masks=False)), objects()
    maps = model.backbone(images())
    torch.manual_seed(3)
    losses = model.losses_on(maps, SIZES, EXTENT, targets)
    torch.manual_seed(3)
    extents = [torch.tensor([width, height, width, height]) for height, width in SIZES]
    boxes = [xyxy_to_cxcywh(one.boxes / extent) for one, extent in zip(targets, extents, strict=True)]
    noise = noisy_objects([one.labels for one in targets], boxes, 3, 20, 6)
    assert noise is not None
    pixels = model.encode(maps, SIZES, EXTENT)
    proposals, fine = model.propose(pixels), model.mask_map(maps, pixels)
    layers = model.decode_all(pixels, proposals.boxes, noise, proposals.queries)
    assert fine is not None
    assert model.mask_embedding is not None
    noisy = layers.queries[-1][:, : noise.labels.shape[1]]
    image, place = (noise.objects >= 0).nonzero(as_tuple=True)
    masks = torch.einsum("kc,kchw->khw", model.mask_embedding(noisy[image, place]), fine[image])
    all_true = torch.cat([one.masks for one in targets if one.masks is not None])
    assert len(masks) == 2 * 5  # two groups
    compare(losses, "noise_layer2", masks, all_true[noise.objects[image, place]], drawn[-2:])


@torch.no_grad()
def test_masks_are_products_with_a_map_of_the_finest_pixels() -> None:
    """Map and masks from the weights, in float64; inference and training say the same."""
    model = tiny()
    maps = model.backbone(images())
    weights = {name: tensor.double() for name, tensor in model.state_dict().items()}

    def norm(x: Tensor, name: str) -> Tensor:
        return F.group_norm(x, 32, weights[f"pixel_map.{name}.norm.weight"], weights[f"pixel_map.{name}.norm.bias"])

    pixels = model.encode(maps, SIZES, EXTENT)
    coarse = pixels.values[:, : 12 * 16].transpose(1, 2).reshape(2, 64, 12, 16).double()
    fine = norm(F.conv2d(maps[0].double(), weights["pixel_map.lateral.conv.weight"]), "lateral")
    fine = fine + F.interpolate(coarse, scale_factor=2, mode="bilinear", align_corners=False)
    fine = norm(F.conv2d(fine, weights["pixel_map.output.conv.weight"], padding=1), "output").relu()
    fine = F.conv2d(fine, weights["pixel_map.last.weight"], weights["pixel_map.last.bias"])
    found = model.mask_map(maps, pixels)
    assert found is not None
    torch.testing.assert_close(found.double(), fine, atol=1e-4, rtol=1e-4)
    proposals = model.proposals_on(maps, SIZES, EXTENT)
    embedded = proposals.queries.double()
    for number in (0, 2, 4):
        embedded = F.linear(embedded, *(weights[f"mask_embedding.{number}.{kind}"] for kind in ("weight", "bias")))
        embedded = embedded.relu() if number < 4 else embedded
    masks = torch.einsum("nqc,nchw->nqhw", embedded, fine)
    assert proposals.masks is not None
    assert proposals.masks.shape == (2, 20, 24, 32)
    torch.testing.assert_close(proposals.masks.double(), masks, atol=1e-3, rtol=1e-4)
    learnt = model.learn_on(maps, SIZES, EXTENT, objects()).proposals
    for name in ("queries", "boxes", "logits", "masks"):
        torch.testing.assert_close(getattr(learnt, name), getattr(proposals, name), atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_reported_masks_are_the_queries_within_their_boxes() -> None:
    """Against torchvision's RoIAlign of one sample a cell, which differs where a cell is nearest to the map's edge."""
    model = tiny()
    proposals = model.proposals_on(model.backbone(images()), SIZES, EXTENT)
    scales = torch.tensor([[0.5, 0.5, 0.5, 0.5], [2.0, 2.0, 2.0, 2.0]])
    assert proposals.masks is not None
    for image, found in enumerate(model(images(), SIZES, scales)):
        query = proposals.logits[image].sigmoid().flatten().topk(60).indices // 3
        boxes = found.boxes * scales[image]
        rois = torch.cat([torch.zeros(60, 1), boxes], dim=1)
        inside = torch.stack(
            [
                roi_align(proposals.masks[image, one][None, None], roi[None], 28, 1 / 4, 1, aligned=True)[0, 0]
                for one, roi in zip(query, rois, strict=True)
            ]
        )
        assert found.masks is not None
        share = (torch.arange(28) + 0.5) / 28
        place = (boxes[:, :2, None] + share * (boxes[:, 2:] - boxes[:, :2])[..., None]) / 4  # x and y, (60, 2, 28)
        sound = (place > 0.5) & (place < torch.tensor([32, 24])[:, None] - 0.5)
        both = sound[:, 0, None] & sound[:, 1, :, None]
        assert both.float().mean() > 0.5
        torch.testing.assert_close(found.masks[both], inside.sigmoid()[both], atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_queries_start_with_the_boxes_of_their_masks() -> None:
    """Pixel by pixel in NumPy; what only the padding shows is no mask, and then the pixels' own box stands."""
    bitmaps = torch.rand(40, 7, 9, generator=torch.Generator().manual_seed(0)) > 0.97
    for bitmap, box in zip(bitmaps.numpy(), mask_boxes(bitmaps).tolist(), strict=True):
        y, x = np.nonzero(bitmap)
        assert box == ([x.min(), y.min(), x.max() + 1, y.max() + 1] if len(x) else [0, 0, 0, 0])
    model = tiny()
    maps = model.backbone(images())
    pixels = model.encode(maps, SIZES, EXTENT)
    proposals, fine = model.propose(pixels), model.mask_map(maps, pixels)
    assert fine is not None
    assert model.mask_embedding is not None
    embedded = model.mask_embedding(model.norm(proposals.queries))
    fine[1] = -embedded[1, 5, :, None, None]  # none of the sixth query's ...
    fine[1, :, 20:] = embedded[1, 5, :, None, None]  # ... but below the picture
    start = model.start_boxes(proposals, fine, SIZES, EXTENT)
    masks = torch.einsum("nqc,nchw->nqhw", embedded, fine).numpy() > 0
    shown = 0
    for image, (height, width) in enumerate(SIZES):
        for query in range(20):
            y, x = np.nonzero(masks[image, query, : -(-height // 4), : -(-width // 4)])
            if not len(x):
                assert torch.equal(start[image, query], proposals.boxes[image, query])
                continue
            left, right = 4 * x.min() / width, min(1, 4 * (x.max() + 1) / width)
            top, bottom = 4 * y.min() / height, min(1, 4 * (y.max() + 1) / height)
            expected = [(left + right) / 2, (top + bottom) / 2, right - left, bottom - top]
            assert start[image, query].tolist() == pytest.approx(expected, abs=1e-6)
            shown += 1
    assert 0 < shown < 40
    assert torch.equal(start[1, 5], proposals.boxes[1, 5])
    model.config = replace(model.config, boxes_of_masks=False)
    assert torch.equal(model.start_boxes(proposals, fine, SIZES, EXTENT), proposals.boxes)


def test_points_are_sampled_alike_in_maps_masks_and_bitmaps() -> None:
    maps = torch.randn(2, 3, 5, 7, dtype=torch.float64)
    points = torch.rand(40, 2, dtype=torch.float64)
    points[:4] = torch.tensor([[0, 0], [1, 1], [0, 1], [0.5, 0.02]])
    each = sampled(maps.flatten(0, 1), points.expand(6, -1, -1))
    torch.testing.assert_close(sampling.sample_maps(maps, points).flatten(0, 1), each)
    bitmaps, which = maps[0] > 0, torch.tensor([2, 0, 0, 1])
    places = torch.rand(4, 50, 2)
    places[:, 0] = 1
    found = sampling.sample_bitmaps(bitmaps, which, places)
    torch.testing.assert_close(found.double(), sampled(bitmaps[which], places), atol=1e-5, rtol=0)


def test_queries_start_with_features_that_they_do_not_teach() -> None:
    """What the layers lose reaches encoder and backbone, not what chooses and describes the queries."""
    model = tiny(replace(SMALL_MASK_DINO, num_classes=1)).train()
    targets = [replace(one, labels=one.labels * 0) for one in objects()]
    learnt = model.learn_on(model.backbone(images()), SIZES, EXTENT, targets)
    sum(loss for name, loss in learnt.losses.items() if "proposal" not in name).backward(retain_graph=True)  # type: ignore[union-attr]
    not_taught = ("proposal.", "proposal_norm.", "classifiers.2.", "regressors.2.")
    for name, parameter in model.named_parameters():
        taught = parameter.grad is not None and bool(parameter.grad.any())
        assert taught != name.startswith(not_taught), name
    model.zero_grad()
    learnt.proposals.queries.sum().backward()
    assert bool(model.backbone.get_parameter("stem.conv1.weight").grad.any())  # type: ignore[union-attr]
    assert torch.equal(learnt.proposals.objectness, learnt.proposals.logits[..., 0])
    assert learnt.objects.unique().tolist() == [-1, 0, 1, 2, 3, 4]


def test_without_masks_it_finds_boxes() -> None:
    model, bare = tiny(), [replace(one, masks=None) for one in objects()]
    with pytest.raises(DataError, match="2 of 2 images have no masks to learn from"):
        model.losses(images(), SIZES, bare)
    model.remove_masks()
    assert not model.has_masks
    assert model.config.mask_width is None
    losses = model.losses(images(), SIZES, bare)
    assert not [name for name in losses if name.endswith(("pixels", "dice"))]
    assert model(images(), SIZES, torch.ones(2, 4))[0].masks is None
    assert model.proposals_on(model.backbone(images()), SIZES, EXTENT).masks is None
    MaskDINO(model.config).load_state_dict(model.state_dict())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"mask_width": 0}, "mask_width is 0; expected 1 or more"),
        ({"mask_points": 0}, "mask_points is 0; expected 1 or more"),
        ({"encoder_width": 1022, "parts": 4}, "encoder_width 1022 does not divide into 4 parts"),
    ],
)
def test_configurations_that_cannot_be_are_named(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        replace(SMALL_MASK_DINO, **changes)


@pytest.mark.full
def test_two_drawn_pictures_are_learnt_to_the_last_mask() -> None:
    """Discs and squares from random weights: what the predictor says of them has a mask AP50 of 1."""
    entries, pictures, targets = [], [], []
    for number, places in enumerate([[(6, 10, 38, 50), (55, 20, 88, 45)], [(10, 12, 45, 40), (60, 8, 90, 50)]]):
        picture, annotations, masks = Image.new("RGB", (96, 64), "gray"), [], []
        for label, place in enumerate(places):
            mask = Image.new("1", (96, 64))
            for image, colour in ((picture, ("red", "blue")[label]), (mask, 1)):
                draw = ImageDraw.Draw(image)
                (draw.rectangle if label else draw.ellipse)(place, fill=colour)
            masks.append(np.array(mask))
            box = (*place[:2], place[2] + 1.0, place[3] + 1.0)
            shape = {"size": [64, 96], "counts": run_lengths(masks[-1])}
            annotations.append(ObjectAnnotation(box, label, shape, False, label))
        entries.append(ObjectImage(Path(f"{number}.png"), number, (64, 96), tuple(annotations)))
        pictures.append(picture)
        targets.append(
            DetectionTarget(
                torch.tensor([one.box for one in annotations]), torch.arange(2), torch.from_numpy(np.stack(masks))
            )
        )
    torch.manual_seed(2)
    model: Any = ii.create_model(replace(SMALL_MASK_DINO, num_classes=2, queries=8, denoising=0))
    model.description = replace(model.description, preprocessing=FitPreprocessing(64, 96), labels=("disc", "square"))
    seen = torch.stack([model.description.preprocessing(one) for one in pictures])
    optimiser = torch.optim.AdamW(model.train().parameters(), lr=2e-3)
    for step in range(100):
        optimiser.param_groups[0]["lr"] = 2e-5 * (100 - step)
        loss = torch.stack(list(model.losses(seen, [(64, 96)] * 2, targets).values())).sum()
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
    metric = AveragePrecision(ObjectImages("drawn", ("disc", "square"), (1, 2), tuple(entries)), masks=True)
    for number, result in enumerate(ii.Predictor(model.eval(), device="cpu")(pictures)):
        metric.add(result, number)
    assert metric.compute()["mask_ap50"] == 1.0
