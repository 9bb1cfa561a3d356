"""Which layer made a network's numbers NaN or infinite: asked only when they are."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import fields, is_dataclass
from functools import partial
from itertools import chain
from typing import Any, NoReturn, TypeVar

import torch
from torch import Tensor, nn

from internimage.errors import NonFiniteError
from internimage.layers.finite import is_finite

T = TypeVar("T")
_ADVICE = "take other weights, or float32 or bfloat16 if they are float16"


def finite(model: nn.Module, run: Callable[[], T]) -> T:
    """What ``run``, which calls ``model``, gives.

    Raises:
        NonFiniteError: it is not finite; the message names the first layer whose weights or output are not.
    """
    try:
        result = run()
    except NonFiniteError:
        pass
    else:
        if is_finite(tensors_of(result)):
            return result
    raise_named(model, run)


def raise_named(model: nn.Module, run: Callable[[], object]) -> NoReturn:
    """Raise the error of a network whose output is not finite."""
    raise NonFiniteError(f"the network's output is not finite: {first_not_finite(model, run)}; {_ADVICE}")


def check_weights(model: nn.Module) -> None:
    """Raise :class:`NonFiniteError` if a weight is not finite; those of offsets would move points without a word."""
    if not is_finite(chain(model.parameters(), model.buffers())):
        raise NonFiniteError(f"{_first_weight(model)}; {_ADVICE}")


def first_not_finite(model: nn.Module, run: Callable[[], object]) -> str:
    """In words: the first weight that is not finite, else the first layer whose output is not while ``run`` goes on."""
    if weight := _first_weight(model):
        return weight
    found: list[str] = []

    def look(name: str, module: nn.Module, inputs: Any, output: Any) -> None:
        if not found and not is_finite(tensors_of(output)):
            found.append(name)

    hooks = [module.register_forward_hook(partial(look, name)) for name, module in model.named_modules() if name]
    try:
        with torch.no_grad(), _nothing_compiled():
            run()
    except NonFiniteError:
        pass
    finally:
        for hook in hooks:
            hook.remove()
    if found:
        return f"the first layer whose output is not finite is {found[0]}, its weights are finite"
    return "the outputs of all layers are finite, what is made of them is not"


def explain_losses(losses: Mapping[str, Tensor], model: nn.Module, run: Callable[[], object]) -> str:
    """In words: which losses are not finite, and what was the first not to be when ``run`` computes them."""
    bad = [name for name, loss in losses.items() if not is_finite([loss])]
    if not bad:
        return "the losses are finite, their gradient is not"
    return f"the loss {' and '.join(bad)} is not finite, {first_not_finite(model, run)}"


def _nothing_compiled() -> AbstractContextManager[Any]:
    """What is compiled calls no hooks; only who has compiled has the compiler, which takes seconds to load."""
    return torch.compiler.set_stance("force_eager") if "torch._dynamo" in sys.modules else nullcontext()


def tensors_of(value: Any) -> Iterator[Tensor]:
    """All tensors in lists, dictionaries and dataclasses."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, Mapping):
        yield from tensors_of(list(value.values()))
    elif isinstance(value, list | tuple):
        for one in value:
            yield from tensors_of(one)
    elif is_dataclass(value):
        yield from tensors_of([vars(value)[field.name] for field in fields(value)])


def _first_weight(model: nn.Module) -> str:
    named: Iterable[tuple[str, Tensor]] = chain(model.named_parameters(), model.named_buffers())
    return next((f"the weights {name} are not finite" for name, tensor in named if not is_finite([tensor])), "")
