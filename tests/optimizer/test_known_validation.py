from __future__ import annotations

import json
from pathlib import Path

from .conftest import Confpress


def test_validate_does_not_repeat_itself(
    confpress: Confpress, make_ctc, speech_folder: Path, cache_home: Path, tmp_path: Path
) -> None:
    one, two = make_ctc(), make_ctc("other/model.onnx", seed=1)

    def validate(*options: object) -> tuple[str, object]:
        written = tmp_path / "found.json"
        done = confpress("validate", one, two, "--data", speech_folder, "--json", written, *options)
        assert done.status == 0, done.err
        return done.err, json.loads(written.read_text())

    said, first = validate("--no-cache")
    assert "known" not in said
    assert not list(cache_home.iterdir())
    for expected in ("", "This validation is known from an earlier run"):
        said, found = validate()
        assert expected in said and bool(expected) == ("known" in said)
        assert found == first
    # With other texts the comparison is another one, but the words heard are known.
    (speech_folder / "manifest.tsv").write_text("path\ttext\n0.flac\tBAD\n")
    said, _ = validate()
    assert said.count("1 of 1 transcripts") == 2
    for path in (cache_home / "confpress").glob("validation-*"):
        path.write_text(path.read_text()[:-9])
    said, _ = validate()
    assert "is damaged in part, which is ignored" in said


def test_optimize_knows_what_other_results_heard_and_observed(
    confpress: Confpress, tiny_ctc: Path, speech_folder: Path, fast_recipe: Path, tmp_path: Path
) -> None:
    given = ("optimize", tiny_ctc, "--recipe", fast_recipe, "--validation", speech_folder)
    first = confpress(*given, "-o", tmp_path / "one")
    second = confpress(*given, "-o", tmp_path / "two")
    assert first.status == second.status == 0, first.err + second.err
    assert "transcripts" not in first.err
    # The original, portable and cpu; the results' models are found by what they hold.
    assert second.err.count("3 of 3 transcripts") == 3
