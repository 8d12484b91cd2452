"""A small result, made once, that every kind of package is made from."""

from __future__ import annotations

from pathlib import Path

import pytest
from confpress import optimize
from confpress.optimizer.recipe.recipe import Recipe

from tests.conftest import write_ctc

#: Nothing is measured: packages need the models and what lies beside them.
QUICK = {
    "proof": {"frames": [40, 61]},
    "bench": {"enabled": False},
}


@pytest.fixture(scope="session")
def small_result(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A result of two targets in a folder whose name is not ASCII; not to be changed."""
    place = tmp_path_factory.mktemp("résultats")
    write_ctc(place / "model.onnx")
    optimize(place / "model.onnx", Recipe().replace(QUICK), output=place / "out ü")
    return place / "out ü"
