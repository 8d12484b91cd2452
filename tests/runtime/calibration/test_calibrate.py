from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest
from confpress.passes.errors import ConfpressError
from confpress.passes.quantize import values_to_calibrate
from confpress.runtime.calibration.calibrate import Observed, calibrate, expose, load_calibration
from confpress.runtime.inputs import synthetic_features
from confpress.runtime.model_file import load_model
from confpress.runtime.session import create_session, run_session
from confpress.runtime.speech import FrontEnd


def value_of(model: ir.Model, op_type: str) -> str:
    return next(str(n.outputs[0].name) for n in model.graph if n.op_type == op_type)


def test_statistics_are_those_of_the_values(tiny_ctc: Path) -> None:
    model = load_model(tiny_ctc)
    features = [synthetic_features(80, n, seed=n) for n in (40, 61)]
    relu = value_of(model, "Relu")
    found = calibrate(model, features, [Observed(relu, -1, gram=True), "features"])
    weight = model.graph.initializers["weight1"].const_value
    assert weight is not None
    hidden = np.concatenate([np.maximum(f.T[::2] @ weight.numpy(), 0) for f in features])
    assert found[relu].maximum == pytest.approx(hidden.max(), rel=1e-5)
    assert found[relu].count == hidden.size
    assert found[relu].gram is not None
    assert np.allclose(found[relu].gram, hidden.T @ hidden, rtol=1e-4, atol=1e-3)
    assert found["features"].minimum == min(f.min() for f in features)


def test_the_model_is_left_alone(tiny_ctc: Path) -> None:
    model = load_model(tiny_ctc)
    before = ir.to_proto(model).SerializeToString()
    copy = expose(model, [value_of(model, "Relu")])
    assert [str(o.name) for o in copy.graph.outputs] == [value_of(model, "Relu")]
    assert "weight2" not in copy.graph.initializers
    calibrate(model, [synthetic_features(80, 30)], [value_of(model, "Relu")])
    assert ir.to_proto(model).SerializeToString() == before


def test_long_utterances_run_in_pieces(tiny_ctc: Path) -> None:
    """Pieces of an even number of frames see the same frames as the whole."""
    model = load_model(tiny_ctc)
    relu = value_of(model, "Relu")
    features = [synthetic_features(80, 400)]
    whole = calibrate(model, features, [relu])[relu]
    pieces = calibrate(model, features, [relu], max_frames=100)[relu]
    assert pieces.count == whole.count
    assert np.array_equal(pieces.histogram, whole.histogram)


def test_a_model_of_one_length_sees_pieces_of_it(make_ctc: Callable[..., Path]) -> None:
    features = [synthetic_features(80, 400)]
    any_length = load_model(make_ctc("any.onnx"))
    one_length = load_model(make_ctc("one.onnx", frames=100))
    relu = value_of(any_length, "Relu")
    whole = calibrate(any_length, features, [relu])[relu]
    pieces = calibrate(one_length, features, [value_of(one_length, "Relu")])[relu]
    assert np.array_equal(pieces.histogram, whole.histogram)


def test_a_folder_of_speech(tiny_ctc: Path, speech_folder: Path) -> None:
    model = load_model(tiny_ctc)
    relu = value_of(model, "Relu")
    chosen = load_calibration(speech_folder, FrontEnd())
    assert len(chosen) == 3
    assert chosen.seconds == pytest.approx(2.4)
    found = calibrate(model, chosen, [Observed(relu, channel_axis=-1)])[relu]
    assert found.channel_maximum.shape == (16,)
    assert found.channel_count == sum(-(-f.shape[1] // 2) for f in chosen)


def test_max_seconds_draws_over_the_folder(speech_folder: Path) -> None:
    some = load_calibration(speech_folder, FrontEnd(), max_seconds=1.7)
    again = load_calibration(speech_folder, FrontEnd(), max_seconds=1.7)
    assert some == again
    assert 0 < some.seconds <= 1.7
    assert len(load_calibration(speech_folder, FrontEnd(), max_seconds=0.01)) == 1
    with pytest.raises(ConfpressError, match="must be positive"):
        load_calibration(speech_folder, FrontEnd(), max_seconds=0)


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfpressError, match="has no utterances"):
        load_calibration(tmp_path / "empty", FrontEnd())
    with pytest.raises(ConfpressError, match="neither a folder"):
        load_calibration(tmp_path / "none", FrontEnd())


def test_unreadable_audio_is_named(tiny_ctc: Path, speech_folder: Path) -> None:
    (speech_folder / "1.flac").write_bytes(b"fLaC but no more")
    model = load_model(tiny_ctc)
    with pytest.raises(ConfpressError, match=r"1\.flac is not audio"):
        calibrate(model, load_calibration(speech_folder, FrontEnd()), [value_of(model, "Relu")])


def test_values_must_exist_be_floats_and_finite(tiny_ctc: Path) -> None:
    model = load_model(tiny_ctc)
    features = [synthetic_features(80, 30)]
    with pytest.raises(ConfpressError, match="no value 'nonsense'"):
        calibrate(model, features, ["nonsense"])
    with pytest.raises(ConfpressError, match="'encoded_lengths' holds int64"):
        calibrate(model, features, ["encoded_lengths"])
    relu = value_of(model, "Relu")
    broken = features[0].copy()
    broken[3, 4] = np.nan
    with pytest.raises(ConfpressError, match=f"'{relu}' cannot .* on recording 2: .* not finite"):
        calibrate(model, [features[0], broken], [relu])
    with pytest.raises(ConfpressError, match="at least one recording"):
        calibrate(model, [], [relu])
    assert calibrate(model, features, []) == {}


def test_a_real_model(nemo_model: Path, calibration_folder: Path) -> None:
    """Input and output of the subsampling's convolutions, on two recordings."""
    model = load_model(nemo_model)
    names = values_to_calibrate(model)
    assert names
    chosen = load_calibration(calibration_folder, FrontEnd(), max_seconds=25)
    found = calibrate(model, chosen, [Observed(name, channel_axis=1) for name in names])
    outputs = run_session(
        create_session(expose(model, names[:1])),
        {"audio_signal": next(iter(chosen))[None], "length": np.array([100])},
    )
    assert found[names[0]].maximum >= outputs[0].max()
    for statistics in found.values():
        clipped = statistics.range("mse", symmetric=False)
        assert statistics.minimum <= clipped.low <= 0 <= clipped.high <= statistics.maximum
