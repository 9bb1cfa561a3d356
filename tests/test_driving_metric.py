"""nuScenes' detection score against a plain definition, stored numbers and the authors' package."""

import json
import math
import pickle
from collections import defaultdict
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from internimage.driving.data.frames import NUSCENES_CLASSES
from internimage.driving.data.nuscenes_classes import ATTRIBUTES, RANGES
from internimage.driving.geometry.boxes import GlobalBoxes
from internimage.driving.geometry.poses import rotation_matrix
from internimage.driving.metrics.mistakes import find_mistakes
from internimage.driving.metrics.nuscenes import DetectionScore
from internimage.driving.metrics.samples import joined
from internimage.errors import DataError

ERRORS = {"ate": "trans_err", "ase": "scale_err", "aoe": "orient_err", "ave": "vel_err", "aae": "attr_err"}
LACKING = {"traffic_cone": ("aoe", "ave", "aae"), "barrier": ("ave", "aae")}
DISTANCES = (0.5, 1.0, 2.0, 4.0)
CAR, BICYCLE = NUSCENES_CLASSES.index("car"), NUSCENES_CLASSES.index("bicycle")


class Made(NamedTuple):
    """What is added to a score."""

    token: str
    ego: np.ndarray[Any, Any]
    truth: GlobalBoxes
    found: GlobalBoxes
    racks: GlobalBoxes


def random_boxes(random: np.random.Generator, count: int, ego: np.ndarray[Any, Any], classes: Any) -> GlobalBoxes:
    rotations = random.normal(0, (1, 0.02, 0.02, 1), (count, 4))
    return GlobalBoxes(
        ego + random.normal(0, (24, 24, 0.5), (count, 3)),
        random.uniform(0.5, 5, (count, 3)),
        rotations / np.linalg.norm(rotations, axis=1, keepdims=True),
        random.normal(0, 3, (count, 2)),
        random.choice(classes, count),
        tuple(random.choice(["", *ATTRIBUTES[:3]], count).tolist()),
        random.integers(1, 10, count) / 10,
        random.integers(0, 8, count),
    )


def made_up(seed: int, samples: int = 8, most: int = 60) -> list[Made]:
    """Many equal scores, unknown velocities, classes that are not there, racks, empty samples."""
    random = np.random.default_rng(seed)
    classes = np.delete(np.arange(10), [seed % 10, (seed + 3) % 10])
    made = []
    for number in range(samples):
        ego = np.array([*random.uniform(300, 900, 2), 0.0])
        truth = random_boxes(random, int(random.integers(most)) if number else 0, ego, classes)
        bare = truth.labels == (seed + 1) % 10  # of this class nothing but places and sizes is known
        truth.velocities[bare | (random.random(len(truth)) < 0.2)] = np.nan
        attributes = (("", text)[not none] for text, none in zip(truth.attributes, bare, strict=True))
        truth = replace(truth, attributes=tuple(attributes))
        noise = random.normal(0, random.choice([0.2, 1.5]), (len(truth), 3))
        near = replace(truth, centres=truth.centres + noise, sizes=truth.sizes * random.uniform(0.8, 1.2))
        turned = random_boxes(random, len(truth), ego, np.arange(10))
        columns = {"rotations": turned.rotations, "velocities": turned.velocities, "scores": turned.scores}
        near = replace(near, points=np.full(len(truth), -1), attributes=turned.attributes, **columns)
        others = replace(random_boxes(random, most, ego, np.arange(10)), points=np.full(most, -1))
        found = joined([near, near.chosen(slice(0, 3)), others] if number != 1 else [])
        racks = replace(truth, sizes=truth.sizes + 1).chosen(np.flatnonzero(truth.labels == BICYCLE)[:1])
        made.append(Made(f"sample{number}", ego, truth, found, racks))
    return made


def scored(made: list[Made], classes: tuple[str, ...] = NUSCENES_CLASSES) -> DetectionScore:
    score = DetectionScore(classes)
    for one in made:
        score.add(*one)
    return score


def counts(made: Made, boxes: GlobalBoxes, i: int) -> bool:
    """Whether a box is measured."""
    if (
        math.dist(boxes.centres[i, :2], made.ego[:2]) >= RANGES[NUSCENES_CLASSES[boxes.labels[i]]]
        or boxes.points[i] == 0
    ):
        return False
    for rack, size, turn in zip(made.racks.centres, made.racks.sizes, made.racks.rotations, strict=True):
        own = rotation_matrix(turn).T @ (boxes.centres[i] - rack)
        inside = all(abs(own) <= np.array([size[1], size[0], size[2]]) / 2)
        if inside and NUSCENES_CLASSES[boxes.labels[i]] in ("bicycle", "motorcycle"):
            return False
    return True


