"""A recipe whose layers do not run as planned fails, and says which."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from confpress import optimize
from confpress.optimizer import pipeline, stages
from confpress.optimizer.planned import check_planned
from confpress.passes.errors import ConfpressError
from confpress.passes.rewrites.versions import MinimiseVersions
from confpress.runtime.audit.layers import Audit, LayerAudit, Runs


def audited(stated: str, runs: Runs, *, finding: str = "why") -> Audit:
    layer = LayerAudit(
        id="encoder.layers.0.feed_forward1.linear1",
        operator="MatMul",
        stated=stated,  # type: ignore[arg-type]
        stored="int8",
        kernel="MatMul",
        runs=runs,
        as_planned=False,
        findings=(finding,),
    )
    return Audit(model="model.onnx", threads=1, layers=(layer,))


def test_the_sentence_names_the_layers() -> None:
    with pytest.raises(ConfpressError) as caught:
        check_planned(audited("integer", "decoded"), "portable", kernels=True)
    said = str(caught.value)
    assert "on target portable 1 layers do not run as planned" in said
    assert "encoder.layers.0.feed_forward1.linear1 (why)" in said


def test_only_what_was_planned_fails() -> None:
    check_planned(audited("float16", "float"), "portable", kernels=True)
    check_planned(audited("integer", "gone"), "portable", kernels=True)
    check_planned(audited("integer", "body"), "cpu", kernels=False)
    with pytest.raises(ConfpressError):
        check_planned(audited("integer", "body"), "cpu", kernels=True)


def test_a_lowering_that_misses_layers_fails_the_run(
    tiny_ctc: Path, fast_recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    useless = dataclasses.replace(
        stages.LOWER["portable"], passes=lambda recipe, _: [MinimiseVersions()]
    )
    monkeypatch.setitem(pipeline.LOWER, "portable", useless)  # type: ignore[arg-type]
    with pytest.raises(ConfpressError, match=r"1 layers do not run as planned: .*per frame"):
        optimize(tiny_ctc, fast_recipe, output=tmp_path / "out")
    assert not (tmp_path / "out").exists()
