"""M3I by two processes, for test_m3i.py: started by torchrun, it tells how far they are from one, as JSON."""

import copy
import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import internimage as ii
from helpers.pretraining import SMALL, WHOLE, told, views_of
from helpers.training import Silent
from internimage.multimodal.models.m3i import M3I, ViewTargets
from internimage.settings.training import TrainingConfig
from internimage.training.distributed import distribute
from internimage.training.processes import leave_processes, make_accelerator

CONFIG = TrainingConfig(clip_norm=0.0)
EACH = 3
RUN = TrainingConfig(
    track="none",
    epochs=2,
    batch_size=4,
    workers=0,
    lr=2e-3,
    drop_path=0.0,
    precision="bf16",
    gradient_checkpointing=True,
)


def part(targets: ViewTargets, rank: int) -> ViewTargets:
    """What one of two processes has of a batch."""
    own = slice(EACH * rank, EACH * rank + EACH)
    names = ("cells", "others", "placement", "labels", "texts", "text_keys")
    return replace(targets, partners=targets.partners[:EACH], **{name: getattr(targets, name)[own] for name in names})


def optimizer(model: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.SGD([one for one in model.parameters() if one.requires_grad], lr=0.1)


def whole(tensor: Any) -> Tensor:
    return tensor.full_tensor() if hasattr(tensor, "full_tensor") else tensor


def off(found: Tensor, expected: Tensor) -> float:
    return float((found - expected).abs().max() / expected.abs().max().clamp(min=1e-2))


def main(target: Path, data: Path) -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    start = M3I(SMALL).train()
    images, targets = views_of(2 * EACH, start.cell)
    targets = told(replace(targets, partners=torch.tensor([1, 2, 0, 4, 5, 3])))
    alone = copy.deepcopy(start)  # before there is any other process
    expected = alone.losses(images, targets)
    torch.stack(list(expected.values())).sum().backward()
    wanted = {name: one.grad for name, one in alone.named_parameters() if one.grad is not None}
    optimizer(alone).step()
    alone.after_update(0.5)
    report = {}
    for strategy in ("ddp", "fsdp"):
        config = replace(CONFIG, strategy=strategy)
        accelerator = make_accelerator(config, target.parent, device="cpu")
        assert accelerator.num_processes == 2
        model = copy.deepcopy(start)
        together = distribute(accelerator, model, optimizer, config)
        rank = accelerator.process_index
        found = together.module(images[EACH * rank : EACH * rank + EACH], part(targets, rank))
        together.backward(torch.stack(list(found.values())).sum())
        gradients = {name: whole(one.grad) for name, one in model.named_parameters() if one.grad is not None}
        assert together.step()
        model.after_update(0.5)
        shared = {name: accelerator.reduce(loss.detach(), "mean").item() for name, loss in found.items()}
        average = {name: whole(one) for name, one in model.averaged.state_dict().items()}
        report[strategy] = {
            "names": sorted(set(wanted) ^ set(gradients)),
            "losses": {name: [shared[name], loss.item()] for name, loss in expected.items()},
            "gradient": max(off(gradients[name], one) for name, one in wanted.items()),
            "average": max(off(average[name], one) for name, one in alone.averaged.state_dict().items()),
        }
        del together, model
        config = replace(RUN, strategy=strategy)
        output = target.parent / strategy
        run = ii.train(data, model=WHOLE, size=64, training=config, output=output, device="cpu", reporter=Silent())
        report[strategy]["history"] = run.history
    if accelerator.is_main_process:
        target.write_text(json.dumps(report))
    leave_processes()


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
