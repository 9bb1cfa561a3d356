"""Uni-Perceiver v2 by two processes, for test_uniperceiver_v2.py: started by torchrun, it tells how far they are from
one, as JSON."""

import copy
import json
import sys
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from helpers.generalists import TEXTS, generalist, pictures
from internimage.multimodal.sequences.targets import Sentences, WordTargets
from internimage.settings.training import TrainingConfig
from internimage.text.clip import END
from internimage.training.distributed import distribute
from internimage.training.optimiser.balanced import TaskBalancedAdamW
from internimage.training.processes import leave_processes, make_accelerator

WORDS = [*TEXTS, [321, 322, END]]


def optimizer(model: nn.Module) -> torch.optim.Optimizer:
    return TaskBalancedAdamW(model.parameters(), [1.0])


def whole(tensor: Any) -> Tensor:
    return tensor.full_tensor() if hasattr(tensor, "full_tensor") else tensor


def main(target: Path) -> None:
    torch.set_num_threads(1)
    start = generalist().float()
    start.eval()  # no noise of gates, which each process draws for itself
    images = pictures(4).float()
    alone = copy.deepcopy(start)
    loss = alone.losses(images, WordTargets(pairs=Sentences(WORDS)))["pairs"]
    loss.backward()
    one = TaskBalancedAdamW(alone.parameters(), [1.0])
    norm = one.gradient_norm()
    report = {}
    for strategy in ("ddp", "fsdp"):
        config = TrainingConfig(strategy=strategy, clip_norm=0.0, track="none")  # type: ignore[arg-type]
        accelerator = make_accelerator(config, target.parent, device="cpu")
        spread = distribute(accelerator, copy.deepcopy(start), optimizer, config)
        spread.module.eval()
        own = slice(2 * accelerator.process_index, 2 * accelerator.process_index + 2)
        found = spread.module(images[own], WordTargets(pairs=Sentences(WORDS[own])))["pairs"]
        spread.backward(found)
        model = spread.module.module.model if strategy == "ddp" else spread.module.model
        wanted = dict(alone.named_parameters())
        off = 0.0
        for name, parameter in model.named_parameters():
            if parameter.grad is not None and wanted[name].grad is not None:
                grad, true = whole(parameter.grad), wanted[name].grad.reshape(parameter.shape)
                off = max(off, float((grad - true).abs().max() / norm))
        made = spread.optimizer.optimizer if strategy == "ddp" else spread.optimizer
        report[strategy] = {
            "losses": [float(found), float(loss)],
            "gradient": off,
            "norm": [made.gradient_norm(), norm],
        }
    if accelerator.is_main_process:
        target.write_text(json.dumps(report))
    leave_processes()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
