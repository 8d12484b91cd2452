"""What is read of a value's axis, by Split or by Slice."""

from __future__ import annotations

import dataclasses

import onnx_ir as ir

from ...rewrite import constant


@dataclasses.dataclass(frozen=True)
class Piece:
    """Elements ``begin`` to ``end`` of an axis, as a value."""

    value: ir.Value
    begin: int
    end: int


def pieces(value: ir.Value, axis: int, width: int) -> list[Piece]:
    """What all users read of a value's last axis; nothing if one reads it otherwise.

    Args:
        value: The value.
        axis: Its last axis.
        width: The size of that.
    """
    found: list[Piece] = []
    for user in value.consumers():
        if user.op_type == "Split" and user.attributes.get_int("axis", 0) in (-1, axis):
            size = width // len(user.outputs)
            if any(o.shape is None or o.shape[-1] != size for o in user.outputs):
                return []
            found += [Piece(o, i * size, (i + 1) * size) for i, o in enumerate(user.outputs)]
            continue
        bounds = [constant(each) for each in user.inputs[1:]] if user.op_type == "Slice" else []
        if len(bounds) < 3 or any(each is None or each.size != 1 for each in bounds):
            return []
        begin, end, along, *steps = (int(each.item()) for each in bounds if each is not None)
        if along not in (-1, axis) or steps not in ([], [1]):
            return []
        begin, end, _ = slice(begin, end).indices(width)
        found.append(Piece(user.outputs[0], begin, end))
    return found
