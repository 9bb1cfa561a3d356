"""One wheel for every torch: installed beside the oldest and the newest one supported, with and without kernels."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

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


# the newest torch is what all other tests run with
@pytest.mark.parametrize("torch", ["torch==2.10.0", pytest.param("torch", marks=pytest.mark.full)])
def test_installed_wheel_passes_the_operators_tests(torch: str, wheel: Path, uv: str, tmp_path: Path) -> None:
    """First with the compiled kernels, then with their file removed."""
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
