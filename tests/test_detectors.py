"""Detectors from name to picture: checkpoints in the released layout, odd images, several views, the command line."""

import csv
import io
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.commands import run
from helpers.detectors import CONFIGS, photo, talkative
from PIL import Image

import internimage as ii
from internimage.checkpoints.layouts import from_ours
from internimage.errors import CheckpointMismatchError, ConfigError, ImageReadError
from internimage.images import FitPreprocessing, list_images
from internimage.labels import load_labels
from internimage.layers.boxes import nms
from internimage.results.detections import Detections
from internimage.settings.views import TestTimeAugmentation
from internimage.structures.detection import DetectionConfig, RawDetections
from internimage.tasks.detection.batch import stack
from internimage.tasks.detection.pipeline import DetectionPipeline, decode, detect, merge

NAMES = tuple(CONFIGS)
RELEASED = tuple(name for name in NAMES if name != "small_mask_dino")  # nobody else has files of that
pytestmark = pytest.mark.usefixtures("small_recipes")


def released(name: str, path: Path, **meta: Any) -> tuple[Path, Any]:
    """A checkpoint as mmdet writes it, and the model, whose weights lie in memory as loaded ones do: bits are equal."""
    model = talkative(name).to(memory_format=torch.channels_last)
    names = from_ours(model.state_dict(), "official", model.config)
    state = {names[ours]: tensor.clone() for ours, tensor in model.state_dict().items()}
    torch.save({"meta": {"CLASSES": ("a", "b", "c"), "epoch": 36, **meta}, "state_dict": state}, path)
    return path, model


def agree(found: Detections, expected: Detections) -> None:
    """The same objects, up to a tie that falls the other way."""
    assert len(found) == len(expected) > 3
    np.testing.assert_allclose(np.sort(found.scores), np.sort(expected.scores), atol=1e-3)
    distance = np.abs(found.boxes[:, None] - expected.boxes).max(-1) + 1e3 * (found.labels[:, None] != expected.labels)
    nearest = distance.argmin(1)
    good = distance.min(1) < 0.02
    assert good.mean() >= 0.97
    if expected.soft_masks is not None:
        assert found.soft_masks is not None
        np.testing.assert_allclose(found.soft_masks[good], expected.soft_masks[nearest[good]], atol=1e-3)


@pytest.mark.parametrize("name", RELEASED)
def test_a_released_file_gives_the_same_objects(name: str, tmp_path: Path) -> None:
    """From the file, from a folder of ours, and from a file written back; every tensor the same."""
    path, model = released(name, tmp_path / "x.pth")
    image = photo(120, 90)
    expected = ii.Predictor(model)(image)
    assert isinstance(expected, Detections)
    assert len(expected) > 3
    loaded = ii.create_model(name, checkpoint=path)
    folder = ii.save_model(loaded, tmp_path / "folder", labels=("red", "green", "blue")[: loaded.config.num_classes])
    official = ii.convert_checkpoint(folder, tmp_path / "again.pth", "official")
    again = torch.load(official, weights_only=True)
    assert again["meta"]["CLASSES"] == ("red", "green", "blue")[: loaded.config.num_classes]
    first = torch.load(path, weights_only=True)["state_dict"]
    assert list(again["state_dict"]) == list(first)
    assert all(torch.equal(tensor, again["state_dict"][key]) for key, tensor in first.items())
    for source in (loaded, folder, ii.create_model(name, checkpoint=official)):
        found = ii.Predictor(source)(image)
        assert isinstance(found, Detections)
        assert np.array_equal(found.boxes, expected.boxes)
        assert np.array_equal(found.labels, expected.labels)
        assert (found.soft_masks is None) == (name not in ("small_mask", "small_cascade"))
    assert ii.Predictor(folder)(image).names[0] == "red"
    backbone = ii.create_model(name, checkpoint=path, features_only=True)
    expected, zeros = model.backbone.state_dict(), torch.zeros(1, 3, 64, 64)
    assert all(torch.equal(tensor, expected[key]) for key, tensor in backbone.state_dict().items())
    assert torch.equal(backbone(zeros)[-1], model.backbone(zeros)[-1])


