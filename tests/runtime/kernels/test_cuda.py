"""The CUDA operators, as far as that goes without a GPU: their products run on the processor."""

from __future__ import annotations

import ctypes
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnx_ir as ir
import pytest
from confpress.passes.operators.activated import ACTIVATIONS
from confpress.passes.operators.functions import define_operator
from confpress.passes.operators.quantlinear import pack_int8
from confpress.passes.operators.sparselinear import Pattern, pack_sparse
from confpress.passes.operators.sparselinear_float import pack_sparse_float
from confpress.passes.operators.sparselinear_half import (
    pack_sparse_half,
    sparse_half_function,
    sparse_half_node,
)
from confpress.runtime.gpu import why_no_gpu
from confpress.runtime.kernels import describe
from confpress.runtime.profile.operators import profile_nodes
from confpress.runtime.session import SessionOptions, create_session
from numpy.testing import assert_array_equal

from ...passes.quant_layers import QuantLayer, activated, initializer, layer_model
from ...passes.sparse_layers import SparseLayer, sparse_weight
from .native import ROOT, compiled, require

Floats = npt.NDArray[np.floating[Any]]

# Frames, rows, columns, weights kept in a block: tails of every kind, and shapes that fit.
SHAPES = [
    (1, 1, 1, 1),
    (3, 33, 130, 5),
    (8, 64, 64, 16),
    (17, 40, 200, 7),
    (65, 100, 176, 8),
    (130, 257, 320, 3),
]
#: Tiles that the plan cuts rows into: as few as it can, and as many.
WANTED = (1, 1 << 20)


