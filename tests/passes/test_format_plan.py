"""Plans of formats: what they may say, and that files say the same."""

from __future__ import annotations

from pathlib import Path

import pytest
from confpress.passes.errors import ConfpressError
from confpress.passes.format_plan import FormatPlan, LayerFormat


def test_a_plan_comes_back_from_its_file(tmp_path: Path) -> None:
    plan = FormatPlan(
        layers={
            "a": LayerFormat(weight="int4", block=32, method="mse", activations="int8"),
            "b": LayerFormat(weight="float16"),
            "c": LayerFormat(weight="fp8"),
        }
    )
    path = tmp_path / "plan.json"
    plan.save(path)
    assert FormatPlan.load(path) == plan
    assert '"block": 32' in path.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{", "cannot be read"),
        ('{"version": 2}', "version"),
        ('{"layers": {"a": {"weight": "int3"}}}', r"layers\.a: .*weight must be one of"),
        ('{"layers": {"a": {"weight": "int4", "block": 20}}}', "a block of 20 rows"),
        ('{"layers": {"a": {"weight": "fp4", "zero_point": true}}}', "no zero points"),
        ('{"layers": {"a": {"weight": "float32", "block": 32}}}', "no further options"),
        ('{"layers": {"a": {"weight": "int4", "blok": 32}}}', "blok"),
    ],
)
def test_what_is_wrong_is_said(tmp_path: Path, text: str, reason: str) -> None:
    path = tmp_path / "plan.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ConfpressError, match=reason):
        FormatPlan.load(path)


def test_bytes_of_a_layer() -> None:
    assert LayerFormat(weight="float16").stored_bytes(64, 10) == 1280
    assert LayerFormat(weight="int4", block=32).stored_bytes(64, 10) == 320 + 80
