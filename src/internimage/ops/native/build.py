"""Compiling the CPU kernels with any GCC or Clang; the C interfaces of PyTorch and ONNX Runtime are declared here.

    python src/internimage/ops/native/build.py        (after a change of the sources)

One set of kernels makes two libraries: PyTorch's, which refers to ``libtorch_cpu`` by name only and finds the one that
PyTorch has loaded, and ONNX Runtime's, which refers to nothing.  Standard library alone: the build backend runs this
file before anything is installed.
"""

from __future__ import annotations

import os
import platform
import shlex
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

HERE = Path(__file__).parent
LIBRARIES = {"_kernels.so": "operators.cpp", "_onnx_operators.so": "onnx_operators.cpp"}
"""What is built, and of which source beside the kernels."""
_FLAGS = "-std=c++17 -O3 -fPIC -fvisibility=hidden -ffp-contract=off -fno-math-errno -Wall -Wno-maybe-uninitialized"
_AVX2 = "-mavx2 -mfma -mf16c"
_INSTRUCTION_SETS = {"portable": ""}
if platform.machine().lower() in ("x86_64", "amd64"):
    _INSTRUCTION_SETS |= {"avx2": _AVX2, "avx512": f"{_AVX2} -mavx512f -mavx512bw -mavx512dq -mavx512vl"}


def compiler() -> str | None:
    """``$CXX``, or the first of the usual names on the path; None on systems whose compiler is another."""
    if platform.system() not in ("Linux", "Darwin"):
        return None
    return next(
        (name for name in (os.environ.get("CXX"), "g++", "clang++", "c++") if name and shutil.which(name)), None
    )


def build(folder: Path = HERE) -> list[Path]:
    """Compile and link; raises ``CalledProcessError`` with the compiler's words, or ``FileNotFoundError``."""
    command = compiler()
    if command is None:
        raise FileNotFoundError("no C++ compiler found (g++, clang++ or $CXX)")
    with tempfile.TemporaryDirectory() as name:
        aside = Path(name)
        jobs = {aside / f"{source}.o": [str(HERE / source)] for source in LIBRARIES.values()}
        for kind, flags in _INSTRUCTION_SETS.items():
            defines = [f"-DSIMD_NAMESPACE={kind}", f"-DSIMD_KERNELS=kernels_{kind}", f'-DSIMD_NAME="{kind}"']
            jobs[aside / f"{kind}.o"] = [*shlex.split(flags), *defines, str(HERE / "kernels.cpp")]
        with ThreadPoolExecutor() as pool:
            for run in [
                pool.submit(_run, [command, *shlex.split(_FLAGS), "-c", *job, "-o", str(to)])
                for to, job in jobs.items()
            ]:
                run.result()
        kernels = [str(aside / f"{kind}.o") for kind in _INSTRUCTION_SETS]
        for library, source in LIBRARIES.items():
            host = _torch(command, aside) if source == "operators.cpp" else []
            _run([command, "-shared", *kernels, str(aside / f"{source}.o"), *host, "-o", str(aside / library)])
        return [_moved(aside / library, folder / library) for library in LIBRARIES]


def build_if_stale(folder: Path = HERE) -> list[Path]:
    """:func:`build`, unless the libraries are newer than every source."""
    newest = max(path.stat().st_mtime for path in HERE.iterdir() if path.suffix in (".cpp", ".h", ".py"))
    there = [folder / library for library in LIBRARIES]
    if all(path.exists() and path.stat().st_mtime > newest for path in there):
        return there
    return build(folder)


def _torch(command: str, aside: Path) -> list[str]:
    """Linker's arguments for the functions that PyTorch has loaded."""
    if platform.system() == "Darwin":
        return ["-undefined", "dynamic_lookup"]
    # an empty library of the right name: the linker notes the dependency, the loader finds PyTorch's
    stub = aside / "libtorch_cpu.so"
    (aside / "stub.cpp").touch()
    _run([command, "-shared", "-Wl,-soname,libtorch_cpu.so", str(aside / "stub.cpp"), "-o", str(stub)])
    return ["-Wl,--no-as-needed", str(stub), "-Wl,--as-needed"]


def _moved(built: Path, output: Path) -> Path:
    shutil.copyfile(built, output.with_suffix(".part"))
    return output.with_suffix(".part").replace(output)


def _run(command: list[str]) -> None:
    subprocess.run(command, check=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


if __name__ == "__main__":
    try:
        print(*build_if_stale(), sep="\n")
    except FileNotFoundError as error:
        print(f"{error}; everything works without, more slowly")
    except subprocess.CalledProcessError as error:
        sys.exit(error.stdout)
