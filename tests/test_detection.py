"""Detectors against the reference numbers: single operations, whole images, names of released checkpoints."""

from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.detectors import CONFIGURATIONS, SMALL_CASCADE, SMALL_CROWD, SMALL_MASK, build, read, released, same
from helpers.goldens import GOLDENS
from PIL import Image
from torch import Tensor

from internimage.checkpoints.layouts import from_ours
from internimage.errors import ConfigError, ImageReadError
from internimage.images.scaling import FitPreprocessing, scale_bilinear
from internimage.layers.boxes import decode, encode, nms
from internimage.layers.rcnn.roi_heads import BoxHead, roi_features
from internimage.layers.rcnn.rpn import RPN
from internimage.models.cascade_rcnn import CascadeRCNN, CascadeRCNNConfig
from internimage.models.mask_rcnn import MaskRCNN, MaskRCNNConfig
from internimage.results.pasting import paste_mask
from internimage.structures.batching import pad_together

OPS = {name: torch.from_numpy(array) for name, array in np.load(GOLDENS / "detection_ops.npz").items()}
STDS = (0.1, 0.1, 0.2, 0.2)
NEAR = {"rtol": 1e-6, "atol": 1e-5}


def test_nms_keeps_the_same_boxes() -> None:
    for threshold in (0.5, 0.7):
        kept = nms(OPS["nms.boxes"], OPS["nms.scores_distinct"], OPS["nms.ids"], threshold)
        assert torch.equal(kept, OPS[f"batched_nms.keep_{threshold}"])
    assert nms(torch.zeros(0, 4), torch.zeros(0), torch.zeros(0), 0.5).shape == (0,)


def test_boxes_are_coded_the_same() -> None:
    rois, deltas = OPS["coder.rois"], OPS["coder.deltas"].unflatten(1, (3, 4))
    # with AVX-512 exp() ends in another bit than with AVX2
    torch.testing.assert_close(decode(rois, deltas, STDS, (186, 250)).flatten(1), OPS["coder.decoded"], **NEAR)
    boxes = rois[(rois[:, 2] > rois[:, 0] + 4) & (rois[:, 3] > rois[:, 1] + 4)]
    there_and_back = decode(boxes, encode(boxes, boxes.flip(0), STDS)[:, None], STDS)[:, 0]
    torch.testing.assert_close(there_and_back, boxes.flip(0), atol=2e-4, rtol=1e-4)


def test_anchors_are_the_same() -> None:
    rpn = RPN(8)
    for level in range(5):
        assert torch.equal(rpn.anchors(level, 1, 1, torch.device("cpu")), OPS[f"anchors.base{level}"])
    half = RPN(8, scale=4).anchors(1, 1, 1, torch.device("cpu"))
    assert torch.equal(half, rpn.anchors(0, 1, 1, torch.device("cpu")))
    rows = rpn.anchors(2, 3, 4, torch.device("cpu")).reshape(3, 4, 3, 4)
    torch.testing.assert_close(rows[2, 1] - rows[0, 0], torch.tensor([16.0, 32, 16, 32]).expand(3, 4))


def test_masks_are_pasted_the_same() -> None:
    """A box without width and boxes at the edge among them."""
    pairs = zip(OPS["paste.probs"][:, 0].numpy(), OPS["paste.boxes"].numpy(), strict=True)
    bitmaps = np.stack([paste_mask(soft, box, (150, 200)).ravel() for soft, box in pairs])
    assert bitmaps.sum(1).tolist() == OPS["paste.areas"].tolist()
    assert np.array_equal(np.packbits(bitmaps, axis=1), OPS["paste.masks_packed"].numpy())


def test_rois_take_their_features_from_the_map_that_suits_them() -> None:
    """Each level alone, against RoIAlign of the reference; a box of 112 pixels is the first of the second level."""
    rois = OPS["roialign.rois"]
    features = roi_features([OPS["roialign.feat"]], [8], rois, 7)
    torch.testing.assert_close(features, OPS["roialign.out7"], atol=1e-6, rtol=0)
    maps = [torch.full((1, 1, 128 >> level, 128 >> level), float(level)) for level in range(4)]
    sides = torch.tensor([1.0, 111.99, 112.0, 223.9, 224.0, 447.9, 448.0, 2000.0])
    boxes = torch.stack([torch.zeros(8), torch.zeros(8), torch.zeros(8), sides, sides], dim=1)
    found = roi_features(maps, (4, 8, 16, 32), boxes, 1).flatten()
    assert found[:-1].tolist() == [0, 0, 1, 1, 2, 2, 3]


