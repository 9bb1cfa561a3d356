"""Small runs of classifiers."""

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from internimage.settings.training import RunConfig, TrainingConfig
from internimage.training.run import start_run
from internimage.training.trainer import Trainer


class Silent:
    """A reporter that says nothing."""

    def note(self, *args: Any) -> None: ...
    def warn(self, *args: Any) -> None: ...
    def close(self) -> None: ...
    def follow(self, items: Any, *args: Any) -> Any:
        return items

    def batch(self, *args: Any) -> None: ...
    def epoch(self, *args: Any) -> None: ...


SMALL = TrainingConfig(track="none", epochs=2, batch_size=4, workers=0, warmup_epochs=0.5, drop_path=0.1)


def paint(folder: Path, classes: dict[str, tuple[int, int, int]], count: int = 6, mode: str = "RGB") -> Path:
    """Pictures of one colour a class with noise, of many sizes."""
    rng = np.random.default_rng(0)
    for name, colour in classes.items():
        (folder / name).mkdir(parents=True)
        for index in range(count):
            size = (20 + 7 * index % 60, 50 - 3 * index % 30, 3)
            pixels = np.clip(np.array(colour) + rng.normal(0, 20, size), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).convert(mode).save(folder / name / f"{index}.png")
    return folder


COLOURS = {"blue": (30, 40, 200), "red": (200, 30, 40)}


def prepare(data: Path, folder: Path, **changes: Any) -> Trainer:
    start = changes.get("init", "scratch")
    model = start if Path(start).is_dir() else "internimage_atto"
    settings = {"data": str(data), "model": model, "size": 32, "training": SMALL, **changes}
    return start_run(RunConfig(**settings), folder, Silent(), device="cpu").trainer
