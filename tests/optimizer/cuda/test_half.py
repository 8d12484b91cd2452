"""Which blocks stay float32 is decided by the error of the outputs."""

from __future__ import annotations

from pathlib import Path

import onnx_ir as ir
import pytest
from confpress.optimizer.cuda.half import float32_parts, parts_of
from confpress.passes.structure import Recognise
from confpress.runtime.model_file import load_model
from confpress.runtime.recognition.asr import AsrModel


@pytest.fixture
def model(tiny_ctc: Path) -> ir.Model:
    loaded = load_model(tiny_ctc)
    Recognise()(loaded)
    return loaded


def test_nothing_is_kept_where_the_error_is_small(model: ir.Model, tiny_ctc: Path) -> None:
    assert float32_parts(model, AsrModel.load(tiny_ctc), least_db=20) == ()


def test_parts_are_kept_until_the_error_is_small(model: ir.Model, tiny_ctc: Path) -> None:
    # Float16 has 11 bits: no model of more than one operator has 100 dB.
    kept = float32_parts(model, AsrModel.load(tiny_ctc), least_db=100)
    assert kept
    assert set(kept) <= set(parts_of(model))
