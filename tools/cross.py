"""Compiling the CPU kernels for other machines than this one, by Zig's compiler, which brings what each of them needs.

    pip install ziglang==0.17.1
    python tools/cross.py linux_aarch64 out/        (without a name: all)

What is compiled is what ``src/internimage/ops/native/build.py`` says.
"""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

NATIVE = Path(__file__).parents[1] / "src" / "internimage" / "ops" / "native"
ZIG = "0.17.1"


class Platform(NamedTuple):
    """A kind of machine.

    Attributes:
        tag: what a wheel for it is called.
        zig: what Zig calls it, with the oldest system it has to run on: PyTorch's wheels run on none that is older.
        system: "linux", "macos" or "windows".
        machine: its processor.
        suffix: of a library's name.
    """

    tag: str
    zig: str
    system: str
    machine: str
    suffix: str


PLATFORMS = {
    "linux_x86_64": Platform("manylinux_2_28_x86_64", "x86_64-linux-gnu.2.17", "linux", "x86_64", ".so"),
    "linux_aarch64": Platform("manylinux_2_28_aarch64", "aarch64-linux-gnu.2.17", "linux", "aarch64", ".so"),
    "macos_arm64": Platform("macosx_14_0_arm64", "aarch64-macos.14.0", "macos", "aarch64", ".so"),
    "windows_x86_64": Platform("win_amd64", "x86_64-windows-gnu", "windows", "x86_64", ".dll"),
}


class CannotCompileError(Exception):
    """There is no compiler, or it refused; one sentence."""


def load_build() -> ModuleType:
    """``build.py``, which may not be imported as a part of the package: that would need PyTorch."""
    spec = importlib.util.spec_from_file_location("internimage_build", NATIVE / "build.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def compile_for(name: str, folder: Path) -> list[Path]:
    """Compile the libraries of one of :data:`PLATFORMS` into ``folder``; raises :class:`CannotCompileError`."""
    zig, platform, build = _zig(), PLATFORMS[name], load_build()
    # Zig would stop the program where the language defines nothing, and has no way to name what it does not warn of
    common = ["-target", platform.zig, "-fno-sanitize=undefined", "-Wno-unknown-warning-option", "-s"]
    target = build.Target(
        [*zig, "c++", *common],
        [*zig, "cc", *common],  # not c++, which would link a C++ runtime
        build.instruction_sets(platform.machine),
        platform.suffix,
        _torch(platform, build),
    )
    try:
        return build.build(folder, target)
    except subprocess.CalledProcessError as error:
        raise CannotCompileError(f"compiling for {name} failed: {error.stdout}") from error


def torch_functions() -> list[str]:
    """Names of PyTorch's functions that the kernels use, as ``torch_abi.h`` declares them."""
    text = (NATIVE / "torch_abi.h").read_text(encoding="utf-8")
    return sorted(set(re.findall(r"^\w+ ((?:aoti_)?torch_\w+)\(", text, re.MULTILINE)))


def _torch(platform: Platform, build: ModuleType) -> Any:
    """What leaves PyTorch's functions to the loader of the platform, for the linker."""
    if platform.system == "macos":
        return lambda target, aside: ["-Wl,-undefined,dynamic_lookup"]
    return _import_library if platform.system == "windows" else build.stub


def _import_library(target: Any, aside: Path) -> list[str]:
    """Windows' linker wants to know which file a function is in."""
    definition, library = aside / "torch_cpu.def", aside / "libtorch_cpu.a"
    definition.write_text("LIBRARY torch_cpu.dll\nEXPORTS\n" + "\n".join(torch_functions()) + "\n", encoding="utf-8")
    load_build().call([*_zig(), "dlltool", "-m", "i386:x86-64", "-d", str(definition), "-l", str(library)])
    return [str(library)]


def _zig() -> list[str]:
    """The command of Zig beside this Python; raises :class:`CannotCompileError`."""
    if importlib.util.find_spec("ziglang") is None:
        raise CannotCompileError(
            f"no Zig beside this Python: compiling for other machines needs `pip install ziglang=={ZIG}`"
        )
    return [sys.executable, "-m", "ziglang"]


def main(arguments: list[str]) -> None:
    """Compile for the platforms named, or all, into a folder each in the last argument."""
    *names, folder = arguments or ["out"]
    for name in names or PLATFORMS:
        to = Path(folder, name)
        to.mkdir(parents=True, exist_ok=True)
        print(*compile_for(name, to), sep="\n")


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except CannotCompileError as error:
        sys.exit(str(error))
