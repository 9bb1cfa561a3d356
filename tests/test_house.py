"""Rules of the house that an import or a line count can break; docs/architecture.md states them."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import internimage

SOURCE = Path(internimage.__file__).parent
FILES = sorted(SOURCE.rglob("*.py"))
# The first column of the table, from the bottom up.
TABLE = (Path(__file__).parents[1] / "docs" / "architecture.md").read_text(encoding="utf-8")
ROOMS = [room for row in re.findall(r"^\| (`.+?) \|", TABLE, re.MULTILINE) for room in re.findall(r"`(\w+)`", row)]


def imports(path: Path) -> Iterator[str]:
    """Dotted names of everything that a file imports, wherever in it."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}:{node.lineno} is relative"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_rooms_import_only_rooms_before_them(path: Path) -> None:
    room = path.relative_to(SOURCE).parts[0].removesuffix(".py")
    entrances = ("__init__", "__main__")  # may name every room
    assert room in (*ROOMS, *entrances), f"{room} is not in the table of rooms"
    allowed = [*ROOMS, "__version__"] if room in entrances else ROOMS[: ROOMS.index(room) + 1]
    for name in imports(path):
        package, _, rest = name.partition(".")
        assert package not in ("mmcv", "mmdet", "mmengine", "mmpretrain", "mmseg")
        assert package != "internimage" or rest.split(".")[0] in allowed, f"{room} imports {name}"


def test_files_stay_readable() -> None:
    assert not [path for path in FILES if len(path.read_text(encoding="utf-8").splitlines()) > 520]


@pytest.mark.parametrize(
    ("module", "absent"),
    [
        ("internimage", {"torch", "torchvision", "PIL", "numpy"}),
        ("internimage.factory", {"torchvision", "scipy", "torch._dynamo", "huggingface_hub", "timm", "transformers"}),
    ],
)
def test_imports_bring_no_more_than_they_need(module: str, absent: set[str]) -> None:
    script = f"import {module}, sys; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.split()
    assert module in loaded
    assert not absent & set(loaded)


@pytest.mark.parametrize("name", internimage.__all__)
def test_public_names(name: str) -> None:
    public = getattr(internimage, name)
    assert public.__module__.startswith("internimage.")
    assert public.__doc__
    assert name in dir(internimage)
