"""What boxes of single pictures are worth to BEVFormer v2, and how well they know depth through other lenses.

    internimage data world some/ --scenes 256 --val-scenes 16
    python benchmarks/driving_hybrid.py some/ --seeds 0 1

Two networks alike but for their queries: "hybrid" has 100 learnt ones and 20 that begin where boxes of single pictures
stand, "learnt" has 120 learnt ones.  Both see each frame alone, learn at the same time on one core each, and are
measured on the scenes that were set aside after every epoch.  Prints a JSON line a run, then the share of the updates
after which the hybrid one had the other's best mAP.

Use: how many true boxes have a proposal, and a learnt query's beginning, within two metres; and of the true boxes
that are found within two metres, how many are found best by a query that began at a proposal.

Depth: boxes of the perspective head are matched with the true ones that a picture shows (same class, IoU of the
outlines at least a half), on the scenes that were set aside as they are, and drawn again through lenses of
``--focal`` times the focal length.  "unscaled" is the same prediction without the focal length's part in it.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
from torchvision.ops import box_iou

import internimage
from internimage.contracts import task_spec
from internimage.driving.bev.code import PLACES
from internimage.driving.boxes3d.moments import cameras_of, see_moments, views_of
from internimage.driving.perspective.detection import view_boxes
from internimage.driving.perspective.targets import camera_targets
from internimage.driving.sequences.settings import DriveAugmentation
from internimage.driving.world.writing import write_world
from internimage.machine import describe_machine
from internimage.recipes import get_recipe
from internimage.settings.data import DataOptions
from internimage.settings.training import TrainingConfig

MODEL = "bevformer_v2_internimage_atto"
ARMS = {"hybrid": (100, 20), "learnt": (120, 0)}  # learnt queries, proposals
_OVERLAP = 0.5
_NEAR = 2.0  # metres
_LOWEST = 0.05  # score of boxes that are looked at

Numbers: TypeAlias = "np.ndarray[Any, np.dtype[np.float64]]"


def learn(options: argparse.Namespace, arm: str, seed: int) -> dict[str, Any]:
    """Train one network."""
    torch.set_num_threads(1)
    start = time.monotonic()
    queries, proposals = ARMS[arm]
    run = internimage.train(
        options.data,
        model=replace(get_recipe(MODEL).config, queries=queries, proposals=proposals, frames=(0,)),
        size=options.size,
        device="cpu",
        output=options.output / f"{arm}-{seed}",
        training=TrainingConfig(
            updates=options.updates,
            batch_size=options.batch_size,
            lr=2e-3,
            weight_decay=0.01,
            warmup_updates=options.updates // 20,
            deformable_lr_scale=1.0,
            drop_path=0.0,
            clip_norm=10.0,
            ema_decay=0.99,
            seed=seed,
            track="none",
        ),
        augmentation=DriveAugmentation(queue=1, skip=False, photometric=False, grid_mask=False),
    )
    return {
        "arm": arm,
        "seed": seed,
        "map": [row["map"] for row in run.history],
        "nds": [row["nds"] for row in run.history],
        "updates": options.updates,
        "minutes": (time.monotonic() - start) / 60,
        "machine": str(describe_machine(torch.device("cpu"))),
    }


def share_needed(hybrid: list[float], learnt: list[float]) -> float | None:
    """The share of the updates after which ``hybrid`` has the best number of ``learnt``, between epochs in a line."""
    goal, before = max(learnt), 0.0
    if not goal:
        return None  # neither has learnt anything
    for epoch, value in enumerate(hybrid):
        if value >= goal:
            return (epoch + (goal - before) / max(value - before, 1e-12)) / len(hybrid)
        before = value
    return None


def pairs(model: Any, data: Path) -> Iterator[tuple[int, float, float, float]]:
    """Of each true box that was found: its camera's number, true and predicted depth in metres, and the factor that the
    focal length has in the prediction."""
    config = model.config
    part = task_spec("boxes3d").read_parts(data, "val", DataOptions())["val"]
    for frame in part.frames:
        seen = see_moments(frame, partial(part.near, frame), config, model.description.preprocessing)
        views, cameras = views_of([seen], config), cameras_of([seen], config.cameras)
        with torch.inference_mode():
            maps = model.perspective(model.maps(views[config.frames.index(0)].images.flatten(0, 1)))
            found = view_boxes(maps, torch.linalg.inv(cameras.intrinsics[0].double()).float(), config.head)
        there = {camera.channel: camera for camera in frame.cameras}
        for number, (channel, boxes) in enumerate(zip(config.cameras, found, strict=True)):
            truth = camera_targets(frame, there[channel], seen.framing(there[channel]))
            focal = float(truth.intrinsic[0, 0]) if len(truth.labels) else 0.0
            for true, depth in matched(truth, boxes):
                yield number, true, depth, focal / config.perspective.focal_length


def matched(truth: Any, boxes: Any) -> Iterator[tuple[float, float]]:
    """True depth and that of the best box of the same class which overlaps enough."""
    if not len(boxes) or not len(truth.labels):
        return
    overlaps = box_iou(truth.sides, boxes.boxes)
    overlaps[(truth.labels[:, None] != boxes.labels) | (boxes.scores_3d < _LOWEST)] = 0.0
    for row, one in enumerate(overlaps):
        fits = (one >= _OVERLAP).nonzero().flatten()
        if len(fits):
            best = fits[boxes.scores_3d[fits].argmax()]
            yield float(truth.positions[row, 2]), float(boxes.space.depths[best])


def use(model: Any, data: Path) -> dict[str, float]:
    """What proposals are worth to the decoder."""
    config, grid = model.config, model.config.grid
    part = task_spec("boxes3d").read_parts(data, "val", DataOptions())["val"]
    metres = torch.tensor(grid.sides[:2])
    rows = []
    for frame in part.frames:
        seen = see_moments(frame, partial(part.near, frame), config, model.description.preprocessing)
        views, cameras = views_of([seen], config), cameras_of([seen], config.cameras)
        now = views[config.frames.index(0)]
        with torch.inference_mode():
            maps = model.shown_maps(now, None)
            proposed = model.proposed(model.perspective(maps), cameras, now.present)
            _, _, begins = model.decoder.asked(1, proposed)
            logits, codes = model.decoder(model.encode_moments(views, maps), proposed, last=True)
        true, last = (grid.shares_of(one)[:, :2] * metres for one in (centres(frame), codes[-1, 0][:, PLACES]))
        first = begins[0, :, :2] * metres
        inside = ((true > 0) & (true < metres)).all(1)
        own = torch.arange(len(first)) >= config.queries
        there = torch.cat([torch.ones(config.queries, dtype=torch.bool), proposed.there[0]])
        for place, label in zip(true[inside], torch.from_numpy(frame.boxes.labels)[inside].tolist(), strict=True):
            near = ((first - place).norm(dim=1) < _NEAR) & there
            hit = (last - place).norm(dim=1) < _NEAR
            score = logits[-1, 0, :, label].masked_fill(~hit, -torch.inf)
            rows.append(((near & own).any(), (near & ~own).any(), hit.any(), hit.any() and own[score.argmax()]))
    proposals, learnt, found, by = np.array(rows, float).mean(0)
    return {"near a proposal": proposals, "near a learnt one": learnt, "found": found, "best by a proposal": by / found}


def centres(frame: Any) -> torch.Tensor:
    """Of the true boxes, (N, 3) metres."""
    return torch.from_numpy(frame.boxes.centres).float()


def depth_errors(rows: Numbers, rear: int, usual: float) -> dict[str, Any]:
    """Median of |depth - true| / true of pairs, of the cameras of the rig by their focal length.

    Args:
        rows: see :func:`pairs`.
        rear: number of the rear camera, whose lens is another one.
        usual: factor of the focal length of the other cameras where the network learnt.
    """
    if not len(rows):
        return {"found": 0}
    behind = rows[:, 0] == rear
    results: dict[str, Any] = {"found": len(rows)}
    for name, which in (("rear", behind), ("others", ~behind)):
        true, depth, factor = rows[which, 1:].T
        results[name] = {
            "median": float(np.median(abs(depth - true) / true)),
            "bias": float(np.median(depth / true)),
            "bias unscaled": float(np.median(depth / factor * usual / true)),
        }
    return results


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--updates", type=int, default=1_792)
    parser.add_argument("--batch-size", type=int, default=4)
    parser.add_argument("--size", type=int, default=63)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--focal", type=float, nargs="*", default=[1.4], help="of the usual focal lengths")
    parser.add_argument("--val-scenes", type=int, default=16, help="that are drawn through such lenses")
    parser.add_argument("--output", type=Path, default=Path("runs/hybrid"))
    options = parser.parse_args()
    shares = []
    for seed in options.seeds:
        with ProcessPoolExecutor(len(ARMS), mp_context=get_context("spawn")) as pool:
            both = dict(zip(ARMS, pool.map(partial(learn, options, seed=seed), ARMS), strict=True))
        for one in both.values():
            print(json.dumps(one), flush=True)
        shares.append(share_needed(both["hybrid"]["map"], both["learnt"]["map"]))
        print(f"seed {seed}: hybrid needs {shares[-1]} of the updates", flush=True)
    known = [share for share in shares if share is not None]
    print(f"{len(known)} of {len(shares)} reach it; median share {statistics.median(known) if known else None}")
    model: Any = internimage.load_model(options.output / f"hybrid-{options.seeds[0]}" / "best")
    print(json.dumps({"use": use(model, options.data)}))
    rear = model.config.cameras.index("CAM_BACK")
    rows = np.array(list(pairs(model, options.data))).reshape(-1, 4)
    usual = float(np.median(rows[rows[:, 0] != rear, 3])) if len(rows) else 1.0
    print(json.dumps({"depth": depth_errors(rows, rear, usual)}))
    for focal in options.focal:
        with tempfile.TemporaryDirectory() as folder:
            seeds = range(100, 100 + options.val_scenes)
            write_world(Path(folder) / "lens", {"train": [0], "val": seeds}, width=224, focal=focal)
            rows = np.array(list(pairs(model, Path(folder) / "lens"))).reshape(-1, 4)
            print(json.dumps({"focal": focal, "depth": depth_errors(rows, rear, usual)}))


if __name__ == "__main__":
    main()
