"""A model of pictures and words on the drawn world of shapes: captions, finding, questions, and what it says unseeing.

    internimage data world shapes/ --of shapes
    internimage train --data shapes/ --seed 0 --output runs/shapes-0
    python benchmarks/shapes.py runs/shapes-0/best runs/shapes-1/best runs/shapes-2/best

1,000 pictures a row, of a seed that nothing was learnt from: captions right word by word, with their kinds; R@1
among 100 pictures whose captions all differ (ten times); questions.  Controls: the captions of pictures judged by
those of others, and captions and answers of blank pictures.  Prints a line a model and the mean.  ``--level`` says
which signs the rows have; with ``--signs`` there are signs alone, of each level: their captions, first letters and
numbers of letters.  The world stands for no benchmark.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections import defaultdict
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any, get_args

import numpy as np
import torch
from PIL import Image

import internimage
from internimage.images import ImageSource
from internimage.machine import describe_machine
from internimage.multimodal.data.pairs import Described
from internimage.multimodal.describing.pipeline import WordsPipeline
from internimage.multimodal.metrics.retrieval import RetrievalScore
from internimage.multimodal.results.words import PictureWords
from internimage.multimodal.world.scene import Scene, gallery, scene
from internimage.multimodal.world.words import Kind, Signs, Split

SEED, BATCH = 1_000, 50
SPLITS: tuple[Split, ...] = ("seen", "held_out")


def said(pipeline: WordsPipeline, scenes: Sequence[Scene], pictures: Sequence[Any]) -> list[PictureWords]:
    """What the model says of pictures when it is asked what the scenes are asked."""
    results = []
    waiting = iter(zip(scenes, pictures, strict=True))
    while some := list(islice(waiting, BATCH)):
        prepared = [pipeline.prepare(Image.fromarray(picture)) for _, picture in some]
        known = [Described(Path("drawn"), (one.caption,), one.questions) for one, _ in some]
        results += pipeline.predict(prepared, [ImageSource("drawn", picture) for _, picture in some], known)
    return results


def right(results: Sequence[PictureWords], scenes: Sequence[Scene]) -> float:
    """Share of captions that are right word by word."""
    return statistics.mean(result.caption == one.caption for result, one in zip(results, scenes, strict=True))


def answered(results: Sequence[PictureWords], scenes: Sequence[Scene]) -> dict[str, float]:
    """Share of right answers, and of those to each kind of question."""
    kinds: dict[str, list[bool]] = defaultdict(list)
    for result, one in zip(results, scenes, strict=True):
        for question, answer in zip(one.questions, result.answers, strict=True):
            kinds[question.kind].append(answer in question.answers)
    found = {kind: statistics.mean(rows) for kind, rows in sorted(kinds.items())}
    return {"questions": statistics.mean(one for rows in kinds.values() for one in rows), **found}


def finding(pipeline: WordsPipeline, split: Any, galleries: int, drawn: dict[str, Any]) -> dict[str, float]:
    """R@1 both ways among 100 pictures, the mean of some galleries."""
    score = RetrievalScore()
    for number in range(galleries):
        scenes = gallery(SEED + 1 + number, 100, split=split, **drawn)
        for place, result in enumerate(said(pipeline, scenes, [one.picture for one in scenes])):
            assert result.picture is not None
            assert result.captions is not None
            score.add(result.picture, result.captions, 100 * number + place)
    numbers = score.of_folds(100)
    return {name: numbers[name] for name in ("image_to_text_r1", "text_to_image_r1")}


def measured(pipeline: WordsPipeline, count: int, drawn: dict[str, Any]) -> dict[str, float]:
    """All numbers of a model; ``drawn`` says without which kinds, and with which signs."""
    numbers: dict[str, float] = {}
    for split in SPLITS:
        scenes = [scene(SEED, number, split=split, **drawn) for number in range(count)]
        pictures = [one.picture for one in scenes]
        results = said(pipeline, scenes, pictures)
        kinds = sorted({one.kind for one in scenes})
        for kind in kinds:
            chosen = [place for place, one in enumerate(scenes) if one.kind == kind]
            numbers[f"{split}: captions of {kind}"] = right(
                [results[place] for place in chosen], [scenes[place] for place in chosen]
            )
        plain = [place for place, one in enumerate(scenes) if one.kind != "sign"]
        numbers[f"{split}: captions without signs"] = right(
            [results[place] for place in plain], [scenes[place] for place in plain]
        )
        held = [place for place, one in enumerate(scenes) if one.objects]
        numbers[f"{split}: captions of shapes"] = right(
            [results[place] for place in held], [scenes[place] for place in held]
        )
        numbers |= {f"{split}: {name}": share for name, share in answered(results, scenes).items()}
        numbers |= {f"{split}: {name}": share for name, share in finding(pipeline, split, count // 100, drawn).items()}
        numbers |= {f"{split}: {name}": share for name, share in unseeing(pipeline, results, scenes).items()}
    return numbers


def unseeing(pipeline: WordsPipeline, results: Sequence[PictureWords], scenes: Sequence[Scene]) -> dict[str, float]:
    """Captions judged by those of another scene, and what is said of grey pictures."""
    turned = [*scenes[1:], scenes[0]]
    others = [
        (result, other)
        for result, one, other in zip(results, scenes, turned, strict=True)
        if one.caption != other.caption
    ]
    grey = np.full_like(scenes[0].picture, 128)
    blank = said(pipeline, scenes, [grey] * len(scenes))
    return {
        "captions, pictures exchanged": right(*zip(*others, strict=True)),
        "captions, blank": right(blank, scenes),
        "questions, blank": answered(blank, scenes)["questions"],
    }


def of_signs(pipeline: WordsPipeline, count: int) -> dict[str, float]:
    """Signs of each level: captions and questions, words of training and others."""
    numbers = {}
    others: tuple[Kind, ...] = ("one", "pair", "count", "light")
    for level in get_args(Signs):
        for split in SPLITS if level in ("words", "places") else SPLITS[:1]:
            scenes = [scene(SEED, number, split=split, without=others, signs=level) for number in range(count)]
            results = said(pipeline, scenes, [one.picture for one in scenes])
            numbers[f"{level}, {split}: captions"] = right(results, scenes)
            numbers |= {f"{level}, {split}: {name}": share for name, share in answered(results, scenes).items()}
    return numbers


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+", type=Path)
    parser.add_argument("--pictures", type=int, default=1_000)
    parser.add_argument("--without", nargs="*", default=())
    parser.add_argument("--level", choices=get_args(Signs), default="places", help="signs in the rows")
    parser.add_argument("--signs", action="store_true")
    options = parser.parse_args()
    rows = []
    for folder in options.models:
        model: Any = internimage.load_model(folder)
        pipeline = WordsPipeline(model.for_words())
        measure = (
            of_signs(pipeline, options.pictures)
            if options.signs
            else measured(pipeline, options.pictures, {"without": options.without, "signs": options.level})
        )
        rows.append(measure)
        print(json.dumps({"model": str(folder), **{name: round(share, 4) for name, share in measure.items()}}))
    print(f"{options.pictures} pictures a row, {len(rows)} models, {describe_machine(torch.device('cpu'))}")
    for name in rows[0]:
        shares = [row[name] for row in rows]
        print(f"{name:<44} {statistics.mean(shares):6.3f}  ({min(shares):.3f} to {max(shares):.3f})")


if __name__ == "__main__":
    main()