def test_pictures_are_scaled_to_the_bit() -> None:
    """Shrunk ones are OpenCV 5.0's own, the enlarged one went through the released pipeline."""
    data = np.load(GOLDENS / "detection_preprocess.npz")
    pixels = data["a.input"]
    for name in ("shrunk.67x50", "shrunk.100x75", "shrunk.40x120", "shrunk.1x1"):
        height, width = data[name].shape[:2]
        assert np.array_equal(scale_bilinear(pixels, height, width), data[name]), name
    preprocess = FitPreprocessing()
    image = preprocess(Image.fromarray(pixels))
    assert image.shape == (3, 800, 1073)
    batch = pad_together([image, image[:, :500, :1089]])
    assert list(batch.shape[1:]) == data["a.output.shape"].tolist()
    assert not batch[0, :, :, 1073:].any()
    assert not batch[1, :, 500:].any()
    np.testing.assert_allclose(batch[0, :, :24, :24], data["a.output_corner"], atol=1e-6)
    np.testing.assert_allclose(batch[0, :, -40:, -40:], data["a.output_tail"], atol=1e-6)


@pytest.mark.parametrize(
    ("original", "expected"),
    [((427, 640), (800, 1199)), ((640, 427), (1199, 800)), ((100, 1000), (133, 1333)), ((1, 5000), (1, 1333))],
)
def test_sizes_fit_the_frame(original: tuple[int, int], expected: tuple[int, int]) -> None:
    assert FitPreprocessing().size(original) == expected


