"""Real networks under FSDP2, for test_distributed.py: started by torchrun, it tells what happened as JSON."""

import copy
import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.distributed.fsdp import FSDPModule

from helpers import detectors, segmenters
from internimage.factory import create_model
from internimage.settings.training import TrainingConfig
from internimage.training.distributed import distribute
from internimage.training.processes import leave_processes, make_accelerator

CONFIG = TrainingConfig(strategy="fsdp", clip_norm=0.0)


def inputs(config: Any) -> tuple[Any, ...]:
    images = torch.randn(2, 3, 64, 96, generator=torch.Generator().manual_seed(0))
    if hasattr(config, "detections"):
        truths = [detectors.truth(count, (64, 96)) for count in (2, 3)]
        return images, [(64, 96)] * 2, [replace(one, labels=one.labels % config.num_classes) for one in truths]
    return images, (images[:, 0] > 0).long()


def losses(module: nn.Module, *given: Any) -> dict[str, torch.Tensor]:
    torch.manual_seed(0)  # of denoising, sampled RoIs and points
    found: dict[str, torch.Tensor] = module(*given)
    return found


def deviation(found: torch.Tensor, expected: torch.Tensor) -> float:
    return float((found - expected).detach().abs().max() / expected.detach().abs().max().clamp(min=1))


def optimizer(model: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.SGD(model.parameters())


def main(target: Path) -> None:
    torch.set_num_threads(1)
    accelerator = make_accelerator(CONFIG, target.parent, device="cpu")
    report = {}
    configs = {name: config for name, (config, _) in detectors.CONFIGS.items()} | segmenters.CONFIGS
    for name, config in configs.items():
        torch.manual_seed(0)
        whole: Any = create_model(config).train()
        whole.set_drop_path_rate(0.0)
        given = inputs(config)
        sharded = distribute(accelerator, copy.deepcopy(whole), optimizer, CONFIG)
        expected, found = losses(whole.losses, *given), losses(sharded.module, *given)
        for results in (expected, found):
            torch.stack(list(results.values())).sum().backward()
        gradients = {key: parameter.grad for key, parameter in whole.named_parameters()}
        slices = {key.removeprefix("model."): parameter for key, parameter in sharded.module.named_parameters()}
        off = [deviation(slices[key].grad.full_tensor(), one) for key, one in gradients.items() if one is not None]
        modules = sharded.module.named_modules()
        report[name] = {
            "loss": max(deviation(found[key], value) for key, value in expected.items()),
            "gradient": max(off),
            "divided": [key.removeprefix("model.") for key, module in modules if isinstance(module, FSDPModule)],
        }
    if accelerator.is_main_process:
        target.write_text(json.dumps(report))
    del sharded
    leave_processes()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
