"""What plain networks reach on easy-VQA, beside a Uni-Perceiver of ours: 48,248 questions about 5,000 drawn shapes.

    pip install easy-vqa        # the data are inside: easy_vqa/data
    python benchmarks/easy_vqa.py ours EASY_VQA_DATA --epochs 20        # as many as take 25 minutes
    python benchmarks/easy_vqa.py baseline EASY_VQA_DATA --minutes 25
    python benchmarks/easy_vqa.py question EASY_VQA_DATA --minutes 25

``baseline`` is a small convolutional network and a bag of words, multiplied; ``question`` sees the bag of words
alone.  All three learn as long, with a rate that falls to 0, and are measured once, on the test part, at the end.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

import internimage
from internimage.machine import describe_machine
from internimage.multimodal.describing.settings import WordsAugmentation

BATCH, RATE = 64, 1e-3


class Questions:
    """A part: pictures (P, 3, 64, 64), bags of words (Q, words), answers (Q,), the picture of each question (Q,)."""

    def __init__(self, folder: Path, words: list[str] | None, answers: list[str]) -> None:
        rows = json.loads((folder / "questions.json").read_text())
        texts = [row[0].lower().rstrip("?").split() for row in rows]
        self.words = words or sorted({word for text in texts for word in text})
        numbers = {word: number for number, word in enumerate(self.words)}
        self.bags = torch.zeros(len(rows), len(self.words))
        for place, text in enumerate(texts):
            for word in text:
                if word in numbers:
                    self.bags[place, numbers[word]] += 1
        self.answers = torch.tensor([answers.index(row[1]) for row in rows])
        files = sorted((folder / "images").glob("*.png"), key=lambda file: int(file.stem))
        places = {int(file.stem): place for place, file in enumerate(files)}
        self.pictures = torch.stack(
            [torch.from_numpy(np.array(Image.open(file).convert("RGB"))).permute(2, 0, 1) for file in files]
        )
        self.picture_of = torch.tensor([places[row[2]] for row in rows])

    def batch(self, chosen: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        images = self.pictures[self.picture_of[chosen]].float() / 127.5 - 1
        return images, self.bags[chosen], self.answers[chosen]


class Baseline(nn.Module):
    """Convolutions on the picture, one layer on the bag of words, their product, two layers."""

    def __init__(self, words: int, answers: int, *, sees: bool, width: int = 128) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for before, after in itertools.pairwise((3, 32, 64, 128, 128)):
            layers += [nn.Conv2d(before, after, 3, 2, 1), nn.BatchNorm2d(after), nn.ReLU()]
        self.picture = nn.Sequential(*layers, nn.Flatten(), nn.Linear(128 * 16, width)) if sees else None
        self.question = nn.Sequential(nn.Linear(words, width), nn.ReLU(), nn.Linear(width, width))
        self.answer = nn.Sequential(nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, answers))

    def forward(self, images: Tensor, bags: Tensor) -> Tensor:
        asked = self.question(bags)
        joined = asked if self.picture is None else self.picture(images) * asked
        out: Tensor = self.answer(joined)
        return out


def plain(options: argparse.Namespace) -> dict[str, float]:
    """Train and measure a plain network."""
    torch.manual_seed(options.seed)
    answers = (options.data / "answers.txt").read_text().split()
    train = Questions(options.data / "train", None, answers)
    test = Questions(options.data / "test", train.words, answers)
    network = Baseline(len(train.words), len(answers), sees=options.arm == "baseline")
    optimizer = torch.optim.AdamW(network.parameters(), RATE, weight_decay=0.01)
    start, updates = time.monotonic(), 0
    while (share := (time.monotonic() - start) / (60 * options.minutes)) < 1:
        for group in optimizer.param_groups:
            group["lr"] = RATE * 0.5 * (1 + math.cos(math.pi * share))
        images, bags, right = train.batch(torch.randint(len(train.answers), (BATCH,)))
        optimizer.zero_grad()
        F.cross_entropy(network(images, bags), right).backward()
        optimizer.step()
        updates += 1
    network.eval()
    with torch.inference_mode():
        found = [network(*batch[:2]).argmax(1) == batch[2] for batch in map(test.batch, _parts(len(test.answers)))]
    return {"test": float(torch.cat(found).float().mean()), "updates": updates}


def _parts(count: int) -> tuple[Tensor, ...]:
    return torch.arange(count).split(1000)


def ours(options: argparse.Namespace) -> dict[str, float]:
    """Train and measure a Uni-Perceiver; the minutes are those of its epochs, chosen by what one of them takes.

    Its rate is that of the others.  Half of its pictures are mirrored: no question of this set asks for a side.
    """
    run = internimage.train(
        options.data,
        model="uniperceiver_internimage_atto",
        epochs=options.epochs,
        lr=RATE,
        augmentation=WordsAugmentation(mirror=0.5),
        val_fraction=0.05,
        output=options.output / f"ours-{options.seed}",
        device="cpu",
    )
    numbers = internimage.evaluate(options.data, run.best, part="test", device="cpu").compute()
    return {"test": numbers["answers"], "epochs": run.history[-1]["epoch"]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("arm", choices=("ours", "baseline", "question"))
    parser.add_argument("data", type=Path)
    parser.add_argument("--minutes", type=float, default=25)
    parser.add_argument("--epochs", type=int, default=None, help="of ours; None for what suits the data")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, default=Path("runs/easy-vqa"))
    options = parser.parse_args()
    start = time.monotonic()
    result = ours(options) if options.arm == "ours" else plain(options)
    minutes = (time.monotonic() - start) / 60
    machine = str(describe_machine(torch.device("cpu")))
    print(json.dumps({"arm": options.arm, **result, "minutes": round(minutes, 1), "machine": machine}))


if __name__ == "__main__":
    main()
