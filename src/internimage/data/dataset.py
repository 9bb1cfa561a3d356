"""A data set whose every sample is a function of (seed, epoch, index) alone.

Augmentation draws from a generator seeded for the sample, so a run gives the same batches whatever the number of
worker processes, machines or interruptions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from internimage.data.samples import LabelledImages, TimeAndPlace
from internimage.errors import ImageReadError
from internimage.images import ImageSource

OnCorrupt = Literal["error", "skip"]


@dataclass(frozen=True)
class SampleKey:
    """Which sample, in which epoch."""

    epoch: int
    index: int


@dataclass(frozen=True)
class Sample:
    """One labelled image, ready for a batch.

    Attributes:
        image: (3, H, W) float32, normalised.
        label: class number.
        source: the file.
        unreadable: files that could not be read and that this sample stands in for.
        taken: when and where, if the data tells.
    """

    image: Tensor
    label: int
    source: ImageSource
    unreadable: tuple[str, ...] = ()
    taken: TimeAndPlace | None = None


class ImageDataset(Dataset[Sample]):
    """Reads, transforms and labels images.

    Args:
        data: the files.
        transform: a picture (RGB) to a tensor (3, H, W).
        seed: of the random numbers that ``transform`` draws from PyTorch's global generator.
        on_corrupt: "error" raises the reader's :class:`ImageReadError`; "skip" takes the next readable sample
            instead and names the unreadable file in ``Sample.unreadable``.
    """

    def __init__(
        self,
        data: LabelledImages,
        transform: Callable[[Image.Image], Tensor],
        seed: int = 0,
        on_corrupt: OnCorrupt = "error",
    ) -> None:
        self.data = data
        self.transform = transform
        self.seed = seed
        self.on_corrupt = on_corrupt

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, key: SampleKey) -> Sample:
        unreadable: list[str] = []
        for step in range(len(self.data)):
            file, label, taken = self.data.samples[(key.index + step) % len(self.data)]
            source = ImageSource(str(file), file)
            try:
                image = self._prepare(source, key)
            except ImageReadError as error:
                if self.on_corrupt == "error":
                    raise ImageReadError(f"{error} (--on-corrupt skip leaves such files out)") from None
                unreadable.append(source.name)
                continue
            return Sample(image, label, source, tuple(unreadable), taken)
        raise ImageReadError(f"{self.data.name}: none of {len(self.data)} images can be read")

    def _prepare(self, source: ImageSource, key: SampleKey) -> Tensor:
        picture = source.read()
        # the generator alone: torch.manual_seed sees to every kind of device, in a tenth of the time that a photo takes
        state = torch.random.get_rng_state()
        torch.default_generator.manual_seed(mix_seed(self.seed, key.epoch, key.index))
        try:
            return self.transform(picture)
        finally:
            torch.random.set_rng_state(state)


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


def mix_seed(seed: int, epoch: int, index: int) -> int:
    """A 63-bit seed from three numbers (splitmix64 steps): neighbours give unrelated generators."""
    state = 0
    for value in (seed, epoch, index):
        state = (state ^ value) + 0x9E3779B97F4A7C15 & 0xFFFFFFFFFFFFFFFF
        state = (state ^ (state >> 30)) * 0xBF58476D1CE4E5B9 & 0xFFFFFFFFFFFFFFFF
        state = (state ^ (state >> 27)) * 0x94D049BB133111EB & 0xFFFFFFFFFFFFFFFF
        state ^= state >> 31
    return state >> 1
