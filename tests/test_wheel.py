"""One wheel for every torch: installed beside the oldest and the newest one supported, with and without kernels.

Both the wheel that an installation builds here and the one that `make wheels` packs for machines like this one.
"""

import os
import platform
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import cross
import emulated
import pytest
import wheels

from internimage.ops.native import build

REPOSITORY = Path(__file__).parents[1]
OPERATORS = ("test_dcnv4.py", "test_ms_deform_attn.py")
pytestmark = pytest.mark.full


def call(*command: str | Path, folder: Path) -> str:
    environment = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "VIRTUAL_ENV")}
    run = subprocess.run([str(part) for part in command], cwd=folder, env=environment, capture_output=True, text=True)
    assert run.returncode == 0, run.stdout[-3000:] + run.stderr[-3000:]
    return run.stdout


@pytest.fixture(scope="module")
def uv() -> str:
    found = shutil.which("uv") or str(Path(sys.executable).with_name("uv"))
    assert Path(found).exists(), "uv makes the environments of this test: pip install uv"
    return found


@pytest.fixture(scope="module")
def wheel(uv: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    call(uv, "build", "--wheel", "-o", folder, REPOSITORY, folder=folder)
    (path,) = folder.glob("*.whl")
    assert ("-any" in path.name) == (build.compiler() is None)
    packed = {Path(name).name for name in zipfile.ZipFile(path).namelist()}
    assert packed >= set(build.LIBRARIES) or build.compiler() is None
    return path


@pytest.fixture(scope="module")
def packers(uv: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Pythons that can run `make wheels`: with Zig and without."""
    folder = tmp_path_factory.mktemp("packers")
    (packages,) = re.findall(r"(hatchling==\S+) (ziglang==\S+)", (REPOSITORY / "Makefile").read_text(encoding="utf-8"))
    assert packages[1] == f"ziglang=={cross.ZIG}"
    for name, wanted in (("with", packages), ("without", packages[:1])):
        call(uv, "venv", "--python", sys.executable, folder / name, folder=folder)
        call(uv, "pip", "install", "--python", folder / name, *wanted, folder=folder)
    return {name: folder / name / "bin" / "python" for name in ("with", "without")}


@pytest.fixture(scope="module")
def made(packers: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `make wheels` writes."""
    folder = tmp_path_factory.mktemp("dist")
    call(packers["with"], REPOSITORY / "tools" / "wheels.py", folder, folder=folder)
    return folder


def libraries(wheel: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(wheel) as packed:
        return {name: packed.read(name) for name in packed.namelist() if name.endswith((".so", ".dll"))}


def tag(wheel: Path) -> str:
    return wheel.stem.split("-")[-1]


def test_every_platform_has_a_wheel_with_its_kernels(made: Path) -> None:
    """They were checked when they were made; this is what they hold, without that check's own words."""
    held = {tag(path): sorted(libraries(path)) for path in made.glob("*.whl")}
    so = [f"internimage/ops/native/{name}.so" for name in ("_kernels", "_onnx_operators")]
    assert held == {
        "any": [],
        "manylinux_2_28_x86_64": so,
        "manylinux_2_28_aarch64": so,
        "macosx_14_0_arm64": so,
        "win_amd64": [name.replace(".so", ".dll") for name in so],
    }
    (sdist,) = made.glob("*.tar.gz")
    assert all(path.stat().st_size < 60e6 for path in (sdist, *made.glob("*.whl")))
    first = {path.name: path.read_bytes()[:4] for path in made.glob("*.whl")}
    assert set(first.values()) == {b"PK\3\4"}


def test_a_library_of_another_machine_is_refused(made: Path) -> None:
    wheel = {tag(path): path for path in made.glob("*.whl")}
    tags = [platform.tag for platform in cross.PLATFORMS.values()]
    for own in tags:
        wheels.check_wheel(wheel[own])
        for other in {"any", *tags} - {own}:
            with pytest.raises(wheels.WheelError, match=r"is for (linux|macos) on |holds the libraries"):
                wheels.check_libraries("w", other, libraries(wheel[own]))
    linux = "manylinux_2_28_x86_64"
    with pytest.raises(wheels.WheelError, match=r"holds the libraries \[\]; expected \['internimage"):
        wheels.check_libraries("w", linux, {})
    with pytest.raises(wheels.WheelError, match="is for no platform that is known here: linux_riscv64"):
        wheels.check_libraries("w", "linux_riscv64", libraries(wheel[linux]))


@pytest.mark.parametrize("name", cross.PLATFORMS)
def test_a_library_without_the_kernels_is_refused(made: Path, name: str) -> None:
    there = cross.PLATFORMS[name]
    (wheel,) = made.glob(f"*-{there.tag}.whl")
    found, kernels = libraries(wheel), f"internimage/ops/native/_kernels{there.suffix}"
    renamed = found[kernels].replace(b"internimage_cpu_kernels", b"internimage_cpu_colonel")
    with pytest.raises(wheels.WheelError, match="does not export internimage_cpu_kernels"):
        wheels.check_libraries("w", there.tag, found | {kernels: renamed})
    for broken in (b"", b"not a library", found[kernels][:300]):
        with pytest.raises(wheels.WheelError, match=r"_kernels.* in w is "):
            wheels.check_libraries("w", there.tag, found | {kernels: broken})


def test_a_wheel_that_is_not_what_it_says_is_refused(made: Path, tmp_path: Path) -> None:
    (pure,) = made.glob("*-any.whl")
    other = shutil.copy(pure, tmp_path / pure.name.replace("-any", "-win_amd64"))
    with pytest.raises(wheels.WheelError, match="says in its WHEEL that it is another"):
        wheels.check_wheel(other)
    more = shutil.copy(pure, tmp_path / pure.name)
    with zipfile.ZipFile(more, "a") as packed:
        packed.writestr("internimage/more.py", "")
    with pytest.raises(wheels.WheelError, match="says in its RECORD that other files are in it"):
        wheels.check_wheel(more)


def test_without_zig_only_the_pure_wheel_is_written(packers: dict[str, Path], tmp_path: Path) -> None:
    command = [packers["without"], REPOSITORY / "tools" / "wheels.py", tmp_path]
    run = subprocess.run([str(part) for part in command], capture_output=True, text=True)
    assert run.returncode == 1
    assert run.stderr.splitlines() == [
        f"no wheel for {name}: no Zig beside this Python: compiling for other machines needs `pip install "
        f"ziglang=={cross.ZIG}`"
        for name in cross.PLATFORMS
    ]
    assert [tag(path) for path in tmp_path.glob("*.whl")] == ["any"]
    assert len(list(tmp_path.glob("*.tar.gz"))) == 1


def test_aarch64_wheel_passes_the_operators_tests_emulated(made: Path, tmp_path: Path) -> None:
    if reason := emulated.lacking():
        pytest.skip(reason)
    (wheel,) = made.glob("*_aarch64.whl")
    said = emulated.run_tests(wheel, tmp_path)
    assert said.startswith("aarch64 compiled, portable")
    assert re.search(r"\d{3} passed", said)


def packed_for_here(made: Path) -> Path:
    found = list(made.glob(f"*manylinux*_{platform.machine()}.whl")) if platform.system() == "Linux" else []
    if not found:
        pytest.skip(f"the wheels are for Linux, which this test installs; this is {platform.platform()}")
    return found[0]


# the newest torch is what all other tests run with
@pytest.mark.parametrize("torch", ["torch==2.10.0", "torch"])
@pytest.mark.parametrize("built", ["here", "by make wheels"])
def test_installed_wheel_passes_the_operators_tests(
    torch: str, built: str, request: pytest.FixtureRequest, uv: str, tmp_path: Path
) -> None:
    """First with the compiled kernels, then with their file removed."""
    get = request.getfixturevalue
    wheel = get("wheel") if built == "here" else packed_for_here(get("made"))
    call(uv, "venv", "--python", sys.executable, tmp_path / "env", folder=tmp_path)
    python = tmp_path / "env" / "bin" / "python"
    call(uv, "pip", "install", "--python", python, wheel, torch, "pytest", folder=tmp_path)
    tests = tmp_path / "tests"
    shutil.copytree(REPOSITORY / "tests", tests, ignore=shutil.ignore_patterns("__pycache__"))
    asked = "from internimage import ops; print(ops.implementation('cpu').name, ops.native.LIBRARY, sep='\\n')"
    for expected in ("avx", "PyTorch"):
        name, library = call(python, "-c", asked, folder=tests).strip().split("\n")[-2:]
        assert expected in name
        call(python, "-m", "pytest", "-q", *OPERATORS, folder=tests)
        Path(library).unlink(missing_ok=True)
