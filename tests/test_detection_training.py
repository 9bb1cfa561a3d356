"""What detectors learn: assignment by brute force, losses and gradients against the reference, odd images."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.detectors import SMALL_CASCADE, SMALL_CROWD, SMALL_MASK, boxes, released, truth
from torchvision.ops import box_iou

from internimage.checkpoints.layouts import from_ours
from internimage.layers.boxes import encode
from internimage.layers.rcnn import assigner
from internimage.layers.rcnn.assigner import BACKGROUND, IGNORED, assign, sample
from internimage.layers.rcnn.roi_losses import mask_targets, roi_labels, sample_rois
from internimage.layers.rcnn.rpn import RPN
from internimage.models.cascade_rcnn import CascadeRCNN, CascadeRCNNConfig
from internimage.models.mask_rcnn import MaskRCNN, MaskRCNNConfig
from internimage.structures.detection import DetectionTarget


@pytest.mark.parametrize("low_quality", [None, 0.3])
def test_boxes_get_the_objects_that_the_rules_say(low_quality: float | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """One box at a time, in the words of the paper; objects by threes."""
    monkeypatch.setattr(assigner, "CHUNK", 3)
    generator = torch.Generator().manual_seed(0)
    truth = boxes(7, generator)
    truth = torch.cat([truth, truth[:1]])  # two objects in one place
    references = torch.cat([boxes(400, generator), truth[2:4], truth[2:4]])
    overlaps = box_iou(truth, references)
    found = assign(truth, references, 0.6, 0.3, low_quality)
    for column, answer in zip(overlaps.T.tolist(), found.tolist(), strict=True):
        expected = IGNORED if max(column) >= 0.3 else BACKGROUND
        if max(column) >= 0.6:
            expected = column.index(max(column))
        for number, row in enumerate(overlaps.tolist() if low_quality else []):
            if column[number] == max(row) >= 0.3:
                expected = number
        assert answer == expected
    assert {IGNORED, BACKGROUND, 2} <= set(found.tolist())
    assert (assign(truth[:0], references, 0.6, 0.3, low_quality) == BACKGROUND).all()
    assert assign(truth, references[:0], 0.6, 0.3, low_quality).shape == (0,)  # as when all proposals are NaN


def test_samples_are_distinct_and_within_their_share() -> None:
    assigned = torch.tensor([0, 1, IGNORED, BACKGROUND] * 100)
    positives, negatives = sample(assigned, 120, 0.5)
    assert (len(positives.unique()), len(negatives.unique())) == (60, 60)
    assert (assigned[positives] >= 0).all()
    assert (assigned[negatives] == BACKGROUND).all()
    few, rest = sample(assigned[:8], 120, 0.5)
    assert (few.tolist(), rest.tolist()) == ([0, 1, 4, 5], [3, 7])
    assert not torch.equal(positives, sample(assigned, 120, 0.5)[0])


@pytest.mark.parametrize(
    ("inside", "usable"),
    [
        (False, {0: 32 // 4 * (64 // 4) * 3, 3: 1 * 2 * 3, 4: 1 * 1 * 3}),  # 20 x 40 pixels are padded to 32 x 64
        (True, {1: 0, 2: 0, 3: 0, 4: 0}),
    ],
)
def test_anchors_in_the_padding_learn_nothing(inside: bool, usable: dict[int, int]) -> None:
    rpn = RPN(8)
    shapes = [(96 // s, 128 // s) if s < 64 else (2, 2) for s in rpn.strides]
    anchors = [rpn.anchors(i, *shape, torch.device("cpu")) for i, shape in enumerate(shapes)]
    found = rpn.assign_anchors(
        anchors, shapes, (20, 40), DetectionTarget(torch.zeros(0, 4), torch.zeros(0).long()), inside=inside
    )
    for level, part in enumerate(found.split([len(one) for one in anchors])):
        assert int((part == BACKGROUND).sum()) == usable.get(level, int((part == BACKGROUND).sum()))
    if inside:
        whole = torch.cat(anchors)
        kept = whole[found == BACKGROUND]
        assert not len(kept)  # the smallest anchor is 22.6 pixels high
        found = rpn.assign_anchors(
            anchors, shapes, (60, 100), DetectionTarget(kept, torch.zeros(0).long()), inside=True
        )
        kept = whole[found == BACKGROUND]
        assert kept.min() >= 0
        assert kept[:, 2].max() < 100
        assert kept[:, 3].max() < 60
        assert len(kept) > 100


def tiny(config: MaskRCNNConfig | CascadeRCNNConfig) -> MaskRCNN | CascadeRCNN:
    torch.manual_seed(0)
    return (MaskRCNN(config) if isinstance(config, MaskRCNNConfig) else CascadeRCNN(config)).train()


@pytest.mark.parametrize("counts", [(3, 2), (2, 0), (0, 0), (1000, 1)], ids=str)
@pytest.mark.parametrize("config", [SMALL_MASK, SMALL_CASCADE, SMALL_CROWD], ids=["mask", "cascade", "crowd"])
def test_every_parameter_learns_from_any_image(
    config: MaskRCNNConfig | CascadeRCNNConfig, counts: tuple[int, int]
) -> None:
    """Finite losses and a gradient everywhere, from images without objects too: processes wait for each other's."""
    model = tiny(config)
    targets = [truth(count, (96, 128), config.mask_width is not None) for count in counts]
    if config.num_classes == 1:
        targets = [replace(one, labels=torch.zeros_like(one.labels)) for one in targets]
    losses = model.losses(torch.randn(2, 3, 96, 128), [(96, 128), (64, 90)], targets)
    assert len(losses) == {"MaskRCNN": 5, "CascadeRCNN": 11}[type(model).__name__] - 3 * (config.mask_width is None)
    total = torch.stack(list(losses.values())).sum()
    assert total.isfinite()
    total.backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
    if counts == (0, 0):
        assert not any(value.item() for name, value in losses.items() if name.startswith(("mask", "box", "rpn_box")))


