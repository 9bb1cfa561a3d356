"""How weights, gradients and optimiser state are spread over processes: copied, sharded, or left to DeepSpeed.

Accelerate joins the processes (:mod:`internimage.training.processes`) and runs mixed precision.  Sharding is PyTorch's
``fully_shard`` and ZeRO is DeepSpeed's own engine, both called directly: asked for either on a CPU, Accelerate trains
copies without a word, and code that runs on GPUs alone is code that nobody tests.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any, Protocol

import torch
import torch.distributed as dist
import torch.distributed.nn  # imported later, it would keep the group in the defaults of its functions for ever
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from internimage.backbones.parts import BatchNorm, SyncBatchNorm
from internimage.errors import ConfigError, MissingExtraError
from internimage.models.model import Model

if TYPE_CHECKING:
    from accelerate import Accelerator

    from internimage.settings.training import TrainingConfig

WHOLE = ("ddp", "deepspeed-zero1")
"""Strategies with the whole model on each process."""

MakeOptimizer = Callable[[Model], torch.optim.Optimizer]


class Distribution(Protocol):
    """A model and its optimiser on all processes."""

    module: nn.Module
    """To be called in training: gives the model's losses."""
    optimizer: Any
    """Its ``param_groups`` carry the learning rates."""

    def accumulating(self, last: bool) -> AbstractContextManager[Any]:
        """Around forward and backward; processes exchange gradients in the ``last`` of an update."""

    def backward(self, loss: Tensor) -> None: ...

    def step(self) -> bool:
        """Clip, update, forget the gradients.  False if they were not finite: then nothing was updated."""

    def state(self) -> dict[str, Any]:
        """What this process needs to go on: tensors and plain values.  Empty if another process has it all."""

    def load(self, state: dict[str, Any]) -> None: ...


def distribute(
    accelerator: Accelerator, model: Model, make_optimizer: MakeOptimizer, config: TrainingConfig
) -> Distribution:
    """Spread a model as ``config.strategy`` says; the optimiser is made from the parameters that each process then has.

    BatchNorm takes its statistics over all processes on GPUs; on CPUs, where PyTorch cannot, each takes its own.
    """
    if accelerator.device.type == "cuda" and accelerator.num_processes > 1:
        synchronise_batch_norm(model)
    model = model.to(accelerator.device)
    if config.strategy == "ddp":
        return Copied(accelerator, model, make_optimizer, config)
    model.to(memory_format=torch.contiguous_format)  # neither divides weights that are stored channels last
    numbers_as_vectors(model)
    if config.strategy == "fsdp":
        return Sharded(accelerator, model, make_optimizer, config)
    return DeepSpeed(accelerator, model, make_optimizer, config)


def local_tensors(model: nn.Module) -> dict[str, Tensor]:
    """This process's part of every parameter and buffer, by the names of the state dict; changed in place, they change
    the model.
    """
    return {name: _local(tensor).detach() for name, tensor in model.state_dict(keep_vars=True).items()}


def gathered_weights(model: Model, *, keep: bool) -> dict[str, Tensor]:
    """The whole state dict, in main memory where it had to be put together; empty unless ``keep``.

    Every process has to call this, one tensor at a time being whole on all of them.
    """
    weights = {}
    for name, tensor in model.state_dict(keep_vars=True).items():
        whole = tensor.detach()
        if isinstance(tensor, DTensor):
            whole = whole.full_tensor().cpu()  # type: ignore[attr-defined]
        elif hasattr(tensor, "ds_tensor"):
            import deepspeed

            with deepspeed.zero.GatheredParameters([tensor]):
                whole = tensor.detach().to("cpu", copy=True)
        if keep:
            weights[name] = whole.reshape(()) if name in model.numbers else whole
    return weights


def numbers_as_vectors(model: Model) -> None:
    """Make parameters that are numbers vectors of one, which others than DDP can divide; they are saved as numbers."""
    found = [name for name, parameter in model.named_parameters() if not parameter.dim()]
    for name in found:
        place, _, last = name.rpartition(".")
        module = model.get_submodule(place)
        number = module.get_parameter(last)
        setattr(module, last, nn.Parameter(number.detach().reshape(1), number.requires_grad))
    model.numbers = frozenset(found)


def synchronise_batch_norm(model: nn.Module) -> nn.Module:
    """The model with BatchNorm over all processes: other modules, the same names and numbers."""
    channels_last = [name for name, module in model.named_modules() if isinstance(module, BatchNorm)]
    model = nn.SyncBatchNorm.convert_sync_batchnorm(model)
    for name in channels_last:  # PyTorch's takes maps (N, C, H, W)
        model.get_submodule(name).__class__ = SyncBatchNorm
    return model


