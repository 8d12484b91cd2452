"""The pipeline on a real trained Conformer and real speech."""

from __future__ import annotations

from pathlib import Path

import pytest
from confpress import optimize
from confpress.optimizer.recipe.recipe import preset
from confpress.runtime.profile.modules import profile_modules
from confpress.runtime.recognition.asr import AsrModel
from confpress.runtime.speech import load_utterances
from confpress.runtime.validation.validate import validate

from .report.browser import CHROMIUM, MOST_PAGE_BYTES, VIEWS, browse, screenshot

#: Files of at most this size, from 60.1 MB.
MOST_BYTES = 18e6
#: Points of word error rate that either target may lose.
MOST_POINTS = 0.5
#: Where a target multiplies more or less than the original, if that is not left out as slower:
#: blocks of queries meet fewer positions, and the first convolution, of one channel, reads four
#: copies of it, which makes 6.3 of 316 million products 25.3.
OTHER_PRODUCTS = {
    ("portable", "self_attention"): (0.95, 1.01),
    ("portable", "subsampling"): (0.99, 1.061),
}


def test_a_real_conformer_goes_through(
    nemo_model: Path, calibration_folder: Path, shared_data: Path, tmp_path: Path
) -> None:
    recipe = preset("default").replace(
        {
            "bench": {"enabled": False},
            "proof": {"frames": [121, 200]},
            "calibration": {"max_seconds": 60.0},
            "validation": {"subset": "an4test_clstk", "max_utterances": 6},
        }
    )
    result = optimize(
        nemo_model,
        recipe,
        output=tmp_path / "out",
        calibration=calibration_folder,
        validation=shared_data / "an4",
    )
    stages = {stage.name: stage for stage in result.report.stages}
    # Two subsampling convolutions; in each of 16 layers the merged q, k, v, the position
    # projection, the output projection, four of the feed-forward halves and two pointwise.
    assert len(stages["quantize"].changes) == 2 + 16 * (3 + 4 + 2) + 2
    for stage in result.report.stages:
        if stage.proof is not None:
            assert stage.proof.worst <= 1e-5, stage.name
    for row in result.report.summary[1:]:
        assert row.bytes <= MOST_BYTES
        assert row.wer is not None
    for name in ("portable", "cpu"):
        for row in result.report.validation[name].outputs:
            assert row.sqnr_db is None or row.sqnr_db > 20, (name, row)
    # Every module but norms, which stay as they are, was quantised and is told its error.
    for name in ("portable", "cpu"):
        own = {m.id: m.own_db for m in result.report.modules[name]}
        assert len(own) > 16 * 5
        assert all(db is None or db > 20 for db in own.values()), own
        assert all(own[f"encoder.layers.{i}.feed_forward1"] is not None for i in range(16))
    # The profile tells every node its module and counts the same products, fused and lowered.
    originals = profile_modules(AsrModel.load(nemo_model), seconds=2.0, runs=1)
    for name in ("portable", "cpu"):
        path = tmp_path / "out" / name / "model.onnx"
        profiled = profile_modules(AsrModel.load(path), seconds=2.0, runs=1)
        assert profiled.unattributed_ms == 0
        for kind in ("feed_forward", "self_attention", "convolution", "subsampling", "head"):
            macs = [
                next(m.macs for m in each.by_kind() if m.kind == kind)
                for each in (originals, profiled)
            ]
            least, most = OTHER_PRODUCTS.get((name, kind), (0.99, 1.01))
            assert least < macs[1] / macs[0] < most, (name, kind)
    # The subsampling's convolutions and projection, ten layers a block, the head.
    assert len(result.report.layers) == 2 + 1 + 16 * 10 + 1
    page = tmp_path / "out" / "report.html"
    assert page.stat().st_size < MOST_PAGE_BYTES
    if CHROMIUM is not None:
        assert 'aria-label="layers"' in browse(page, "--dump-dom")
        for view in VIEWS:
            assert screenshot(page, view, "real-model").stat().st_size > 50_000


@pytest.mark.evidence
def test_both_targets_stay_within_half_a_point(
    nemo_model: Path,
    calibration_folder: Path,
    shared_data: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    recipe = preset("default").replace({"validation": {"subset": "an4test_clstk"}})
    result = optimize(
        nemo_model,
        recipe,
        output=tmp_path / "out",
        calibration=calibration_folder,
        validation=shared_data / "an4",
        quiet=False,
    )
    other = load_utterances(shared_data / "librispeech" / "test_other")
    original = AsrModel.load(nemo_model)
    for name in ("portable", "cpu"):
        found = validate(original, AsrModel.load(result.model(name)), other)
        rates = {
            "AN4 test": result.report.validation[name].speech,
            "test-other": found.speech,
        }
        for data, speech in rates.items():
            words = speech.words if speech is not None else None
            assert words is not None
            with capsys.disabled():
                print(
                    f"{name} on {data}: {100 * words.reference.rate:.2f} % to "
                    f"{100 * words.candidate.rate:.2f} %, interval of the change "
                    f"{100 * words.difference_interval.low:+.2f} to "
                    f"{100 * words.difference_interval.high:+.2f} points"
                )
            assert 100 * words.difference <= MOST_POINTS
    if CHROMIUM is not None:
        for view in VIEWS:
            screenshot(tmp_path / "out" / "report.html", view, "real-model-measured")
    with capsys.disabled():
        for row in result.report.summary:
            print(row.name, row.bytes, row.p50_ms, row.faster)
