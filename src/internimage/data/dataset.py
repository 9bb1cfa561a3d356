"""A data set whose every sample is a function of (seed, epoch, index) alone.

Augmentation draws from a generator seeded for the sample, so a run gives the same batches whatever the number of
worker processes, machines or interruptions.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Generic, Literal, TypeAlias, TypeVar

import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from internimage.data.samples import EvaluationSample, HasFile, Part, with_advice
from internimage.errors import ImageReadError
from internimage.images import ImageSource
from internimage.images.channels import AnyImage

Read: TypeAlias = Callable[[ImageSource], AnyImage]
OnCorrupt = Literal["error", "skip"]
Entry = TypeVar("Entry", bound=HasFile)
Result = TypeVar("Result", covariant=True)


@dataclass(frozen=True)
class SampleKey:
    """Which sample, in which epoch."""

    epoch: int
    index: int


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
            source = ImageSource(str(entry.file), entry.file)
            try:
                picture = self.read(source)
                with _seeded(mix_seed(self.seed, key.epoch, key.index)):
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
        left_out = [str(entry.file) for entry, keep in zip(self.entries, kept, strict=True) if not keep]
        if len(left_out) == len(self.entries):
            raise ImageReadError(f"{self.name}: none of {len(self.entries)} images can be read")
        self.entries = [entry for entry, keep in zip(self.entries, kept, strict=True) if keep]
        return left_out

    def load(self, entry: Entry) -> Result:
        """The sample of one entry, without random numbers of its own.

        Raises:
            ImageReadError: the picture, or what belongs to it, cannot be read.
        """
        source = ImageSource(str(entry.file), entry.file)
        return self.prepare(entry, source, self.read(source), ())

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

    def prepare(
        self, entry: Any, source: ImageSource, picture: AnyImage, unreadable: tuple[str, ...]
    ) -> EvaluationSample:
        return EvaluationSample(entry, source, self.picture(picture), self.data.measured(entry, picture.size))


class EpochSampler(Sampler[SampleKey]):
    """All samples once an epoch, in an order that depends on (seed, epoch) alone; the same on every process.

    With ``rank`` and ``world``, every ``world``-th of them, starting at ``rank``: each sample is seen by one process,
    and the batches that the processes take at the same time make up the batch that one process would take.

    Args:
        length: samples of the data set.
        seed: of the order.
        shuffle: take them in random order.
        rank, world: which of how many processes this is.
        share: samples that each process takes; None for all there are.  Beyond the end it starts over.

    ``epoch`` and ``skip``, the samples to leave out at the start, may be set before each epoch.
    """

    def __init__(
        self, length: int, seed: int, *, shuffle: bool, rank: int = 0, world: int = 1, share: int | None = None
    ) -> None:
        self.length = length
        self.seed = seed
        self.shuffle = shuffle
        self.rank = rank
        self.world = world
        self.share = len(range(rank, length, world)) if share is None else share
        self.epoch = 0
        self.skip = 0

    def __len__(self) -> int:
        """Samples in a whole epoch."""
        return self.share

    def __iter__(self) -> Iterator[SampleKey]:
        order = torch.arange(self.length)
        if self.shuffle:
            generator = torch.Generator().manual_seed(mix_seed(self.seed, self.epoch, 0))
            order = torch.randperm(self.length, generator=generator)
        numbers = torch.arange(self.skip, self.share) * self.world + self.rank
        return (SampleKey(self.epoch, int(index)) for index in order[numbers % self.length])


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


def mix_seed(seed: int, epoch: int, index: int) -> int:
    """A 63-bit seed from three numbers (splitmix64 steps): neighbours give unrelated generators."""
    state = 0
    for value in (seed, epoch, index):
        state = (state ^ value) + 0x9E3779B97F4A7C15 & 0xFFFFFFFFFFFFFFFF
        state = (state ^ (state >> 30)) * 0xBF58476D1CE4E5B9 & 0xFFFFFFFFFFFFFFFF
        state = (state ^ (state >> 27)) * 0x94D049BB133111EB & 0xFFFFFFFFFFFFFFFF
        state ^= state >> 31
    return state >> 1
