"""Large pictures tile by tile, views of a detector merged, soft-NMS: against brute force and known objects."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.commands import run
from helpers.detectors import photo, talkative
from PIL import Image

import internimage as ii
from internimage.errors import ConfigError, ExportError
from internimage.images import ImageSource
from internimage.inference.tiles import TiledPipeline
from internimage.models.dino import DINOConfig
from internimage.registry import ARCHITECTURES, resolve
from internimage.results.detections import Detections, run_lengths
from internimage.results.pasting import paste_mask
from internimage.results.tiled import unite
from internimage.settings.views import PredictionOptions
from internimage.structures.boxes import Found
from internimage.structures.detection import DetectionConfig, RawDetections
from internimage.structures.merging import soft_nms, weighted_boxes_fusion
from internimage.structures.slicing import merge_cut, merge_slices
from internimage.tasks.classification.spec import SPEC as CLASSIFICATION
from internimage.tasks.detection.export import graph
from internimage.tasks.detection.pipeline import merge
from internimage.tasks.detection.spec import SPEC

pytestmark = pytest.mark.usefixtures("one_thread", "small_recipes")

SOURCE = ImageSource(b"", "picture")
OBJECTS = {  # y1, x1, y2, x2 by class and colour
    (0, 10): (4, 4, 24, 44),  # inside the first tile
    (0, 20): (28, 60, 58, 108),  # over a seam
    (0, 30): (60, 61, 108, 109),  # over four tiles
    (1, 40): (62, 110, 106, 150),  # a neighbour of another class
    (0, 50): (62, 151, 106, 165),  # small neighbours of one class, which touch
    (0, 60): (62, 165, 106, 179),
    (1, 70): (130, 30, 190, 290),  # longer than a tile
}


class Colours:
    """A pipeline that knows its objects: each has a colour of its own; of the whole picture it sees large ones."""

    labels, classes, max_objects = ("a", "b"), 2, 7

    def __init__(self) -> None:
        self.batches: list[int] = []

    def read(self, source: ImageSource) -> Image.Image:
        return source.read()

    def prepare(self, image: Any) -> np.ndarray[Any, Any]:
        return np.asarray(image)

    def predict(self, prepared: Sequence[Any], sources: Sequence[ImageSource], known: Sequence[Any]) -> list[Any]:
        self.batches.append(len(prepared))
        results = []
        for pixels, source in zip(prepared, sources, strict=True):
            found = [(label, np.nonzero(pixels[..., 0] == colour)) for label, colour in OBJECTS]
            seen = [(label, x.min(), y.min(), x.max() + 1, y.max() + 1) for label, (y, x) in found if len(y)]
            labels, boxes = np.array([one[0] for one in seen], int), np.array([one[1:] for one in seen], np.float32)
            scores = np.full(len(seen), 0.9, np.float32)
            results.append(
                Detections(boxes.reshape(-1, 4), scores, labels, self.labels, pixels.shape[:2], source)  # type: ignore[arg-type]
            )
        return results


def picture() -> Image.Image:
    pixels = np.zeros((200, 300, 3), np.uint8)
    for (_, colour), (y1, x1, y2, x2) in OBJECTS.items():
        pixels[y1:y2, x1:x2, 0] = colour
    return Image.fromarray(pixels)


def test_objects_that_seams_cut_are_whole_again() -> None:
    pipeline = Colours()
    told: list[int] = []
    tiled = TiledPipeline(
        pipeline, SPEC, ii.Tiles(96, 0.25), 4, lambda tiles, total, _: (told.append(total) for _ in tiles)
    )
    assert (tiled.max_objects, tiled.classes) == (7, 2)
    (result,) = tiled.predict([tiled.prepare(picture())], [SOURCE], [None])
    assert (result.size, result.source) == ((200, 300), SOURCE)
    assert pipeline.batches == [4, 4, 4, 1]  # 4 x 3 tiles and the whole
    assert told == [13] * 13
    found = sorted(zip(result.labels.tolist(), result.boxes[:, [1, 0, 3, 2]].tolist(), strict=True))
    assert found == sorted((label, list(map(float, box))) for (label, _), box in OBJECTS.items())
    smaller = TiledPipeline(pipeline, SPEC, ii.Tiles(96, 0.25, whole=False), batch_size=8)
    (parts,) = smaller.predict([picture()], [SOURCE], [None])
    assert sum(parts.labels == 1) > 2  # the long one is not whole in two tiles
    assert sorted(parts.boxes[parts.labels == 0].tolist()) == sorted(result.boxes[result.labels == 0].tolist())


@pytest.mark.parametrize("how", ["seams", "greedy"])
def test_the_mask_of_an_object_over_four_tiles_is_that_of_its_parts(how: Any) -> None:
    rng = np.random.default_rng(0)
    size, windows = (120, 120), [(0, 0, 80, 80), (40, 0, 120, 80), (0, 40, 80, 120), (40, 40, 120, 120)]
    edges, results = np.array([20, 25, 90, 95], np.float32), []
    for window in windows:
        corner = np.array(window, np.float32)
        inside = np.concatenate([np.maximum(edges[:2], corner[:2]), np.minimum(edges[2:], corner[2:])])
        box = (inside - np.tile(corner[:2], 2))[None]
        soft = rng.random((1, 6, 6), np.float32)
        score = np.array([0.8], np.float32)
        results.append(Detections(box, score, np.zeros(1, int), ("a",), (80, 80), SOURCE, soft))
    result = unite(results, windows, size, SOURCE, ii.Tiles(80, 0.5, merge=how))
    assert result.boxes.tolist() == [edges.tolist()]
    expected = np.zeros(size, bool)
    for one, window in zip(results, windows, strict=True):
        assert one.soft_masks is not None
        expected |= paste_mask(one.soft_masks[0], one.boxes[0] + np.tile(window[:2], 2), size)
    assert result.has_masks
    np.testing.assert_array_equal(result.mask(0), expected)
    np.testing.assert_array_equal(result.filter(0.5, ["a"]).masks, expected[None])
    (entry,) = result.to_coco(1)
    assert entry["segmentation"] == {"size": [120, 120], "counts": run_lengths(expected)}


def crowd(count: int, side: float, seed: int) -> tuple[Found, np.ndarray[Any, Any]]:
    rng = np.random.default_rng(seed)
    corners = rng.random((count, 2)) * side
    boxes = np.concatenate([corners, corners + 4 + rng.random((count, 2)) * 20], axis=1)
    return Found(rng.integers(0, 2, count), rng.random(count), boxes), rng.random(count) < 0.4


def brute_force(found: Found, cut: np.ndarray[Any, Any], overlap: float = 0.5) -> list[tuple[int, float, list[float]]]:
    """The definition, one pair of boxes after the other."""

    def near(one: np.ndarray[Any, Any], other: np.ndarray[Any, Any], smaller: bool) -> bool:
        width, height = np.minimum(one[2:], other[2:]) - np.maximum(one[:2], other[:2])
        common = max(width, 0) * max(height, 0)
        first, second = (float((box[2] - box[0]) * (box[3] - box[1])) for box in (one, other))
        return bool(common / (min(first, second) if smaller else first + second - common) >= overlap)

    order = sorted(range(len(found.scores)), key=lambda i: (-found.scores[i], *found.boxes[i]))
    left, result = list(order), []

    def taken(place: int) -> list[int]:
        own = [i for i in left if found.labels[i] == found.labels[place]]
        return [i for i in own if near(found.boxes[place], found.boxes[i], bool(cut[i] or cut[place]))]

    while left:
        place = left.pop(0)
        box, waiting = found.boxes[place].copy(), taken(place)
        left = [i for i in left if i not in waiting]
        while waiting and cut[place]:
            other = waiting.pop(0)
            if found.scores[other] < found.scores[place] / 2 or not near(box, found.boxes[other], True):
                continue
            ends = np.stack([box, found.boxes[other]])
            box = np.concatenate([ends[:, :2].min(0), ends[:, 2:].max(0)])
            more = [
                i
                for i in taken(other)
                if cut[i] and found.scores[i] >= found.scores[place] / 2 and near(box, found.boxes[i], True)
            ]
            waiting, left = waiting + more, [i for i in left if i not in more]
            if not cut[other]:
                break
        result.append((int(found.labels[place]), float(found.scores[place]), box.tolist()))
    return result


@pytest.mark.parametrize(("count", "side"), [(0, 10.0), (150, 60.0), (300, 400.0)])
def test_cut_objects_are_merged_as_defined(count: int, side: float) -> None:
    found, cut = crowd(count, side, seed=count)
    merged = merge_cut(found, cut)
    rows = zip(merged.labels.tolist(), merged.scores.tolist(), merged.boxes.tolist(), strict=True)
    assert list(rows) == brute_force(found, cut)
    for own, score, box in zip(merged.members, merged.scores, merged.boxes, strict=True):
        assert found.scores[own[0]] == score
        assert box.tolist() == [*found.boxes[own, :2].min(0), *found.boxes[own, 2:].max(0)]


def test_more_pairs_than_are_compared_at_a_time() -> None:
    """What one box takes does not depend on how many pairs there are: far copies of a picture are merged as one is."""
    found, _ = crowd(400, 30, seed=1)
    shifts = [np.array([number * 1e4, 0, number * 1e4, 0]) for number in range(15)]
    copies = [found._replace(boxes=found.boxes + shift) for shift in shifts]  # 15 x 400 x 399 / 2 pairs
    many = merge_slices(Found(*(np.concatenate(arrays) for arrays in zip(*copies, strict=True))))
    alone = merge_slices(found)
    assert many.scores.tolist() == np.repeat(alone.scores, 15).tolist()
    np.testing.assert_allclose(many.boxes[::15], alone.boxes, atol=1e-9)


def same(one: Detections, other: Detections) -> None:
    for name in ("boxes", "scores", "labels", "soft_masks"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))


def test_a_picture_no_larger_than_a_tile_is_one_picture() -> None:
    model, pictures = talkative(), [photo(96, 64), photo(50, 96)]
    tiled = ii.Predictor(model, tiles=ii.Tiles(96))
    for one, other in zip(tiled(pictures), map(ii.Predictor(model), pictures), strict=True):
        same(one, other)


@pytest.mark.parametrize("batch_size", [1, 8])
def test_tiles_are_pictures_of_their_own(batch_size: int) -> None:
    """A network's tiles, cut by hand and merged by the definition."""
    model, image = talkative(), photo(160, 96)
    result: Any = ii.Predictor(model, tiles=ii.Tiles(96, 0.25, whole=False), batch_size=batch_size)(image)
    shifts, predict = (np.zeros(4, int), np.array([64, 0, 64, 0])), ii.Predictor(model, batch_size=batch_size)
    crops: Any = predict([image.crop((left, 0, left + 96, 96)) for left in (0, 64)])
    boxes = np.concatenate([one.boxes + shift for one, shift in zip(crops, shifts, strict=True)])
    cut = np.concatenate([crops[0].boxes[:, 2] >= 94, crops[1].boxes[:, 0] <= 2])
    labels, scores = (np.concatenate([getattr(one, name) for one in crops]) for name in ("labels", "scores"))
    expected = brute_force(Found(labels, scores.astype(float), boxes), cut)
    assert len(result) == len(expected) > 20
    np.testing.assert_allclose(result.scores, [score for _, score, _ in expected], atol=1e-6)
    np.testing.assert_allclose(result.boxes, [box for _, _, box in expected], atol=1e-4)
    assert result.has_masks


