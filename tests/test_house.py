"""Rules of the house that a machine can check; docs/architecture.md states them."""

import ast
import importlib
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers.house import functions, kind_tests

import internimage
from internimage import registry
from internimage.contracts import TaskSpec, task_spec

SOURCE = Path(internimage.__file__).parent
TESTS = Path(__file__).parent
FILES = sorted(SOURCE.rglob("*.py"))
# The first column of the table, from the bottom up.
TABLE = (TESTS.parent / "docs" / "architecture.md").read_text(encoding="utf-8")
ROOMS = [room for row in re.findall(r"^\| (`.+?) \|", TABLE, re.MULTILINE) for room in re.findall(r"`(\w+)`", row)]
WINGS = ("driving", "multimodal", "generation")
WITHOUT_TORCH = ("registry", "settings", "images", "labels", "drawing", "results", "metrics", "recipes", "contracts")
EXTRAS = {
    *("train", "formats", "video", "driving", "multimodal", "generation", "export", "serve", "ray", "deepspeed"),
    *("transformers", "timm", "labelling", "viewer", "all", "test", "official"),
}
MANY_OF_A_KIND = ("data/formats", "data/formats/sets", "checkpoints/names", "recipes", "cli", "")
# each is one thing that a reader follows from top to bottom: two kernels, one registration
LONG_FUNCTIONS = {"ops/triton_kernels.py:backward", "ops/registration.py:_register"}


def imports(path: Path) -> Iterator[str]:
    """Dotted names of everything that a file imports, wherever in it."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not (node.level and SOURCE in path.parents), f"{path}:{node.lineno} is relative"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def without_torch(room: str, *inner: str) -> bool:
    """Whether a file is loaded where there may be no PyTorch; in a wing, rooms of the same names are, and some more."""
    if room in WINGS:
        return inner[0] in (*WITHOUT_TORCH, "geometry", "data", "world") or inner[-1] == "spec"
    return room in WITHOUT_TORCH or (room, inner[-1:]) == ("tasks", ("spec",))


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_rooms_import_only_rooms_before_them(path: Path) -> None:
    room, *rest = (part.removesuffix(".py") for part in path.relative_to(SOURCE).parts)
    entrances = ("__init__", "__main__")  # may name every room
    assert room in (*ROOMS, *entrances), f"{room} is not in the table of rooms"
    allowed = [*ROOMS, "__version__"] if room in entrances else ROOMS[: ROOMS.index(room) + 1]
    for name in imports(path):
        package, _, inner = name.partition(".")
        assert package not in ("mmcv", "mmdet", "mmengine", "mmpretrain", "mmseg")
        if package != "internimage":
            continue
        other, *place = inner.split(".")
        assert other in allowed, f"{room} imports {name}"
        assert (room, other) != ("tasks", "tasks") or rest[0] == place[0], f"a task imports another: {name}"
        assert other not in WINGS or room in (other, *entrances), f"{room} imports the wing {name}"


def test_what_has_a_name_is_where_the_registry_says() -> None:
    for name in registry.TASKS:
        spec = task_spec(name)
        assert isinstance(spec, TaskSpec)
        assert spec.name == name
        places = [f"internimage.{room}.{name}.spec:SPEC" for room in ("tasks", *WINGS)]
        assert registry.TASKS[name].spec in places
    for name, entry in registry.ARCHITECTURES.items():
        config, model = registry.resolve(entry.config), registry.resolve(entry.model)
        assert {registry.architecture_of(config), registry.architecture_of(model)} == {name}
        assert entry.task is None or entry.task in registry.TASKS
        assert entry.names is None or callable(registry.resolve(entry.names).rows)


def test_only_networks_and_tasks_ask_what_kind_a_thing_is() -> None:
    """90 places in 27 files asked before tasks and models had contracts."""
    assert len(kind_tests(SOURCE)) < 10, kind_tests(SOURCE)


def test_files_folders_and_functions_stay_readable() -> None:
    assert not [path for path in FILES if len(path.read_text(encoding="utf-8").splitlines()) > 400]
    for folder in {path.parent for path in FILES}:
        if str(folder.relative_to(SOURCE)).replace(".", "") not in MANY_OF_A_KIND:
            files = [path for path in folder.glob("*.py") if path.name != "__init__.py"]
            assert len(files) <= (16 if folder.name in ("training", "ops") else 12), (folder, len(files))
    long = {place for length, place in functions(SOURCE) if length > 50}
    assert long == LONG_FUNCTIONS


@pytest.mark.parametrize(
    ("statement", "absent"),
    [
        ("import internimage", {"torch", "torchvision", "PIL", "numpy"}),
        ("import internimage; assert internimage.list_models('upernet*')", {"torch", "torchvision", "PIL", "numpy"}),
        (
            "import internimage.factory",
            {"torchvision", "scipy", "torch._dynamo", "huggingface_hub", "timm", "transformers"},
        ),
        (
            "; ".join(
                f"import {'.'.join(('internimage', *path.relative_to(SOURCE).with_suffix('').parts))}"
                for path in FILES
                if without_torch(*path.relative_to(SOURCE).with_suffix("").parts)
            ),
            {"torch", "torchvision"},
        ),
    ],
    ids=["package", "list_models", "factory", "rooms without torch"],
)
def test_imports_bring_no_more_than_they_need(statement: str, absent: set[str]) -> None:
    script = f"{statement}; import sys; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.split()
    assert "internimage" in loaded
    assert not absent & set(loaded)


def test_tests_share_through_helpers_and_patch_nothing_private() -> None:
    for path in sorted(TESTS.rglob("*.py")):
        assert not [name for name in imports(path) if name.startswith(("test_", "conftest"))], path
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("monkeypatch.setattr"):
                target = node.args[1] if len(node.args) > 2 else node.args[0]
                name = ast.literal_eval(target) if isinstance(target, ast.Constant) else ""
                assert not re.search(r"(^|\.)_(?!_)", name), f"{path.name}:{node.lineno} patches {name}"


def test_extras_are_the_known_ones() -> None:
    project = tomllib.loads((TESTS.parent / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert set(project["optional-dependencies"]) <= EXTRAS
    for path in FILES:
        named = re.findall(r"internimage\[([\w,]+)\]", path.read_text(encoding="utf-8"))
        assert {extra for text in named for extra in text.split(",")} <= set(project["optional-dependencies"]), path


@pytest.mark.parametrize("name", internimage.__all__)
def test_public_names(name: str) -> None:
    public = getattr(internimage, name)
    assert getattr(public, "__module__", public.__name__).startswith("internimage.")
    assert public.__doc__
    assert name in dir(internimage)


@pytest.mark.parametrize(
    ("module", "names"),
    [
        ("backbones", ("CompositeBackbone", "CompositeConfig", "InternImage", "InternImageConfig")),
        ("models", ("ClassifierConfig", "ImageClassifier")),
        ("results", ("Classification", "Detections", "Region", "ScoredLabel", "Segmentation")),
    ],
)
def test_names_of_the_version_before_still_work(module: str, names: tuple[str, ...]) -> None:
    for name in names:
        with pytest.warns(
            DeprecationWarning, match=rf"internimage\.{module}\.{name} is now internimage\.{module}\.\w+\.{name}"
        ):
            assert getattr(importlib.import_module(f"internimage.{module}"), name).__name__ == name
