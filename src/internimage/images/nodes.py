"""Preprocessing as nodes of ONNX, with the bits that the arrays have.

``op`` writes nodes: ``op.Add(a, b)`` gives the sum's value, see ``internimage.exporting.operators.nodes``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from internimage.images.scaling import FitPreprocessing
    from internimage.images.transforms import Preprocessing

FLOAT, INT32, INT64, DOUBLE = 1, 6, 7, 11  # ONNX's numbers of types
_UNIT = 2048  # see internimage.images.scaling


def fitted(op: Any, picture: Any, preprocessing: FitPreprocessing) -> Any:
    """As :class:`internimage.images.FitPreprocessing`, in whole numbers as there."""
    sides = op.Cast(op.Shape(picture, start=0, end=2), to=DOUBLE)
    long, short = (np.array([side], np.float64) for side in (preprocessing.long, preprocessing.short))
    scale = op.Min(op.Div(long, op.ReduceMax(sides, keepdims=1)), op.Div(short, op.ReduceMin(sides, keepdims=1)))
    wanted = op.Max(np.array([1], np.float64), op.Floor(op.Add(op.Mul(sides, scale), np.array([0.5], np.float64))))
    wanted = op.Cast(wanted, to=INT64)
    pixels = _scaled(op, op.Cast(picture, to=INT32), wanted)
    if preprocessing.multiple > 1:
        multiple = np.array([preprocessing.multiple], np.int64)
        larger = op.Mul(op.Div(op.Add(wanted, multiple - 1), multiple), multiple)
        pixels = _scaled(op, pixels, larger)
    values = op.Sub(op.Cast(pixels, to=FLOAT), np.array(preprocessing.mean, np.float32))
    values = op.Mul(values, (1 / np.array(preprocessing.std)).astype(np.float32))
    return op.Unsqueeze(op.Transpose(values, perm=[2, 0, 1]), [0])


def _scaled(op: Any, pixels: Any, wanted: Any) -> Any:
    """See :func:`internimage.images.scaling.scale_bilinear`; int32 (H, W, C)."""
    upper, lower, y = _weights(op, op.extent(pixels, 0), op.Slice(wanted, [0], [1]))
    left, right, x = _weights(op, op.extent(pixels, 1), op.Slice(wanted, [1], [2]))
    x = op.Where(op.Equal(left, right), np.array(0, np.int32), x)
    x, y, unit = op.Unsqueeze(x, [1]), op.Unsqueeze(y, [1, 2]), np.array(_UNIT, np.int32)
    rows = op.Add(op.Mul(op.Gather(pixels, left, axis=1), op.Sub(unit, x)), op.Mul(op.Gather(pixels, right, axis=1), x))
    rows = op.Div(rows, np.array(16, np.int32))
    above = op.Div(op.Mul(op.Gather(rows, upper, axis=0), op.Sub(unit, y)), np.array(1 << 16, np.int32))
    below = op.Div(op.Mul(op.Gather(rows, lower, axis=0), y), np.array(1 << 16, np.int32))
    return op.Clip(
        op.Div(op.Add(op.Add(above, below), np.array(2, np.int32)), np.array(4, np.int32)),
        np.array(0, np.int32),
        np.array(255, np.int32),
    )


def _weights(op: Any, length: Any, wanted: Any) -> tuple[Any, Any, Any]:
    """Indices of each pixel's two neighbours, and the second's weight; lengths are (1,)."""
    half = np.array([0.5], np.float64)
    numbers = op.Cast(op.Range(0, op.Squeeze(wanted), 1), to=DOUBLE)
    ratio = op.Div(op.Cast(length, to=DOUBLE), op.Cast(wanted, to=DOUBLE))
    place = op.Cast(op.Sub(op.Mul(op.Add(numbers, half), ratio), half), to=FLOAT)
    first = op.Floor(place)
    share = op.Cast(op.Round(op.Mul(op.Sub(place, first), np.float32(_UNIT))), to=INT32)
    at, last = op.Cast(first, to=INT64), op.Sub(length, [1])
    left, right = (op.Min(op.Max(each, [0]), last) for each in (at, op.Add(at, [1])))
    return left, right, share


def cropped(op: Any, picture: Any, preprocessing: Preprocessing) -> Any:
    """As :class:`internimage.images.Preprocessing`, resized in the fixed-point numbers of Pillow."""
    sides = op.Shape(picture, start=0, end=2)
    wanted = op.Div(op.Mul(sides, [preprocessing.resize]), op.ReduceMin(sides, keepdims=1))
    start, count = np.array([0, 0]), wanted
    if preprocessing.crop is not None:  # nothing beside the crop is computed, however long the picture is
        crop = [preprocessing.crop] * 2
        over = op.Cast(op.Max(op.Sub(wanted, crop), [0, 0]), to=DOUBLE)
        start, count = op.Cast(op.Round(op.Div(over, np.array([2.0]))), to=INT64), op.Min(wanted, crop)
    rows, columns = (
        _resampling(op, [op.Slice(each, [axis], [axis + 1]) for each in (sides, wanted, start, count)], preprocessing)
        for axis in (0, 1)
    )
    pixels = op.Cast(op.Transpose(picture, perm=[2, 0, 1]), to=DOUBLE)
    pixels = _whole(op, op.MatMul(pixels, op.Transpose(columns, perm=[1, 0])))
    pixels = op.Unsqueeze(_whole(op, op.MatMul(rows, pixels)), [0])
    if preprocessing.crop is not None:
        lacking = op.Sub(crop, count)
        before = op.Div(lacking, [2])
        pixels = op.Pad(pixels, op.Concat(before, op.Sub(lacking, before), axis=0), np.array(0.0), [2, 3])
    values = op.Div(op.Cast(pixels, to=FLOAT), np.float32(255))
    mean, std = (np.array(one, np.float32)[:, None, None] for one in (preprocessing.mean, preprocessing.std))
    return op.Div(op.Sub(values, mean), std)


def _resampling(op: Any, extents: list[Any], preprocessing: Preprocessing) -> Any:
    """Pillow's weights (count, length), whole numbers of 2 ** -22, as double.

    ``extents``: the length of an axis and the wanted one, at which of the wanted pixels to start, and how many to give.
    """
    length, wanted, start, count = extents
    reach, half = {"bicubic": 2, "bilinear": 1}[preprocessing.interpolation], np.array([0.5])
    own = op.Cast(length, to=DOUBLE)
    scale = op.Div(own, op.Cast(wanted, to=DOUBLE))
    stretched = op.Max(scale, np.array([1.0]))  # antialiasing: as wide as a pixel of the smaller picture
    support = op.Mul(stretched, np.array([float(reach)]))
    number = op.Cast(op.Range(op.Squeeze(start), op.Squeeze(op.Add(start, count)), 1), to=DOUBLE)
    centre = op.Unsqueeze(op.Mul(op.Add(number, half), scale), [1])
    first = op.Max(op.Floor(op.Add(op.Sub(centre, support), half)), np.array([0.0]))
    end = op.Min(op.Floor(op.Add(op.Add(centre, support), half)), own)
    place = op.Cast(op.Range(0, op.Squeeze(length), 1), to=DOUBLE)
    x = op.Abs(op.Div(op.Add(op.Sub(place, centre), half), stretched))
    within = op.And(op.GreaterOrEqual(place, first), op.Less(place, end))
    shares = op.Where(within, _filter(op, x, preprocessing.interpolation), np.array(0.0))
    shares = op.Mul(op.Div(shares, op.ReduceSum(shares, [1], keepdims=1)), np.array([float(1 << 22)]))
    return op.Mul(op.Floor(op.Add(op.Abs(shares), half)), op.Sign(shares))


def _filter(op: Any, x: Any, interpolation: str) -> Any:
    one = np.array(1.0)
    if interpolation == "bilinear":
        return op.Max(op.Sub(one, x), np.array(0.0))
    near = op.Add(op.Mul(op.Mul(op.Sub(op.Mul(x, np.array(1.5)), np.array(2.5)), x), x), one)
    far = op.Mul(
        op.Sub(op.Mul(op.Add(op.Mul(op.Sub(x, np.array(5.0)), x), np.array(8.0)), x), np.array(4.0)), np.array(-0.5)
    )
    return op.Where(op.Less(x, one), near, op.Where(op.Less(x, np.array(2.0)), far, np.array(0.0)))


def _whole(op: Any, sums: Any) -> Any:
    """Sums of pixels and weights, rounded to 8 bits."""
    rounded = op.Floor(op.Div(op.Add(sums, np.array(float(1 << 21))), np.array(float(1 << 22))))
    return op.Clip(rounded, np.array(0.0), np.array(255.0))
