"""Masks from boxes: where they lie, what the model sees, and what the commands make of them."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from helpers.commands import run
from helpers.segment_anything import Boxes, tiny_sam, tiny_sam2
from helpers.servers import CELLS, CLASSIFIER, DETECTOR
from PIL import Image
from torchvision.transforms import functional

import internimage as ii
from internimage.errors import ConfigError
from internimage.integrations.masking import MaskedPredictor
from internimage.integrations.segment_anything import SegmentAnything

SIZES = [(400, 400), (480, 640), (300, 900), (2160, 3840), (37, 1001)]
TINY = {"sam": tiny_sam, "sam2": tiny_sam2}


def photo(size: tuple[int, int]) -> Image.Image:
    return Image.fromarray(np.random.default_rng(1).integers(0, 256, (*size, 3), np.uint8))


def covered(box: Any, size: tuple[int, int]) -> Any:
    """How much of each pixel lies in a box, (H, W)."""
    rows, columns = (
        np.clip(np.minimum(np.arange(side) + 1, high) - np.maximum(np.arange(side), low), 0, 1)
        for side, low, high in ((size[0], box[1], box[3]), (size[1], box[0], box[2]))
    )
    return rows[:, None] * columns


@pytest.mark.parametrize("kind", ["sam", "sam2"])
@pytest.mark.parametrize("size", SIZES[:4], ids=str)
def test_masks_lie_where_the_boxes_are(kind: str, size: tuple[int, int]) -> None:
    """IoU with boxes at all places, whatever the picture's shape; squashed masks have a third of it."""
    height, width = size
    shares = np.array([[0.1, 0.1, 0.6, 0.5], [0.5, 0.55, 0.97, 0.99], [0.02, 0.4, 0.3, 0.98]])
    boxes = shares * (width, height, width, height)
    model = SegmentAnything(Boxes(kind))
    found = model.boxes(model.embed(photo(size)), boxes)
    for box, mask in zip(boxes, found.masks, strict=True):
        assert mask.size == size
        assert mask.area == mask.bitmap.sum()
        wanted, whole = covered(box, size), mask.whole()
        assert np.minimum(whole, wanted).sum() / np.maximum(whole, wanted).sum() > 0.97
    assert found.qualities.tolist() == [0.5] * 3


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_the_model_sees_what_published_preprocessing_gives(size: tuple[int, int]) -> None:
    picture = photo(size)
    pixels, inside = SegmentAnything(Boxes("sam")).prepare(picture)
    wanted = transformers.SamImageProcessorPil()(picture, return_tensors="pt")
    torch.testing.assert_close(pixels, wanted["pixel_values"], atol=1e-6, rtol=0)
    assert inside == tuple(wanted["reshaped_input_sizes"][0].tolist())
    pixels, inside = SegmentAnything(Boxes("sam2")).prepare(picture)
    # as SAM 2's own code does it; transformers' rounds to whole grey levels, twice
    stretched = functional.resize(functional.to_tensor(picture), [1024, 1024], antialias=True)
    wanted = functional.normalize(stretched, [0.485, 0.456, 0.406], [0.229, 0.224, 0.225])[None]
    torch.testing.assert_close(pixels, wanted, atol=1e-5, rtol=0)
    theirs = transformers.Sam2ImageProcessor()(picture, return_tensors="pt")["pixel_values"]
    torch.testing.assert_close(pixels, theirs, atol=1.01 / 255 / 0.224, rtol=0)
    assert inside == (1024, 1024)


