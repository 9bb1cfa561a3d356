"""The deformable convolutions of InternImage (DCNv3) and FlashInternImage (DCNv4): public functions and checks."""

from __future__ import annotations

import torch
from torch import Tensor

from internimage.errors import OperatorError
from internimage.ops.geometry import IntPair, SamplingGeometry, as_pair
from internimage.ops.packing import split_packed
from internimage.ops.registration import convolution_arguments
from internimage.ops.standard import convolution_standard, spelled_out


def dcnv3(
    input: Tensor,
    offset: Tensor,
    mask: Tensor,
    *,
    kernel_size: IntPair = 3,
    stride: IntPair = 1,
    padding: IntPair = 1,
    dilation: IntPair = 1,
    groups: int,
    offset_scale: float = 1.0,
    remove_center: bool = False,
    softmax: bool = False,
) -> Tensor:
    """Sample each group's channels at learned positions and sum the samples with learned weights.

    For output pixel (oy, ox), group g and point p = i * kernel_h + j (column i, row j of the kernel)::

        cx, cy = dilation_w * (kernel_w - 1) // 2, dilation_h * (kernel_h - 1) // 2
        x = cx - pad_w + ox * stride_w + (i * dilation_w - cx + dx) * offset_scale
        y = cy - pad_h + oy * stride_h + (j * dilation_h - cy + dy) * offset_scale
        output[oy, ox, g] = sum over p of mask[oy, ox, g, p] * bilinear(input[..., g], y, x)

    in input pixels whose centres are integers, with zeros outside the image.  P is
    ``kernel_h * kernel_w``, one less with ``remove_center``.

    Args:
        input: (N, H, W, C) channels last; float64, float32, bfloat16 or float16.  C is divisible by ``groups``.
        offset: (N, Ho, Wo, G * P * 2) displacements in input pixels, laid out (group, point, (x, y)).
        mask: (N, Ho, Wo, G * P) weights, laid out (group, point); any values are accepted.
        kernel_size, stride, padding, dilation: an integer or (height, width).
        groups: number of channel groups G with offsets of their own.
        offset_scale: stretches the dilated kernel grid and the offsets around the kernel's centre.
        remove_center: leave out the kernel's central point (``kernel_h // 2``, ``kernel_w // 2``).
        softmax: pass the mask through a softmax over the points of each group first, as the network does.  That of
            half precision is not rounded.

    Returns:
        (N, Ho, Wo, C) in the dtype of ``input``.  Coordinates and weights are computed and summed in float32, in
        float64 if the tensors are float64.  Offset gradients on an exact pixel line are right derivatives.

    Raises:
        OperatorError: shapes, dtypes or devices do not fit together; the message names the tensor and the shape
            expected.

    Source: Wang et al., "InternImage: Exploring Large-Scale Vision Foundation Models with Deformable
    Convolutions", CVPR 2023, section 3.1, equation 2.
    """
    geometry = _geometry(kernel_size, stride, padding, dilation, groups, offset_scale, remove_center)
    samples = geometry.groups * geometry.points
    _check("dcnv3", geometry, input, {"offset": (offset, 2 * samples), "mask": (mask, samples)})
    if spelled_out():
        return convolution_standard(input, offset, mask, geometry, softmax)
    return torch.ops.internimage.dcnv3(
        input.contiguous(), offset.contiguous(), mask.contiguous(), *convolution_arguments(geometry, softmax)
    )