def test_the_weights_of_training_beside_their_average_are_left_alone(tmp_path: Path) -> None:
    """As mmdetection's EMA hook saves them; a name that only looks like a copy is still refused."""
    path, model = released("small_mask", tmp_path / "x.pth")
    content = torch.load(path, weights_only=True)
    state = content["state_dict"]
    copies = {"ema_" + name.replace(".", "_"): tensor + 1 for name, tensor in state.items()}
    torch.save({**content, "state_dict": {**state, **copies}}, path)
    loaded = ii.create_model("small_mask", checkpoint=path)
    for one, other in zip(loaded.state_dict().values(), model.state_dict().values(), strict=True):
        assert torch.equal(one, other)
    torch.save({**content, "state_dict": {**state, "ema_backbone_other_weight": torch.zeros(1)}}, path)
    with pytest.raises(CheckpointMismatchError, match="not part of the model: ema_backbone_other_weight"):
        ii.create_model("small_mask", checkpoint=path)


@pytest.mark.parametrize("name", RELEASED)
def test_new_classes_start_anew_and_the_rest_stays(name: str, tmp_path: Path) -> None:
    path, model = released(name, tmp_path / "x.pth")
    with pytest.warns(UserWarning, match=r"x\.pth has \d classes, the model 7: the classifier starts anew"):
        changed = ii.create_model(name, checkpoint=path, num_classes=7)
    before, after = model.state_dict(), changed.state_dict()
    differ = {
        key for key in before if before[key].shape != after[key].shape or not torch.equal(before[key], after[key])
    }
    kinds = ("classifier", "logits") if name == "small_crowd" else ("classifier", "regressor", "logits")
    depend = {key for key in before if key.split(".")[-2] in kinds and key.startswith(("box", "mask"))}
    depend |= {key for key in before if key.startswith(("classifiers.", "label_embedding."))}
    assert differ == depend
    assert not any(tensor.is_meta for tensor in after.values())
    assert len(ii.Predictor(changed)(photo(64, 64)).names) == 7
    folder = ii.save_model(changed, tmp_path / "seven")
    theirs = ii.convert_checkpoint(folder, tmp_path / "seven.pth", "official")  # trained elsewhere, on seven classes
    found = ii.Predictor(name, checkpoint=theirs)(photo(64, 64))
    assert found.names == tuple(f"class {number}" for number in range(7))
    assert np.array_equal(found.scores, ii.Predictor(changed)(photo(64, 64)).scores)
    with pytest.raises(CheckpointMismatchError, match="the file has 7 classes: pass num_classes=7"):
        ii.create_model(name, checkpoint=folder)
    with pytest.raises(ConfigError, match="needs classes"):
        ii.create_model(name, num_classes=0)


def test_names_of_the_released_models() -> None:
    labels = load_labels("coco")
    assert (len(labels), labels[0], labels[79]) == (80, "person", "toothbrush")
    assert len(ii.list_models("mask_rcnn*_coco")) == 12
    assert len(ii.list_models("cascade*")) == 7


@pytest.mark.parametrize(
    "image",
    [
        Image.new("L", (70, 50), 90),
        Image.new("RGBA", (64, 64), (10, 200, 30, 90)),
        np.zeros((1, 1, 3), np.uint8),
        np.full((3, 300, 3), 200, np.uint8),
    ],
    ids=["grey", "transparent", "one pixel", "thin"],
)
def test_odd_pictures_have_results_in_their_own_pixels(image: Any) -> None:
    result = ii.Predictor(talkative("small_mask"))(image)
    assert isinstance(result, Detections)
    height, width = (image.height, image.width) if isinstance(image, Image.Image) else image.shape[:2]
    assert result.size == (height, width)
    assert (result.boxes >= 0).all()
    assert (result.boxes <= [width, height, width, height]).all()
    masks = result.masks
    assert masks is not None
    assert masks.shape == (len(result), height, width)
    assert result.draw(0).size == (width, height)


