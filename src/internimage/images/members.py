"""Images inside archives: where one lies, and its bytes; and what else holds images that are no files of their own."""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

from internimage.errors import ImageReadError
from internimage.images.matlab import MatlabArray

Packing: TypeAlias = "Literal['tar', 'zip', 'deflated zip']"

_ZIP_HEADER = struct.Struct("<4s2xH6xL8x2H")  # signature, flags, CRC-32, lengths of name and of extra field
_ZIP_SIZES_FOLLOW = 1 << 3  # flag of archives written to a pipe: CRC-32 stands behind the data
_MOST_BYTES = 2**30  # more than any picture under Pillow's limit


@dataclass(frozen=True, slots=True, order=True)
class ArchiveMember:
    """One file inside a tar or zip archive, which stays packed.

    It holds no handle: reading opens the archive, so that threads, worker processes and thousands of archives cannot
    get into each other's way.  Opening costs what opening an image file does.

    Attributes:
        archive: the archive.
        name: path inside of it.
        offset: where the bytes start in a tar, where the member's own header starts in a zip.
        size: bytes that it takes up in the archive.
        packing: how it is stored.
    """

    archive: Path
    name: str
    offset: int
    size: int
    packing: Packing

    def __str__(self) -> str:
        return f"{self.archive}/{self.name}"

    def read_bytes(self) -> bytes:
        """The file, unpacked.

        Raises:
            ImageReadError: the archive is damaged here.  The message does not say the name.
            OSError: the archive cannot be opened.
        """
        with self.archive.open("rb") as file:
            file.seek(self.offset)
            checksum = None
            if self.packing != "tar":
                header = file.read(_ZIP_HEADER.size)
                if len(header) < _ZIP_HEADER.size or not header.startswith(b"PK\3\4"):
                    raise ImageReadError("the archive is damaged, there is no such file where its index says")
                _, flags, checksum, name, extra = _ZIP_HEADER.unpack(header)
                checksum = None if flags & _ZIP_SIZES_FOLLOW else checksum
                file.seek(name + extra, 1)
            data = file.read(self.size)
        if len(data) < self.size:
            raise ImageReadError("the archive is damaged, it ends inside this file")
        if self.packing == "deflated zip":
            data = _inflate(data)
        if checksum is not None and zlib.crc32(data) != checksum:
            raise ImageReadError("the archive is damaged, the checksum of this file is wrong")
        return data


Member: TypeAlias = ArchiveMember | MatlabArray
"""An image inside a file: both have a name, ``size`` and ``read_bytes``."""


def _inflate(data: bytes) -> bytes:
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        unpacked = inflater.decompress(data, _MOST_BYTES)
    except zlib.error as error:
        raise ImageReadError(f"the archive is damaged, {error}") from error
    if not inflater.eof:
        raise ImageReadError(f"the archive is damaged, or this file unpacks to more than {_MOST_BYTES >> 20} MB")
    return unpacked