def raw(seed: int) -> RawDetections:
    """One view's objects, with masks."""
    torch.manual_seed(seed)
    corner = torch.rand(25, 2) * 40
    boxes = torch.cat([corner, corner + 15 + torch.rand(25, 2) * 10], dim=1)
    return RawDetections(boxes, torch.rand(25), torch.randint(2, (25,)), torch.rand(25, 4, 4))


def plain(found: RawDetections) -> Found:
    return Found(found.labels.numpy(), found.scores.numpy(), found.boxes.numpy())


def test_views_are_fused_with_their_masks() -> None:
    views = [raw(0), raw(1), raw(2)]
    expected = weighted_boxes_fusion(list(map(plain, views)), [1] * 3)
    merged = merge(views, DetectionConfig(keep=12), "wbf")
    np.testing.assert_allclose(merged.boxes, expected.boxes[:12], rtol=1e-6)
    np.testing.assert_allclose(merged.scores, expected.scores[:12], rtol=1e-6)
    assert merged.labels.tolist() == expected.labels[:12].tolist()
    masks, scores = (torch.cat([getattr(one, name) for one in views]).double() for name in ("masks", "scores"))
    assert merged.masks is not None
    for mask, own in zip(merged.masks, expected.members, strict=False):
        mean = (masks[own] * scores[own][:, None, None]).sum(0) / scores[own].sum()
        torch.testing.assert_close(mask.double(), mean, atol=1e-6, rtol=0)
    assert len(expected.members[0]) > 1


