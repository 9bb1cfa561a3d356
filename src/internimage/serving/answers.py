"""Results as the bytes that a request is answered with."""

from __future__ import annotations

import io
import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from internimage.contracts import TaskSpec
from internimage.errors import ConfigError
from internimage.images import ImageSource
from internimage.inference.runner import Runner
from internimage.inference.writing import open_writer
from internimage.serving.messages import Answer
from internimage.settings.views import DisplayOptions
from internimage.writing import json_text

_ENDS: Mapping[Answer, str] = {"png": ".predicted.png", "classes": ".classes.png"}


def possible(spec: TaskSpec) -> tuple[Answer, ...]:
    """What a task's results may be answered as; "classes" is found out by asking."""
    return ("json", "png", "classes", "coco") if "coco" in spec.writers else ("json", "png", "classes")


def encode(runner: Runner, source: ImageSource, result: Any, answer: Answer, shown: DisplayOptions) -> bytes:
    """A result as bytes.

    Raises:
        ConfigError: results of this task are not answered so.
    """
    if answer == "json":
        return json_text(runner.spec.to_dict(result, shown)).encode()
    if answer == "row":
        rows = [list(row) for row in runner.spec.rows(result, shown)]
        return json_text({"result": runner.spec.to_dict(result, shown), "rows": rows}).encode()
    if answer == "coco":
        return _coco(runner, source, result, shown)
    pictures = runner.spec.pictures(result, shown)
    if _ENDS[answer] not in pictures:
        raise ConfigError(f"a {runner.spec.model_noun} has no answer of the format {answer!r}")
    content = io.BytesIO()
    pictures[_ENDS[answer]].save(content, format="PNG", compress_level=1)
    return content.getvalue()


def _coco(runner: Runner, source: ImageSource, result: Any, shown: DisplayOptions) -> bytes:
    """``annotations.json`` of ``--format coco`` with this picture alone."""
    if "coco" not in runner.spec.writers:
        raise ConfigError(f"a {runner.spec.model_noun} has no answer of the format 'coco'")
    with tempfile.TemporaryDirectory(prefix="internimage-") as folder:
        writer, (picture,) = open_writer(runner, [source], "coco", folder, score_threshold=shown.score_threshold)
        writer.add(picture, result)
        writer.close()
        return (Path(folder) / "annotations.json").read_bytes()


def joined_coco(parts: list[bytes]) -> bytes:
    """Several pictures' COCO answers as one, with images and annotations counted through."""
    whole: dict[str, list[dict[str, Any]]] = {"images": [], "annotations": [], "categories": []}
    for number, part in enumerate(map(json.loads, parts), 1):
        whole["images"] += [{**image, "id": number} for image in part["images"]]
        for entry in part["annotations"]:
            whole["annotations"].append({**entry, "id": len(whole["annotations"]) + 1, "image_id": number})
        whole["categories"] = part["categories"]
    return json_text(whole).encode()
