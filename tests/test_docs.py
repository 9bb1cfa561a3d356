"""Every block of code in README and docs: Python runs, commands exist with the options that are shown."""

import re
import shlex
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from helpers.clips import clip
from helpers.documented import Hub
from helpers.old_data import paint
from PIL import Image

from internimage import registry
from internimage.cli.main import parse
from internimage.driving.world.writing import write_world

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]


def blocks(page: Path, language: str) -> list[tuple[int, str]]:
    """(line, text) of each block."""
    text = page.read_text(encoding="utf-8")
    found = re.finditer(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    return [(text[: one.start()].count("\n") + 1, one[1]) for one in found]


def commands(page: Path) -> list[str]:
    """Lines ``internimage ...`` of shell blocks and of code within text."""
    lines = [line for _, text in blocks(page, "bash") for line in text.replace("\\\n", " ").splitlines()]
    lines += [
        " ".join(one.split()) for one in re.findall(r"`(internimage [^\s`]+\s[^`]+)`", page.read_text(encoding="utf-8"))
    ]
    return [found[0] for line in lines if (found := re.search(r"\binternimage [a-z](?:[^#;&|]|(?<=\S)#)*", line))]


PYTHON = [page for page in PAGES if blocks(page, "python")]
COMMANDS = sorted({command.strip() for page in PAGES for command in commands(page)})


@pytest.mark.filterwarnings("ignore:.*the classifier starts anew")
@pytest.mark.parametrize("page", PYTHON, ids=lambda page: page.stem)
def test_python_runs_from_top_to_bottom(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for task, data in (("classification", "photos"), ("detection", "cells"), ("segmentation", "streets")):
        paint(task, tmp_path / data)
        entry = registry.TASKS[task]
        added = replace(entry, recipes=(*entry.recipes, f"helpers.documented:{task.upper()}"))
        monkeypatch.setitem(registry.TASKS, task, added)
    if page.stem == "driving":
        write_world(tmp_path / "roads", {"train": range(2), "val": range(100, 102)}, frames=2, width=112)
    Image.effect_noise((120, 80), 90).convert("RGB").save(tmp_path / "street.jpg")
    clip(tmp_path / "clip.mp4")
    (tmp_path / "hub").mkdir()
    monkeypatch.setattr("internimage.checkpoints.hub.download", Hub(tmp_path / "hub").download)
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    names: dict[str, object] = {"__name__": "documentation"}
    for line, text in blocks(page, "python"):
        shorter = re.sub(r"\bepochs=\d+", "epochs=1", text)
        exec(compile("\n" * line + shorter, str(page), "exec"), names)


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_exist(command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    arguments = [word for word in shlex.split(command)[1:] if word != "..."]
    parse(arguments)
