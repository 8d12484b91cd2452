from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from confpress import optimize
from confpress.optimizer.demo import demo_folder
from confpress.optimizer.package import sherpa as sherpa_kind
from confpress.optimizer.package.build import KINDS, build
from confpress.optimizer.package.sherpa_features import refuse_other_features
from confpress.optimizer.package.sherpa_model import sherpa_tokens
from confpress.optimizer.recipe.recipe import Recipe, preset
from confpress.passes.errors import ConfpressError
from confpress.runtime.recognition.asr import AsrModel
from confpress.runtime.speech import FrontEnd, Tokens
from onnx import numpy_helper, parser

from tests.conftest import write_ctc

from .conftest import QUICK

pytest.importorskip("sherpa_onnx", reason="the extra `sherpa` is not installed")

SHERPA = KINDS["sherpa-onnx"]


@pytest.fixture(scope="module")
def lossless(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo's model in float32: nothing is rounded that a feature's last digit could change."""
    out = tmp_path_factory.mktemp("demo") / "out ü"
    recipe = preset("lossless").replace(QUICK)
    return optimize(demo_folder() / "model.onnx", recipe, output=out, target="portable").folder


def test_sherpa_hears_what_confpress_hears_with_the_same_features(
    lossless: Path, tmp_path: Path
) -> None:
    built = build(lossless, SHERPA, tmp_path / "packed")
    assert built.checked.words == 29
    assert "differs in 0 of 29 words" in built.checked.sentence
    metadata = onnx.load(built.folder / "model.onnx", load_external_data=False).metadata_props
    assert {
        "subsampling_factor": "4",
        "normalize_type": "per_feature",
        "vocab_size": "28",
    }.items() <= {entry.key: entry.value for entry in metadata}.items()
    assert Tokens.load(built.folder / "tokens.txt").pieces[-1] == "<blk>"
    assert FrontEnd.load(built.folder / "frontend.json").framing == "sherpa-onnx"


def test_what_it_hears_otherwise_is_refused(
    lossless: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A blank that is not the model's: what is written would be nonsense."""

    def wrong(model: AsrModel) -> Tokens:
        pieces = sherpa_tokens(model).pieces
        return Tokens(("<blk>", *pieces[1:-1], pieces[0]))

    monkeypatch.setattr(sherpa_kind, "sherpa_tokens", wrong)
    with pytest.raises(ConfpressError, match="words otherwise than Confpress"):
        build(lossless, SHERPA, tmp_path / "packed")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"preemphasis": 0.95}, "preemphasis = 0.97"),
        ({"n_fft": 1024}, "n_fft = 512"),
        ({"hop_length": 200}, "hop_length = 160"),
        ({"f_min": 20.0}, "f_min = 0"),
        ({"log_offset": 1e-3}, "log_offset"),
    ],
)
def test_features_that_it_cannot_compute_are_refused(change: dict[str, float], reason: str) -> None:
    refuse_other_features(FrontEnd())
    refuse_other_features(FrontEnd(sample_rate=8000, window_length=200, hop_length=80, n_fft=256,
                                   f_max=4000.0, n_mels=40))  # fmt: skip
    with pytest.raises(ConfpressError, match=reason):
        refuse_other_features(FrontEnd().model_copy(update=change))


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"lengths": False}, "takes features; make a `bundle`"),
        ({"mels_first": False}, "with the frames first"),
    ],
)
def test_models_that_it_cannot_feed_are_refused(
    tmp_path: Path, options: dict[str, bool], reason: str
) -> None:
    write_ctc(tmp_path / "model.onnx", **options)
    recipe = Recipe().replace(QUICK)
    out = optimize(tmp_path / "model.onnx", recipe, output=tmp_path / "out", target="portable")
    with pytest.raises(ConfpressError, match=reason):
        build(out.folder, SHERPA, tmp_path / "packed")
    assert not (tmp_path / "packed").exists()


def test_words_that_it_cannot_spell_are_refused(tiny_ctc: Path) -> None:
    for silent in ("SIL", "</s>", "a b"):
        tokens = Tokens(("▁", silent, "b", "c", "d", "e"))
        with pytest.raises(ConfpressError, match="cannot spell"):
            sherpa_tokens(AsrModel.load(tiny_ctc, tokens=tokens))
    named = Tokens(("<blank>", "▁", "a", "b", "c", "d", "e"))
    found = sherpa_tokens(AsrModel.load(tiny_ctc, tokens=named))
    assert found.pieces == ("<blk>", "▁", "a", "b", "c", "d", "e")


def test_only_portable_is_taken(small_result: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfpressError, match="of target portable, not cpu"):
        build(small_result, SHERPA, tmp_path / "packed", target="cpu")


#: The best token of a frame tells its value of one mel filter; the blank is always worse.
FEATURE_READER = """
<ir_version: 8, opset_import: ["" : 17]>
reader (float[b, 80, t] features, int64[b] length) => (float[b, t, n] scores)
<int64[1] axis = {1}, float zero = {0}, float far = {1000}> {
  row = Slice (features, start, end, axis)
  column = Transpose <perm = [0, 2, 1]> (row)
  distance = Sub (column, grid)
  away = Abs (distance)
  near = Neg (away)
  nothing = Mul (column, zero)
  blank = Sub (nothing, far)
  scores = Concat <axis = 2> (near, blank)
}
"""


@pytest.mark.parametrize("mel", [5, 40, 79])
def test_features_are_those_of_sherpa(tmp_path: Path, mel: int) -> None:
    import sherpa_onnx

    audio = np.random.default_rng(3).standard_normal(16000).astype(np.float32) * 0.1
    audio *= np.linspace(0.03, 1, audio.size, dtype=np.float32) ** 2
    expected = FrontEnd(framing="sherpa-onnx").features(audio)[mel]
    grid = np.linspace(-4, 4, 4001, dtype=np.float32)
    model = parser.parse_model(FEATURE_READER)
    for name, array in (("start", [mel]), ("end", [mel + 1]), ("grid", grid[None, None])):
        model.graph.initializer.append(numpy_helper.from_array(np.array(array), name))
    for key, value in (
        ("model_type", "EncDecCTCModelBPE"),
        ("vocab_size", str(grid.size)),
        ("subsampling_factor", "1"),
        ("normalize_type", "per_feature"),
    ):
        model.metadata_props.add(key=key, value=value)
    onnx.save(model, tmp_path / "model.onnx")
    Tokens((*(f"x{i}" for i in range(grid.size)), "<blk>")).save(tmp_path / "tokens.txt")
    recogniser = sherpa_onnx.OfflineRecognizer.from_nemo_ctc(
        model=str(tmp_path / "model.onnx"), tokens=str(tmp_path / "tokens.txt")
    )
    stream = recogniser.create_stream()
    stream.accept_waveform(16000, audio)
    recogniser.decode_stream(stream)
    found = np.array([grid[int(token[1:])] for token in stream.result.tokens])
    assert found.shape == expected.shape
    # Half a step of the grid, and what single precision leaves.
    np.testing.assert_allclose(found, np.clip(expected, -4, 4), atol=0.0011)
