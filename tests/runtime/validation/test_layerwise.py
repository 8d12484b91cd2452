"""Where the error enters: the module that was changed, and no other."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest
from confpress.optimizer.demo import demo_folder
from confpress.passes.errors import ConfpressError
from confpress.passes.structure import recognise
from confpress.runtime.model_file import load_model, save_model
from confpress.runtime.recognition.asr import AsrModel
from confpress.runtime.validation.layerwise import compare_modules

CHANGED = "encoder.layers.2.feed_forward2"


@pytest.fixture(scope="module")
def original() -> AsrModel:
    return AsrModel.load(demo_folder() / "model.onnx")


def test_a_model_differs_from_itself_nowhere(original: AsrModel) -> None:
    found = compare_modules(original, original)
    assert len(found) > 10
    assert all(each.own_db is None and each.total_db is None for each in found)


def test_the_error_is_found_where_it_was_made(original: AsrModel, tmp_path: Path) -> None:
    model = load_model(original.path)
    module = next(m for m in recognise(model).modules if m.id == CHANGED)
    weight = module.linears[0].weight
    assert weight.const_value is not None
    coarse = np.round(weight.const_value.numpy() * 64) / 64
    weight.const_value = ir.tensor(coarse.astype(np.float32), name=weight.name)
    save_model(model, tmp_path / "coarse.onnx")
    candidate = AsrModel.load(tmp_path / "coarse.onnx", original.frontend, original.tokens)
    found = {each.id: each for each in compare_modules(original, candidate)}
    place = list(found).index(CHANGED)
    own = {name for name, each in found.items() if each.own_db is not None and each.own_db < 100}
    assert own == {CHANGED}
    for name in list(found)[:place]:
        assert found[name].total_db is None
    later = [each.total_db for each in list(found.values())[place:]]
    assert all(db is not None and db < 100 for db in later)
    # Fed the same, its own error is all there is.
    assert found[CHANGED].own_db == pytest.approx(found[CHANGED].total_db, abs=0.01)


def test_models_without_modules_in_common_are_refused(original: AsrModel, tiny_ctc: Path) -> None:
    with pytest.raises(ConfpressError, match="no module in common"):
        compare_modules(original, AsrModel.load(tiny_ctc))
