"""CPU seconds and memory of nuScenes' detection score on made-up results of the validation set's size.

    python benchmarks/nuscenes_score.py                   # 6,019 samples of 300 detections
    python benchmarks/nuscenes_score.py --samples 200 --file  # also through a file of results

From boxes in memory to all numbers, in one process.  True boxes are spread over classes and distances as unevenly as
real ones; a detector finds two of three, displaced, and fills up with what is not there, much of it near what is.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from pathlib import Path

import numpy as np

from internimage.driving.data.frames import NUSCENES_CLASSES
from internimage.driving.geometry.boxes import GlobalBoxes
from internimage.driving.metrics.nuscenes import DetectionScore
from internimage.driving.metrics.samples import joined
from internimage.driving.results.submission import SubmissionWriter
from internimage.driving.results.submission_reading import read_submission

_SHARES = np.array([42, 8, 1.3, 1.5, 2.2, 13, 1.1, 1.1, 20, 9]) / 99.2  # of the ten classes among true boxes


def made_up(random: np.random.Generator, count: int, ego: np.ndarray) -> GlobalBoxes:  # type: ignore[type-arg]
    """So many boxes around the vehicle, in rows as they stand along a road."""
    headings, scales = random.uniform(0, 2 * np.pi, count), np.array([0.8, 1.8, 1.5])
    where = np.stack(
        [random.normal(0, 22, count), np.round(random.normal(0, 3, count)) * 4, random.normal(0, 1, count)]
    )
    turns = np.stack([np.cos(headings / 2), *np.zeros((2, count)), np.sin(headings / 2)], axis=1)
    labels = random.choice(len(_SHARES), count, p=_SHARES)
    return GlobalBoxes(
        ego + where.T,
        np.exp(random.normal(0, 0.3, (count, 3))) * scales,
        turns,
        random.normal(0, 3, (count, 2)),
        labels,
        tuple(("vehicle.moving", "vehicle.parked", "")[number] for number in random.integers(3, size=count)),
        random.beta(1, 4, count),
        np.full(count, 1),
    )


def detected(random: np.random.Generator, truth: GlobalBoxes, count: int, ego: np.ndarray) -> GlobalBoxes:  # type: ignore[type-arg]
    """So many detections: of two of three true boxes, around true boxes, and anywhere."""
    seen = truth.chosen(random.random(len(truth)) < 2 / 3)
    near = truth.chosen(random.integers(len(truth), size=(count - len(seen)) // 2))
    anywhere = made_up(random, count - len(seen) - len(near), ego)
    found = joined([seen, near, anywhere])
    shift = np.concatenate([np.full(len(seen), 0.5), np.full(len(near), 3), np.zeros(len(anywhere))])[:, None]
    scores = np.concatenate([random.beta(4, 3, len(seen)), random.beta(1, 4, count - len(seen))])
    centres = found.centres + random.normal(0, 1, (count, 3)) * shift
    columns = found.sizes, found.rotations, found.velocities, found.labels, found.attributes
    return GlobalBoxes(centres, *columns, scores)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=6019)
    parser.add_argument("--found", type=int, default=300, help="detections a sample")
    parser.add_argument("--file", action="store_true", help="write and read a file of results, too")
    options = parser.parse_args()
    random = np.random.default_rng(0)
    egos = [np.array([*random.uniform(300, 2000, 2), 0.0]) for _ in range(options.samples)]
    truths = [made_up(random, 1 + int(random.gamma(2, 15)), ego) for ego in egos]
    founds = [detected(random, truth, options.found, ego) for truth, ego in zip(truths, egos, strict=True)]
    tokens = [f"{number:032x}" for number in range(options.samples)]
    if options.file:
        _through_a_file(tokens, founds)
    start = time.process_time()
    score = DetectionScore(NUSCENES_CLASSES)
    for one in zip(tokens, egos, truths, founds, strict=True):
        score.add(*one)
    added = time.process_time()
    numbers = score.compute()
    end = time.process_time()
    print(
        f"{options.samples} samples, {sum(map(len, truths))} true boxes, {sum(map(len, founds))} detections: "
        f"adding {added - start:.1f} s, computing {end - added:.1f} s; NDS {numbers['nds']:.4f}, "
        f"mAP {numbers['map']:.4f}; {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.2f} GiB at most"
    )


def _through_a_file(tokens: list[str], founds: list[GlobalBoxes]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "results_nusc.json"
        start = time.process_time()
        writer = SubmissionWriter(path, NUSCENES_CLASSES)
        for token, found in zip(tokens, founds, strict=True):
            writer.add_boxes(token, found)
        writer.close()
        written = time.process_time()
        read = read_submission(path, NUSCENES_CLASSES, tokens)
        end = time.process_time()
    assert len(read) == len(tokens)
    print(f"writing {written - start:.1f} s, reading {end - written:.1f} s")


if __name__ == "__main__":
    main()
