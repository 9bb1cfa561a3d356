"""Compiling the CPU kernels with any GCC or Clang; the C interfaces of PyTorch and ONNX Runtime are declared here.

    python src/internimage/ops/native/build.py        (after a change of the sources)

One set of kernels makes two libraries: PyTorch's, which refers to ``libtorch_cpu`` by name only and finds the one that
PyTorch has loaded, and ONNX Runtime's, which refers to nothing.  Standard library alone: the build backend runs this
file before anything is installed.  ``tools/cross.py`` compiles for other machines in the same way.
"""

from __future__ import annotations

import os
import platform
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).parent
SOURCES = {"_kernels": "operators.cpp", "_onnx_operators": "onnx_operators.cpp"}
"""What is built, and of which source beside the kernels."""
LIBRARIES = tuple(f"{name}.so" for name in SOURCES)
"""What is built for this machine."""
_FLAGS = (
    "-std=c++17 -O3 -fPIC -fvisibility=hidden -ffp-contract=off -fno-math-errno -Wall -Wno-maybe-uninitialized "
    # no C++ runtime; what PyTorch throws passes through
    "-fno-exceptions -fno-rtti -fasynchronous-unwind-tables"
)
_AVX2 = "-mavx2 -mfma -mf16c"
_X86 = {"portable": "", "avx2": _AVX2, "avx512": f"{_AVX2} -mavx512f -mavx512bw -mavx512dq -mavx512vl"}


class Target(NamedTuple):
    """A machine to compile for.

    Attributes:
        compiler: the command that compiles, and what it is told beside the flags of all machines.
        linker: the same that links.
        instruction_sets: names and flags.
        suffix: of a library's name.
        torch: writes what the linker needs in order to leave PyTorch's functions to the loader; its arguments.
    """

    compiler: list[str]
    linker: list[str]
    instruction_sets: dict[str, str]
    suffix: str
    torch: Callable[[Target, Path], list[str]]


def compiler() -> str | None:
    """``$CXX``, or the first of the usual names on the path; None on systems whose compiler is another."""
    if platform.system() not in ("Linux", "Darwin"):
        return None
    return next(
        (name for name in (os.environ.get("CXX"), "g++", "clang++", "c++") if name and shutil.which(name)), None
    )


def here() -> Target:
    """This machine; raises ``FileNotFoundError`` where it has no compiler."""
    command = compiler()
    if command is None:
        raise FileNotFoundError("no C++ compiler found (g++, clang++ or $CXX)")
    sets = instruction_sets(platform.machine())
    if platform.system() == "Darwin":
        return Target([command], [command], sets, ".so", lambda target, aside: ["-undefined", "dynamic_lookup"])
    return Target([command], [command, "-Wl,--as-needed"], sets, ".so", stub)


def instruction_sets(machine: str) -> dict[str, str]:
    """Names and flags of what is compiled for a machine."""
    return _X86 if machine.lower() in ("x86_64", "amd64") else {"portable": ""}


def build(folder: Path = HERE, target: Target | None = None) -> list[Path]:
    """Compile and link; raises ``CalledProcessError`` with the compiler's words, or ``FileNotFoundError``."""
    target = target or here()
    with tempfile.TemporaryDirectory() as name:
        aside = Path(name)
        jobs = {aside / f"{source}.o": [str(HERE / source)] for source in SOURCES.values()}
        for kind, flags in target.instruction_sets.items():
            defines = [f"-DSIMD_NAMESPACE={kind}", f"-DSIMD_KERNELS=kernels_{kind}", f'-DSIMD_NAME="{kind}"']
            jobs[aside / f"{kind}.o"] = [*shlex.split(flags), *defines, str(HERE / "kernels.cpp")]
        with ThreadPoolExecutor() as pool:
            for run in [
                pool.submit(call, [*target.compiler, *shlex.split(_FLAGS), "-c", *job, "-o", str(to)])
                for to, job in jobs.items()
            ]:
                run.result()
        kernels = [str(aside / f"{kind}.o") for kind in target.instruction_sets]
        built = []
        for library, source in SOURCES.items():
            torch = target.torch(target, aside) if source == "operators.cpp" else []
            output = f"{library}{target.suffix}"  # without a folder: macOS' linker writes down what it is told
            call([*target.linker, "-shared", *kernels, str(aside / f"{source}.o"), *torch, "-o", output], aside)
            built.append(_moved(aside / output, folder / output))
        return built


def build_if_stale(folder: Path = HERE) -> list[Path]:
    """:func:`build`, unless the libraries are newer than every source."""
    newest = max(path.stat().st_mtime for path in HERE.iterdir() if path.suffix in (".cpp", ".h", ".py"))
    there = [folder / library for library in LIBRARIES]
    if all(path.exists() and path.stat().st_mtime > newest for path in there):
        return there
    return build(folder)


def stub(target: Target, aside: Path) -> list[str]:
    """An empty library of the right name: the linker notes the dependency, the loader finds PyTorch's."""
    path = aside / "libtorch_cpu.so"
    (aside / "stub.cpp").touch()
    call([*target.linker, "-shared", "-Wl,-soname,libtorch_cpu.so", str(aside / "stub.cpp"), "-o", str(path)])
    return ["-Wl,--no-as-needed", str(path), "-Wl,--as-needed"]


def call(command: list[str], folder: Path | None = None) -> None:
    """Run a compiler, in ``folder``; raises ``CalledProcessError`` with its words."""
    subprocess.run(command, check=True, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def _moved(built: Path, output: Path) -> Path:
    shutil.copyfile(built, output.with_suffix(".part"))
    return output.with_suffix(".part").replace(output)


if __name__ == "__main__":
    try:
        print(*build_if_stale(), sep="\n")
    except FileNotFoundError as error:
        print(f"{error}; everything works without, more slowly")
    except subprocess.CalledProcessError as error:
        sys.exit(error.stdout)
