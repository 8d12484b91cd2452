"""Analysis never fails: every node model of onnx's own backend tests goes through."""

from __future__ import annotations

import warnings

import onnx_ir as ir
import pytest
from confpress.passes.structure import Kind, recognise
from onnx.backend.test.case.node import collect_testcases


@pytest.mark.evidence
def test_every_operator_of_onnx_is_looked_at_without_an_error() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        models = [case.model for case in collect_testcases(None) if case.model is not None]
    assert len(models) > 1000
    for proto in models:
        structure = recognise(ir.from_proto(proto))
        assert not structure.of_kind(Kind.SELF_ATTENTION, Kind.CONVOLUTION, Kind.FEED_FORWARD)
        assert structure.near_misses
