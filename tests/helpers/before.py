"""Runs and model folders of earlier versions, rebuilt from names and shapes: no weights travel.

``goldens/before.json.gz`` holds what version 0.1.0 (commit b31011a) wrote; its tensors were replaced by
:func:`law` before that version went on, so that the numbers of its next epochs can be compared.
"""

import gzip
import json
import zlib
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

GOLDEN = Path(__file__).parents[1] / "goldens" / "before.json.gz"


def golden() -> dict[str, Any]:
    content: dict[str, Any] = json.loads(gzip.decompress(GOLDEN.read_bytes()))
    return content


def law(name: str, shape: tuple[int, ...]) -> Tensor:
    """Values that follow from a name: small ones, around 1 for norms, never negative for second moments."""
    generator = torch.Generator().manual_seed(zlib.crc32(name.encode()))
    values = torch.rand(shape, generator=generator) * 0.1 - 0.05
    if "exp_avg_sq" in name:
        return values.abs() * 1e-4 + 1e-6
    if "exp_avg" in name:
        return values * 1e-2
    if "running_var" in name or ("norm" in name and name.endswith("weight")):
        return 1 + values.abs()
    return values


def described(tree: Any, name: str = "") -> Any:
    """Plain data that stands for a saved state; floating tensors are left to :func:`law`."""
    if isinstance(tree, Tensor):
        kind = str(tree.dtype).removeprefix("torch.")
        content = {"shape": list(tree.shape), "dtype": kind}
        return {"tensor": content if tree.is_floating_point() and tree.ndim else {**content, "values": tree.tolist()}}
    if isinstance(tree, dict):
        pairs = [[key, described(value, f"{name}.{key}")] for key, value in tree.items()]
        return {"dict": pairs}
    if isinstance(tree, list | tuple):
        return {type(tree).__name__: [described(value, f"{name}.{i}") for i, value in enumerate(tree)]}
    return {"value": tree}


def rebuilt(plain: Any, name: str = "") -> Any:
    """The state that :func:`described` stands for."""
    ((kind, content),) = plain.items()
    if kind == "tensor":
        dtype = getattr(torch, content["dtype"])
        if "values" in content:
            return torch.tensor(content["values"], dtype=dtype).reshape(content["shape"])
        return law(name, tuple(content["shape"])).to(dtype)
    if kind == "dict":
        return {key: rebuilt(value, f"{name}.{key}") for key, value in content}
    if kind in ("list", "tuple"):
        values = [rebuilt(value, f"{name}.{i}") for i, value in enumerate(content)]
        return values if kind == "list" else tuple(values)
    return content
