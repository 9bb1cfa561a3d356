"""Every error that this package raises on purpose.

Each message names the thing that is wrong, what was expected and what to do about it.  All of them derive
from :class:`InternImageError`, so ``except internimage.errors.InternImageError`` catches what a user can mend
and lets programming errors through.  The command line prints the message alone, without a stack trace.
"""

from __future__ import annotations

from collections.abc import Mapping


class InternImageError(Exception):
    """Base class of the package's errors."""


class ConfigError(InternImageError, ValueError):
    """An architecture was described with values that do not fit together."""


class OperatorError(InternImageError, ValueError):
    """An operator received tensors or geometry that contradict each other."""


class InputSizeError(InternImageError, ValueError):
    """A model received images of a shape, size or type that it cannot process."""


class UnknownModelError(InternImageError, KeyError):
    """No recipe has this name."""

    def __str__(self) -> str:  # KeyError would print the message in quotes
        return str(self.args[0])


class FileWriteError(InternImageError):
    """A file cannot be written.  What was there before is intact."""


class NonFiniteError(InternImageError, ArithmeticError):
    """A model's weights or outputs are NaN or infinite."""


class CheckpointError(InternImageError):
    """A checkpoint cannot be used.  The subclasses say why."""


class CheckpointReadError(CheckpointError):
    """The file is missing, empty, truncated or not a checkpoint."""


class UnsafeCheckpointError(CheckpointError):
    """The file asks to run code or to build objects that are not weights.  Nothing of it was executed."""


class CheckpointMismatchError(CheckpointError):
    """The tensors of the checkpoint are not the tensors of the model."""


class CheckpointWriteError(CheckpointError, FileWriteError):
    """A file of a model or a run cannot be written.  What was there before is intact."""


class DownloadError(CheckpointError):
    """Released weights could not be fetched."""


class ImageReadError(InternImageError, ValueError):
    """An image cannot be read, or is not safe to read."""


class ChannelsError(ImageReadError):
    """A picture has another number of channels than the model takes."""


class ExportError(InternImageError):
    """A model cannot be exported, or an exported file cannot be read or run, or does not agree with its model."""


class MissingExtraError(InternImageError, ImportError):
    """A feature needs a package that is not installed."""


class DataError(InternImageError, ValueError):
    """A data set is missing, empty or contradicts itself."""


class TrainingError(InternImageError):
    """A training run cannot start or cannot go on.  What was saved before is intact."""


class ReaderKilledError(TrainingError):
    """A process that reads images for a training run was killed."""


class RequestError(InternImageError):
    """A request to a server is answered with an error.

    Attributes:
        status: of HTTP.
        code: one word for programs.
        headers: of HTTP, beside the usual ones.
    """

    def __init__(self, status: int, code: str, message: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.status, self.code, self.headers = status, code, dict(headers or {})


class InterruptedRunError(TrainingError):
    """A training run was stopped by a signal, after its state was saved.

    Attributes:
        number: of the signal.
    """

    def __init__(self, message: str, number: int) -> None:
        super().__init__(message, number)
        self.number = number

    def __str__(self) -> str:
        return str(self.args[0])