def plain_errors(truth: GlobalBoxes, t: int, found: GlobalBoxes, f: int) -> dict[str, float]:
    period = math.pi if NUSCENES_CLASSES[truth.labels[t]] == "barrier" else 2 * math.pi
    headings = [rotation_matrix(one)[:2, 0] for one in (truth.rotations[t], found.rotations[f])]
    turn = abs(math.atan2(*headings[0][::-1]) - math.atan2(*headings[1][::-1])) % period
    volumes = [math.prod(one) for one in (truth.sizes[t], found.sizes[f])]
    shared = math.prod(min(*pair) for pair in zip(truth.sizes[t], found.sizes[f], strict=True))
    attribute = truth.attributes[t]
    return {
        "ate": math.dist(truth.centres[t, :2], found.centres[f, :2]),
        "ase": 1 - shared / (sum(volumes) - shared),
        "aoe": min(turn, period - turn),
        "ave": math.dist(truth.velocities[t], found.velocities[f]),
        "aae": float(attribute != found.attributes[f]) if attribute else math.nan,
    }


def plain(made: list[Made], label: int, distance: float) -> tuple[float, dict[str, float]]:
    """Average precision of a class, and its errors, as the paper tells it, one detection after the other."""
    objects = {
        (s, i) for s, one in enumerate(made) for i in range(len(one.truth)) if one.truth.labels[i] == label
        if counts(one, one.truth, i)
    }  # fmt: skip
    ranked = [
        (one.found.scores[i], s, i) for s, one in enumerate(made) for i in range(len(one.found))
        if one.found.labels[i] == label and counts(one, one.found, i)
    ]  # fmt: skip
    free, hits, scores, values = set(objects), [], [], defaultdict(list)
    for score, s, i in sorted(ranked, reverse=True):
        near = [
            (math.dist(made[s].truth.centres[t, :2], made[s].found.centres[i, :2]), t) for own, t in free if own == s
        ]
        best, t = min(near, default=(math.inf, -1))
        hits.append(best < distance)
        scores.append(score)
        if best < distance:
            free.remove((s, t))
            for name, value in plain_errors(made[s].truth, t, made[s].found, i).items():
                values[name].append(value)
    if not any(hits):
        return 0.0, dict.fromkeys(ERRORS, 1.0)
    levels, true = np.linspace(0, 1, 101), np.cumsum(hits)
    recall, precision = true / len(objects), true / np.arange(1, len(hits) + 1)
    average = np.mean([max(0.0, value - 0.1) for value in np.interp(levels, recall, precision, right=0)[11:]]) / 0.9
    at, last = np.interp(levels, recall, scores, right=0), max(np.flatnonzero(levels <= recall[-1]))
    errors = {}
    for name, own in values.items():
        known = [[x for x in own[: n + 1] if x == x] for n in range(len(own))]
        means = [sum(some) / len(some) if some else 1.0 if not known[-1] else 0.0 for some in known]
        matched = [score for score, hit in zip(scores, hits, strict=True) if hit]
        reached = np.interp(at[::-1], matched[::-1], means[::-1])[::-1][11 : last + 1]
        errors[name] = float(np.mean(reached)) if len(reached) else 1.0
    return float(average), errors


@pytest.mark.parametrize("seed", range(3))
def test_score_is_what_the_paper_says(seed: int) -> None:
    made = made_up(seed)
    score = scored(made)
    rows, numbers = score.per_class(), score.compute()
    means = defaultdict(list)
    for label, name in enumerate(NUSCENES_CLASSES):
        found = {distance: plain(made, label, distance) for distance in DISTANCES}
        for distance, (average, _) in found.items():
            assert rows[name][f"ap_{distance:g}"] == pytest.approx(average, abs=1e-9)
        means["map"].append(np.mean([average for average, _ in found.values()]))
        for error, value in found[2.0][1].items():
            if error in LACKING.get(name, ()):
                assert math.isnan(rows[name][error])
            else:
                assert rows[name][error] == pytest.approx(value, abs=1e-9), (name, error)
                means[f"m{error}"].append(value)
    expected = {name: float(np.mean(values)) for name, values in means.items()}
    expected["nds"] = (5 * expected["map"] + sum(max(0.0, 1 - expected[f"m{error}"]) for error in ERRORS)) / 10
    assert numbers == pytest.approx({**expected, "samples": 8.0}, abs=1e-9)
    assert [name for name in NUSCENES_CLASSES if not rows[name]["objects"]]


