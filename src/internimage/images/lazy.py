"""Pictures that are not there yet: file objects, frames of videos, pages of files."""

from __future__ import annotations

from abc import ABC, abstractmethod
from fractions import Fraction
from typing import TYPE_CHECKING, NamedTuple, Protocol, runtime_checkable

from internimage.errors import ImageReadError

if TYPE_CHECKING:
    from PIL import Image

    from internimage.images.reader import ImageSource

FILE_MAX_BYTES = 2**30  # more than any picture under Pillow's limit
_CHUNK = 2**20


@runtime_checkable
class BinaryFile(Protocol):
    """What gives bytes: ``open(path, "rb")``, ``io.BytesIO``, an upload, a pipe."""

    def read(self, size: int = -1, /) -> bytes: ...


class Frame(NamedTuple):
    """Which frame of a video or page of a file a picture is.

    Attributes:
        file: the video or file.
        number: of a frame counted from 0, of a page from 1.
        time: of a frame, in seconds after the first one; None for pages.
        rate: of a video, frames a second on average; None where it does not say.
    """

    file: ImageSource
    number: int
    time: float | None = None
    rate: Fraction | None = None


class LazyPicture(ABC):
    """A picture that is made when it is read."""

    @abstractmethod
    def load(self) -> Image.Image:
        """The picture, of any mode and size.

        Raises:
            ImageReadError: there is none.  The message does not say the name.
        """


class Unreadable(LazyPicture):
    """What could not be read, among others that can: reading it is what fails."""

    def __init__(self, error: ImageReadError) -> None:
        self.error = error

    def load(self) -> Image.Image:
        raise ImageReadError(str(self.error)) from self.error.__cause__


def read_whole(file: BinaryFile) -> bytes:
    """A file object from its current position to its end; it stays open, at its end.

    Raises:
        ImageReadError: there is nothing left, more than 1 GB, or it gives no bytes.
    """
    chunks: list[bytes] = []
    size = 0
    while chunk := _chunk(file):
        chunks.append(chunk)
        size += len(chunk)
        if size > FILE_MAX_BYTES:
            raise ImageReadError(f"too large, more than {FILE_MAX_BYTES >> 20} MB")
    if not chunks:
        raise ImageReadError("the file object has nothing left to read at its position; seek(0) goes to its beginning")
    return b"".join(chunks)


def _chunk(file: BinaryFile) -> bytes:
    try:
        chunk: object = file.read(_CHUNK)
    except Exception as error:  # whatever such an object is
        raise ImageReadError(f"the file object cannot be read, {error or type(error).__name__}") from error
    if not isinstance(chunk, bytes):
        raise ImageReadError(
            f"read() of the file object gives {type(chunk).__name__}, expected bytes: open files with 'rb', of an "
            "UploadFile pass its .file"
        )
    return chunk
