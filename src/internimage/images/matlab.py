"""Pictures and masks inside MATLAB files: where one lies, and its pixels.

Files of version 7.3 are HDF5, which h5py reads; those before it are read by SciPy.
Formats: https://www.mathworks.com/help/matlab/import_export/mat-file-versions.html.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from internimage.errors import ImageReadError, MissingExtraError
from internimage.images.decoding import refuse_size

_HDF5 = b"\x89HDF\r\n\x1a\n"
_NUMBERS = "buif"  # kinds of NumPy's types
_HEADER = 512  # bytes that MATLAB writes before HDF5's own


@dataclass(frozen=True, slots=True, order=True)
class MatlabArray:
    """A picture or mask that is a variable of a MATLAB file, or one of the many that are stacked in it.

    It holds no handle, as :class:`internimage.images.members.ArchiveMember` does not.

    Attributes:
        file: the MATLAB file.
        variable: its name there: (H, W), (H, W, 3), or with the number of the picture as one more axis.
        index: which of the stacked pictures it is, from 0; None where the variable is one picture.
        size: bytes that the pixels of a picture take up; 0 for masks.
    """

    file: Path
    variable: str
    index: int | None = None
    size: int = 0

    @property
    def name(self) -> str:
        """``images/0001.ppm``: what it is called inside of the file, counted from 1, and can be written as."""
        number = "" if self.index is None else f"/{self.index + 1:04d}"
        return f"{self.variable}{number}{'.ppm' if self.size else ''}"

    def __str__(self) -> str:
        return f"{self.file}/{self.name}"

    def read(self) -> np.ndarray[Any, Any]:
        """The pixels, (H, W) or (H, W, 3).

        Raises:
            ImageReadError: the file is missing or broken, or has no such variable.  The message does not say the name.
            MissingExtraError: the package that reads such files is not installed.
        """
        return read_variable(self.file, self.variable, self.index)

    def read_bytes(self) -> bytes:
        """The picture as the file of a PPM, which holds the same pixels.

        Raises:
            ImageReadError: see :meth:`read`; or it has no three channels of 8 bits.
        """
        pixels = self.read()
        if pixels.ndim != 3 or pixels.shape[2] != 3 or pixels.dtype != np.uint8:
            raise ImageReadError(f"pixels {pixels.shape} of {pixels.dtype}; expected red, green and blue of 8 bits")
        return b"P6 %d %d 255\n" % (pixels.shape[1], pixels.shape[0]) + pixels.tobytes()


def read_variable(file: Path, variable: str, index: int | None = None) -> np.ndarray[Any, Any]:
    """Numbers of a MATLAB file with the axes as MATLAB has them; with ``index``, one entry of the last axis.

    Raises:
        ImageReadError: the file is missing or broken, or has no such variable.  The message does not say the name.
        MissingExtraError: the package that reads such files is not installed.
    """
    return _read_hdf5(file, variable, index) if _is_hdf5(file) else _read_old(file, variable, index)


def variable_shape(file: Path, variable: str) -> tuple[int, ...]:
    """The shape of a variable, as MATLAB has it, from a look at the file.

    Raises:
        ImageReadError: see :func:`read_variable`.
        MissingExtraError: the package that reads such files is not installed.
    """
    if not _is_hdf5(file):
        return _read_old(file, variable, None).shape
    with _opened(file) as content:
        return tuple(reversed(_dataset(content, variable).shape))


def _is_hdf5(file: Path) -> bool:
    try:
        with file.open("rb") as opened:
            start = opened.read(_HEADER + len(_HDF5))
    except FileNotFoundError:
        raise ImageReadError("no such file") from None
    except OSError as error:
        raise ImageReadError(f"cannot be read, {error.strerror or error}") from error
    return start.startswith(_HDF5) or start[_HEADER:] == _HDF5


def _read_hdf5(file: Path, variable: str, index: int | None) -> np.ndarray[Any, Any]:
    with _opened(file) as content:
        found = _dataset(content, variable)
        if index is not None:
            if found.ndim < 3 or not 0 <= index < found.shape[0]:
                raise ImageReadError(f"{variable} has no entry {index + 1}; it is {found.shape[::-1]}")
            refuse_size(found.shape[-2], found.shape[-1])
        try:
            numbers = found[index] if index is not None else found[()]
        except OSError as error:  # a damaged chunk
            raise ImageReadError(f"cannot be read, {error}") from error
        return np.asarray(numbers).T  # HDF5 says MATLAB's axes in reverse


def _opened(file: Path) -> Any:
    try:
        return _h5py(file).File(file, "r")
    except OSError as error:
        raise ImageReadError(f"cannot be read, {error}") from error


def _dataset(content: Any, variable: str) -> Any:
    found = content.get(variable)
    if not isinstance(found, _h5py(content.filename).Dataset) or found.dtype.kind not in _NUMBERS:
        raise ImageReadError(_other_variables(variable, [name for name in content if not name.startswith("#")]))
    return found


def _h5py(file: Path | str) -> Any:
    try:
        import h5py  # type: ignore[import-untyped]
    except ImportError as error:
        raise MissingExtraError(f"{file} is HDF5, which needs h5py: pip install 'internimage[formats]'") from error
    return h5py


def _read_old(file: Path, variable: str, index: int | None) -> np.ndarray[Any, Any]:
    try:
        from scipy.io import loadmat, whosmat  # type: ignore[import-untyped]
    except ImportError as error:
        raise MissingExtraError(f"{file} needs SciPy: pip install 'internimage[formats]'") from error
    try:
        found = loadmat(file, variable_names=[variable]).get(variable)
        others = [name for name, *_ in whosmat(file)] if found is None else []
    except Exception as error:  # on broken files SciPy raises about any type there is
        raise ImageReadError(f"cannot be read, {error or type(error).__name__}") from error
    if not isinstance(found, np.ndarray) or found.dtype.kind not in _NUMBERS:
        raise ImageReadError(_other_variables(variable, others))
    if index is not None and not 0 <= index < found.shape[-1]:
        raise ImageReadError(f"{variable} has no entry {index + 1}; it is {found.shape}")
    return found if index is None else found[..., index]


def _other_variables(variable: str, others: list[str]) -> str:
    return f"it has no numbers called {variable}" + (f", but {', '.join(others[:8])}" if others else "")