def test_order_and_processes_do_not_matter() -> None:
    made = made_up(5)
    expected = scored(made).compute()
    parts = []
    for part in range(3):
        score = DetectionScore(NUSCENES_CLASSES)
        for place in np.random.default_rng(part).permutation(np.arange(part, len(made), 3)).tolist():
            score.add(*made[place], place=place)
        parts.append(pickle.loads(pickle.dumps(score.state())))
    merged = DetectionScore(NUSCENES_CLASSES)
    merged.merge(parts[::-1])
    assert merged.compute() == expected
    shuffled = []
    for one in made:  # without equal scores, the order within a sample does not matter either
        order = np.random.default_rng(len(one.found)).permutation(len(one.found))
        distinct = replace(one.found, scores=np.linspace(0.1, 0.9, len(one.found)) + 1e-3 * len(shuffled))
        shuffled.append((one._replace(found=distinct), one._replace(found=distinct.chosen(order))))
    first, second = (scored([pair[i] for pair in shuffled]).compute() for i in (0, 1))
    assert first == second


def test_perfect_and_own_classes() -> None:
    """What has no attributes is not measured by them, nor by what nuScenes does not know."""
    random = np.random.default_rng(0)
    truth = random_boxes(random, 40, np.zeros(3), np.arange(2))
    truth = replace(truth, centres=truth.centres / 3, attributes=("",) * 40, points=np.full(40, 5))
    score = scored([Made("one", np.zeros(3), truth, truth, GlobalBoxes.empty())], ("sheep", "tractor"))
    numbers = score.compute()
    assert math.isnan(numbers.pop("maae"))
    assert numbers == pytest.approx(
        {"nds": 1, "map": 1, "samples": 1, **dict.fromkeys(("mate", "mase", "maoe", "mave"), 0)}
    )
    nothing = scored([Made("one", np.zeros(3), truth, GlobalBoxes.empty(), GlobalBoxes.empty())], ("sheep", "tractor"))
    assert nothing.compute()["nds"] == 0


def test_mistakes() -> None:
    """Counted by hand: three cars, one found twice, one found late."""
    ego, score = np.zeros(3), DetectionScore(NUSCENES_CLASSES)
    boxes = random_boxes(np.random.default_rng(0), 4, ego, [CAR])
    where = np.array([[0.0, 0, 0], [10, 0, 0], [20, 0, 0], [0, 1, 0]])
    boxes = replace(boxes, centres=where, points=np.ones(4, int), scores=np.array([0.9, 0.4, 0.1, 0.8]))
    score.add("a", ego, boxes.chosen([0, 1, 2]), boxes.chosen([0, 1, 3]))
    score.add("b", ego, boxes.chosen([0]), boxes.chosen([0]))
    mistakes = find_mistakes(score)
    assert mistakes.compute() == pytest.approx({"score_threshold": 0.4, "precision": 0.75, "recall": 0.75, "f1": 0.75})
    assert (mistakes.missed_in.tolist(), mistakes.false_in.tolist(), mistakes.worst(9)) == ([1, 0], [1, 0], [0])
    higher = find_mistakes(score, 0.85)
    assert (higher.found[CAR], higher.missed[CAR], higher.false.sum()) == (2, 2, 0)


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("scores", math.nan, "sample a, detection 1: scores nan; expected finite"),
        ("scores", -0.5, "scores -0.5; expected 0 or more"),
        ("centres", math.inf, "centres .*; expected finite"),
        ("sizes", 0, "sizes .*; expected lengths above 0"),
        ("rotations", 0, "rotations .*; expected a quaternion"),
        ("labels", 10, "labels 10; expected less than 10"),
    ],
)
def test_what_cannot_be_measured(name: str, value: float, said: str) -> None:
    boxes = random_boxes(np.random.default_rng(0), 3, np.zeros(3), np.arange(10))
    getattr(boxes, name)[1] = value
    with pytest.raises(DataError, match=said):
        DetectionScore(NUSCENES_CLASSES).add("a", np.zeros(3), GlobalBoxes.empty(), boxes)


def boxes_of(entries: list[dict[str, Any]]) -> GlobalBoxes:
    """Boxes as the stored sets list them; null is NaN."""
    names = {"translation": 3, "size": 3, "rotation": 4, "velocity": 2}
    columns = (
        np.array([one.get(name) or [math.nan] * width for one in entries], np.float64).reshape(-1, width)
        for name, width in names.items()
    )
    labels = np.array([NUSCENES_CLASSES.index(one.get("detection_name", "car")) for one in entries], np.int64)
    attributes = tuple(one.get("attribute_name", "") for one in entries)
    scores, points = (np.array([one.get(key, -1) for one in entries]) for key in ("detection_score", "num_pts"))
    return GlobalBoxes(*columns, labels, attributes, np.abs(scores), points)


