"""How classes of voxels are learnt.  No torch."""

from __future__ import annotations

from dataclasses import dataclass

from internimage.errors import ConfigError


@dataclass(frozen=True)
class VoxelLosses:
    """What voxels teach.

    Attributes:
        seen_only: learn from voxels that a camera sees alone; otherwise from all, of which most are free and nobody can
            know many (as released).
        balance: power of how rare a class is, by which it counts more in the cross-entropy: 0 for all voxels alike, 1
            for all classes alike.  The logits stay those of probabilities: when they did not, with
            0.3, cars were predicted from 7 % on and cones from 2 %.
        most: voxels of each class that are learnt from in a frame, drawn at random in each step, where there are more,
            as there are of free space and of the ground; each counts for those that are not drawn: the same in the
            mean, and much less work.  0 for all.
        lovasz: weight of the Lovasz-softmax loss beside the cross-entropy (Berman et al., CVPR 2018), which stands for
            the intersection over union itself; 0 leaves it out.
        memory: batches before that count in it as much as the one that is learnt, 0 for none.  The intersection over
            union is that of all frames; of a batch of two alone, what is found of a class that they do not show costs
            nothing, and far more voxels of rare classes were found than are true (docs/driving.md).
    """

    seen_only: bool = True
    balance: float = 0.0
    lovasz: float = 0.0
    most: int = 0
    memory: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.balance <= 1:
            raise ConfigError(f"balance is {self.balance}; expected 0 to 1")
        if self.most < 0:
            raise ConfigError(f"most is {self.most}; expected a number of voxels, or 0 for all")
        for name in ("lovasz", "memory"):
            if not getattr(self, name) >= 0:
                raise ConfigError(f"{name} is {getattr(self, name)}; expected 0 or more")
