"""A detector of ours in a plain LightningModule learns as it does in a plain loop."""

import copy
from pathlib import Path
from typing import Any

import lightning
import pytest
import torch
from helpers.detectors import SMALL_MASK
from torch import Tensor, nn

import internimage as ii
from internimage.structures.detection import DetectionTarget

SIZES = [(64, 96), (64, 80)]


def batches() -> list[Any]:
    generator = torch.Generator().manual_seed(0)
    found = []
    for _ in range(3):
        images = torch.randn(2, 3, 64, 96, generator=generator)
        corners = 10 + 20 * torch.rand(2, 2, generator=generator)
        boxes = torch.cat((corners, corners + 30), 1)
        masks = torch.ones(1, 64, 96, dtype=torch.bool)
        targets = [DetectionTarget(box[None], torch.tensor([1]), masks) for box in boxes]
        found.append((images, SIZES, targets))
    return found


class Detector(lightning.LightningModule):
    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def training_step(self, batch: Any, _: int) -> Tensor:
        losses: dict[str, Tensor] = self.model.losses(*batch)  # type: ignore[operator]
        self.log_dict(losses, batch_size=len(batch[0]))
        return torch.stack(list(losses.values())).sum()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=1e-3)


@pytest.mark.filterwarnings("ignore")
def test_a_lightning_module_learns_like_a_loop(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = ii.create_model(SMALL_MASK).train()
    twin, start = copy.deepcopy(model), copy.deepcopy(model)
    torch.manual_seed(1)
    optimizer = torch.optim.SGD(twin.parameters(), lr=1e-3)
    for batch in batches():
        optimizer.zero_grad()
        torch.stack(list(twin.losses(*batch).values())).sum().backward()  # type: ignore[operator]
        optimizer.step()
    torch.manual_seed(1)
    trainer = lightning.Trainer(
        max_epochs=1,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=tmp_path,
    )
    trainer.fit(Detector(model), torch.utils.data.DataLoader(batches(), batch_size=None))
    assert set(trainer.logged_metrics) == set(model.losses(*batches()[0]))  # type: ignore[operator]
    ours, theirs, before = (
        torch.cat([parameter.detach().flatten() for parameter in one.parameters()]) for one in (model, twin, start)
    )
    assert (ours - theirs).norm() < 1e-3 * (theirs - before).norm()
