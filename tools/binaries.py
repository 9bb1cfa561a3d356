"""What a compiled library is, read from its own headers: system, processor, exported names.

ELF, Mach-O and PE alike, so that a wheel for one machine can be checked on any other.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import NamedTuple


class Library(NamedTuple):
    """What was found out about a library.

    Attributes:
        system: "linux", "macos" or "windows".
        machine: "x86_64" or "aarch64"; what else it says, by its number.
        exported: names that others may call, as in the source.
        needs: the newest version of the system that it asks for: glibc's or macOS'; (0, 0) if of none.
        signed: whether macOS finds a signature, without which it loads nothing on its own processors.
    """

    system: str
    machine: str
    exported: frozenset[str]
    needs: tuple[int, int] = (0, 0)
    signed: bool = False


class UnreadableLibraryError(Exception):
    """It is none of the three formats, or cut short; one sentence."""


def read_library(data: bytes) -> Library:
    """Of a file's bytes; raises :class:`UnreadableLibraryError`."""
    try:
        if data[:6] == b"\x7fELF\x02\x01":
            return _elf(data)
        if data[:4] == b"\xcf\xfa\xed\xfe":
            return _mach(data)
        if data[:2] == b"MZ":
            return _pe(data)
    except (struct.error, ValueError, IndexError) as error:
        raise UnreadableLibraryError(f"a library that is cut short or broken ({error})") from error
    raise UnreadableLibraryError("no library of 64-bit Linux, macOS or Windows")


def _text(data: bytes, at: int) -> str:
    return data[at : data.index(b"\0", at)].decode("utf-8")


def _elf(data: bytes) -> Library:
    number = struct.unpack_from("<H", data, 18)[0]
    (sections_at,) = struct.unpack_from("<Q", data, 40)
    each, count = struct.unpack_from("<HH", data, 58)
    # name, type, flags, address, offset, size, link, info, alignment, size of an entry
    sections = [struct.unpack_from("<IIQQQQIIQQ", data, sections_at + i * each) for i in range(count)]
    exported, versions = set(), [(0, 0)]
    for section in sections:
        kind, offset, size, link, info = section[1], section[4], section[5], section[6], section[7]
        if kind == 11:  # dynamic symbols
            names = sections[link][4]
            for at in range(offset, offset + size, 24):
                name, binding, visibility, where = struct.unpack_from("<IBBH", data, at)
                if where and binding >> 4 and not visibility & 3:
                    exported.add(_text(data, names + name))
        elif kind == 0x6FFFFFFE:  # versions needed
            versions += _glibc(data, offset, info, sections[link][4])
    machine = {62: "x86_64", 183: "aarch64"}.get(number, str(number))
    return Library("linux", machine, frozenset(exported), max(versions))


def _glibc(data: bytes, at: int, files: int, names: int) -> Iterator[tuple[int, int]]:
    """Versions of glibc in a table of needed versions: a list of files, each with a list of its own."""
    for _ in range(files):
        _, count, _, first, following = struct.unpack_from("<HHIII", data, at)
        entry = at + first
        for _ in range(count):
            _, _, _, name, further = struct.unpack_from("<IHHII", data, entry)
            label, _, version = _text(data, names + name).partition("_")
            if label == "GLIBC":
                major, minor = version.split(".")[:2]
                yield int(major), int(minor)
            entry += further
        at += following


def _mach(data: bytes) -> Library:
    number, _, _, commands = struct.unpack_from("<IIII", data, 4)
    exported, needs, signed, at = set(), (0, 0), False, 32
    for _ in range(commands):
        command, size = struct.unpack_from("<II", data, at)
        if command == 2:  # table of symbols
            symbols, count, names, _ = struct.unpack_from("<IIII", data, at + 8)
            for symbol in range(symbols, symbols + 16 * count, 16):
                name, kind, section = struct.unpack_from("<IBB", data, symbol)
                if kind & 1 and not kind & 0xF0 and section:  # external, neither private nor for a debugger
                    exported.add(_text(data, names + name).removeprefix("_"))
        elif command == 0x32:  # built for
            _, oldest = struct.unpack_from("<II", data, at + 8)
            needs = (oldest >> 16, oldest >> 8 & 255)
        signed = signed or command == 0x1D
        at += size
    machine = {0x0100000C: "aarch64", 0x01000007: "x86_64"}.get(number, str(number))
    return Library("macos", machine, frozenset(exported), needs, signed)


def _pe(data: bytes) -> Library:
    (header,) = struct.unpack_from("<I", data, 60)
    if data[header : header + 4] != b"PE\0\0":
        raise ValueError("no PE header")
    number, sections = struct.unpack_from("<HH", data, header + 4)
    (optional,) = struct.unpack_from("<H", data, header + 20)
    (exports,) = struct.unpack_from("<I", data, header + 24 + 112)
    tables = [
        struct.unpack_from("<III", data, header + 24 + optional + 40 * i + 12)  # address, bytes in the file, offset
        for i in range(sections)
    ]

    def place(address: int) -> int:
        return next(offset + address - start for start, size, offset in tables if start <= address < start + size)

    exported = set()
    if exports:
        count, _, names = struct.unpack_from("<III", data, place(exports) + 24)
        for i in range(count):
            (name,) = struct.unpack_from("<I", data, place(names) + 4 * i)
            exported.add(_text(data, place(name)))
    machine = {0x8664: "x86_64", 0xAA64: "aarch64"}.get(number, str(number))
    return Library("windows", machine, frozenset(exported))