@pytest.mark.full
def test_a_cascade_finds_what_it_learnt() -> None:
    """Two squares; the stages refine boxes, not their deltas, to within a pixel or two."""
    torch.manual_seed(0)
    image = torch.full((1, 3, 64, 64), -1.0)
    image[:, 0, 8:32, 8:32] = 2
    image[:, 2, 36:60, 30:60] = 2
    where = torch.tensor([[8.0, 8, 32, 32], [30, 36, 60, 60]])
    model = tiny(replace(SMALL_CROWD, box_loss="giou"))
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 150)
    for _ in range(150):
        losses = model.losses(image, [(64, 64)], [DetectionTarget(where, torch.zeros(2).long())])
        optimizer.zero_grad()
        torch.stack(list(losses.values())).sum().backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 5)
        optimizer.step()
        schedule.step()
    with torch.no_grad():
        (found,) = model.eval()(image, [(64, 64)], torch.ones(1, 4))
    assert box_iou(where, found.boxes[found.scores > 0.5]).max(1).values.min() > 0.85


@pytest.mark.full
def test_losses_and_gradients_are_the_reference_s(shared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two images with their objects; the reference sampled the first candidates instead of random ones."""
    fill, data, meta, model = released(shared, "train_mask_rcnn_t")
    assert isinstance(model, MaskRCNN)
    model.train()
    model.backbone.eval()  # no stochastic depth
    monkeypatch.setattr(torch, "randperm", lambda count, **_: torch.arange(count))
    # both images count as 192 pixels high there
    monkeypatch.setattr("internimage.layers.rcnn.rpn.padded", lambda side: -(-side // 192) * 192)
    metas = meta["metas"]
    height, width = metas[0]["batch_input_shape"]
    sizes = [tuple(one["img_shape"][:2]) for one in metas]
    images = torch.cat([fill.make_input((1, 3, height, width), [size], seed=i) for i, size in enumerate(sizes)])
    targets = []
    for i in range(2):
        shape = data[f"img{i}.gt_masks_shape"].tolist()
        bits = np.unpackbits(data[f"img{i}.gt_masks_packed"], axis=1)[:, : shape[1] * shape[2]].reshape(shape)
        given = (torch.from_numpy(data[f"img{i}.{name}"]) for name in ("gt_boxes", "gt_labels"))
        targets.append(DetectionTarget(*given, torch.from_numpy(bits).bool()))

    with torch.no_grad():
        outputs = model.rpn(model.neck(model.backbone(images)))
    shapes = [one.shape[2:] for one, _ in outputs]
    anchors = [model.rpn.anchors(i, shape[0], shape[1], images.device) for i, shape in enumerate(shapes)]
    sampled = []
    for i, one in enumerate(targets):
        assigned = model.rpn.assign_anchors(anchors, shapes, sizes[i], one, inside=False)
        assert (assigned + 1).tolist() == data[f"img{i}.rpn.assigned_gt_inds"].tolist()
        for indices, kind in zip(sample(assigned, 256, 0.5), ("pos", "neg"), strict=True):
            assert indices.tolist() == data[f"img{i}.rpn.{kind}_inds"].tolist()
        given = torch.from_numpy(data[f"img{i}.train_proposals"][:, :4])
        sampled.append(sample_rois(given, one, 0.5, low_quality=True))
        assert torch.equal(sampled[-1].boxes, torch.from_numpy(data[f"img{i}.roi.sampled_boxes"]))
    assert roi_labels(sampled, targets, 80).tolist() == data["roi.labels"].tolist()
    rows = torch.from_numpy(data["roi.bbox_weights"][:, 0]) > 0
    pairs = list(zip(sampled, targets, strict=True))
    deltas = torch.cat([encode(r.boxes[: len(r.objects)], t.boxes[r.objects], model.stds) for r, t in pairs])
    torch.testing.assert_close(deltas, torch.from_numpy(data["roi.bbox_targets"])[rows], atol=1e-5, rtol=1e-5)
    bits = torch.cat([mask_targets(r, t, 28) for r, t in pairs]).flatten(1).numpy().astype(bool)
    differing = np.unpackbits(np.packbits(bits, axis=1) ^ data["mask_targets_packed"]).sum()
    assert differing <= 1e-3 * bits.size

    losses: dict[str, Any] = model.losses(images, sizes, targets)
    names = ("rpn_cls", "rpn_bbox", "cls", "bbox", "mask")
    for loss, name in zip(losses.values(), names, strict=True):
        assert loss.item() == pytest.approx(float(data[f"loss.loss_{name}"].sum()), rel=1e-3), name
    torch.stack(list(losses.values())).sum().backward()
    expected = dict(zip(data["grad_names"].tolist(), data["grad_l2"].tolist(), strict=True))
    parameters = dict(model.named_parameters())
    official = from_ours(parameters, "official", model.config)
    assert len(expected) == len(parameters)
    for name, parameter in parameters.items():
        assert float(parameter.grad.norm()) == pytest.approx(expected[official[name]], rel=1e-2, abs=1e-7), name  # type: ignore[union-attr]
