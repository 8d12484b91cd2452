"""Operators and copies are counted by the provider that ran them."""

from __future__ import annotations

from pathlib import Path

from confpress.runtime.audit.placement import placement
from confpress.runtime.profile.operators import NodeTime, profile
from confpress.runtime.recognition.asr import AsrModel


def node(operator: str, provider: str) -> NodeTime:
    return NodeTime(
        name=operator,
        operator=operator,
        provider=f"{provider}ExecutionProvider",
        ms=1,
        share=1,
        input_shape=None,
        output_shape=None,
    )


def test_everything_runs_where_it_was_asked_to(tiny_ctc: Path) -> None:
    found = placement(profile(AsrModel.load(tiny_ctc), seconds=0.5, runs=1).nodes, "cpu")
    assert found.here > 0
    assert not found.elsewhere
    assert "nothing is copied" in found.sentence


def test_fallen_operators_and_copies_are_counted() -> None:
    nodes = [
        *(node("MatMul", "CUDA") for _ in range(3)),
        *(node("Gather", "CPU") for _ in range(2)),
        node("Log", "CPU"),
        node("MemcpyToHost", "CUDA"),
        node("MemcpyFromHost", "CUDA"),
    ]
    found = placement(nodes, "cuda")
    assert (found.here, found.elsewhere, found.copies) == (3, {"Gather": 2, "Log": 1}, 2)
    assert "3 operators run on cuda, 3 elsewhere (2 Gather, 1 Log), with 2 copies" in found.sentence
