from __future__ import annotations

import itertools
from pathlib import Path

import pytest
from confpress.runtime.onnx_wire import (
    GRAPH,
    IR_VERSION,
    OPSET_IMPORT,
    TruncatedError,
    WireError,
    top_level_fields,
)


def test_fields_of_a_model_cover_the_file(tiny_ctc: Path) -> None:
    data = tiny_ctc.read_bytes()
    fields = list(top_level_fields(data))
    assert {IR_VERSION, GRAPH, OPSET_IMPORT} <= {f.number for f in fields}
    assert fields[-1].end == len(data)
    assert all(before.end < after.start for before, after in itertools.pairwise(fields))


def test_cut_within_a_field_is_truncated(tiny_ctc: Path) -> None:
    data = tiny_ctc.read_bytes()
    graph = next(f for f in top_level_fields(data) if f.number == GRAPH)
    for end in (1, graph.start, graph.start + 1, graph.end - 1):
        with pytest.raises(TruncatedError):
            list(top_level_fields(data[:end]))


@pytest.mark.parametrize(
    "data",
    [b"hello, this is no model", bytes(100), b"\x89PNG\r\n\x1a\n" + bytes(50), b"\xff" * 40],
)
def test_other_bytes_are_not_a_model(data: bytes) -> None:
    with pytest.raises(WireError):
        list(top_level_fields(data))
