"""An ONNX file as protobuf fields: its weights are found, left out and put back unparsed.

A protobuf library holds a message, the bytes it was read from and the bytes it is written to at
once: several times the weights. Here the weights are never part of a message.

Source: the protobuf encoding specification (protobuf.dev/programming-guides/encoding).
"""

from __future__ import annotations

import mmap
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

# Field numbers of ModelProto, GraphProto and TensorProto (onnx.proto).
IR_VERSION = 1
GRAPH = 7
OPSET_IMPORT = 8
_INITIALIZER = 5
_RAW_DATA = 9

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_LONGEST_VARINT = 10
_LARGEST_FIELD = 64


class WireError(ValueError):
    """The bytes are no protobuf message of the kind an ONNX model is."""


class TruncatedError(WireError):
    """The bytes begin like an ONNX model but end within a field."""


@dataclass(frozen=True)
class Field:
    """One field: its number, where it begins with its key, and where its content lies."""

    number: int
    key: int
    start: int
    end: int


@dataclass(frozen=True)
class RawData:
    """The place for the raw bytes of an initializer: its index in the graph, and their number."""

    index: int
    size: int

    def __len__(self) -> int:
        return self.size


Piece = bytes | RawData


def top_level_fields(data: bytes | mmap.mmap) -> Iterator[Field]:
    """Walk the fields of a serialised ModelProto; contents are skipped, not read.

    Raises:
        TruncatedError: a field reaches beyond the end.
        WireError: the bytes are not an ONNX model.
    """
    return _fields(data, 0, len(data))


def leave_out_weights(data: bytes | mmap.mmap, least_bytes: int) -> tuple[bytes, dict[int, Field]]:
    """A serialised model without the raw bytes of its graph's large initializers.

    Args:
        data: A serialised ModelProto.
        least_bytes: Initializers of fewer raw bytes stay as they are.

    Returns:
        The smaller model, and by index of the initializer where its raw bytes lie in `data`.

    Raises:
        WireError: the bytes are not an ONNX model.
    """
    places: dict[int, Field] = {}

    def emptied(index: int, tensor: Field) -> list[Piece]:
        pieces: list[Piece] = []
        for field in _fields(data, tensor.start, tensor.end):
            if field.number == _RAW_DATA and field.end - field.start >= least_bytes:
                places[index] = field
            else:
                pieces.append(data[field.key : field.end])
        return pieces

    pieces = _with_initializers(data, emptied)
    return b"".join(piece for piece in pieces if isinstance(piece, bytes)), places


def put_in_weights(model: bytes, sizes: Mapping[int, int]) -> list[Piece]:
    """A serialised model cut where the raw bytes of initializers belong.

    Args:
        model: A serialised ModelProto in which some initializers have no data.
        sizes: By index of such an initializer, the number of its raw bytes.

    Returns:
        What to write, in order.
    """

    def filled(index: int, tensor: Field) -> list[Piece]:
        own = model[tensor.start : tensor.end]
        if index not in sizes:
            return [own]
        return [own, _head(_RAW_DATA, sizes[index]), RawData(index, sizes[index])]

    return _with_initializers(model, filled)


def _with_initializers(
    data: bytes | mmap.mmap, rewrite: Callable[[int, Field], list[Piece]]
) -> list[Piece]:
    """A ModelProto in pieces, the content of each initializer rewritten and lengths made to fit."""
    pieces: list[Piece] = []
    for field in top_level_fields(data):
        if field.number != GRAPH:
            pieces.append(data[field.key : field.end])
            continue
        graph: list[Piece] = []
        count = 0
        for part in _fields(data, field.start, field.end):
            if part.number == _INITIALIZER:
                graph += _enclosed(_INITIALIZER, rewrite(count, part))
                count += 1
            else:
                graph.append(data[part.key : part.end])
        pieces += _enclosed(GRAPH, graph)
    return pieces


def _enclosed(number: int, content: list[Piece]) -> list[Piece]:
    return [_head(number, sum(len(piece) for piece in content)), *content]


def _head(number: int, length: int) -> bytes:
    """Key and length of a field whose content is bytes."""
    encoded = bytearray([number << 3 | _BYTES])
    while length >= 0x80:
        encoded.append(length & 0x7F | 0x80)
        length >>= 7
    encoded.append(length)
    return bytes(encoded)


def _fields(data: bytes | mmap.mmap, position: int, limit: int) -> Iterator[Field]:
    while position < limit:
        head = position
        key, position = _varint(data, position)
        number, kind = key >> 3, key & 7
        if not 0 < number <= _LARGEST_FIELD:
            raise WireError(f"field {number} at byte {position}")
        start, end = _content(data, position, kind)
        if end > limit:
            raise TruncatedError(f"{end:,} bytes are announced, {limit:,} are there")
        yield Field(number, head, start, end)
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