def share_buffers(model: nn.Module) -> None:
    """Give every process the main process's buffers (the running statistics of BatchNorm)."""
    if dist.is_initialized():
        for buffer in model.buffers():
            dist.broadcast(buffer, 0)


def _local(tensor: Tensor) -> Tensor:
    if isinstance(tensor, DTensor):
        return tensor.detach().to_local()  # type: ignore[attr-defined]
    return getattr(tensor, "ds_tensor", tensor)


def _finite_norm(model: nn.Module, limit: float) -> bool:
    """Clip the gradient to ``limit`` (0: leave it); whether its norm, the same on all processes, is finite."""
    norm = nn.utils.clip_grad_norm_(model.parameters(), limit or torch.inf)
    return bool((norm.full_tensor() if isinstance(norm, DTensor) else norm).isfinite())


class Losses(nn.Module):
    """A model whose forward pass is its ``losses``: what DDP, compilation and DeepSpeed wrap."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, *arguments: Any, **options: Any) -> dict[str, Tensor]:
        losses: dict[str, Tensor] = self.model.losses(*arguments, **options)  # type: ignore[operator]
        return losses


class Copied:
    """One process, or DistributedDataParallel: everything on each of them, gradients averaged."""

    def __init__(
        self, accelerator: Accelerator, model: Model, make_optimizer: MakeOptimizer, config: TrainingConfig
    ) -> None:
        self.accelerator = accelerator
        self.model = model
        self.clip_norm = config.clip_norm
        self.optimizer = accelerator.prepare_optimizer(make_optimizer(model))
        self.module: nn.Module = Losses(model)
        if accelerator.num_processes > 1:
            devices = [accelerator.device] if accelerator.device.type == "cuda" else None
            self.module = nn.parallel.DistributedDataParallel(
                self.module,
                device_ids=devices,
                gradient_as_bucket_view=True,
                find_unused_parameters=not model.all_learn,
            )

    def accumulating(self, last: bool) -> AbstractContextManager[Any]:
        if last or not isinstance(self.module, nn.parallel.DistributedDataParallel):
            return nullcontext()
        return self.module.no_sync()

    def backward(self, loss: Tensor) -> None:
        self.accelerator.backward(loss)

    def step(self) -> bool:
        self.accelerator.unscale_gradients(self.optimizer)
        finite = _finite_norm(self.model, self.clip_norm)
        if finite or self.accelerator.scaler is not None:  # the scaler leaves the step out itself, and scales down
            self.optimizer.step()
        self.optimizer.zero_grad()
        return finite

    def state(self) -> dict[str, Any]:
        if not self.accelerator.is_main_process:
            return {}
        scaler = self.accelerator.scaler
        return {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scaler": scaler.state_dict() if scaler is not None else None,
        }

    def load(self, state: dict[str, Any]) -> None:
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        if self.accelerator.scaler is not None:
            self.accelerator.scaler.load_state_dict(state["scaler"])


class Sharded:
    """FSDP2: each process keeps a slice of every parameter, gradient and moment; a block is whole while it computes."""

    def __init__(
        self, accelerator: Accelerator, model: Model, make_optimizer: MakeOptimizer, config: TrainingConfig
    ) -> None:
        from torch.distributed.device_mesh import init_device_mesh
        from torch.distributed.fsdp import FSDPModule, fully_shard, register_fsdp_forward_method

        mesh = init_device_mesh(accelerator.device.type, (accelerator.num_processes,))
        for module in model.shardable():
            fully_shard(module, mesh=mesh)
        fully_shard(model, mesh=mesh)
        register_fsdp_forward_method(model, "losses")
        if not all(isinstance(parameter, DTensor) for parameter in model.parameters()):
            raise ConfigError("strategy fsdp left parameters unsharded")
        assert isinstance(model, FSDPModule)
        self.model: Any = model
        self.module: Any = Losses(model)
        self.clip_norm = config.clip_norm
        self.optimizer = make_optimizer(model)

    def accumulating(self, last: bool) -> AbstractContextManager[Any]:
        self.model.set_requires_gradient_sync(last)
        return nullcontext()

    def backward(self, loss: Tensor) -> None:
        loss.backward()

    def step(self) -> bool:
        finite = _finite_norm(self.model, self.clip_norm)
        if finite:
            self.optimizer.step()
        self.optimizer.zero_grad()
        return finite

    def state(self) -> dict[str, Any]:
        content = self.optimizer.state_dict()
        moments = {
            index: {name: _local(value) for name, value in values.items()} for index, values in content["state"].items()
        }
        return {"model": local_tensors(self.model), "optimizer": {**content, "state": moments}}

    @torch.no_grad()
    def load(self, state: dict[str, Any]) -> None:
        for name, part in local_tensors(self.model).items():
            part.copy_(state["model"][name])
        parameters = [p for group in self.optimizer.param_groups for p in group["params"]]
        moments = {}
        for index, values in state["optimizer"]["state"].items():
            whole = parameters[index]
            moments[index] = {
                name: DTensor.from_local(
                    value,
                    whole.device_mesh,
                    whole.placements,
                    run_check=False,
                    shape=whole.shape,
                    stride=whole.stride(),
                )
                if value.ndim
                else value
                for name, value in values.items()
            }
        self.optimizer.load_state_dict({**state["optimizer"], "state": moments})


class DeepSpeed:
    """ZeRO: stage 1 divides the optimiser's state, stage 3 also weights and gradients; both may lie in main memory."""

    def __init__(
        self, accelerator: Accelerator, model: Model, make_optimizer: MakeOptimizer, config: TrainingConfig
    ) -> None:
        try:
            import deepspeed
        except ImportError as error:
            raise MissingExtraError(
                f"strategy {config.strategy} needs DeepSpeed: pip install 'internimage[deepspeed]'"
            ) from error
        backend = "nccl" if accelerator.device.type == "cuda" else "gloo"
        if not dist.is_initialized():  # one process, that nobody launched
            dist.init_process_group(backend, store=dist.HashStore(), rank=0, world_size=1)
            os.environ["LOCAL_RANK"] = "0"  # DeepSpeed looks for it whenever it runs
        deepspeed.init_distributed(dist_backend=backend)
        self.masters = (
            "fp32_partitioned_groups_flat" if "zero3" in config.strategy else "single_partition_of_fp32_groups"
        )
        self.model = model
        self.module, self.optimizer, _, _ = deepspeed.initialize(
            model=Losses(model), optimizer=make_optimizer(model), config=deepspeed_config(config)
        )

    def accumulating(self, last: bool) -> AbstractContextManager[Any]:
        self.module.set_gradient_accumulation_boundary(last)
        return nullcontext()

    def backward(self, loss: Tensor) -> None:
        self.module.backward(loss)

    def step(self) -> bool:
        self.module.step()
        return bool(self.module.was_step_applied())

    def state(self) -> dict[str, Any]:
        moments = self.optimizer.optimizer.state
        return {
            "model": local_tensors(self.model),
            "masters": [(master.detach(), dict(moments.get(master, {}))) for master in self._masters()],
        }

    @torch.no_grad()
    def load(self, state: dict[str, Any]) -> None:
        for name, part in local_tensors(self.model).items():
            part.copy_(state["model"][name])
        for master, (values, moments) in zip(self._masters(), state["masters"], strict=True):
            master.copy_(values)
            self.optimizer.optimizer.state[master] = {name: value.clone() for name, value in moments.items()}

    def _masters(self) -> list[Tensor]:
        """The flat float32 weights that this process's optimiser updates."""
        return getattr(self.optimizer, self.masters)


def deepspeed_config(config: TrainingConfig) -> dict[str, Any]:
    """DeepSpeed's configuration for a run: its ZeRO stage, and nothing that would need a compiler."""
    zero: dict[str, Any] = {"stage": 3 if "zero3" in config.strategy else 1}
    if zero["stage"] == 3:
        # every weight is divided, so that a process's part of the model is all there is to save and to average
        zero["stage3_param_persistence_threshold"] = 0
    if config.strategy.endswith("offload"):
        zero["offload_param"] = zero["offload_optimizer"] = {"device": "cpu"}
    result = {
        "train_micro_batch_size_per_gpu": config.batch_size,
        "gradient_accumulation_steps": 1,  # the trainer counts, and says which batch is the last of an update
        "gradient_clipping": config.clip_norm,
        "zero_optimization": zero,
        "zero_allow_untested_optimizer": True,
        "zero_force_ds_cpu_optimizer": False,
    }
    if config.precision == "bf16":
        result["torch_autocast"] = {"enabled": True, "dtype": "bfloat16", "lower_precision_safe_modules": []}
    return result