def test_views_are_merged_by_soft_nms_with_their_masks() -> None:
    views = [raw(0), raw(1)]
    merged = merge(views, DetectionConfig(nms_threshold=0.3, keep=20), "soft-nms")
    whole = Found(*(np.concatenate(arrays) for arrays in zip(*map(plain, views), strict=True)))
    places, scores = soft_nms(whole, overlap=0.3)
    assert merged.labels.tolist() == whole.labels[places[:20]].tolist()
    np.testing.assert_allclose(merged.scores, scores[:20], rtol=1e-6)
    assert torch.equal(merged.masks, torch.cat([one.masks for one in views])[places[:20]])  # type: ignore[misc, arg-type]


@pytest.mark.parametrize("name", ["small_mask", "small_cascade"])
def test_soft_nms_of_one_view_lowers_scores_of_what_nms_is_given(name: str) -> None:
    model, image = talkative(name), photo(96, 64)
    limits = replace(model.config.detections, nms_threshold=0.1)
    everything = DetectionConfig(limits.score_threshold, 1.0, 100_000)
    model.config = replace(model.config, detections=limits)
    result: Any = ii.Predictor(model, soft_nms=True)(image)
    model.config = replace(model.config, detections=everything)
    candidates: Any = ii.Predictor(model)(image)
    found = Found(candidates.labels, candidates.scores, candidates.boxes)
    places, scores = soft_nms(found, overlap=limits.nms_threshold, most=limits.keep)
    assert len(candidates) > len(result) == limits.keep
    assert (scores < 0.9 * candidates.scores[places]).any()
    np.testing.assert_allclose(result.scores, scores, atol=1e-6)
    np.testing.assert_allclose(result.boxes, candidates.boxes[places], atol=1e-3)


