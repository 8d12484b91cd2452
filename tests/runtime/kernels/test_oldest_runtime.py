"""The kernel library in the oldest ONNX Runtime that it supports, fetched from the registry.

The newest is the one that all other tests run with.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import ml_dtypes
import numpy as np
import onnx
import pytest
from confpress.passes.operators.quantlinear_lowbit import INT4
from confpress.passes.operators.sparselinear import Pattern
from confpress.runtime.kernels import library_path

from ...passes.lowbit_layers import LowBitLayer
from ...passes.quant_layers import QuantLayer
from ...passes.sparse_float_layers import SparseFloatLayer
from ...passes.sparse_layers import SparseLayer

#: Where wheels for this Python begin; the library itself asks for 1.17's interface.
OLDEST = "1.20.0" if sys.version_info >= (3, 13) else "1.18.0"
RUN = """
import sys
import numpy as np
import onnxruntime as ort
print(ort.__version__)
for name in sys.argv[2:]:
    x = np.load(name + ".npy")
    ys = []
    for library in ("", sys.argv[1]):
        options = ort.SessionOptions()
        if library:
            options.register_custom_ops_library(library)
        ys.append(ort.InferenceSession(name + ".onnx", options).run(None, {"x": x})[0])
    np.testing.assert_allclose(*ys, rtol=0, atol=1e-6 * np.abs(ys[0]).max())
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with that runtime."""
    folder = tmp_path_factory.mktemp("site")
    # 1.18 was built against numpy 1.
    wanted = [f"onnxruntime=={OLDEST}", "numpy<2" if OLDEST < "1.19" else "numpy"]
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--only-binary", ":all:"]
    done = subprocess.run(
        [*command, "--target", folder, *wanted], capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        pytest.skip(f"onnxruntime {OLDEST} cannot be installed: {done.stderr.strip()[-200:]}")
    return folder


def test_operators_equal_their_bodies_there(site: Path, tmp_path: Path) -> None:
    layers: dict[str, QuantLayer | LowBitLayer | SparseFloatLayer] = {
        "dense": QuantLayer.random(50, 70),
        "sparse": SparseLayer.balanced(50, 70, Pattern(16, 16)),
        "bfloat16": SparseFloatLayer.random(50, 70, 16).stored(ml_dtypes.bfloat16),
        "int4": LowBitLayer.random(50, 70, 32, INT4),
    }
    names = []
    for name, layer in layers.items():
        names.append(str(tmp_path / name))
        onnx.save(layer.model(), f"{names[-1]}.onnx")
        np.save(names[-1], np.random.default_rng(1).standard_normal((9, 70)).astype(np.float32))
    done = subprocess.run(
        [sys.executable, "-c", RUN, str(library_path()), *names],
        env=os.environ | {"PYTHONPATH": str(site)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == OLDEST
