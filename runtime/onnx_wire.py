"""The outermost fields of an ONNX file, read without parsing the weights.

Source: the protobuf encoding specification (protobuf.dev/programming-guides/encoding).
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from dataclasses import dataclass

# Field numbers of ModelProto (onnx.proto).
IR_VERSION = 1
GRAPH = 7
OPSET_IMPORT = 8

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_LONGEST_VARINT = 10
_LARGEST_MODEL_FIELD = 64


class WireError(ValueError):
    """The bytes are no protobuf message of the kind an ONNX model is."""


class TruncatedError(WireError):
    """The bytes begin like an ONNX model but end within a field."""


@dataclass(frozen=True)
class Field:
    """One field: its number and where its content lies."""

    number: int
    start: int
    end: int


def top_level_fields(data: bytes | mmap.mmap) -> Iterator[Field]:
    """Walk the fields of a serialised ModelProto; contents are skipped, not read.

    Raises:
        TruncatedError: a field reaches beyond the end.
        WireError: the bytes are not an ONNX model.
    """
    position = 0
    while position < len(data):
        key, position = _varint(data, position)
        number, kind = key >> 3, key & 7
        if not 0 < number <= _LARGEST_MODEL_FIELD:
            raise WireError(f"field {number} at byte {position}")
        start, end = _content(data, position, kind)
        if end > len(data):
            raise TruncatedError(f"{end:,} bytes are announced, {len(data):,} are there")
        yield Field(number, start, end)
        position = end


def _content(data: bytes | mmap.mmap, position: int, kind: int) -> tuple[int, int]:
    """Where the content of a field of wire type `kind` starts and ends."""
    if kind == _VARINT:
        return position, _varint(data, position)[1]
    if kind == _BYTES:
        length, start = _varint(data, position)
        return start, start + length
    if kind in (_FIXED64, _FIXED32):
        return position, position + (8 if kind == _FIXED64 else 4)
    raise WireError(f"wire type {kind} at byte {position}")


def _varint(data: bytes | mmap.mmap, position: int) -> tuple[int, int]:
    """The value of the variable-length integer at `position`, and the position after it."""
    value = 0
    for index in range(_LONGEST_VARINT):
        if position + index >= len(data):
            raise TruncatedError("the bytes end within a number")
        byte = data[position + index]
        value |= (byte & 0x7F) << (7 * index)
        if byte < 0x80:
            return value, position + index + 1
    raise WireError(f"a number of more than {_LONGEST_VARINT} bytes at byte {position}")
