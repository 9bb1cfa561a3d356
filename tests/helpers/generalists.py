"""Uni-Perceiver v2 for tests."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import Tensor

from internimage.backbones.config import InternImageConfig
from internimage.multimodal.models.uniperceiver_v2 import UniPerceiverV2
from internimage.multimodal.models.v2_config import ProposalConfig, UniPerceiverV2Config
from internimage.multimodal.words.towers import TowerConfig
from internimage.structures.detection import DetectionTarget
from internimage.text.clip import END

# of 60 words
SMALL = UniPerceiverV2Config(
    InternImageConfig(channels=8, depths=(1, 1, 1, 1), groups=(1, 2, 4, 8)),
    ProposalConfig(
        channels=32,
        queries=8,
        encoder_layers=1,
        decoder_layers=2,
        width=32,
        encoder_width=32,
        denoising=4,
        mask_width=16,
        mask_points=64,
        kept=5,
    ),
    TowerConfig(width=16, layers=2, heads=2, feed_forward=32, longest=24),
    vocabulary=tuple(range(300, 358)),
    width=24,
    layers=2,
    heads=2,
    feed_forward=32,
    experts=4,
    layer_scale=None,
    longest=24,
    side=64,
    detections=10,
)
TEXTS = [[301, 305, 310, END], [320, END], [301, 302, 303, 304, 305, END]]


def generalist(config: UniPerceiverV2Config = SMALL, seed: int = 0) -> UniPerceiverV2:
    """In float64, with weights that let every input matter."""
    torch.manual_seed(seed)
    model = UniPerceiverV2(config).double().eval()
    for name, parameter in model.named_parameters():
        if (parameter.dim() > 1 or "bias" in name) and not name.startswith(("backbone.", "proposer.")):
            torch.nn.init.normal_(parameter, std=0.3)
    return model


def pictures(count: int = 3, seed: int = 0) -> Tensor:
    return torch.randn(count, 3, 64, 64, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def truth(*boxes: tuple[int, int, int, int], labels: tuple[int, ...] = (), side: int = 64) -> DetectionTarget:
    """Objects that fill their boxes."""
    masks = torch.zeros(len(boxes), side, side, dtype=torch.bool)
    for mask, (x1, y1, x2, y2) in zip(masks, boxes, strict=True):
        mask[y1:y2, x1:x2] = True
    numbers = torch.tensor(labels or (0,) * len(boxes), dtype=torch.int64)
    return DetectionTarget(torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4), numbers, masks)


def without_experts() -> UniPerceiverV2Config:
    return replace(SMALL, experts=0)


COLOURS = {"red": (220, 30, 30), "green": (30, 160, 60), "blue": (40, 60, 220)}
SIDES = {"triangle": 3, "disc": 24}


def write_plain_world(folder: Path, train: int = 240, val: int = 60) -> Path:
    """One large shape a picture, three colours and two shapes: words and boxes in ``told``, colours as classes in
    ``photos``.
    """
    random = np.random.default_rng(0)
    for part, count in (("train", train), ("val", val)):
        lines, images, objects = [], [], []
        for number in range(count):
            colour = list(COLOURS)[number % 3]
            shape = list(SIDES)[number // 3 % 2]
            centre, radius = random.integers(22, 42, 2), int(random.integers(12, 20))
            angles = np.arange(SIDES[shape]) * 2 * np.pi / SIDES[shape] + np.pi / 4
            outline = centre + radius * np.stack([np.cos(angles), np.sin(angles)], 1)
            picture = Image.new("RGB", (64, 64), (240, 238, 230))
            ImageDraw.Draw(picture).polygon([tuple(point) for point in outline.tolist()], COLOURS[colour])
            for name in (f"told/{part}-{number}.png", f"photos/{part}/{colour}/{number}.png"):
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                picture.save(folder / name)
            questions = [
                {"question": "what color is it", "answers": [colour]},
                {"question": "what shape is it", "answers": [shape]},
            ]
            file = f"{part}-{number}.png"
            lines.append(json.dumps({"file": file, "captions": [f"a {colour} {shape}"], "questions": questions}))
            images.append({"id": number, "file_name": file, "width": 64, "height": 64})
            low, high = outline.min(0), outline.max(0)
            objects.append(
                {
                    "id": number + 1,
                    "image_id": number,
                    "category_id": list(SIDES).index(shape) + 1,
                    "bbox": [*low.tolist(), *(high - low).tolist()],
                    "area": float(np.prod(high - low)),
                    "iscrowd": 0,
                    "segmentation": [outline.flatten().tolist()],
                }
            )
        (folder / "told" / f"{part}.jsonl").write_text("\n".join(lines) + "\n")
        categories = [{"id": number, "name": name} for number, name in enumerate(SIDES, 1)]
        content = {"images": images, "annotations": objects, "categories": categories}
        (folder / "told" / f"boxes_{part}.json").write_text(json.dumps(content))
    return folder
