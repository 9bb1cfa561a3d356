"""A network that predicts beside one that may be learning."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

M = TypeVar("M", bound=nn.Module)


def evaluating_twin(model: M, device: torch.device | None = None, dtype: torch.dtype | None = None) -> M:
    """The same network in evaluation mode, while ``model`` keeps the mode, device and dtype that it has.

    Its modules are its own, with the hooks of now, so that modes do not meet, in other threads neither.  Parameters and
    buffers are those of ``model``: what that one learns, this one knows.  On another device or in another dtype they
    are copies.
    """

    def moved(tensor: Tensor) -> Tensor:
        return tensor.to(device, dtype if tensor.is_floating_point() else None)

    tensors = [*model.parameters(), *model.buffers()]
    stays = all(moved(tensor) is tensor for tensor in tensors)
    return _twin(model, None if stays else moved)


def _twin(module: Any, moved: Callable[[Tensor], Tensor] | None) -> Any:
    twin = copy.copy(module)  # attributes are shared, and so are the dictionaries of parameters and of buffers
    twin._modules = {name: child if child is None else _twin(child, moved) for name, child in module._modules.items()}
    twin._forward_hooks, twin._forward_pre_hooks = module._forward_hooks.copy(), module._forward_pre_hooks.copy()
    twin.training = False
    if module._compiled_call_impl is not None:  # it would call ``module``, in the mode that that one has
        twin.compile()
    if moved is not None:
        twin._parameters = {
            name: None if one is None else nn.Parameter(moved(one.detach()), requires_grad=False)
            for name, one in module._parameters.items()
        }
        twin._buffers = {name: None if one is None else moved(one) for name, one in module._buffers.items()}
    return twin
