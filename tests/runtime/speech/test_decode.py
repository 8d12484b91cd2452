from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from confpress.passes.errors import ConfpressError
from confpress.runtime.speech import Tokens, greedy_ctc


def _scores(path: list[int], classes: int = 4) -> np.ndarray:
    return np.log(np.eye(classes, dtype=np.float32)[path] * 0.9 + 0.01)


def test_repeats_merge_and_blanks_separate() -> None:
    assert greedy_ctc(_scores([3, 0, 0, 3, 0, 1, 1, 2, 3, 3])) == [0, 0, 1, 2]


def test_frames_beyond_the_length_do_not_count() -> None:
    assert greedy_ctc(_scores([0, 3, 1, 2, 2]), length=3) == [0, 1]
    assert greedy_ctc(_scores([0, 1]), length=0) == []


def test_the_blank_may_be_elsewhere() -> None:
    assert greedy_ctc(_scores([0, 1, 0, 1, 3]), blank=0) == [1, 1, 3]


def test_pieces_and_characters_become_words() -> None:
    pieces = Tokens(("▁the", "▁ca", "t", "s"))
    assert pieces.text([0, 1, 2, 3]) == "the cats"
    assert pieces.blank == 4
    characters = Tokens(("▁", "a", "b"))
    assert characters.text([1, 0, 1, 2, 0, 0]) == "a ab"


def test_a_file_round_trips_and_names_its_blank(tmp_path: Path) -> None:
    path = tmp_path / "tokens.txt"
    tokens = Tokens(("<blk>", "▁", "a", "#"))
    tokens.save(path)
    assert Tokens.load(path) == tokens
    assert tokens.blank == 0


@pytest.mark.parametrize("content", ["", "a\n", "a 0\nb 0\n", "a 0\nb 2\n", "a zero\n", " 0\n"])
def test_a_malformed_file_is_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "tokens.txt"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(ConfpressError, match=r"tokens\.txt"):
        Tokens.load(path)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfpressError, match="cannot read the tokens"):
        Tokens.load(tmp_path / "tokens.txt")


def test_a_byte_order_mark_is_no_part_of_the_first_piece(tmp_path: Path) -> None:
    (tmp_path / "tokens.txt").write_bytes(b"\xef\xbb\xbf<blk> 0\r\na 1\r\n")
    tokens = Tokens.load(tmp_path / "tokens.txt")
    assert tokens.pieces == ("<blk>", "a")
    assert tokens.blank == 0