@pytest.mark.parametrize("kind", ["sam", "sam2"])
def test_boxes_in_pieces_and_points_are_what_the_model_says(kind: str) -> None:
    """130 boxes are prompted 64 at a time; the same logits as all at once, scaled by transformers' own processor."""
    network, size = TINY[kind](), (90, 120)
    model, picture = SegmentAnything(network), photo(size)
    starts = np.random.default_rng(2).uniform(0, 60, (130, 2))
    boxes = np.concatenate([starts, starts + 25], 1).astype(np.float32)
    seen = model.embed(picture)
    found = model.boxes(seen, boxes)
    scale = torch.tensor([seen.inside[1] / 120, seen.inside[0] / 90] * 2)
    with torch.inference_mode():
        output = network(
            image_embeddings=seen.features, input_boxes=torch.from_numpy(boxes)[None] * scale, multimask_output=False
        )
        logits = output.pred_masks[0].float()
        if kind == "sam":
            logits = torch.nn.functional.interpolate(logits, (128, 128), mode="bilinear")
            logits = logits[..., : seen.inside[0], : seen.inside[1]]
        wanted = torch.nn.functional.interpolate(logits, size, mode="bilinear")[:, 0]
    for mask, one in zip(found.masks, wanted.numpy(), strict=True):
        assert ((mask.whole() != (one > 0)) & (np.abs(one) > 1e-4)).sum() == 0
    np.testing.assert_allclose(found.qualities, output.iou_scores[0, :, 0], atol=1e-5)
    point = model.points(seen, np.array([[10.0, 20.0], [50.0, 60.0]]))
    pair = model.points(seen, np.array([[[10.0, 20.0], [90.0, 5.0]]]), [True, False])
    assert (len(point.masks), len(pair.masks)) == (2, 1)
    assert len(model.boxes(seen, np.zeros((0, 4))).masks) == 0
    with pytest.raises(ConfigError, match=r"points are \(2, 3\)"):
        model.points(seen, np.zeros((2, 3)))


def test_a_detector_with_masks_is_a_detector(tmp_path: Path) -> None:
    """Boxes, masks from them, scores by quality, and nothing below the threshold."""
    detector = ii.Predictor(DETECTOR, device="cpu")
    plain = detector(CELLS[0]).filter(0.5)
    result = MaskedPredictor(detector, SegmentAnything(Boxes("sam")), score_threshold=0.5)(CELLS[0])
    np.testing.assert_array_equal(result.boxes, plain.boxes)
    np.testing.assert_array_equal(result.scores, plain.scores)
    for index, box in enumerate(result.boxes):
        mask, wanted = result.mask(index), covered(box, result.size)
        assert np.minimum(mask, wanted).sum() / np.maximum(mask, wanted).sum() > 0.95
    better = MaskedPredictor(detector, SegmentAnything(Boxes("sam2")), score_threshold=0.5, quality=True)(CELLS[0])
    np.testing.assert_allclose(better.scores, plain.scores / 2, rtol=1e-6)
    assert result.filter(0.9).masks.shape == (len(plain.filter(0.9)), 480, 640)
    none = MaskedPredictor(detector, SegmentAnything(Boxes("sam")), score_threshold=1.0)(CELLS[0])
    assert (len(none), none.has_masks, none.to_dict()["objects"]) == (0, True, [])
    with pytest.raises(ConfigError, match="this is a classifier"):
        MaskedPredictor(ii.Predictor(CLASSIFIER, device="cpu"), SegmentAnything(Boxes("sam")))


@pytest.fixture(scope="module", params=["sam", "sam2"])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model as transformers writes it."""
    place = tmp_path_factory.mktemp(request.param) / "model"
    TINY[request.param]().save_pretrained(place)
    return place


def test_the_commands_make_masks(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """predict, evaluate and data convert with the model of a folder."""
    data = CELLS[0].parents[1]
    assert run(["predict", CELLS[0], "--model", DETECTOR, "--masks-from", folder, "--json"]) == 0
    objects = json.loads(capsys.readouterr().out)["objects"]
    assert objects
    assert all(sum(one["segmentation"]["counts"]) == 480 * 640 for one in objects)
    target = tmp_path / "masks"
    assert run(["data", "convert", data, target, "--to", "coco", "--boxes-to-masks", folder]) == 0
    said = capsys.readouterr().out
    written = [one for file in target.rglob("*.json") for one in json.loads(file.read_text())["annotations"]]
    made = sum("segmentation" in one and bool(one["segmentation"]) for one in written)
    assert f"{made} of {len(written)} boxes without masks got masks" in said
    assert made > 0
    evaluated = run(
        ["evaluate", "--data", target, "--model", DETECTOR, "--masks-from", folder, "--json", "--part", "all"]
    )
    assert evaluated == 0
    assert '"mask_ap"' in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["predict", CELLS[0], "--masks-above", "0.5"], "belong to --masks-from"),
        (["predict", CELLS[0], "--masks-from", "./nowhere"], "./nowhere cannot be loaded"),
        (["predict", CELLS[0], "--masks-from", "{bert}"], "is a bert; expected a model of Segment Anything"),
    ],
)
def test_what_makes_no_masks_is_said(
    arguments: list[Any], message: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    given = [str(one).format(bert=tmp_path) for one in arguments]
    assert run([*given, "--model", DETECTOR]) == 1
    assert message in capsys.readouterr().err
