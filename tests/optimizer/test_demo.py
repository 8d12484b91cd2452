from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from confpress.optimizer import demo
from confpress.optimizer.result.manifest import verify
from confpress.passes.errors import ConfpressError
from confpress.runtime.speech import Utterance, load_utterances

from .conftest import Confpress


@pytest.fixture
def small_demo(tiny_ctc: Path, speech_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A demo folder of the package's layout, with a small model."""
    place = tiny_ctc.parent / "installed"
    clips = place / "demo" / "clips"
    clips.mkdir(parents=True)
    lines = ["path\ttext"]
    for index, name in enumerate(("clip-01", "clip-02", "calibration-01")):
        shutil.copy(speech_folder / f"{index}.flac", clips / f"{name}.flac")
        lines.append(f"{name}.flac\tBAD ACE")
    (clips / "manifest.tsv").write_text("\n".join(lines) + "\n")
    for name in ("model.onnx", "tokens.txt", "frontend.json"):
        shutil.copy(tiny_ctc.parent / name, place / "demo" / name)
    monkeypatch.setattr(demo.models, "__path__", [str(place)])
    return place / "demo"


def test_the_demo_prints_the_table_and_writes_the_result(
    confpress: Confpress, small_demo: Path, tmp_path: Path
) -> None:
    done = confpress("demo", "-o", tmp_path / "out")
    assert done.status == 0, done.err
    for word in ("model", "size", "WER", "95 % interval", "p50 latency", "speed-up", "cpu"):
        assert word in done.out
    assert "report.html" in verify(tmp_path / "out").files


def test_it_calibrates_on_other_clips_than_it_judges_by(small_demo: Path, tmp_path: Path) -> None:
    report = demo.run_demo(tmp_path / "out", command=["confpress", "demo"], quiet=True).report
    assert report.calibration is not None
    assert report.validation_data is not None
    assert (report.calibration.utterances, report.validation_data.utterances) == (1, 2)


def test_an_installation_without_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(demo.models, "__path__", [str(tmp_path)])
    with pytest.raises(ConfpressError, match="lacks the demo's model"):
        demo.demo_folder()


def test_the_demo_that_ships(tmp_path: Path) -> None:
    report = demo.run_demo(tmp_path / "out", command=["confpress", "demo"], quiet=True).report
    original, *results = report.summary
    assert original.bytes <= 8e6
    assert report.validation_data is not None
    assert report.validation_data.utterances == 12
    for row in report.summary:
        assert row.wer is not None
        assert row.wer <= 0.10, row.name
    for row in results:
        assert row.smaller > 3
    speech = {u.id for u in _clips(demo.TEST_CLIPS)}
    assert not speech & {u.id for u in _clips(demo.CALIBRATION_CLIPS)}


def _clips(subset: str) -> list[Utterance]:
    return load_utterances(demo.demo_folder() / "clips", subset)