@pytest.mark.parametrize(
    ("image", "error", "message"),
    [
        (Image.new("L", (9, 9)), ImageReadError, "expected an RGB image, got mode L"),
        (None, ConfigError, "short and long are 800 and 700"),
    ],
)
def test_what_cannot_be_scaled_is_named(image: Image.Image | None, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        FitPreprocessing()(image) if image else FitPreprocessing(long=700)


@torch.no_grad()
@pytest.mark.parametrize("config", [SMALL_MASK, SMALL_CASCADE, SMALL_CROWD], ids=["mask", "cascade", "crowd"])
def test_an_image_in_a_batch_is_found_like_alone(config: MaskRCNNConfig | CascadeRCNNConfig) -> None:
    """Padding and neighbours change nothing; an image without objects gives empty results of the right shapes."""
    torch.manual_seed(0)
    model = (MaskRCNN(config) if isinstance(config, MaskRCNNConfig) else CascadeRCNN(config)).eval()
    for name, parameter in model.named_parameters():
        if "classifier" in name:
            torch.nn.init.normal_(parameter, std=0.2)
    images = torch.randn(2, 3, 96, 128)
    images[1, :, 64:], images[1, :, :, 90:] = 0, 0
    sizes, scales = [(96, 128), (64, 90)], torch.tensor([[0.5, 0.5, 0.5, 0.5], [2.0, 2.0, 2.0, 2.0]])
    both = model(images, sizes, scales)
    for index, one in enumerate(both):
        (alone,) = model(images[index : index + 1], sizes[index : index + 1], scales[index : index + 1])
        assert len(one.boxes) > 3
        same(one, alone)
        height, width = (
            side / scale for side, scale in zip(sizes[index], (0.5, 2.0)[index : index + 1] * 2, strict=True)
        )
        assert one.boxes.min() >= 0
        assert one.boxes[:, 2].max() <= width + 1e-3
        assert one.boxes[:, 3].max() <= height + 1e-3
        assert (one.scores.diff() <= 0).all()
        assert (one.masks is None) == (config.mask_width is None)
    for head in model.modules():
        if isinstance(head, BoxHead):
            head.classifier.bias[-1] = 1e4  # everything is background
    for one in model(images, sizes, scales):
        assert (one.boxes.shape, one.scores.shape, one.labels.shape) == ((0, 4), (0,), (0,))
        assert one.masks is None or one.masks.shape == (0, 28, 28)


# --- released detectors ----------------------------------------------------------------------------------------------


@pytest.mark.full
def test_names_and_shapes_are_those_of_every_released_detector(shared: Path) -> None:
    paths = [path for path in (shared / CONFIGURATIONS).glob("*.json") if path.name.startswith(("mask_", "cascade_"))]
    assert len(paths) == 12
    for path in paths:
        manifest, name = read(path), path.stem.removesuffix("_with_dcnv4")
        model = build(name, "meta")
        assert sum(parameter.numel() for parameter in model.parameters()) == manifest["total_params"]
        official = from_ours(model.state_dict(), "official", model.config)
        shapes = [(official[name], list(tensor.shape)) for name, tensor in model.state_dict().items()]
        assert shapes == [(name, entry[0]) for name, entry in manifest["state_dict"].items()], path.name


@torch.no_grad()
@pytest.mark.full
@pytest.mark.parametrize("golden", ["mask_rcnn_t", "cascade_l", "mask_rcnn_flash_t"])
def test_whole_images_give_the_reference_numbers(shared: Path, golden: str) -> None:
    """One image, and two padded together: maps, proposals, every stage on the reference's RoIs, objects, masks."""
    fill, data, meta, model = released(shared, golden)

    def close(found: Tensor, name: str, atol: float) -> None:
        assert list(found.shape) == data[f"{name}.shape"].tolist()
        samples = data[f"{name}.samples"]
        indices = torch.as_tensor(fill.sample_index(found.numel(), len(samples)))
        torch.testing.assert_close(found.flatten()[indices], torch.from_numpy(samples), atol=atol, rtol=1e-4)

    for batch, metas in meta["metas"].items():
        height, width = metas[0]["batch_input_shape"]
        sizes = [tuple(one["img_shape"][:2]) for one in metas]
        scales = torch.tensor([one["scale_factor"] for one in metas])
        images = torch.cat([fill.make_input((1, 3, height, width), [size], seed=i) for i, size in enumerate(sizes)])
        maps = model.neck(model.backbone(images))
        for level, one in enumerate(maps):
            close(one, f"b{batch}.fpn.{level}", 1e-4)
        for image, (boxes, scores) in enumerate(model.rpn.propose(model.rpn(maps), sizes, model.config.proposals)):
            expected = torch.from_numpy(data[f"b{batch}.img{image}.proposals"])
            distance, nearest = (boxes[:, None] - expected[None, :, :4]).abs().amax(-1).min(1)
            good = (distance < 0.01) & ((scores - expected[nearest, 4]).abs() < 1e-5)
            assert good.float().mean() >= 0.99  # a tie may fall the other way
        heads = [model.box_head] if isinstance(model, MaskRCNN) else list(model.box_heads)
        for stage, head in enumerate(heads):
            rois = torch.from_numpy(data[f"b{batch}.stage{stage}.rois"])
            logits, deltas = head(roi_features(maps[:-1], model.rpn.strides[:-1], rois, BoxHead.size))
            expected = torch.from_numpy(data[f"b{batch}.stage{stage}.cls_score"])
            torch.testing.assert_close(logits, expected, atol=1e-3, rtol=1e-4)
            close(deltas.flatten(1), f"b{batch}.stage{stage}.bbox_pred", 1e-4)
        for image, found in enumerate(model(images, sizes, scales)):
            name = f"b{batch}.img{image}"
            expected = torch.from_numpy(data[f"{name}.det_boxes_by_class"])
            labels = torch.from_numpy(data[f"{name}.det_labels_by_class"])
            distance = (found.boxes[:, None] - expected[None, :, :4]).abs().amax(-1)
            distance, nearest = torch.where(found.labels[:, None] == labels, distance, torch.inf).min(1)
            good = (distance < 0.01) & ((found.scores - expected[nearest, 4]).abs() < 1e-3)
            assert len(found.boxes) == len(expected)
            assert good.float().mean() >= 0.99
            assert found.masks is not None
            size = tuple(metas[image]["ori_shape"][:2])
            pairs = zip(found.masks[good].numpy(), found.boxes[good].numpy(), strict=True)
            bitmaps = np.stack([paste_mask(soft, box, size).ravel() for soft, box in pairs])
            packed = np.packbits(bitmaps, axis=1)
            differing = np.unpackbits(packed ^ data[f"{name}.masks_packed"][nearest[good].numpy()]).sum()
            assert differing <= 1e-5 * bitmaps.size
