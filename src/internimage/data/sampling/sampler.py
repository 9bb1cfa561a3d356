"""Which samples each process takes, in an order that depends on (seed, epoch) alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate

import torch
from torch import Tensor
from torch.utils.data import Sampler

from internimage.data.sampling.orders import EachOnce, Order


@dataclass(frozen=True)
class SampleKey:
    """Which sample, in which epoch; ``turn`` counts how often the epoch took it before, each time varied anew."""

    epoch: int
    index: int
    turn: int = 0


class EpochSampler(Sampler[SampleKey]):
    """The samples of an epoch, in an order that depends on (seed, epoch) alone; the same on every process.

    With ``rank`` and ``world``, every ``world``-th of them, starting at ``rank``: each sample is seen by one process,
    and the batches that the processes take at the same time make up the batch that one process would take.

    Args:
        images: of the data set, each once an epoch; or which of them an epoch takes.
        seed: of the order.
        shuffle: take them in random order, or as they are.
        rank, world: which of how many processes this is.
        share: samples that each process takes; None for all there are.  Beyond the end it starts over.

    ``epoch`` and ``skip``, the samples to leave out at the start, may be set before each epoch.
    """

    def __init__(
        self, images: int | Order, seed: int, *, shuffle: bool, rank: int = 0, world: int = 1, share: int | None = None
    ) -> None:
        self.order = EachOnce(images) if isinstance(images, int) else images
        self.length = self.order.length
        self.seed = seed
        self.shuffle = shuffle
        self.rank = rank
        self.world = world
        self.share = len(range(rank, self.length, world)) if share is None else share
        self.epoch = 0
        self.skip = 0

    def __len__(self) -> int:
        """Samples in a whole epoch."""
        return self.share

    def __iter__(self) -> Iterator[SampleKey]:
        order = torch.arange(self.length)
        if self.shuffle:
            generator = torch.Generator().manual_seed(mix_seed(self.seed, self.epoch, 0))
            order = self.order.draw(generator)
        numbers = (torch.arange(self.skip, self.share) * self.world + self.rank) % self.length
        taken = zip(order[numbers].tolist(), _turns(order)[numbers].tolist(), strict=True)
        return (SampleKey(self.epoch, index, turn) for index, turn in taken)


class SequenceSampler(Sampler[SampleKey]):
    """The samples of whole sequences in their order, each sequence seen by one process.

    Args:
        lengths: samples of each sequence, which follow one another in the data.
        rank, world: which of how many processes this is.
    """

    def __init__(self, lengths: Sequence[int], *, rank: int = 0, world: int = 1) -> None:
        shares = [0] * world
        starts = list(accumulate(lengths, initial=0))
        self.numbers: list[int] = []
        for start, length in zip(starts, lengths, strict=False):
            taker = shares.index(min(shares))  # as many samples for each as there can be
            shares[taker] += length
            if taker == rank:
                self.numbers += range(start, start + length)

    def __len__(self) -> int:
        return len(self.numbers)

    def __iter__(self) -> Iterator[SampleKey]:
        return (SampleKey(0, number) for number in self.numbers)


def _turns(order: Tensor) -> Tensor:
    """How often each number stands before in (n,) numbers."""
    ordered, places = order.sort(stable=True)
    first = torch.searchsorted(ordered, ordered)
    turns = torch.empty_like(order)
    turns[places] = torch.arange(len(order)) - first
    return turns


def mix_seed(seed: int, epoch: int, index: int) -> int:
    """A 63-bit seed from three numbers (splitmix64 steps): neighbours give unrelated generators."""
    state = 0
    for value in (seed, epoch, index):
        state = (state ^ value) + 0x9E3779B97F4A7C15 & 0xFFFFFFFFFFFFFFFF
        state = (state ^ (state >> 30)) * 0xBF58476D1CE4E5B9 & 0xFFFFFFFFFFFFFFFF
        state = (state ^ (state >> 27)) * 0x94D049BB133111EB & 0xFFFFFFFFFFFFFFFF
        state ^= state >> 31
    return state >> 1