def dcnv4(
    input: Tensor,
    packed: Tensor,
    *,
    kernel_size: IntPair = 3,
    stride: IntPair = 1,
    padding: IntPair = 1,
    dilation: IntPair = 1,
    groups: int,
    offset_scale: float = 1.0,
    remove_center: bool = False,
    softmax: bool = False,
) -> Tensor:
    """The sampling of :func:`dcnv3` with unbounded weights, packed group by group.

    Args:
        input: (N, H, W, C) channels last.
        packed: (N, Ho, Wo, W) with W at least 3 G P, in the released models rounded up to a multiple of eight.  Group g
            owns the numbers [3 P g, 3 P (g + 1)): 2 P offsets x, y, x, y ..., then P weights.  The padding at the
            end is never read and has a gradient of zero.
        kernel_size, stride, padding, dilation, groups, offset_scale, remove_center: as in :func:`dcnv3`.  Any kernel
            size and depth of a group work.
        softmax: pass the weights of a group through a softmax; no released model does.

    Returns:
        (N, Ho, Wo, C) in the dtype of ``input``.

    Raises:
        OperatorError: shapes, dtypes or devices do not fit together.

    Source: Xiong et al., "Efficient Deformable ConvNets: Rethinking Dynamic and Sparse Operator for Vision
    Applications", CVPR 2024, section 3.2.
    """
    geometry = _geometry(kernel_size, stride, padding, dilation, groups, offset_scale, remove_center)
    used = 3 * geometry.groups * geometry.points
    width = packed.shape[-1] if packed.dim() and packed.shape[-1] > used else used
    _check("dcnv4", geometry, input, {"packed": (packed, width)})
    if spelled_out():
        return convolution_standard(input, *split_packed(packed, geometry), geometry, softmax)
    return torch.ops.internimage.dcnv4(
        input.contiguous(), packed.contiguous(), *convolution_arguments(geometry, softmax)
    )


def _geometry(
    kernel_size: IntPair,
    stride: IntPair,
    padding: IntPair,
    dilation: IntPair,
    groups: int,
    offset_scale: float,
    remove_center: bool,
) -> SamplingGeometry:
    geometry = SamplingGeometry(
        as_pair(kernel_size, "kernel_size"),
        as_pair(stride, "stride"),
        as_pair(padding, "padding"),
        as_pair(dilation, "dilation"),
        groups,
        float(offset_scale),
        remove_center,
    )
    geometry.check()
    return geometry


def _check(name: str, geometry: SamplingGeometry, input: Tensor, others: dict[str, tuple[Tensor, int]]) -> None:
    """``others`` are the tensors that stand at output pixels, with their number of channels."""
    _check_tensors(name, {"input": input} | {other: tensor for other, (tensor, _) in others.items()}, 4)
    batch, height, width, channels = input.shape
    if channels % geometry.groups:
        raise OperatorError(f"{name}: {channels} channels do not divide into {geometry.groups} groups")
    size = geometry.output_size(height, width)
    if size[0] < 1 or size[1] < 1:
        raise OperatorError(
            f"{name}: an input of {height}x{width} is smaller than the kernel {geometry.kernel_size} with dilation "
            f"{geometry.dilation} and padding {geometry.padding}; pad the input"
        )
    for other, (tensor, last) in others.items():
        if tuple(tensor.shape) != (batch, *size, last):
            raise OperatorError(
                f"{name}: {other} is {tuple(tensor.shape)}; expected {(batch, *size, last)} for input "
                f"{tuple(input.shape)}, kernel {geometry.kernel_size}, groups {geometry.groups}"
            )


def _check_tensors(name: str, tensors: dict[str, Tensor], dimensions: int) -> None:
    """Floating tensors of one dtype on one device; the first is the one that the others are compared with."""
    (first, reference), *_ = tensors.items()
    for other, tensor in tensors.items():
        if not tensor.is_floating_point() or tensor.dim() != dimensions:
            raise OperatorError(
                f"{name}: {other} is {tuple(tensor.shape)} {tensor.dtype}; "
                "expected a floating tensor (N, H, W, channels)"
            )
        if tensor.device != reference.device:
            raise OperatorError(
                f"{name}: {other} is on {tensor.device}, {first} on {reference.device}; move them together"
            )
        if tensor.dtype != reference.dtype and not torch.is_autocast_enabled(tensor.device.type):
            raise OperatorError(f"{name}: {other} is {tensor.dtype}, {first} {reference.dtype}; convert one of them")
