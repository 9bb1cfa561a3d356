"""Deterministic weights and inputs from *names alone* (numpy + torch, no files).

Every tensor is a function of (seed, name, shape): sha256(f"{seed}:{name}") seeds a numpy PCG64
bit generator, whose raw 64-bit outputs (stream-stable by numpy policy, NEP 19) are cut into 24-bit
uniforms u in [-1, 1), exactly representable in float32, so float32 and float64 models get the same
numbers.  ``name`` is the key in the ORIGINAL (classification .pth) naming; fill first, then rename.

    sd = model.state_dict(); fill_state_dict(sd, seed=0); model.load_state_dict(sd)
    x = make_input((1, 3, 96, 128), seed=0)
"""

import hashlib
import math

import numpy as np
import torch


def uniform(name, shape, seed=0):
    """float32 array of u ~ U[-1, 1) for ``name`` (C order; low 32-bit half of each draw first)."""
    n = int(np.prod(shape, dtype=np.int64))
    bits = np.random.PCG64(int.from_bytes(hashlib.sha256(f"{seed}:{name}".encode()).digest()[:16], "little"))
    out = np.empty(n + n % 2, np.float32)
    for i in range(0, n, 1 << 22):  # chunked: bounded memory, same stream
        m = min(1 << 22, n + n % 2 - i)
        raw = bits.random_raw(m // 2).astype("<u8", copy=False).view("<u4")
        out[i : i + m] = (raw >> np.uint32(8)).astype(np.float32)
    out *= np.float32(2.0**-23)
    out -= np.float32(1)
    return out[:n].reshape(shape)


def affine(name, shape):
    """(centre, half-width) of the uniform law for parameter/buffer ``name`` (a scalar pair)."""
    leaf, fan_in = name.rsplit(".", 1)[-1], int(np.prod(shape[1:], dtype=np.int64)) if len(shape) > 1 else 1
    dyn = math.sqrt(3.0 / (0.425 * fan_in))  # unit-std output for GELU(LayerNorm(.)) inputs
    if leaf == "running_var":
        return 1.0, 0.5
    if leaf == "running_mean":
        return 0.0, 0.3
    if leaf in ("gamma1", "gamma2"):  # layer scale: O(1), see NOTES.md (1e-5 would hide every block)
        return 0.4, 0.2
    if name.endswith("dcn.offset.weight"):  # about +-2 px, reaches outside the image
        return 0.0, 0.5 * dyn
    if name.endswith("dcn.offset.bias"):
        return 0.0, 2.0
    if name.endswith(("dcn.mask.weight", "center_feature_scale_proj_weight")):
        return 0.0, dyn
    if name.endswith(("dcn.mask.bias", "center_feature_scale_proj_bias")):
        return 0.0, 1.0
    if len(shape) == 1:  # norm weights around 1; every other vector is a bias
        return (1.0, 0.3) if leaf == "weight" else (0.0, 0.2)
    return 0.0, math.sqrt(3.0 / fan_in)  # linear / conv kernels: variance 1 / fan_in


def by_rows(name, shape):
    """(centre, half-width) of each row of DCNv4's packed layer: offsets and weights of 9 taps, group by group."""
    rows = np.arange(shape[0])
    live, offset = rows < shape[0] // 27 * 27, rows % 27 < 18
    linear = 1.0 if name.endswith("bias") else math.sqrt(3.0 / shape[1])
    spread, weight = (2.0, 0.25) if name.endswith("bias") else (0.4 * linear, 0.125 * linear)
    half = np.where(live, np.where(offset, spread, weight), 1.0).astype(np.float32)
    centre = np.where(live & ~offset & name.endswith("bias"), 0.125, 0.0).astype(np.float32)
    return (column.reshape(-1, *(1 for _ in shape[1:])) for column in (centre, half))


def tensor_for(name, shape, seed=0):
    shape = tuple(shape)
    packed = name.endswith((".offset_mask.weight", ".offset_mask.bias"))
    centre, half = by_rows(name, shape) if packed else map(np.float32, affine(name, shape))
    u = uniform(name, shape, seed)
    u *= half
    if np.any(centre):
        u += centre
    return torch.from_numpy(u)


@torch.no_grad()
def fill_state_dict(state_dict, seed=0):
    """Overwrite every floating tensor of ``state_dict`` in place; integer buffers become 0."""
    for key in sorted(state_dict):
        t = state_dict[key]
        t.zero_() if not t.is_floating_point() else t.copy_(tensor_for(key, t.shape, seed))
    return state_dict


def make_input(shape, seed=0, name="input"):
    """Unit-variance float32 noise, key f"{name}:{dims}" e.g. "input:1x3x96x128"."""
    u = uniform(f"{name}:{'x'.join(map(str, shape))}", tuple(shape), seed)
    return torch.from_numpy(u * np.float32(math.sqrt(3.0)))
