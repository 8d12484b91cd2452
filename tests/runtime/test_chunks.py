"""How chunks are cut, for the subsamplings and declarations of exports that are in use."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
import pytest
from confpress.passes.errors import ConfpressError
from confpress.runtime.chunks import Chunks, find_chunks
from confpress.runtime.interface import Interface, read_interface

from tests.runtime.test_interface import model

SIGNATURE = "float[B, T, 80] x, float[B, 9, 16] past_keys"
OUTPUTS = "float[B, S, 9] y, float[B, 9, 16] present_keys"


def face(inputs: str = SIGNATURE, **metadata: str) -> Interface:
    made = model(inputs, OUTPUTS)
    made.metadata_props.update(metadata)
    return read_interface(made, name="m.onnx")


def padded(frames: int) -> int:
    """Two convolutions of stride 2 with padding."""
    return -(-frames // 4)


def unpadded(frames: int) -> int:
    """Two convolutions of width 3 and stride 2 without padding, as in icefall and WeNet."""
    return ((frames - 1) // 2 - 1) // 2


def dropping(frames: int) -> int:
    """Stride 8, the first two frames dropped, as in NeMo's cache-aware models."""
    return -(-frames // 8) - 2


def test_every_frame_begins_in_one_chunk_and_the_last_is_held() -> None:
    features = np.arange(20, dtype=np.float32).reshape(2, 10)
    cut = Chunks(window=5, shift=4).cut(features)
    assert [piece[0].tolist() for piece in cut] == [
        [0, 1, 2, 3, 4],
        [4, 5, 6, 7, 8],
        [8, 9, 9, 9, 9],
    ]
    assert [piece.shape for piece in Chunks(4, 4).cut(features[:, :8])] == [(2, 4), (2, 4)]
    assert [piece[1].tolist() for piece in Chunks(3, 2).cut(features[:, :1])] == [[10, 10, 10]]


@pytest.mark.parametrize(
    ("subsampling", "shift", "expected"),
    [
        (padded, None, Chunks(64, 64)),
        (padded, 33, Chunks(36, 36)),
        # A frame of scores is made of 7 frames, 3 more than the stride.
        (unpadded, None, Chunks(67, 64)),
        (dropping, 112, Chunks(121, 112)),
    ],
)
def test_a_model_that_takes_any_chunk_gets_the_shortest_window(
    subsampling: Callable[[int], int], shift: int | None, expected: Chunks
) -> None:
    chosen = dataclasses.replace(face(), chunk_shift=shift)
    found = find_chunks(chosen, subsampling)
    assert found == expected
    assert subsampling(found.window) * (8 if subsampling is dropping else 4) == found.shift


def test_declared_chunks_are_taken_without_running_the_model() -> None:
    def never(_: int) -> int:
        raise AssertionError

    icefall = face(SIGNATURE.replace("B, T", "1, 39"), T="39", decode_chunk_len="32")
    assert find_chunks(icefall, never) == Chunks(39, 32)
    nemo = face(window_size="121", chunk_shift="112")
    assert find_chunks(nemo, never) == Chunks(121, 112)


def test_a_fixed_window_without_overlap_is_the_chunk() -> None:
    fixed = face(SIGNATURE.replace("B, T", "B, 60"))
    assert find_chunks(fixed, padded) == Chunks(60, 60)
    with pytest.raises(ConfpressError, match=r"takes 60 frames and gives 14 .* windows overlap"):
        find_chunks(fixed, unpadded)
    assert find_chunks(dataclasses.replace(fixed, chunk_shift=56), unpadded) == Chunks(60, 56)
    # The model's layers tell what metadata does not.
    assert find_chunks(dataclasses.replace(fixed, factor=4), unpadded) == Chunks(60, 56)
    assert find_chunks(dataclasses.replace(fixed, factor=4), padded) == Chunks(60, 60)


def test_a_model_of_which_no_chunk_can_be_found_is_refused() -> None:
    with pytest.raises(ConfpressError, match="gives 3 frames of scores for 128"):
        find_chunks(face(), lambda frames: 3)
    long = dataclasses.replace(face(), chunk_shift=200)
    with pytest.raises(ConfpressError, match="fewer than 50 frames of scores for up to 456"):
        find_chunks(long, lambda frames: min(frames // 4, 40))
