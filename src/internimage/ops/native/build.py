"""Compiling the CPU kernels with any GCC or Clang; needs no torch, because the C interface used is declared here.

    python src/internimage/ops/native/build.py        (after a change of the sources)

The library refers to ``libtorch_cpu`` by name only and finds the one that PyTorch has loaded.  Standard library
alone: the build backend runs this file before anything is installed.
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
OUTPUT = HERE / "_kernels.so"
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


def build(output: Path = OUTPUT) -> Path:
    """Compile and link; raises ``CalledProcessError`` with the compiler's words, or ``FileNotFoundError``."""
    command = compiler()
    if command is None:
        raise FileNotFoundError("no C++ compiler found (g++, clang++ or $CXX)")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        jobs = [([str(HERE / "operators.cpp")], folder / "operators.o")]
        for kind, flags in _INSTRUCTION_SETS.items():
            defines = [f"-DSIMD_NAMESPACE={kind}", f"-DSIMD_KERNELS=kernels_{kind}", f'-DSIMD_NAME="{kind}"']
            jobs.append(([*shlex.split(flags), *defines, str(HERE / "kernels.cpp")], folder / f"{kind}.o"))
        with ThreadPoolExecutor() as pool:
            for run in [
                pool.submit(_run, [command, *shlex.split(_FLAGS), "-c", *job, "-o", str(to)]) for job, to in jobs
            ]:
                run.result()
        link = [command, "-shared", *(str(to) for _, to in jobs)]
        if platform.system() == "Darwin":
            link += ["-undefined", "dynamic_lookup"]
        else:  # an empty library of the right name: the linker notes the dependency, the loader finds PyTorch's
            stub = folder / "libtorch_cpu.so"
            (folder / "stub.cpp").touch()
            _run([command, "-shared", "-Wl,-soname,libtorch_cpu.so", str(folder / "stub.cpp"), "-o", str(stub)])
            link += ["-Wl,--no-as-needed", str(stub), "-Wl,--as-needed"]
        built = folder / output.name
        _run([*link, "-o", str(built)])
        shutil.copyfile(built, output.with_suffix(".part"))
        output.with_suffix(".part").replace(output)
    return output


def build_if_stale(output: Path = OUTPUT) -> Path:
    """:func:`build`, unless the library is newer than every source."""
    sources = [path for path in HERE.iterdir() if path.suffix in (".cpp", ".h", ".py")]
    if output.exists() and output.stat().st_mtime > max(path.stat().st_mtime for path in sources):
        return output
    return build(output)


def _run(command: list[str]) -> None:
    subprocess.run(command, check=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


if __name__ == "__main__":
    try:
        print(build_if_stale())
    except FileNotFoundError as error:
        print(f"{error}; everything works without, more slowly")
    except subprocess.CalledProcessError as error:
        sys.exit(error.stdout)