def test_turned_photos_are_found_as_they_look(tmp_path: Path) -> None:
    upright = photo(96, 64)
    exif = Image.Exif()
    exif[274] = 6  # to be turned clockwise
    upright.rotate(90, expand=True).save(tmp_path / "turned.png", exif=exif)
    upright.save(tmp_path / "upright.png")
    one, other = ii.Predictor(talkative("small_mask"))([tmp_path / "turned.png", tmp_path / "upright.png"])
    assert one.size == other.size == (64, 96)
    np.testing.assert_allclose(one.boxes, other.boxes, atol=1e-3)


@pytest.mark.parametrize("name", NAMES)
def test_pictures_of_different_sizes_share_a_batch(name: str) -> None:
    predict = ii.Predictor(talkative(name), batch_size=3)
    images = [photo(160, 60, 1), photo(60, 160, 2), photo(32, 32, 3)]
    for together, image in zip(predict(images), images, strict=True):
        alone = predict(image)
        assert isinstance(alone, Detections)
        assert isinstance(together, Detections)
        agree(together, alone)


@pytest.mark.parametrize("name", NAMES[:3])
def test_half_precision_moves_boxes_by_less_than_a_pixel(name: str) -> None:
    """Most of the best objects are the same; coordinates and scores are float32 throughout."""
    model, image = talkative(name), photo(160, 96, 5)
    exact = ii.Predictor(model)(image)
    assert isinstance(exact, Detections)
    rough = ii.Predictor(model, dtype=torch.bfloat16)(image)
    assert isinstance(rough, Detections)
    assert rough.boxes.dtype == rough.scores.dtype == np.float32
    best = exact.filter(float(exact.scores[min(10, len(exact) - 1)]))
    assert (np.abs(best.boxes[:, None] - rough.boxes).max(-1).min(1) < 1).mean() > 0.6


def test_a_batch_and_the_pipeline_predict_as_the_predictor_does() -> None:
    model, image = talkative("small_mask"), photo(100, 70)
    expected = ii.Predictor(model)(image)
    assert isinstance(expected, Detections)
    tensor = FitPreprocessing(96, 160)(image)
    (source,) = list_images(image)
    batch = stack([tensor], [(70, 100)], [source])
    assert batch.images.shape[2:] == (96, 160)
    assert batch.sizes == ((96, 137),)
    torch.testing.assert_close(batch.scales, torch.tensor([[1.37, 96 / 70, 1.37, 96 / 70]]))
    (result,) = decode(detect(model, batch), batch, ("a", "b", "c"))
    assert np.array_equal(result.boxes, expected.boxes)
    pipeline = DetectionPipeline(model)
    (result,) = pipeline.predict([pipeline.prepare(image)], [source], [None])
    assert np.array_equal(result.boxes, expected.boxes)


@pytest.mark.parametrize("how", ["nms", "soft-nms", "wbf"])
def test_mirrored_views_agree_with_a_mirrored_picture(how: Any) -> None:
    """With flips, a picture and its mirror image have the same objects, mirrored; boxes, scores, masks."""
    model, image = talkative("small_mask"), photo(96, 64)
    predict = ii.Predictor(model, augmentation=TestTimeAugmentation((64, 96), merge=how))
    one, other = predict(image), predict(image.transpose(Image.Transpose.FLIP_LEFT_RIGHT))
    assert isinstance(one, Detections)
    assert isinstance(other, Detections)
    mirrored = other.boxes[:, [2, 1, 0, 3]]
    mirrored[:, [0, 2]] = 96 - mirrored[:, [0, 2]]
    assert other.soft_masks is not None
    agree(replace(other, boxes=mirrored, soft_masks=other.soft_masks[:, :, ::-1]), one)


