"""The product on sparse tensor cores, with the warp's instruction emulated on the processor."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from confpress.passes.operators.activated import ACTIVATIONS
from confpress.passes.operators.sparselinear_half import pack_sparse_half
from numpy.testing import assert_array_equal

from ...passes.quant_layers import activated
from ...passes.sparse_layers import sparse_weight
from .native import compiled, run_for_races

SOURCE = Path(__file__).with_name("cuda_sparse_mma.cc")

Halves = npt.NDArray[np.float16]

# Frames, rows, columns. Chunks of 8 columns and not, one stage and several, tails of every kind.
SHAPES = [(1, 1, 40), (5, 16, 64), (33, 17, 176), (32, 64, 256), (70, 90, 300), (129, 130, 518)]


@pytest.fixture(scope="module")
def kernel(tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    """cuda_sparse_mma.cc, compiled by the ordinary compiler."""
    library = compiled(SOURCE, tmp_path_factory.mktemp("mma"))
    for name in ("sparse_mma", "pack_rows", "is_wide"):
        getattr(library, name).restype = ctypes.c_bool
    return library


def two_of_four(rows: int, columns: int, kept: int = 2) -> Halves:
    """Random weights of which each group of four columns keeps as many, at random places."""
    return sparse_weight(rows, columns, kept, of=4).astype(np.float16)


def multiply(
    kernel: ctypes.CDLL,
    x: Halves,
    weight: Halves,
    bias: npt.NDArray[np.float32],
    activation: str = "",
    wide: bool = False,
    late: bool = False,
) -> Halves | None:
    """The output; None where the weights do not fit."""
    values, places = pack_sparse_half(weight)
    y = np.full((len(x), len(weight)), np.nan, np.float16)
    sizes = (ctypes.c_int64 * 3)(len(x), *weight.shape)
    pointers = [array.ctypes.data_as(ctypes.c_void_p) for array in (x, values, places, bias, y)]
    integers = [ctypes.c_int(values.shape[2]), ctypes.c_int(ACTIVATIONS.index(activation))]
    fits = kernel.sparse_mma(*pointers, sizes, *integers, ctypes.c_bool(wide), ctypes.c_bool(late))
    return y if fits else None


@pytest.mark.parametrize("wide", [False, True])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_products_are_those_of_float64(
    kernel: ctypes.CDLL, shape: tuple[int, int, int], wide: bool
) -> None:
    frames, rows, columns = shape
    generator = np.random.default_rng(1)
    x = generator.standard_normal((frames, columns)).astype(np.float16)
    bias = generator.standard_normal(rows).astype(np.float32)
    weight = two_of_four(rows, columns)
    z = x.astype(np.float64) @ weight.T.astype(np.float64) + bias
    for late, activation in ((False, ""), (True, "silu")):
        y = multiply(kernel, x, weight, bias, activation, wide, late)
        assert y is not None
        expected = activated(activation, z)
        # Sums of at most 260 products, rounded to float32 17 times, then once to float16.
        assert (np.abs(y - expected) <= 1e-4 + np.abs(expected) * 2**-11).all()


def test_warps_meet_at_barriers_before_they_read_what_others_wrote(tmp_path: Path) -> None:
    run_for_races(SOURCE, tmp_path)


def test_frames_that_are_not_aligned_are_read_all_the_same(kernel: ctypes.CDLL) -> None:
    memory = np.random.default_rng(1).standard_normal(9 * 64 + 1).astype(np.float16)
    aligned, moved = memory[:-1].reshape(9, 64), memory[1:].reshape(9, 64)
    weight, bias = two_of_four(20, 64), np.zeros(20, np.float32)
    for x in (aligned, moved):
        assert_array_equal(
            multiply(kernel, x, weight, bias), multiply(kernel, x.copy(), weight, bias)
        )


def test_a_frame_with_nan_is_nan_and_others_are_not(kernel: ctypes.CDLL) -> None:
    x = np.random.default_rng(1).standard_normal((10, 70)).astype(np.float16)
    weight, bias = two_of_four(20, 70), np.zeros(20, np.float32)
    expected = multiply(kernel, x, weight, bias)
    x[3] = np.nan
    y = multiply(kernel, x, weight, bias)
    assert y is not None
    assert expected is not None
    assert np.isnan(y[3]).all()
    assert_array_equal(np.delete(y, 3, 0), np.delete(expected, 3, 0))


@pytest.mark.parametrize("kept", [0, 1])
def test_fewer_than_two_weights_of_four(kernel: ctypes.CDLL, kept: int) -> None:
    x = np.random.default_rng(1).standard_normal((4, 100)).astype(np.float16)
    weight, bias = two_of_four(20, 100, kept=kept), np.ones(20, np.float32)
    y = multiply(kernel, x, weight, bias)
    assert y is not None
    expected = x.astype(np.float64) @ weight.T.astype(np.float64) + bias
    np.testing.assert_allclose(y, expected, rtol=2**-11, atol=1e-4)


def test_three_weights_of_four_do_not_fit(kernel: ctypes.CDLL) -> None:
    weight, x = two_of_four(33, 200), np.zeros((1, 200), np.float16)
    weight[32, 196:] = [1, 0, 1, 1]
    assert multiply(kernel, x, weight, np.zeros(33, np.float32)) is None


# What the instruction's operands are -------------------------------------------------------------


def offsets(shape: Sequence[int], strides: Sequence[int]) -> list[int]:
    """Offsets of a layout, the first mode running fastest."""
    modes = [range(size) for size in reversed(shape)]
    return [
        sum(i * stride for i, stride in zip(reversed(at), strides, strict=True))
        for at in product(*modes)
    ]


#: Lanes and what each holds, to offsets in a matrix whose rows (of B: frames) run fastest: what
#: CUTLASS says of this instruction (cute/atom/mma_traits_sm80_sparse.hpp), from which it builds its
#: own kernels. A lane's values are those of its registers, zeros of A included; metadata is
#: given for the lanes of one selector, and for all columns that it describes.
CUTLASS = {
    "weights": (16, (4, 8), (64, 1), (4, 2, 2), (16, 8, 256)),
    "frames": (8, (4, 8), (16, 1), (2, 4), (8, 64)),
    "sums": (16, (4, 8), (32, 1), (2, 2), (16, 8)),
    "metadata": (16, (2, 2, 8), (256, 0, 1), (16, 2), (0, 8)),
}


def told(name: str) -> list[list[tuple[int, int]]]:
    """Row (of B: frame) and column of every value of every lane, as CUTLASS tells."""
    height, lanes, lane_strides, values, value_strides = CUTLASS[name]
    return [
        [((lane + value) % height, (lane + value) // height) for value in offsets(values, strides)]
        for lane in offsets(lanes, lane_strides)
        for strides in [value_strides]
    ]


def test_operands_lie_where_cutlass_has_them(kernel: ctypes.CDLL) -> None:
    out = [(ctypes.c_int * 2)() for _ in range(3)]
    weights, frames, sums = told("weights"), told("frames"), told("sums")
    for lane, reg in product(range(32), range(4)):
        kernel.places(lane, reg, *out)
        (row, group), (frame, column), at = (tuple(each) for each in out)
        assert weights[lane][4 * reg : 4 * reg + 4] == [(row, 4 * group + i) for i in range(4)]
        assert frames[lane][2 * reg : 2 * reg + 2] == [(frame, column), (frame, column + 1)]
        assert sums[lane][reg] == at


def test_metadata_lies_where_cutlass_has_it(kernel: ctypes.CDLL) -> None:
    at, metadata = (ctypes.c_int * 2)(), told("metadata")
    for lane, half in product(range(32), range(2)):
        row, first = metadata[lane][16 * half]
        for nibble in range(4):
            kernel.indices(lane, 4 * half + nibble, at)
            assert tuple(at) == (row, first // 4 + nibble)


def packed(
    kernel: ctypes.CDLL, dense: Halves
) -> tuple[npt.NDArray[np.uint32], npt.NDArray[np.uint32]]:
    """Words [steps, lanes, registers] and metadata [lanes] of 16 rows × 64 columns."""
    values, metadata = np.empty((2, 32, 4), np.uint32), np.empty(32, np.uint32)
    rows = np.ascontiguousarray(dense)
    assert kernel.pack_rows(rows.ctypes, values.ctypes, metadata.ctypes)
    return values, metadata


def test_metadata_of_known_patterns(kernel: ctypes.CDLL) -> None:
    """Two bits a column, the first column's lowest; groups from the lowest bits on; rows 0 to 7
    below rows 8 to 15. 0x8888 for columns 0 and 2 is what LLVM's sparse-mma-2-4-f16.mlir has."""
    known = {(0, 1): 0x4, (0, 2): 0x8, (0, 3): 0xC, (1, 2): 0x9, (1, 3): 0xD, (2, 3): 0xE}
    for kept, bits in known.items():
        dense = np.zeros((16, 16, 4), np.float16)
        dense[:, :, kept] = 1
        values, metadata = packed(kernel, dense)
        assert (metadata == bits * 0x11111111).all()
        assert (values == 0x3C003C00).all()
    dense = np.zeros((16, 16, 4), np.float16)
    dense[:8, :, [0, 2]] = dense[8:, :, [1, 3]] = 1
    assert (packed(kernel, dense)[1] == 0xDDDD8888).all()
    dense = np.zeros((16, 16, 4), np.float16)
    for group in range(16):
        dense[:, group, list(known)[group % 4]] = 1
    assert (packed(kernel, dense)[1] == 0x9C849C84).all()


