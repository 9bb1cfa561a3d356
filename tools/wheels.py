"""Wheels for all machines, packed on one: `make wheels`.

    python tools/wheels.py [FOLDER]        (dist/; needs hatchling and ziglang)

The sdist and a wheel of pure Python, made from it, are always written; a wheel for a platform only if it holds that
platform's compiled kernels, of which their own headers are asked.  If one is not written, a sentence says why and the
program ends with 1: pip then takes the pure wheel on that platform.
"""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import os
import re
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

import cross
from binaries import UnreadableLibraryError, read_library

REPOSITORY = Path(__file__).parents[1]
NATIVE = "internimage/ops/native/"
EXPORTED = {"_kernels": "internimage_cpu_kernels", "_onnx_operators": "RegisterCustomOps"}
"""What a program looks for in each library."""
MOST_BYTES = 60_000_000
PURE = "any"
"""Tag of the wheel without kernels."""


class WheelError(Exception):
    """A file is not what its name says; one sentence."""


def make_all(folder: Path) -> list[str]:
    """Write everything into ``folder``, and say what could not be written and why."""
    lacking = []
    with tempfile.TemporaryDirectory() as name:
        sdist, pure = _build_pure(Path(name))
        check_sdist(sdist)
        check_wheel(pure)
        folder.mkdir(parents=True, exist_ok=True)
        for old in (*folder.glob("internimage-*.whl"), *folder.glob("internimage-*.tar.gz")):
            old.unlink()
        made = [_kept(sdist, folder), _kept(pure, folder)]
        for platform in cross.PLATFORMS:
            try:
                aside = Path(name, platform)
                aside.mkdir()
                wheel = repack(made[1], aside, cross.PLATFORMS[platform].tag, cross.compile_for(platform, aside))
                check_wheel(wheel)
                made.append(_kept(wheel, folder))
            except (cross.CannotCompileError, WheelError) as error:
                lacking.append(f"no wheel for {platform}: {error}")
    for path in made:
        print(f"{path.stat().st_size / 1e6:5.1f} MB  {path}")
    return lacking


def repack(pure: Path, folder: Path, tag: str, libraries: list[Path]) -> Path:
    """The wheel for a platform: what is in the pure one, and its compiled libraries."""
    target = folder / pure.name.replace("-none-any.whl", f"-none-{tag}.whl")
    with zipfile.ZipFile(pure) as source, zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as packed:
        entries = source.infolist()
        (record,) = [entry for entry in entries if entry.filename.endswith(".dist-info/RECORD")]
        rows = []
        for entry in entries:
            if entry is record:
                continue
            data = source.read(entry)
            if entry.filename.endswith(".dist-info/WHEEL"):
                data = _for_platform(data.decode("utf-8"), tag).encode("utf-8")
            packed.writestr(entry, data, zipfile.ZIP_DEFLATED)
            rows.append(_record(entry.filename, data))
        for path in libraries:
            entry = zipfile.ZipInfo(NATIVE + path.name, record.date_time)
            entry.external_attr = record.external_attr
            packed.writestr(entry, path.read_bytes(), zipfile.ZIP_DEFLATED)
            rows.append(_record(entry.filename, path.read_bytes()))
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows([*rows, (record.filename, "", "")])
        packed.writestr(record, text.getvalue().encode("utf-8"), zipfile.ZIP_DEFLATED)
    return target


def check_wheel(path: Path) -> None:
    """Raises :class:`WheelError` if the wheel is not what its name says, or larger than :data:`MOST_BYTES`."""
    if path.stat().st_size >= MOST_BYTES:
        raise WheelError(f"{path.name} has {path.stat().st_size} bytes; expected fewer than {MOST_BYTES}")
    named = re.fullmatch(r"internimage-[^-]+-(py3-none-(\w+))\.whl", path.name)
    if not named:
        raise WheelError(f"{path.name} is no name of a wheel for every Python 3")
    with zipfile.ZipFile(path) as wheel:
        files = {name: wheel.read(name) for name in wheel.namelist()}
    (description,) = [data.decode("utf-8") for name, data in files.items() if name.endswith(".dist-info/WHEEL")]
    if re.findall(r"^Tag: (.+)$", description, re.MULTILINE) != [named[1]]:
        raise WheelError(f"{path.name} says in its WHEEL that it is another")
    if ("Root-Is-Purelib: true" in description) != (named[2] == PURE):
        raise WheelError(f"{path.name} says of itself that it is {'not ' * (named[2] == PURE)}pure Python")
    _check_record(path.name, files)
    compiled = {name: data for name, data in files.items() if PurePosixPath(name).suffix in (".so", ".dll", ".dylib")}
    check_libraries(path.name, named[2], compiled)


