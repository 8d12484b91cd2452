from __future__ import annotations

from pathlib import Path

import onnx_ir as ir
import pytest
from confpress.passes.rewrites.simplify import Simplify
from confpress.passes.structure import Structure, recognise


@pytest.fixture(scope="session")
def nemo(nemo_model: Path) -> ir.Model:
    """The shared model, simplified; to be cloned before it is changed."""
    model = ir.load(nemo_model)
    Simplify()(model)
    return model


@pytest.fixture(scope="session")
def structure(nemo: ir.Model) -> Structure:
    """What is recognised in ``nemo``."""
    return recognise(nemo)
