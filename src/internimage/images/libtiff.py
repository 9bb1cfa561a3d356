"""Keeping libtiff and what Pillow reads TIFF files with from writing to the terminal."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import logging

from PIL import Image


@functools.cache
def silence_libtiff() -> None:
    """From now on libtiff tells what is odd in a file to nobody; what it cannot read is Pillow's error as before.

    It writes straight to the process's stderr, from any thread.  Nothing has to be redirected: this takes its two
    writers away, in the copy that Pillow uses.  Where that one's functions are hidden, it goes on as it is.
    """
    logging.getLogger("PIL.TiffImagePlugin").addHandler(logging.NullHandler())  # without any it prints
    with contextlib.suppress(OSError, AttributeError, TypeError):
        library = ctypes.CDLL(Image.core.__file__)  # finds the functions of the libraries that it is linked with
        for name in ("TIFFSetWarningHandler", "TIFFSetErrorHandler"):
            function = getattr(library, name)
            function.argtypes, function.restype = [ctypes.c_void_p], ctypes.c_void_p
            function(None)