@pytest.fixture(scope="module")
def products(tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    """cuda_products.cc, compiled by the ordinary compiler."""
    source = Path(__file__).with_name("cuda_products.cc")
    return compiled(source, tmp_path_factory.mktemp("cuda"))


def call(function: Any, arrays: list[npt.NDArray[Any]], sizes: tuple[int, ...], *rest: int) -> None:
    pointers = [array.ctypes.data_as(ctypes.c_void_p) for array in arrays]
    *numbers, wanted = rest
    integers = [ctypes.c_int(number) for number in numbers]
    function(*pointers, (ctypes.c_int64 * 3)(*sizes), *integers, ctypes.c_int64(wanted))


@pytest.mark.parametrize("wanted", WANTED)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("name", ["float32", "float16", "bfloat16"])
def test_products_of_floats(
    products: ctypes.CDLL, name: str, shape: tuple[int, int, int, int], wanted: int
) -> None:
    frames, rows, columns, kept = shape
    dtype = np.dtype(np.float16 if name == "float16" else np.float32)
    generator = np.random.default_rng(1)
    x = generator.standard_normal((frames, columns)).astype(dtype)
    bias = generator.standard_normal(rows).astype(np.float32)
    weight = sparse_weight(rows, columns, kept).astype(name)
    values, places = (pack_sparse_half if name == "float16" else pack_sparse_float)(weight)
    for activation in ACTIVATIONS:
        y = np.full((frames, rows), np.nan, dtype)
        call(
            products[f"sparse_{name}"],
            [x, values, places, bias, y],
            (frames, rows, columns),
            values.shape[2],
            ACTIVATIONS.index(activation),
            wanted,
        )
        z = x.astype(np.float64) @ weight.T.astype(np.float64) + bias
        expected = activated(activation, z)
        # A sum of at most 40 products in float32; float16 results are rounded once more.
        tolerance = 1e-5 + np.abs(expected) * (2**-11 if name == "float16" else 0)
        assert (np.abs(y - expected) <= tolerance).all(), activation


def sparse_int8(products: ctypes.CDLL, layer: SparseLayer, x: Floats, wanted: int) -> Floats:
    """The output of SparseLinear's CUDA product."""
    packed, places = pack_sparse(layer.codes, layer.pattern)
    y = np.full((len(x), len(layer.codes)), np.nan, np.float32)
    arrays = [x, packed, places, layer.scales, layer.bias, y]
    sizes = (len(x), *layer.codes.shape)
    call(products.sparse_int8, arrays, sizes, packed.shape[2], 0, wanted)
    return y


@pytest.mark.parametrize("wanted", WANTED)
@pytest.mark.parametrize("pattern", [Pattern(4, 64), Pattern(16, 16), Pattern(32, 64)], ids=str)
@pytest.mark.parametrize("sizes", [(1, 1, 1), (5, 33, 130), (130, 70, 192), (257, 16, 64)], ids=str)
def test_products_of_int8_equal_the_definition(
    products: ctypes.CDLL, sizes: tuple[int, int, int], pattern: Pattern, wanted: int
) -> None:
    frames, rows, columns = sizes
    layer = SparseLayer.balanced(rows, columns, pattern, seed=3)
    x = np.random.default_rng(2).standard_normal((frames, columns)).astype(np.float32)
    x[frames // 2] = 0
    assert_array_equal(sparse_int8(products, layer, x, wanted), layer.linear(x))


def dense_int8(
    products: ctypes.CDLL, layer: QuantLayer, x: Floats, wanted: int, activation: str = ""
) -> Floats:
    """The output of QuantLinear's CUDA product."""
    y = np.full((len(x), len(layer.codes)), np.nan, np.float32)
    arrays = [x, pack_int8(layer.codes), layer.scales, layer.bias, y]
    sizes = (len(x), *layer.codes.shape)
    call(products.dense_int8, arrays, sizes, ACTIVATIONS.index(activation), wanted)
    return y


# The last two have several tiles of frames and of rows, and several blocks of 64 groups.
DENSE = [(1, 1, 1), (3, 16, 4), (5, 33, 130), (32, 64, 256), (33, 70, 259), (70, 530, 1030)]


@pytest.mark.parametrize("wanted", WANTED)
@pytest.mark.parametrize("sizes", DENSE, ids=str)
def test_products_of_dense_int8_equal_the_definition(
    products: ctypes.CDLL, sizes: tuple[int, int, int], wanted: int
) -> None:
    frames, rows, columns = sizes
    layer = QuantLayer.random(rows, columns, seed=3)
    layer.codes[0, 0] = -128
    x = np.random.default_rng(2).standard_normal((frames, columns)).astype(np.float32)
    x[frames // 2] = 0
    assert_array_equal(dense_int8(products, layer, x, wanted), layer.linear(x))


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_dense_int8_ends_with_its_activation(products: ctypes.CDLL, activation: str) -> None:
    layer = QuantLayer.random(20, 30)
    x = np.random.default_rng(2).standard_normal((3, 30)).astype(np.float32)
    expected = activated(activation, layer.linear(x))
    y = dense_int8(products, layer, x, 1, activation)
    np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("dense", [False, True])
def test_frames_with_nan_and_infinity_are_nan_and_others_are_not(
    products: ctypes.CDLL, dense: bool
) -> None:
    layer = SparseLayer.balanced(20, 70, Pattern(16, 16))
    x = np.random.default_rng(2).standard_normal((4, 70)).astype(np.float32)
    x[1, 69], x[2, 3] = np.nan, -np.inf
    y = (dense_int8 if dense else sparse_int8)(products, layer, x, 1)
    assert_array_equal(np.isnan(y).all(1), [False, True, True, False])
    assert_array_equal(y[[0, 3]], layer.linear(x[[0, 3]]))


def test_half_and_float_are_what_numpy_says(products: ctypes.CDLL) -> None:
    halves = np.arange(1 << 16, dtype=np.uint16)
    floats = np.empty(halves.size, np.float32)
    products.from_half(halves.ctypes, floats.ctypes, ctypes.c_int64(halves.size))
    assert_array_equal(floats, halves.view(np.float16).astype(np.float32))
    # Every half, what lies in the middle of two, and the floats beside those.
    finite = np.sort(floats[np.isfinite(floats)])
    middles = (finite[1:] + finite[:-1]) / 2
    infinite = [np.inf, -np.inf, np.nan, 65519.996, 65520, -65520, 1e-30]
    numbers = np.concatenate([finite, middles, *(np.nextafter(middles, s) for s in (-1e9, 1e9))])
    numbers = np.concatenate([numbers, infinite]).astype(np.float32)
    rounded = np.empty(numbers.size, np.uint16)
    products.to_half(numbers.ctypes, rounded.ctypes, ctypes.c_int64(numbers.size))
    with np.errstate(over="ignore"):
        assert_array_equal(rounded.view(np.float16), numbers.astype(np.float16))


@pytest.mark.parametrize("frames", [1, 16, 128, 5000])
@pytest.mark.parametrize("vector", [4, 8, 16])
def test_plans_use_every_thread_and_stay_in_shared_memory(
    products: ctypes.CDLL, vector: int, frames: int
) -> None:
    for wanted in (1, 264, 1 << 20):
        out = (ctypes.c_int * 3)()
        products.plan(ctypes.c_int(vector), *map(ctypes.c_int64, (frames, 4096, wanted)), out)
        frame_lanes, row_lanes, groups = out
        assert frame_lanes * row_lanes * groups == 256
        assert frame_lanes <= 8
        assert row_lanes >= 8
        assert frame_lanes * vector >= min(frames, 8 * vector)


def half_model(weight: npt.NDArray[np.float16], activation: str) -> bytes:
    values, places = pack_sparse_half(weight)
    bias = np.linspace(-1, 1, len(weight), dtype=np.float32)
    constants = [
        initializer("weight", values),
        initializer("columns", places),
        initializer("bias", bias),
    ]

    def node(x: ir.Value) -> ir.Node:
        x.dtype = ir.DataType.FLOAT16
        return sparse_half_node(x, *constants, shape=weight.shape, activation=activation)

    model = layer_model(node, constants, weight.shape[1], opset=17, rank=2)
    define_operator(model, sparse_half_function, activation)
    return ir.to_proto(model).SerializeToString()


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_body_of_half_computes_in_float32(activation: str) -> None:
    weight = sparse_weight(30, 100, 6).astype(np.float16)
    x = np.random.default_rng(0).standard_normal((2, 100)).astype(np.float16)
    session = create_session(half_model(weight, activation), SessionOptions(kernels=False))
    (y,) = session.run(None, {"x": x})
    bias = np.linspace(-1, 1, len(weight), dtype=np.float32)
    z = x.astype(np.float64) @ weight.T.astype(np.float64) + bias
    assert y.dtype == np.float16
    np.testing.assert_allclose(y, activated(activation, z), rtol=2**-11, atol=1e-6)


@pytest.mark.parametrize(
    "name",
    ["base/library", "cuda/quant_linear", "cuda/sparse_linear", "cuda/sparse_linear_float"],
)
def test_operators_compile_without_cuda(name: str) -> None:
    require("c++")
    kernels = ROOT / "runtime" / "kernels"
    flags = ["-std=c++17", "-fsyntax-only", "-Wall", "-Wextra", "-Werror", '-DCONFPRESS_CUDA="sm"']
    subprocess.run(["c++", *flags, f"-I{kernels}", kernels / f"{name}.cc"], check=True)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The kernels of GPUs as an object file, built by the project's own CMake files."""
    require("cmake", "nvcc")
    folder = tmp_path_factory.mktemp("build")
    # One architecture: the compiler takes seconds for each.
    flags = ["-DCONFPRESS_CUDA=ON", "-DCMAKE_CUDA_ARCHITECTURES=90"]
    for command in (
        ["cmake", "-S", str(ROOT), "-B", str(folder), *flags],
        ["cmake", "--build", str(folder), "--target", "confpress_cuda"],
    ):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
    (found,) = folder.rglob("kernels.cu.o")
    return found


def test_kernels_compile_to_code_and_ptx(built: Path) -> None:
    assert built.stat().st_size > 0
    require("cuobjdump")
    listed = subprocess.run(
        ["cuobjdump", "--list-elf", "--list-ptx", built], capture_output=True, text=True, check=True
    ).stdout
    assert "sm_90.cubin" in listed
    assert "sm_90.ptx" in listed
    code = subprocess.run(
        ["cuobjdump", "--dump-sass", built], capture_output=True, text=True, check=True
    ).stdout
    assert "HMMA.SP" in code  # sparse tensor cores


def test_library_names_its_architectures() -> None:
    cuda = describe().cuda
    if not cuda:
        pytest.skip("the installed library was built without -DCONFPRESS_CUDA=ON")
    assert {"sm_80", "sm_90"} <= set(cuda)


@pytest.mark.parametrize("frames", [1, 16, 130])
@pytest.mark.parametrize("activation", ["", "gelu"])
def test_on_a_gpu(activation: str, frames: int) -> None:
    if not describe().cuda:
        pytest.skip("the installed library was built without -DCONFPRESS_CUDA=ON")
    if (reason := why_no_gpu()) is not None:
        pytest.skip(reason)
    halves = (
        half_model(weight.astype(np.float16), activation)
        for weight in (sparse_weight(70, 200, 7), sparse_weight(70, 200, 2, of=4))
    )
    integers = (
        layer.model(activation).SerializeToString()
        for layer in (SparseLayer.balanced(70, 200, Pattern(16, 16)), QuantLayer.random(70, 200))
    )
    models = [
        *((each, np.float16, 2e-3) for each in halves),
        *((each, np.float32, 1e-5) for each in integers),
    ]
    for model, dtype, tolerance in models:
        feeds = {"x": np.random.default_rng(0).standard_normal((frames, 200)).astype(dtype)}
        loaded = ir.from_proto(onnx.load_from_string(model))
        nodes, _ = profile_nodes(loaded, feeds, SessionOptions(provider="cuda"), runs=1)
        assert [node.provider for node in nodes] == ["CUDAExecutionProvider"], nodes
        (expected,) = create_session(model, SessionOptions(kernels=False)).run(None, feeds)
        (y,) = create_session(model, SessionOptions(provider="cuda")).run(None, feeds)
        np.testing.assert_allclose(y, expected, rtol=tolerance, atol=tolerance)
