"""What a detector's result can do: filter, masks, COCO entries, drawings."""

from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import supervision
from PIL import Image

from internimage.drawing.objects import Object, class_colour, draw_objects
from internimage.errors import ConfigError
from internimage.images import ImageSource
from internimage.images.outlines import outlines
from internimage.labels import load_labels
from internimage.results.detections import Detections, run_lengths
from internimage.results.pasting import ObjectMask

NAMES = ("cat", "dog", "bird")


def detections(**changes: Any) -> Detections:
    """Three objects in a white picture of 120 x 80; the second's mask is the upper half of its box."""
    half = np.zeros((28, 28), np.float32)
    half[:14] = 1
    values: dict[str, Any] = {
        "boxes": np.array([[10, 30, 50, 70], [60, 40, 110, 70], [0, 0, 119, 79]], np.float32),
        "scores": np.array([0.9, 0.5, 0.2], np.float32),
        "labels": np.array([2, 0, 1]),
        "names": NAMES,
        "size": (80, 120),
        "source": ImageSource("white", Image.new("RGB", (120, 80), "white")),
        "soft_masks": np.stack([np.ones_like(half), half, np.zeros_like(half)]),
    }
    return Detections(**{**values, **changes})


def test_filtering_by_score_and_name() -> None:
    found = detections()
    assert [found.filter(score).scores.tolist() for score in (0.5, 0.51)] == [[np.float32(0.9), 0.5], [np.float32(0.9)]]
    assert found.filter(names=["dog", "cat"]).labels.tolist() == [0, 1]
    assert len(found.filter(0.95)) == 0
    assert found.filter(0.95).masks.shape == (0, 80, 120)  # type: ignore[union-attr]
    with pytest.raises(KeyError, match="no class is called fish; there are cat, dog, bird"):
        found.filter(names=["fish"])
    assert repr(found) == "Detections(white: 3 objects, bird 90.0%, cat 50.0%, dog 20.0%)"


def test_masks_cover_what_they_say() -> None:
    masks = detections().masks
    assert masks is not None
    expected = np.zeros((3, 80, 120), bool)
    expected[0, 30:70, 10:50] = True
    expected[1, 40:55, 60:110] = True
    # the rows of the mask beside a half are blended over a pixel of the picture
    assert np.abs(masks.astype(int) - expected).sum() <= 50
    assert detections(soft_masks=None).masks is None


def test_coco_entries() -> None:
    entries = detections().to_coco(7, (1, 18, 16))
    assert [entry["category_id"] for entry in entries] == [16, 1, 18]
    assert entries[0]["bbox"] == [10, 30, 40, 40]
    assert entries[0]["image_id"] == 7
    assert sum(entries[0]["segmentation"]["counts"]) == 80 * 120
    plain = detections(soft_masks=None)
    assert "segmentation" not in plain.to_coco(7)[0]
    assert [entry["category_id"] for entry in plain.to_coco(7)] == [3, 1, 2]
    named = replace(plain, names=load_labels("coco"), labels=np.array([0, 11, 79]))
    assert [entry["category_id"] for entry in named.to_coco(7)] == [1, 13, 90]  # person, stop sign, toothbrush


@pytest.mark.parametrize("density", [0.0, 0.3, 1.0])
def test_run_lengths_give_the_mask_back(density: float) -> None:
    mask = np.random.default_rng(0).random((13, 17)) < density
    counts = run_lengths(mask)
    values = np.repeat(np.arange(len(counts)) % 2 == 1, counts)
    assert np.array_equal(values.reshape(17, 13).T, mask)
    assert min(counts[1:], default=1) > 0


@pytest.mark.parametrize(
    "place", [(0, 0, 13, 17), (3, 5, 4, 6), (0, 4, 13, 3), (9, 14, 4, 3), (0, 0, 5, 17), (2, 2, 0, 0)]
)
@pytest.mark.parametrize("density", [0.5, 1.0])
def test_a_mask_as_large_as_its_box_is_that_of_the_picture(place: tuple[int, int, int, int], density: float) -> None:
    top, left, height, width = place
    bitmap = np.random.default_rng(1).random((height, width)) < density
    part = ObjectMask(bitmap, top, left, (13, 17))
    whole = np.zeros((13, 17), bool)
    whole[top : top + height, left : left + width] = bitmap
    np.testing.assert_array_equal(part.whole(), whole)
    assert (part.area, part.run_lengths()) == (whole.sum(), run_lengths(whole))
    assert [one.outline.tolist() for one in part.outlines()] == [one.outline.tolist() for one in outlines(whole)]


def test_drawing_shows_boxes_masks_and_names() -> None:
    """The outline and the mask have the class's colour, what lies outside stays white, the faintest is left out."""
    picture = np.asarray(detections().draw())
    assert picture.shape == (80, 120, 3)
    bird, cat = (np.array(class_colour(index)) for index in (2, 0))
    assert picture[69, 30].tolist() == bird.tolist()
    np.testing.assert_allclose(picture[60, 30], 255 + 0.45 * (bird - 255.0), atol=1)
    assert picture[62, 85].tolist() == [255, 255, 255]  # the half without mask
    assert (picture == cat).all(-1).sum() > 100
    assert picture[75, 5].tolist() == [255, 255, 255]
    assert np.array_equal(np.asarray(detections().filter(0.95).draw()), np.full((80, 120, 3), 255))


