"""What a run leaves for people to look at: tables, curves, a summary, and dashboards by way of Accelerate."""

from __future__ import annotations

import csv
import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from internimage.drawing.curves import curve_charts
from internimage.errors import MissingExtraError, TrainingError
from internimage.writing import json_text, save_picture, write_text, written_aside

if TYPE_CHECKING:
    from accelerate import Accelerator

METRICS_FILE = "metrics.csv"
SUMMARY_FILE = "summary.json"
CURVES_FILE = "curves.png"


def check_tracker(tracker: str, folder: Path) -> None:
    """Raise an error if a dashboard cannot tell of a run in ``folder``.

    Raises:
        MissingExtraError: the package behind it is not installed.
        TrainingError: the folder's name is not UTF-8, which dashboards want.
    """
    if tracker != "none" and importlib.util.find_spec(tracker) is None:
        package = "'internimage[train]'" if tracker == "tensorboard" else tracker  # with all else that training needs
        raise MissingExtraError(f"--track {tracker} needs its package: pip install {package}; or pass --track none")
    try:
        str(folder).encode()
    except UnicodeEncodeError:
        if tracker != "none":
            raise TrainingError(
                f"the name of {folder} is not UTF-8, which {tracker} wants; choose another --output or --track none"
            ) from None


def start_tracking(accelerator: Accelerator, tracker: str, folder: Path) -> None:
    """Open the dashboard: TensorBoard's files in ``folder``, or a run of that name in the project "internimage"."""
    name = folder.resolve().name
    if tracker == "tensorboard":
        accelerator.init_trackers("tensorboard")
    elif tracker == "wandb":
        accelerator.init_trackers("internimage", init_kwargs={"wandb": {"name": name, "dir": str(folder)}})
    elif tracker == "trackio":
        accelerator.init_trackers("internimage", init_kwargs={"trackio": {"name": name}})


def write_history(folder: Path, history: Sequence[dict[str, Any]], summary: dict[str, Any], best: str = "") -> None:
    """Write ``metrics.csv`` (a row an epoch), ``curves.png`` (what changes from row to row) and ``summary.json``.

    The loss and the number called ``best`` are drawn larger than the rest.
    """
    with written_aside(folder / METRICS_FILE) as aside, aside.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=list(history[0]))
        writer.writeheader()
        writer.writerows(history)
    write_text(folder / SUMMARY_FILE, json_text(summary, indent=2) + "\n")
    large = [name for name in ("loss", best) if name in history[0]]
    names = [*large, *(name for name in history[0] if name not in ("epoch", *large))]
    series = [(name, [row[name] for row in history]) for name in names if len({row[name] for row in history}) > 1]
    if series:
        epochs, title = [row["epoch"] for row in history], folder.resolve().name
        save_picture(curve_charts(epochs, series, axis="epoch", title=title, large=large), folder / CURVES_FILE)
