"""The operators' tests on AArch64, emulated on another Linux machine; about a minute after the downloads.

    apt install qemu-user-static
    python tools/emulated.py dist/internimage-*_aarch64.whl [FOLDER]

Debian's Python for AArch64 is unpacked into a folder, nothing is installed on this machine.  PyTorch is the oldest one
that is supported: from 2.14 on its wheel for AArch64 is made for GPUs and several times as large.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

TESTS = Path(__file__).parents[1] / "tests"
OPERATORS = ("test_dcnv4.py", "test_ms_deform_attn.py")
QEMU = "qemu-aarch64-static"
_APT = """\
Dir::State::lists "{folder}/lists";
Dir::State::status "{folder}/status";
Dir::Cache "{folder}/cache";
APT::Architecture "arm64";
APT::Architectures {{ "arm64"; }};
APT::Sandbox::User "";
Debug::NoLocking "1";
"""


def lacking() -> str | None:
    """Why AArch64 cannot be emulated here, in one sentence; None if it can."""
    for program, whose in (
        (QEMU, "Debian's qemu-user-static"),
        ("apt-get", "Debian"),
        ("dpkg", "Debian"),
        ("uv", "uv"),
    ):
        if shutil.which(program) is None:
            return f"emulating AArch64 needs {program} (of {whose}), which is not installed"
    return None


def run_tests(wheel: Path, folder: Path) -> str:
    """Unpack what is needed into ``folder``, install the wheel there, run the tests; what was said.

    Raises:
        subprocess.CalledProcessError: a download or a test failed.
    """
    root, site = folder / "root", folder / "site"
    _unpack_python(folder, root)
    (python,) = [path for path in (root / "usr" / "bin").iterdir() if re.fullmatch(r"python3\.\d+", path.name)]
    version = python.name.removeprefix("python")
    where = ["--python-platform", "aarch64-manylinux_2_28", "--python-version", version, "--target", str(site)]
    packages = [str(wheel.resolve()), "torch==2.10.0", "pytest", "hypothesis"]
    _call(["uv", "pip", "install", "--quiet", *where, "--only-binary", ":all:", *packages])
    tests = folder / "tests"
    shutil.copytree(TESTS, tests, ignore=shutil.ignore_patterns("__pycache__"))
    emulated = [QEMU, "-L", str(root), str(python)]
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "INTERNIMAGE"))}
    environment |= {"PYTHONPATH": str(site), "OMP_NUM_THREADS": "1"}
    asked = "import platform; from internimage import ops; print(platform.machine(), ops.implementation('cpu').name)"
    said = _call([*emulated, "-c", asked], environment, tests)
    return said + _call([*emulated, "-m", "pytest", "-q", "-m", "not full", *OPERATORS], environment, tests)


def _unpack_python(folder: Path, root: Path) -> None:
    for part in ("lists/partial", "cache/archives/partial"):
        (folder / part).mkdir(parents=True)
    (folder / "status").touch()
    (folder / "apt.conf").write_text(_APT.format(folder=folder), encoding="utf-8")
    environment = os.environ | {"APT_CONFIG": str(folder / "apt.conf")}
    _call(["apt-get", "update", "-qq"], environment)
    wanted = ["python3", "libgomp1", "libstdc++6", "zlib1g"]
    _call(["apt-get", "install", "-qq", "-y", "--download-only", "--no-install-recommends", *wanted], environment)
    for package in sorted((folder / "cache" / "archives").glob("*.deb")):
        _call(["dpkg", "-x", str(package), str(root)])


def _call(command: list[str], environment: Mapping[str, str] | None = None, folder: Path | None = None) -> str:
    run = subprocess.run(
        command, env=environment, cwd=folder, check=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    return run.stdout


def main(wheel: Path, folder: Path) -> None:
    """Run the tests and print what they say."""
    if reason := lacking():
        sys.exit(reason)
    try:
        print(run_tests(wheel, folder))
    except subprocess.CalledProcessError as error:
        sys.exit(f"{' '.join(error.cmd)} failed: {error.stdout}")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as scratch:
        main(Path(sys.argv[1]), Path(sys.argv[2] if sys.argv[2:] else scratch))
