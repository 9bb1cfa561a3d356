"""Every block of code in README and docs: Python runs, commands exist with the options that are shown."""

import re
import shlex
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from helpers.clips import clip
from helpers.commands import run
from helpers.documented import Hub
from helpers.old_data import paint
from PIL import Image

from internimage import registry
from internimage.cli.main import parse
from internimage.driving.world.writing import write_world
from internimage.multimodal.world.writing import write_shapes

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
    if page.stem == "multimodal":
        write_shapes(tmp_path / "shapes", pictures=32, val_pictures=8, test_pictures=8)
        monkeypatch.setenv("PATH", "")  # without Java, which takes ten seconds for METEOR
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


def test_every_system_of_driving_is_trained_drawn_and_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, small_recipes: None, one_thread: None
) -> None:
    """The commands of the page, with small networks on a tiny world."""
    small = {"bevformer_v2": "small_moments", "occupancy": "small_occupancy", "online_map": "small_map"}
    monkeypatch.chdir(tmp_path)
    write_world(tmp_path / "roads", {"train": range(2), "val": (103,)}, frames=2, width=64)
    page = (ROOT / "docs" / "driving.md").read_text(encoding="utf-8")
    section = page[page.index("## Four more systems") : page.index("## Data")]
    lines = [line for block in re.findall(r"^```bash\n(.*?)^```", section, re.M | re.S) for line in block.splitlines()]
    assert len(lines) == 13
    for line in lines:
        words = shlex.split(line.partition("  #")[0])[1:]
        if words[0] == "data":
            words += ["--scenes", "2", "--val-scenes", "4", "--frames", "1", "--width", "96"]
        if words[0] == "train":
            words = [small.get(word.removesuffix("_internimage_atto"), word) for word in words]
            words += [] if "--model" in words else ["--model", "small_topology"]
            words = ["36" if word in ("63", "126") else word for word in words] + ["--epochs", "1", "--device", "cpu"]
        assert run(words) == 0, line
    for name in ("v2", "space", "lanes", "map"):
        assert [*(tmp_path / "out" / name).rglob("*.predicted.png")]
        assert (tmp_path / "report" / name / "metrics.json").is_file()


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_exist(command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    arguments = [word for word in shlex.split(command)[1:] if word != "..."]
    parse(arguments)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_links_and_pictures_are_there(page: Path) -> None:
    found = re.findall(r"\]\((?!https?:|#)([^)#\s]+)", page.read_text(encoding="utf-8"))
    assert not [link for link in found if not (page.parent / link).exists()]


SHORTER = {"data world": "--pictures 16 --val-pictures 4 --test-pictures 4", "train": "--epochs 1"}


@pytest.mark.usefixtures("one_thread")
def test_words_and_search_run_as_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first two blocks of commands, one after the other, on fewer pictures."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", "")  # as above
    page = ROOT / "docs" / "multimodal.md"
    lines = [line for _, text in blocks(page, "bash")[:2] for line in text.splitlines() if line.startswith("intern")]
    assert {line.split()[1] for line in lines} >= {"train", "evaluate", "caption", "ask", "search"}
    for line in lines:
        more = next((more for start, more in SHORTER.items() if line.startswith(f"internimage {start} ")), "")
        assert run([*shlex.split(line, comments=True)[1:], *more.split()]) == 0, line
    written = ("report/captions.png", "report/metrics.json", "out/000001.predicted.png", "shapes.png", "found.png")
    for name in written:
        assert (tmp_path / name).stat().st_size, name


@pytest.mark.full
@pytest.mark.usefixtures("one_thread")
def test_a_backbone_is_taught_and_taken_as_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_shapes(tmp_path / "shapes", pictures=16, val_pictures=4, test_pictures=4)
    paint("classification", tmp_path / "photos")
    (lines,) = [text for _, text in blocks(ROOT / "docs" / "multimodal.md", "bash") if "m3i" in text]
    for line in lines.splitlines():
        assert run([*shlex.split(line, comments=True)[1:], "--epochs", "1"]) == 0, line


@pytest.mark.full
@pytest.mark.usefixtures("one_thread")
def test_one_model_does_everything_as_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    lines, *_ = [text for _, text in blocks(ROOT / "docs" / "multimodal.md", "bash") if "uniperceiver_v2" in text]
    fewer = {"data": "--pictures 48 --val-pictures 8 --test-pictures 8", "train": "--epochs 1 --workers 0"}
    for line in lines.splitlines():
        own = shlex.split(line, comments=True)[1:]
        assert run([*own, *fewer.get(own[0], "").split()]) == 0, line
    for name in ("seen/000001.predicted.png", "things-report/metrics.json", "things-report/words/captions.png"):
        assert (tmp_path / name).stat().st_size, name


@pytest.mark.full
def test_the_site_is_built_without_a_warning() -> None:
    """By the page's one command, in its environment; the API has what docstrings say and no role as it was typed."""
    done = subprocess.run(["make", "docs"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "No issues found" in done.stdout + done.stderr
    for page in PAGES[2:]:
        folder = ROOT / "site" / ("" if page.stem == "index" else page.stem)
        assert (folder / "index.html").stat().st_size > 5_000
    reference = (ROOT / "site" / "api" / "index.html").read_text(encoding="utf-8")
    assert "internimage.Predictor" in reference
    assert not re.findall(r":(?:class|func|meth|attr):`", reference)
