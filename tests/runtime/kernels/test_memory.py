"""A session holds packed weights once, mapped from the file; memory that it lacks is an error."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest
from confpress.passes.operators.functions import define_operator
from confpress.passes.operators.quantlinear import (
    pack_int8,
    quant_linear_function,
    quant_linear_node,
)
from confpress.passes.operators.quantlinear_lowbit import (
    FP4,
    INT2,
    LowBitFormat,
    lowbit_function,
    lowbit_node,
    pack_codes,
    pack_scales,
)
from confpress.runtime.kernels import library_path
from confpress.runtime.model_file import save_model

from ...passes.quant_layers import QuantLayer, initializer
from .conftest import usable_paths

WIDTH = 1024
BLOCK = 32
#: Growth of anonymous memory as a share of the weights' file.
MOST = 0.2

# Run with the library registered: memory of the process alone, files mapped by it left out, before
# and after a session is made and computes.
MEASURE = """
import sys
import numpy as np
import onnxruntime as ort

def anonymous():
    with open("/proc/self/smaps_rollup") as lines:
        return sum(int(l.split()[1]) for l in lines if l.startswith("Anonymous"))

def session(path):
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.register_custom_ops_library(sys.argv[1])
    return ort.InferenceSession(path, options)

x = np.ones((4, 1024), np.float32)
first = session(sys.argv[2])  # what the runtime needs once
first.run(None, {"x": x})
before = anonymous()
second = session(sys.argv[3])
second.run(None, {"x": x})
print((anonymous() - before) * 1024)
"""


def _model(form: LowBitFormat | None, layers: int) -> ir.Model:
    """A chain of layers of WIDTH x WIDTH."""
    random = np.random.default_rng(1)
    x = value = ir.val("x", ir.DataType.FLOAT, ["frames", WIDTH])
    nodes, weights = [], []
    for i in range(layers):
        bias = initializer(f"bias{i}", np.zeros(WIDTH, np.float32))
        if form is None:
            codes = random.integers(-127, 128, (WIDTH, WIDTH)).astype(np.int8)
            packed = initializer(f"w{i}", pack_int8(codes))
            scales = initializer(f"scales{i}", np.full(WIDTH, 1e-3, np.float32))
            node = quant_linear_node(value, packed, scales, bias, shape=(WIDTH, WIDTH))
        else:
            codes = random.integers(0, len(form.values), (WIDTH, WIDTH)).astype(np.uint8)
            packed = initializer(f"w{i}", pack_codes(codes, form.bits))
            blocks = np.full((WIDTH, WIDTH // BLOCK), 1e-2, np.float32)
            scales = initializer(f"scales{i}", pack_scales(blocks))
            node = lowbit_node(
                value, packed, scales, bias, shape=(WIDTH, WIDTH), block=BLOCK, form=form
            )
        node.name = f"layer{i}"
        nodes.append(node)
        weights += [packed, scales, bias]
        (value,) = node.outputs
        value.name = f"y{i}"
    graph = ir.Graph(
        [x], [value], nodes=nodes, initializers=weights, opset_imports={"": 17}, name="chain"
    )
    model = ir.Model(graph, ir_version=8)
    if form is None:
        define_operator(model, quant_linear_function)
    else:
        define_operator(model, lowbit_function, form.bits)
    return model


# Run with a model and 30 MB of frames, whose codes take 20 MB where 10 MB are left.
EXHAUST = """
import resource
import sys
import numpy as np
import onnxruntime as ort

options = ort.SessionOptions()
options.intra_op_num_threads = 1
options.register_custom_ops_library(sys.argv[1])
session = ort.InferenceSession(sys.argv[2], options)
x = np.ones((300_000, 25), np.float32)
session.run(None, {"x": x[:9]})
with open("/proc/self/statm") as sizes:
    most = int(sizes.read().split()[0]) * resource.getpagesize() + 10_000_000
resource.setrlimit(resource.RLIMIT_AS, (most, most))
try:
    session.run(None, {"x": x})
except Exception as error:
    print(error)
"""


def test_exhausted_memory_is_a_sentence(tmp_path: Path) -> None:
    if usable_paths()[0].startswith("absent"):
        pytest.skip(usable_paths()[0])
    if not Path("/proc/self/statm").is_file():
        pytest.skip("this system does not say how much memory a process has")
    model = tmp_path / "model.onnx"
    model.write_bytes(QuantLayer.random(1, 25).model().SerializeToString())
    done = subprocess.run(
        [sys.executable, "-c", EXHAUST, str(library_path()), str(model)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "could not get the memory it needs" in done.stdout


@pytest.mark.parametrize("form", [None, FP4, INT2], ids=["int8", "fp4", "int2"])
def test_weights_are_mapped_not_copied(tmp_path: Path, form: LowBitFormat | None) -> None:
    if usable_paths()[0].startswith("absent"):
        pytest.skip(usable_paths()[0])
    if not Path("/proc/self/smaps_rollup").is_file():
        pytest.skip("this system does not say how much memory is private")
    small, large = tmp_path / "small.onnx", tmp_path / "large.onnx"
    save_model(_model(form, 1), small, external_data=True, alignment=4096)
    save_model(_model(form, 24), large, external_data=True, alignment=4096)
    size = sum(file.stat().st_size for file in tmp_path.glob("large.onnx*"))
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, str(library_path()), str(small), str(large)],
        capture_output=True,
        text=True,
        check=True,
    )
    assert size > 24 * WIDTH * WIDTH // 4
    assert int(done.stdout) < MOST * size