def check_libraries(wheel: str, tag: str, compiled: Mapping[str, bytes]) -> None:
    """Raises :class:`WheelError` unless the libraries, by their names in the wheel, are those of the tag."""
    found = [platform for platform in cross.PLATFORMS.values() if platform.tag == tag]
    if not found and tag != PURE:
        raise WheelError(f"{wheel} is for no platform that is known here: {tag}")
    expected = {f"{NATIVE}{name}{found[0].suffix}": symbol for name, symbol in EXPORTED.items()} if found else {}
    if compiled.keys() != expected.keys():
        raise WheelError(f"{wheel} holds the libraries {sorted(compiled)}; expected {sorted(expected)}")
    for name, symbol in expected.items():
        try:
            library = read_library(compiled[name])
        except UnreadableLibraryError as error:
            raise WheelError(f"{name} in {wheel} is {error}") from error
        if (library.system, library.machine) != (found[0].system, found[0].machine):
            raise WheelError(f"{name} in {wheel} is for {library.system} on {library.machine}")
        if symbol not in library.exported:
            raise WheelError(f"{name} in {wheel} does not export {symbol}")
        if library.needs > _oldest_system(tag):
            raise WheelError(f"{name} in {wheel} needs version {'.'.join(map(str, library.needs))} of its system")
        if library.system == "macos" and not library.signed:
            raise WheelError(f"{name} in {wheel} is not signed, so that macOS would not load it")


def check_sdist(path: Path) -> None:
    """Raises :class:`WheelError` if the kernels' sources are missing, or anything compiled is in it."""
    with tarfile.open(path) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    sources = {
        path.relative_to(REPOSITORY).as_posix()
        for path in cross.NATIVE.iterdir()
        if path.suffix in (".cpp", ".h", ".py")
    }
    if missing := sources - names:
        raise WheelError(f"{path.name} lacks {sorted(missing)}")
    if compiled := [name for name in names if PurePosixPath(name).suffix in (".so", ".dll", ".dylib")]:
        raise WheelError(f"{path.name} holds {sorted(compiled)}, which were compiled here")


def _build_pure(folder: Path) -> tuple[Path, Path]:
    """The sdist, and a wheel made of what is in it, so that nothing else of this checkout gets in."""
    _hatchling("sdist", REPOSITORY, folder)
    (sdist,) = folder.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        archive.extractall(folder / "source", filter="data")
    (source,) = (folder / "source").iterdir()
    _hatchling("wheel", source, folder)
    (wheel,) = folder.glob("*.whl")
    return sdist, wheel


def _hatchling(what: str, source: Path, folder: Path) -> None:
    command = [sys.executable, "-m", "hatchling", "build", "--target", what, "--directory", str(folder)]
    run = subprocess.run(
        command, cwd=source, env=os.environ | {"INTERNIMAGE_NATIVE": "0"}, capture_output=True, text=True
    )
    if run.returncode:
        raise WheelError(f"hatchling wrote no {what}: {(run.stdout + run.stderr).strip()}")


def _for_platform(description: str, tag: str) -> str:
    description = description.replace("Root-Is-Purelib: true", "Root-Is-Purelib: false")
    return description.replace("Tag: py3-none-any", f"Tag: py3-none-{tag}")


def _oldest_system(tag: str) -> tuple[int, int]:
    version = re.search(r"_(\d+)_(\d+)_", tag)
    return (int(version[1]), int(version[2])) if version else (0, 0)


def _record(name: str, data: bytes) -> tuple[str, str, str]:
    digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode("ascii")
    return name, f"sha256={digest}", str(len(data))


def _check_record(wheel: str, files: Mapping[str, bytes]) -> None:
    (own,) = [name for name in files if name.endswith(".dist-info/RECORD")]
    rows = {row[0]: tuple(row) for row in csv.reader(io.StringIO(files[own].decode("utf-8")))}
    true = {name: _record(name, data) for name, data in files.items() if name != own}
    if rows != true | {own: (own, "", "")}:
        raise WheelError(f"{wheel} says in its RECORD that other files are in it")


def _kept(path: Path, folder: Path) -> Path:
    kept = folder / path.name
    kept.write_bytes(path.read_bytes())
    return kept


if __name__ == "__main__":
    try:
        sys.exit("\n".join(make_all(Path(sys.argv[1]) if sys.argv[1:] else REPOSITORY / "dist")) or None)
    except WheelError as error:
        sys.exit(str(error))
