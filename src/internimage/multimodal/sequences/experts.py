"""Conditional experts: a linear layer that is a mixture of several, chosen by what is known of the sequence.

Zhu et al., "Uni-Perceiver-MoE", NeurIPS 2022, section 3.3.  Weights are mixed, not outputs, so that a layer costs
what one linear layer costs; and since nothing of the sequence's content decides, the mixture can be made once.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from internimage.multimodal.sequences.kinds import ATTRIBUTES, Kind

TOP = 2


@dataclass(frozen=True)
class Choice:
    """Which experts work.

    Attributes:
        experts: their numbers, the strongest first.
        weights: (TOP,), of sum 1.
    """

    experts: tuple[int, ...]
    weights: Tensor


@dataclass(frozen=True)
class Decision:
    """What a conditional layer does with a sequence.

    Attributes:
        choice: for its tokens, or for those before ``cut``.
        rest: for the others; None where there is one choice.
        cut: the first token of those.
    """

    choice: Choice
    rest: Choice | None = None
    cut: int = 0


class DenseLinear(nn.Linear):
    """A linear layer with the interface of an :class:`ExpertLinear`."""

    def decide(self, kind: Kind, cut: int) -> Decision | None:
        """Nothing is to be decided."""
        return None

    def forward(self, x: Tensor, decision: Decision | None = None) -> Tensor:
        return super().forward(x)

    def merged(self, decision: Decision | None) -> DenseLinear:
        """Itself."""
        return self


class Gate(nn.Module):
    """From attributes to experts: softmax over linear layers of the attributes, in float32 as released.

    Args:
        channels: width of the vector between.
        experts: how many.
    """

    def __init__(self, channels: int, experts: int) -> None:
        super().__init__()
        self.embed = nn.Linear(ATTRIBUTES, channels)
        self.norm = nn.LayerNorm(channels)
        self.score = nn.Linear(channels, experts, bias=False)

    def forward(self, bits: str) -> Choice:
        """The choice for attributes; with noise of 1 / experts while training."""
        given = torch.tensor([float(bit) for bit in bits]).to(self.embed.weight)
        with torch.autocast(given.device.type, enabled=False):
            logits = F.linear(self.norm(self.embed(given)).float(), self.score.weight.float())
            if self.training:
                logits = logits + torch.randn_like(logits) / len(logits)
            best, numbers = logits.softmax(0).topk(TOP)
        return Choice(tuple(numbers.tolist()), best / best.sum())


class ExpertLinear(nn.Module):
    """Linear layers of which a decision mixes two.

    Args:
        inputs, outputs: channels.
        experts: how many.
        gate: width of the gate's vector.
    """

    def __init__(self, inputs: int, outputs: int, experts: int, gate: int) -> None:
        super().__init__()
        self.gate = Gate(gate, experts)
        self.experts = nn.ModuleList(nn.Linear(inputs, outputs) for _ in range(experts))

    def decide(self, kind: Kind, cut: int) -> Decision:
        """Which experts work for a sequence of this kind, whose text begins at token ``cut``."""
        first = self.gate(kind.bits)
        return Decision(first) if kind.text_bits is None else Decision(first, self.gate(kind.text_bits), cut)

    def forward(self, x: Tensor, decision: Decision | None) -> Tensor:
        """Tokens (N, L, inputs) to (N, L, outputs)."""
        assert decision is not None
        if decision.rest is None:
            return F.linear(x, *self._mixed(decision.choice))
        parts = x[:, : decision.cut], x[:, decision.cut :]
        choices = decision.choice, decision.rest
        return torch.cat([F.linear(part, *self._mixed(one)) for part, one in zip(parts, choices, strict=True)], dim=1)

    def merged(self, decision: Decision | None) -> DenseLinear:
        """The plain layer that does the same for sequences of one kind whose tokens are of one kind."""
        assert decision is not None
        weight, bias = self._mixed(decision.choice)
        layer = DenseLinear(weight.shape[1], weight.shape[0], device="meta")
        layer.weight, layer.bias = nn.Parameter(weight), nn.Parameter(bias)
        return layer

    def _mixed(self, choice: Choice) -> tuple[Tensor, Tensor]:
        chosen = [self.experts[number] for number in choice.experts]
        shares = choice.weights.to(chosen[0].weight.dtype).unbind()  # type: ignore[union-attr, arg-type]
        pairs = [(share * one.weight, share * one.bias) for share, one in zip(shares, chosen, strict=True)]  # type: ignore[operator]
        (first, bias), (second, other) = pairs
        return first + second, bias + other


def linear_layer(inputs: int, outputs: int, experts: int, gate: int) -> DenseLinear | ExpertLinear:
    """A linear layer, of ``experts`` with a gate of this width if that is not 0."""
    return ExpertLinear(inputs, outputs, experts, gate) if experts else DenseLinear(inputs, outputs)