@pytest.mark.full
@pytest.mark.parametrize("name", ["good", "poor", "no_trailers"])
def test_stored_numbers(name: str, shared: Path) -> None:
    stored = json.loads((shared / "goldens" / "driving" / "nuscenes_metric" / "nds.json").read_text())["sets"][name]
    expected, score = stored["expected"], DetectionScore(NUSCENES_CLASSES)
    for one in stored["samples"]:
        boxes = (boxes_of(stored[kind][one["token"]]) for kind in ("ground_truth", "predictions"))
        score.add(one["token"], np.array(one["ego_translation"]), *boxes, boxes_of(one["bike_racks"]))
    numbers, rows = score.compute(), score.per_class()
    means = {"nds": expected["nd_score"], "map": expected["mean_ap"]}
    means |= {f"m{error}": expected["tp_errors"][key] for error, key in ERRORS.items()}
    assert {key: numbers[key] for key in means} == pytest.approx(means, abs=1e-12)
    assert [sum(row[key] for row in rows.values()) for key in ("objects", "found")] == expected["n_after"]
    for label, row in rows.items():
        wanted = {f"ap_{float(key):g}": value for key, value in expected["ap_by_class_and_threshold"][label].items()}
        wanted |= {error: expected["tp_by_class"][label][key] for error, key in ERRORS.items()}
        wanted = {key: math.nan if value is None else value for key, value in wanted.items()}
        wanted |= {"ap": expected["mean_dist_aps"][label], "objects": expected["gt_count_after"][label]}
        assert {key: row[key] for key in wanted} == pytest.approx(wanted, abs=1e-12, nan_ok=True)


class Tables:
    """What nuScenes' package asks of its tables."""

    def __init__(self, made: list[Made]) -> None:
        self.made = {one.token: one for one in made}

    def get(self, table: str, token: str) -> dict[str, Any]:
        own = self.made[token.split()[0]]
        if table == "sample":
            return {"data": {"LIDAR_TOP": token}, "anns": [f"{token} {i}" for i in range(len(own.racks))]}
        if table == "sample_annotation":
            i = int(token.split()[1])
            columns = {"translation": own.racks.centres, "size": own.racks.sizes, "rotation": own.racks.rotations}
            return {"category_name": "static_object.bicycle_rack", **{key: own[i] for key, own in columns.items()}}
        return {"ego_pose_token": token, "translation": own.ego.tolist()}


@pytest.mark.official
@pytest.mark.parametrize("seed", range(12))
def test_nuscenes_devkit(seed: int) -> None:
    """Every number of nuscenes-devkit 1.2.0 on random sets; ties in scores included."""
    from nuscenes.eval.common.config import config_factory  # type: ignore[import-not-found]
    from nuscenes.eval.common.data_classes import EvalBoxes  # type: ignore[import-not-found]
    from nuscenes.eval.common.loaders import add_center_dist, filter_eval_boxes  # type: ignore[import-not-found]
    from nuscenes.eval.detection.algo import accumulate, calc_ap, calc_tp  # type: ignore[import-not-found]
    from nuscenes.eval.detection.data_classes import DetectionBox, DetectionMetrics  # type: ignore[import-not-found]

    made = made_up(seed, 3 + seed, 20 * (1 + seed % 4))
    both = []
    for kind in ("truth", "found"):
        boxes = EvalBoxes()
        for one in made:
            own, entries = getattr(one, kind), []
            for i in range(len(own)):
                names = {"detection_name": NUSCENES_CLASSES[own.labels[i]], "attribute_name": own.attributes[i]}
                columns = (tuple(column[i]) for column in (own.centres, own.sizes, own.rotations, own.velocities))
                more = {"detection_score": float(own.scores[i]), "num_pts": int(own.points[i])}
                entries.append(DetectionBox(one.token, *columns, **names, **more))
            boxes.add_boxes(one.token, entries)
        config, tables = config_factory("detection_cvpr_2019"), Tables(made)
        both.append(filter_eval_boxes(tables, add_center_dist(tables, boxes), config.class_range))
    theirs = DetectionMetrics(config)
    for name in config.class_names:
        for distance in config.dist_ths:
            data = accumulate(*both, name, config.dist_fcn_callable, distance)
            theirs.add_label_ap(name, distance, calc_ap(data, config.min_recall, config.min_precision))
            if distance == config.dist_th_tp:
                for error, key in ERRORS.items():
                    lacking = error in LACKING.get(name, ())
                    theirs.add_label_tp(name, key, math.nan if lacking else calc_tp(data, config.min_recall, key))
    score = scored(made)
    numbers, rows = score.compute(), score.per_class()
    assert numbers["nds"] == pytest.approx(theirs.nd_score, abs=1e-12)
    assert {key: numbers[f"m{error}"] for error, key in ERRORS.items()} == pytest.approx(theirs.tp_errors, abs=1e-12)
    for name, row in rows.items():
        for distance in DISTANCES:
            assert row[f"ap_{distance:g}"] == pytest.approx(theirs.get_label_ap(name, distance), abs=1e-12)
        for error, key in ERRORS.items():
            assert row[error] == pytest.approx(theirs.get_label_tp(name, key), abs=1e-12, nan_ok=True)
