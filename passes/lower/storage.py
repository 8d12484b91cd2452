"""Codes as storage: operators that ONNX Runtime folds to float32 when it loads the model.

A float8 DequantizeLinear of a constant runs on every call, and 4-bit products are no faster than
float32 ones there; ``Cast`` and ``Mul`` of constants are folded. So the file is small and the speed
is that of float32. FP4, for which there is no kernel, is stored as UINT4 codes of a table.
"""

from __future__ import annotations

from typing import Final

import ml_dtypes
import numpy as np
import onnx_ir as ir

from ..formats import FP4
from ..formats.number import Codes, Floats
from ..rewrite import Patch
from .stored import StoredWeight

#: Types whose DequantizeLinear this replaces.
STORED_TYPES: Final = frozenset(
    (
        ir.DataType.INT8,
        ir.DataType.UINT8,
        ir.DataType.INT4,
        ir.DataType.UINT4,
        ir.DataType.INT2,
        ir.DataType.FLOAT4E2M1,
        ir.DataType.FLOAT8E4M3FN,
        ir.DataType.FLOAT8E5M2,
    )
)


def decode_nodes(patch: Patch, weight: StoredWeight) -> ir.Value:
    """Nodes that decode a weight, all of them on constants."""
    values = _values(patch, weight)
    if weight.points is not None:
        points = _cast(patch, patch.constant(_placed(weight, weight.points), "zero_point"))
        values = patch.op("Sub", values, _spread(patch, weight, points))
    scales = _scales(patch, _placed(weight, weight.scales))
    result = patch.op("Mul", values, _spread(patch, weight, scales))
    result.type, result.shape = ir.TensorType(ir.DataType.FLOAT), ir.Shape(weight.codes.shape)
    return result


def _scales(patch: Patch, scales: Floats) -> ir.Value:
    """Scales as float32, stored in float16 where that loses nothing."""
    with np.errstate(over="ignore"):
        half = scales.astype(np.float16)
    if not np.array_equal(half.astype(np.float32), scales):
        return patch.constant(scales, "scale")
    return _cast(patch, patch.constant(half, "scale"))


def _values(patch: Patch, weight: StoredWeight) -> ir.Value:
    if weight.dtype is not ir.DataType.FLOAT4E2M1:
        return _cast(patch, patch.constant(weight.codes, weight.dtype.name.lower()))
    codes = weight.codes.view(np.uint8).astype(ml_dtypes.uint4)
    table = patch.shared(FP4.decode(FP4.codes()), "fp4_values")
    # Gather takes int32; a Cast of constants is folded too.
    return patch.op("Gather", table, _cast(patch, patch.constant(codes, "fp4"), ir.DataType.INT32))


def _cast(patch: Patch, value: ir.Value, to: ir.DataType = ir.DataType.FLOAT) -> ir.Value:
    return patch.op("Cast", value, to=int(to))


def _placed(weight: StoredWeight, array: Codes) -> Codes:
    """Scales by block as they are; others in a shape that broadcasts against the codes."""
    return array if weight.block else weight.spread(array)


def _spread(patch: Patch, weight: StoredWeight, groups: ir.Value) -> ir.Value:
    rows = weight.groups()
    if rows is None:
        return groups
    name = f"groups[{len(rows)}/{weight.block}]"
    return patch.op("Gather", groups, patch.shared(rows, name), axis=weight.axis)
