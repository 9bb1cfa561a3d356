"""AdamW for a network that learns one of several tasks a step: no task pulls harder than its share.

Li et al., "Uni-Perceiver v2", CVPR 2023, section 3.3 and appendix: task-balanced gradient normalisation with MT-AdamW.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.distributed.tensor import DTensor

from internimage.errors import ConfigError


class TaskBalancedAdamW(torch.optim.Optimizer):
    """AdamW whose gradient is brought to the length of its task's weight, and counts the more the rarer the task is.

    With ``w`` and ``s`` of the task of a step: g = w gradient / |gradient|; the mean takes g / s, the mean square
    g ** 2 / s; all else is AdamW's.  Parameters that the task does not reach count as gradients of zero: their means
    fade and their weights decay.  A step whose gradient is zero or not finite is left out.

    Args:
        params: parameters, or groups of them with their own ``lr`` and ``weight_decay``.
        shares: s of each task, the share of the steps that are its own.
        weights: w of each task; None for 1 each.
        lr, betas, eps, weight_decay: see :class:`torch.optim.AdamW`.
        normalise: whether gradients are brought to a length; without, one task of share 1 is AdamW.

    Attributes:
        task: number of the task whose gradient the next step takes; set it before each.
        skipped: steps that were left out.

    Raises:
        ConfigError: shares that are none, or other numbers of weights.
    """

    def __init__(
        self,
        params: Iterable[Any],
        shares: Sequence[float],
        weights: Sequence[float] | None = None,
        *,
        lr: float = 1e-4,
        betas: tuple[float, float] = (0.9, 0.98),
        eps: float = 1e-8,
        weight_decay: float = 0.05,
        normalise: bool = True,
    ) -> None:
        if not shares or not all(0 < share <= 1 for share in shares):
            raise ConfigError(f"shares of tasks are {list(shares)}; expected one or more, each more than 0 and up to 1")
        weights = [1.0] * len(shares) if weights is None else list(weights)
        if len(weights) != len(shares) or not all(weight > 0 for weight in weights):
            raise ConfigError(f"weights of tasks are {weights}; expected {len(shares)}, each more than 0")
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay})
        self.shares, self.weights, self.normalise = tuple(shares), tuple(weights), normalise
        self.task = self.skipped = 0

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """One update, with the gradients of ``task``."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        share, scale = self.shares[self.task], 1.0
        if self.normalise:
            norm = self.gradient_norm()
            if not 0 < norm < float("inf"):
                self.skipped += 1
                return loss
            scale = self.weights[self.task] / norm
        for group in self.param_groups:
            self._update(group, scale, share)
        return loss

    def gradient_norm(self) -> float:
        """Of all gradients that there are, over all processes."""
        every = (one.grad for group in self.param_groups for one in group["params"])
        norm = torch.nn.utils.get_total_norm([one for one in every if one is not None])
        return float(norm.full_tensor() if isinstance(norm, DTensor) else norm)

    def _update(self, group: dict[str, Any], scale: float, share: float) -> None:
        """All parameters of a group at once: of small ones a loop would take longer than the arithmetic."""
        parameters, (first, second) = group["params"], group["betas"]
        if not parameters:
            return
        states = [self._state(one) for one in parameters]
        means, squares = ([state[name] for state in states] for name in ("mean", "square"))
        torch._foreach_mul_(means, first)
        torch._foreach_mul_(squares, second)
        reached = [number for number, one in enumerate(parameters) if one.grad is not None]
        if reached:
            gradients = torch._foreach_mul([parameters[number].grad for number in reached], scale)
            torch._foreach_add_([means[number] for number in reached], gradients, alpha=(1 - first) / share)
            own = [squares[number] for number in reached]
            torch._foreach_addcmul_(own, gradients, gradients, value=(1 - second) / share)
        torch._foreach_mul_(parameters, 1 - group["lr"] * group["weight_decay"])
        roots = torch._foreach_div(squares, [1 - second ** state["step"] for state in states])
        torch._foreach_sqrt_(roots)
        torch._foreach_add_(roots, group["eps"])
        rates = [-group["lr"] / (1 - first ** state["step"]) for state in states]
        torch._foreach_addcdiv_(parameters, means, roots, rates)

    def _state(self, parameter: Tensor) -> dict[str, Any]:
        """Of a parameter, one step later."""
        state: dict[str, Any] = self.state[parameter]
        if not state:
            state["step"] = 0
            state["mean"], state["square"] = (torch.zeros_like(parameter) for _ in range(2))
        state["step"] += 1
        return state