def test_every_weight_is_packed_once_with_its_column(kernel: ctypes.CDLL) -> None:
    """Unpacked by CUTLASS's layouts, and not by those that packed it."""
    dense = two_of_four(16, 64)
    dense[3, 8:12] = [0, 0, 0, 5]
    dense[7, 20:24] = [-0.0, 0, 7, 0]
    values, metadata = packed(kernel, dense)
    columns = np.empty((2, 16, 8, 2), int)
    for lane in range(32):
        for half in range(2):
            row, first = told("metadata")[lane][16 * half]
            for nibble in range(4):
                bits = int(metadata[lane]) >> (16 * half + 4 * nibble)
                step, group = lane % 4 // 2, first // 4 + nibble
                columns[step, row, group] = bits & 3, bits >> 2 & 3
    assert (columns[..., 0] < columns[..., 1]).all()
    found = np.zeros((16, 2, 8, 4), np.float16)
    for lane, step, reg in product(range(32), range(2), range(4)):
        row, first = told("weights")[lane][4 * reg]
        pair = values[step, lane, reg : reg + 1].view(np.float16)
        found[row, step, first // 4, columns[step, row, first // 4]] = pair
    assert_array_equal(found.reshape(16, 64), dense)


def test_few_frames_and_rows_take_narrow_tiles(kernel: ctypes.CDLL) -> None:
    for frames, rows, wide in ((1, 4096, False), (250, 512, False), (250, 4096, True)):
        sizes: Any = (ctypes.c_int64 * 3)(frames, rows, 512)
        assert kernel.is_wide(sizes, 108) == wide