def test_views_are_merged_class_by_class() -> None:
    """The union of two views, reduced by NMS: what the definition says of each pair."""
    torch.manual_seed(0)
    corner = torch.rand(60, 2) * 50
    boxes = torch.cat([corner, corner + 10 + torch.rand(60, 2) * 20], dim=1)
    parts = [
        RawDetections(boxes[i::2], torch.rand(30), torch.randint(3, (30,)), torch.full((30, 4, 4), float(i)))
        for i in range(2)
    ]
    merged = merge(parts, DetectionConfig(nms_threshold=0.4, keep=20))
    whole = [torch.cat([getattr(part, name) for part in parts]) for name in ("boxes", "scores", "labels")]
    kept = nms(*whole, 0.4)[:20]
    assert torch.equal(merged.boxes, whole[0][kept])
    assert merged.masks is not None
    assert torch.equal(merged.masks[:, 0, 0] > 0, kept >= 30)
    with pytest.raises(ConfigError, match="for detectors"):
        ii.Predictor(ii.create_model("internimage_atto"), augmentation=TestTimeAugmentation())
    with pytest.raises(ConfigError, match="at least 1 pixel"):
        TestTimeAugmentation((0,))


Parse = Callable[[str], list[tuple[str, float, list[float]]]]


def parse_json(text: str) -> list[tuple[str, float, list[float]]]:
    return [(o["label"], o["score"], o["box"]) for o in json.loads(text)["objects"]]


def parse_csv(text: str) -> list[tuple[str, float, list[float]]]:
    rows = csv.DictReader(io.StringIO(text))
    return [(r["label"], float(r["score"]), [float(r[k]) for k in ("x1", "y1", "x2", "y2")]) for r in rows]


@pytest.mark.parametrize(("option", "parse"), [("--json", parse_json), ("--csv", parse_csv)])
def test_command_prints_what_the_predictor_finds(
    option: str, parse: Parse, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, _ = released("small_mask", tmp_path / "x.pth")
    folder = ii.save_model(ii.create_model("small_mask", checkpoint=path), tmp_path / "m", labels=("a", "b", "c"))
    photo(90, 120).save(tmp_path / "photo.png")
    command: list[str | Path] = ["predict", tmp_path / "photo.png", "--model", folder, "--score-threshold", "0.4"]
    assert run([*command, option, "--save", tmp_path / "out"]) == 0
    expected = ii.Predictor(folder)(tmp_path / "photo.png")
    assert isinstance(expected, Detections)
    expected = expected.filter(0.4)
    found = parse(capsys.readouterr().out)
    assert len(found) == len(expected) > 1
    assert [label for label, _, _ in found] == [expected.name(i) for i in range(len(expected))]
    np.testing.assert_allclose([box for _, _, box in found], expected.boxes, atol=0.06)
    assert Image.open(tmp_path / "out" / "photo.predicted.png").size == (90, 120)
    assert run(command) == 0
    assert f"{len(expected)} object" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--score-threshold", "2"], "--score-threshold is 2.0; expected 0 to 1"),
        (["--tta-sides", "64"], "--tta-sides belongs to --tta"),
        (["--labels", "imagenet1k"], "is a model folder"),
    ],
)
def test_wrong_options_are_named(
    options: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = ii.save_model(talkative("small_mask"), tmp_path / "m")
    photo(40, 40).save(tmp_path / "photo.png")
    assert run(["predict", tmp_path / "photo.png", "--model", folder, *options]) == 1
    assert message in capsys.readouterr().err


def test_a_picture_that_would_fill_the_memory_is_refused() -> None:
    model = talkative("small_mask")
    model.description = replace(model.description, preprocessing=FitPreprocessing(20_000, 40_000))
    with pytest.raises(ImageReadError, match="too many"):
        ii.Predictor(model)(photo(32, 32))