def test_results_of_tiles_are_measured_as_they_are_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Through the command line: tiles with several views, as COCO's results, measured as a file and directly."""
    folder = ii.save_model(talkative(), tmp_path / "model", labels=("a", "b", "c"))
    (tmp_path / "data" / "annotations").mkdir(parents=True)
    (tmp_path / "data" / "val").mkdir()
    photo(160, 112).save(tmp_path / "data" / "val" / "1.png")
    result: Any = ii.Predictor(folder, tiles=ii.Tiles(96))(tmp_path / "data" / "val" / "1.png")
    truth = result.part(np.arange(0, len(result), 3))
    entries = [
        {"id": number, "iscrowd": 0, "area": 100.0, **{k: v for k, v in one.items() if k != "score"}}
        for number, one in enumerate(truth.to_coco(1), 1)
    ]
    content = {
        "images": [{"id": 1, "file_name": "1.png", "width": 160, "height": 112}],
        "annotations": entries,
        "categories": [{"id": number, "name": name} for number, name in enumerate("abc", 1)],
    }
    (tmp_path / "data" / "annotations" / "val.json").write_text(json.dumps(content))
    options = ["--model", folder, "--tile", "96", "--overlap", "0.25", "--tta", "--tta-merge", "wbf", "--soft-nms"]
    target = tmp_path / "out"
    assert run(["predict", tmp_path / "data" / "val", *options, "--format", "coco", "--output", target]) == 0
    data = ["evaluate", "--data", tmp_path / "data", "--json"]
    capsys.readouterr()
    assert run([*data, "--predictions", target / "results.json"]) == 0
    from_file = json.loads(capsys.readouterr().out)
    assert run([*data, *options]) == 0
    directly = json.loads(capsys.readouterr().out)
    assert {key: directly[key] for key in from_file if "_a" in key} == pytest.approx(
        {key: value for key, value in from_file.items() if "_a" in key}, abs=1e-9
    )
    assert 0 < directly["mask_ap"] < 1
    views = {"tiles": ii.Tiles(96, 0.25), "augmentation": ii.TestTimeAugmentation(merge="wbf"), "soft_nms": True}
    report = ii.evaluate(tmp_path / "data", folder, **views)  # type: ignore[arg-type]
    assert report.compute()["box_ap"] == directly["box_ap"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--tile", "31"], "a tile of 31 pixels; expected at least 32"),
        (["--tile", "96", "--overlap", "1"], "tiles overlap by 1.0; expected 0 or more and less than 1"),
        (["--tile", "96", "--overlap", "-0.1"], "tiles overlap by -0.1"),
        (["--overlap", "0.2"], "--overlap belongs to --tile"),
        (["--tiles-only"], "--tiles-only belongs to --tile"),
        (["--tile-merge", "greedy"], "--tile-merge belongs to --tile"),
        (["--tta-merge", "wbf"], "--tta-merge belongs to --tta"),
        (["--soft-nms", "--model", "small_dino"], "a DINO has no NMS that could be soft"),
        (["--tile", "96", "--model", "small"], "tiles are for detectors; a classifier sees a picture as a whole"),
        (["--tile", "96", "--model", "small_upernet"], "a segmenter sees large pictures in sliding windows of its own"),
        (["--tta", "--tta-merge", "wbf", "--model", "small_upernet"], "wbf merges boxes, of detectors"),
        (["--soft-nms", "--model", "small_upernet"], "soft-NMS is for detectors"),
    ],
)
def test_wrong_options_are_named(
    options: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name = options[-1] if "--model" in options else "small_mask"
    folder = ii.save_model(ii.create_model(name), tmp_path / "model")
    photo(64, 64).save(tmp_path / "picture.png")
    given = [*options[: options.index("--model")], "--model"] if "--model" in options else [*options, "--model"]
    assert run(["predict", tmp_path / "picture.png", *given, folder]) == 1
    assert message in capsys.readouterr().err


def test_what_cannot_be_is_refused() -> None:
    for wrong in ({"merge": "best"}, {"size": 8}):
        with pytest.raises(ConfigError, match="expected"):
            ii.Tiles(**{"size": 64, **wrong})  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="merged by 'mean'"):
        ii.TestTimeAugmentation(merge="mean")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="no single result of a classifier"):
        TiledPipeline(Colours(), CLASSIFICATION, ii.Tiles(64), 1)
    config: DINOConfig = resolve(ARCHITECTURES["dino"].config)(talkative().config.backbone)
    with pytest.raises(ConfigError, match="no NMS that could be soft"):
        replace(config, detections=DetectionConfig(suppression="soft-nms"))
    with pytest.raises(ExportError, match="cannot be exported"):
        graph(talkative().with_soft_nms())
    with pytest.raises(ConfigError, match="a predictor has its weights and options"):
        ii.evaluate("nothing", ii.Predictor(talkative()), tiles=ii.Tiles(64))
    assert PredictionOptions().tiles is None