def plate_height(size: tuple[int, int]) -> int:
    """Rows of the plate behind the name of an object at the top of the picture, where there is no room above it."""
    width, height = size
    box = (width * 0.2, 0.0, width * 0.9, height * 0.9)
    picture = draw_objects(Image.new("RGB", size, "white"), [Object(box, "a cat 99%", class_colour(0))])
    assert picture.size == size
    column = np.asarray(picture)[: height // 2, int(width * 0.25) : int(width * 0.3)]
    return int((column == np.array(class_colour(0))).all(-1).any(1).sum())


def test_names_stay_inside_and_grow_with_the_picture() -> None:
    plate_height((12, 9))  # smaller than the letters: drawn, and of the right size
    small, large = plate_height((640, 480)), plate_height((4000, 3000))
    assert 12 <= small <= 20
    assert large / small == pytest.approx(6, rel=0.15)


def test_colours_of_classes_differ() -> None:
    colours = [class_colour(index) for index in range(30)]
    assert len(set(colours)) == 30
    distances = [sum(abs(a - b) for a, b in zip(one, other, strict=True)) for one, other in pairwise(colours)]
    assert min(distances) > 100


def test_among_many_objects_names_stay_within_their_boxes() -> None:
    """Forty small boxes: outlines alone; the same few with names, and one that is wide enough among the many."""
    picture = Image.new("RGB", (400, 200), "white")
    small = [
        Object(
            (20 + 36 * (i % 10), 30 + 40 * (i // 10), 32 + 36 * (i % 10), 42 + 40 * (i // 10)), "nucleus", (200, 0, 0)
        )
        for i in range(40)
    ]

    def plates(objects: list[Object]) -> int:
        """Pixels of the objects' colour inside none of the boxes' outlines."""
        return int((np.asarray(draw_objects(picture, objects)) == (200, 0, 0)).all(-1).sum())

    outline = plates(small[:1]) - plates([Object(small[0].box, "", (200, 0, 0))])
    assert outline > 100  # a plate
    assert plates(small) == 40 * plates([Object(small[0].box, "", (200, 0, 0))])
    wide = Object((10, 180, 390, 198), "nucleus", (200, 0, 0))
    assert plates([*small, wide]) > plates(small) + plates([Object(wide.box, "", (200, 0, 0))])


@pytest.mark.parametrize("masks", [True, False])
@pytest.mark.parametrize("count", [3, 0])
def test_supervision_and_back(masks: bool, count: int) -> None:
    """Boxes, masks, classes and a tracker's numbers, in another order on the way."""
    found = detections(**{} if masks else {"soft_masks": None}).part(np.arange(count))
    theirs = found.to_supervision()
    assert isinstance(theirs, supervision.Detections)
    turned = theirs[np.arange(count)[::-1]]
    turned.tracker_id = np.arange(70, 70 + count)
    back = Detections.from_supervision(turned, Image.new("RGB", (120, 80)), NAMES)
    assert np.array_equal(back.boxes, found.boxes)
    assert np.array_equal(back.scores, found.scores)
    assert np.array_equal(back.labels, found.labels)
    assert back.tracks is not None
    assert back.tracks.tolist() == list(range(69 + count, 69, -1))
    assert (back.masks is None) == (found.masks is None)
    assert back.masks is None or np.array_equal(back.masks, found.masks)
    assert (back.names, back.size) == (NAMES, found.size)
    assert np.array_equal(back.to_supervision().tracker_id, back.tracks)
    if count:
        assert [one["track"] for one in back.filter(0.3).to_dict()["objects"]] == [72, 71]
        assert Detections.from_supervision(turned, Image.new("RGB", (120, 80))).names == ("cat", "dog", "bird")


def test_supervision_without_scores_and_classes() -> None:
    plain = supervision.Detections(xyxy=np.array([[0, 0, 9, 9], [1, 2, 3, 4]]))
    found = Detections.from_supervision(plain, np.zeros((20, 10, 3), np.uint8))
    assert (found.scores.tolist(), found.labels.tolist(), found.names) == ([1, 1], [0, 0], ("class 0",))
    assert (found.size, found.boxes.dtype, found.tracks) == ((20, 10), np.float32, None)
    plain.class_id = np.array([0, 5])
    with pytest.raises(ConfigError, match="class 5; there are 3 names"):
        Detections.from_supervision(plain, np.zeros((20, 10, 3), np.uint8), NAMES)
    plain.class_id = np.array([0, -1])
    with pytest.raises(ConfigError, match="class -1; there are 1 names"):
        Detections.from_supervision(plain, np.zeros((20, 10, 3), np.uint8))


def test_supervision_of_another_picture() -> None:
    theirs = detections().to_supervision()
    with pytest.raises(ConfigError, match=r"masks are \(80, 120\), the picture \(height, width\) \(81, 120\)"):
        Detections.from_supervision(theirs, np.zeros((81, 120, 3), np.uint8), NAMES)
    with pytest.raises(ConfigError, match="the one picture that the objects are in, not 2"):
        Detections.from_supervision(theirs, np.zeros((2, 80, 120, 3), np.uint8), NAMES)  # a batch
