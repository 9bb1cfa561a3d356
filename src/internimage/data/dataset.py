"""A data set whose every sample is a function of (seed, epoch, index) alone.

Augmentation draws from a generator seeded for the sample, so a run gives the same batches whatever the number of
worker processes, machines or interruptions.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import groupby
from typing import Any, Generic, Literal, TypeAlias, TypeVar

import torch
from torch.utils.data import DataLoader, Dataset

from internimage.data.samples import EvaluationSample, HasFile, Part, with_advice
from internimage.data.sampling.sampler import SampleKey, mix_seed
from internimage.errors import ImageReadError
from internimage.images import ImageSource
from internimage.images.channels import AnyImage

Read: TypeAlias = Callable[[ImageSource], AnyImage]
OnCorrupt = Literal["error", "skip"]
Entry = TypeVar("Entry", bound=HasFile)
Result = TypeVar("Result", covariant=True)


class PictureDataset(Dataset[Result], Generic[Entry, Result]):
    """Reads pictures and makes samples of them, indexed by :class:`SampleKey`.

    Args:
        name: of the data, for messages.
        entries: the files, with all that is known of each.
        seed: of the random numbers that :meth:`prepare` draws from PyTorch's global generator.
        on_corrupt: "error" raises the reader's :class:`ImageReadError`; "skip" takes the next readable sample
            instead and names the unreadable file in the sample.
        read: a picture as :meth:`prepare` takes it, RGB by default.
    """

    def __init__(
        self, name: str, entries: Sequence[Entry], seed: int, on_corrupt: OnCorrupt, read: Read = ImageSource.read
    ) -> None:
        self.name = name
        self.entries = entries
        self.read = read
        self.seed = seed
        self.on_corrupt = on_corrupt

    def __len__(self) -> int:
        return len(self.entries)

    def __getitem__(self, key: SampleKey) -> Result:
        unreadable: list[str] = []
        for step in range(len(self.entries)):
            entry = self.entries[(key.index + step) % len(self.entries)]
            source = self.source(entry)
            try:
                picture = self.read(source)
                with _seeded(mix_seed(self.seed, key.epoch, key.index + key.turn * len(self.entries))):
                    return self.prepare(entry, source, picture, tuple(unreadable))
            except ImageReadError as error:
                if self.on_corrupt == "error":
                    raise with_advice(error) from None
                unreadable.append(source.name)
        raise ImageReadError(f"{self.name}: none of {len(self.entries)} images can be read")

    def leave_out_unreadable(self) -> list[str]:
        """Read everything once, and go on without what cannot be read; the names of those files.

        In evaluation another sample must not stand in, because it would count twice.
        """

        def readable(index: int) -> bool:
            try:
                self.load(self.entries[index])
            except ImageReadError:
                return False
            return True

        with ThreadPoolExecutor() as pool:
            kept = list(pool.map(readable, range(len(self.entries))))
        left_out = [self.source(entry).name for entry, keep in zip(self.entries, kept, strict=True) if not keep]
        if len(left_out) == len(self.entries):
            raise ImageReadError(f"{self.name}: none of {len(self.entries)} images can be read")
        self.entries = [entry for entry, keep in zip(self.entries, kept, strict=True) if keep]
        return left_out

    def load(self, entry: Entry) -> Result:
        """The sample of one entry, without random numbers of its own.

        Raises:
            ImageReadError: the picture, or what belongs to it, cannot be read.
        """
        source = self.source(entry)
        return self.prepare(entry, source, self.read(source), ())

    def source(self, entry: Entry) -> ImageSource:
        """What of an entry is read."""
        return ImageSource(str(entry.file), entry.file)

    def prepare(self, entry: Entry, source: ImageSource, picture: AnyImage, unreadable: tuple[str, ...]) -> Result:
        """The sample of a picture that stands in for the ``unreadable`` ones before it."""
        raise NotImplementedError


class EvaluationDataset(PictureDataset[Any, EvaluationSample]):
    """Images prepared as for prediction, with what they are measured by.

    Args:
        data: a part of a data set.
        prepare: a picture to what the model's pipeline takes.
        on_corrupt, read: see :class:`PictureDataset`.
    """

    def __init__(
        self,
        data: Part,
        prepare: Callable[[AnyImage], Any],
        on_corrupt: OnCorrupt = "error",
        read: Read = ImageSource.read,
    ) -> None:
        super().__init__(data.name, data.entries, 0, on_corrupt, read)
        self.data = data
        self.picture = prepare

    def source(self, entry: Any) -> ImageSource:
        return self.data.source(entry)

    @property
    def sequences(self) -> list[int] | None:
        """Lengths of the sequences that the entries make up, see :meth:`Part.sequence_of`; None for single pictures."""
        if not self.entries or self.data.sequence_of(self.entries[0]) is None:
            return None
        return [len(list(group)) for _, group in groupby(self.entries, self.data.sequence_of)]

    def prepare(
        self, entry: Any, source: ImageSource, picture: AnyImage, unreadable: tuple[str, ...]
    ) -> EvaluationSample:
        return EvaluationSample(entry, source, self.picture(picture), self.data.measured(entry, picture.size))


def batches(loader: DataLoader[Result]) -> Generator[Result, None, None]:
    """The batches of a loader; an image that a worker process cannot read is the same error as in this process."""
    try:
        yield from loader
    except ImageReadError as error:
        # PyTorch puts the worker's traceback into the message, whose last line is "module.ImageReadError: message"
        text = str(error).rstrip()
        raise ImageReadError(re.sub(r"(?s).*\n[\w.]+ImageReadError: ", "", text)) from None


def end_workers(*loaders: DataLoader[Any]) -> None:
    """Stop the processes of loaders that keep them from epoch to epoch; no iterator of them may be in use.

    The garbage collector would wait for them, five seconds each, at any later moment.
    """
    for loader in loaders:
        loader._iterator = None  # there is no public way


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """PyTorch's generator at ``seed``, and afterwards where it was."""
    # the generator alone: torch.manual_seed sees to every kind of device, in a tenth of the time that a photo takes
    state = torch.random.get_rng_state()
    torch.default_generator.manual_seed(seed)
    try:
        yield
    finally:
        torch.random.set_rng_state(state)
