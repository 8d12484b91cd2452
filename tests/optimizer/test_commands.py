"""The commands one by one, on small models."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import onnx
import pytest
from confpress.runtime.inputs import SpeechSource
from confpress.runtime.model_file import load_model
from confpress.runtime.runner import Runner
from confpress.runtime.speech import FrontEnd
from confpress.runtime.validation.compare import compare_outputs

from .conftest import FAST, Confpress, Done


def ok(done: Done) -> str:
    assert done.status == 0, done.err
    return done.out


def equal(left: Path, right: Path) -> bool:
    source = SpeechSource(FrontEnd())
    batches = [source.batch(40, 2, ragged=True), source.batch(63, 1)]
    runners = [Runner.start(load_model(path)) for path in (left, right)]
    found = compare_outputs(runners[0], runners[1], batches)
    return all(row.max_abs <= 1e-5 * max(row.scale, 1) for row in found)


def test_optimize_prints_the_table_and_answers_the_limit(
    confpress: Confpress, tiny_ctc: Path, speech_folder: Path, other_speech: Path, tmp_path: Path
) -> None:
    recipe = tmp_path / "fast.toml"
    recipe.write_text(FAST)
    common = (
        "optimize", tiny_ctc, "--recipe", recipe, "--calibration", speech_folder,
        "--validation", other_speech, "--target", "portable",
    )  # fmt: skip
    done = confpress(
        *common, "-o", tmp_path / "out", "--json", tmp_path / "r.json", "--max-wer-increase", "100"
    )
    table = ok(done)
    assert "portable passes" in table
    assert "speed-up" in table
    assert "report.html" in table
    assert "simplify" in done.err
    assert json.loads((tmp_path / "r.json").read_text())["verdict"]["outcome"] == "pass"
    stored = json.loads((tmp_path / "out" / "report.json").read_text())
    assert stored == json.loads((tmp_path / "r.json").read_text())


def test_validate_has_three_answers(confpress: Confpress, make_ctc, tmp_path: Path) -> None:
    """Speech whose text is what model A hears, so that A makes no error and B some."""
    left, right = make_ctc("a.onnx"), make_ctc("b.onnx", noise=0.01)
    data = _speech_as_heard(confpress, left, tmp_path)
    compare = ("validate", left, right, "--data", data, "--json", tmp_path / "v.json")
    ok(confpress(*compare))
    words = json.loads((tmp_path / "v.json").read_text())["validation"]["speech"]["words"]
    assert words["reference"]["rate"] == 0
    low, high = (100 * words["difference_interval"][end] for end in ("low", "high"))
    assert 0 < low < high
    for limit, status, outcome in (
        (high, 0, "pass"),
        (low / 2, 3, "fail"),
        ((low + high) / 2, 4, "undecided"),
    ):
        done = confpress(*compare, "--max-wer-increase", limit)
        assert done.status == status, done.out
        assert json.loads((tmp_path / "v.json").read_text())["verdict"]["outcome"] == outcome


def _speech_as_heard(confpress: Confpress, model: Path, tmp_path: Path) -> Path:
    import numpy as np
    import soundfile

    folder = tmp_path / "data"
    folder.mkdir()
    random = np.random.default_rng(3)
    for index in range(8):
        samples = random.standard_normal(12000).astype(np.float32) * 0.1
        soundfile.write(folder / f"{index}.flac", samples, 16000)
    ok(confpress("transcribe", model, folder, "--json", tmp_path / "t.json"))
    heard = json.loads((tmp_path / "t.json").read_text())
    lines = [f"{Path(row['path']).name}\t{row['text']}" for row in heard]
    (folder / "manifest.tsv").write_text("path\ttext\n" + "\n".join(lines) + "\n")
    return folder


def test_simplify_keeps_the_outputs(confpress: Confpress, tiny_ctc: Path, tmp_path: Path) -> None:
    out = tmp_path / "b.onnx"
    ok(confpress("simplify", tiny_ctc, "-o", out, "--json", tmp_path / "s.json"))
    assert equal(tiny_ctc, out)
    record = json.loads((tmp_path / "s.json").read_text())
    assert record["after"]["nodes"] < record["before"]["nodes"]
    assert record["changes"]


def test_quantize_then_lower(confpress: Confpress, tiny_ctc: Path, tmp_path: Path) -> None:
    quantized = tmp_path / "qdq.onnx"
    said = ok(confpress("quantize", tiny_ctc, "-o", quantized, "--convolution", "float32"))
    assert "linear: int8 per channel" in said
    assert "too few" in said
    for target, operator in (("portable", "DynamicQuantizeMatMul"), ("cpu", "QuantLinearReLU")):
        out = tmp_path / f"{target}.onnx"
        ok(confpress("lower", quantized, "-o", out, "--target", target))
        assert operator in [node.op_type for node in load_model(out).graph]


def test_quantize_leaves_excluded_layers(
    confpress: Confpress, tiny_ctc: Path, tmp_path: Path
) -> None:
    said = ok(confpress("quantize", tiny_ctc, "-o", tmp_path / "q.onnx", "--exclude", "*"))
    assert "excluded by the pattern '*'" in said
    assert "QuantizeLinear" not in [n.op_type for n in load_model(tmp_path / "q.onnx").graph]


def test_inspect_counts(confpress: Confpress, tiny_ctc: Path, tmp_path: Path) -> None:
    said = ok(confpress("inspect", tiny_ctc, "--layers", "--json", tmp_path / "i.json"))
    assert "parameters" in said
    stored = json.loads((tmp_path / "i.json").read_text())
    # Two matrices, 80 x 16 and 16 x 7.
    assert stored["parameters"] == 80 * 16 + 16 * 7
    assert stored["frames"] == 1000


def test_bench_compares_with_the_first(
    confpress: Confpress, tiny_ctc: Path, make_ctc, tmp_path: Path
) -> None:
    other = make_ctc("other.onnx", noise=0.1)
    options = ("--seconds", "0.5", "--rounds", "3", "--json", tmp_path / "b.json")
    said = ok(confpress("bench", tiny_ctc, other, *options))
    assert "other.onnx" in said
    stored = json.loads((tmp_path / "b.json").read_text())
    first, second = stored["cases"][0]["timings"]
    assert first["speedup"] is None
    assert second["speedup"]["median"] > 0


def test_profile_tells_modules_and_operators(
    confpress: Confpress, tiny_ctc: Path, tmp_path: Path
) -> None:
    file = tmp_path / "profile.json"
    done = confpress(
        "profile", tiny_ctc, "--seconds", 1, "--runs", 2, "--layers", "--modules", "--json", file
    )
    assert done.status == 0, done.err
    for part in ("what is left", "of the limit", "LogSoftmax", "by block", "by module"):
        assert part in done.out
    found = json.loads(file.read_text())
    assert {"peak", "modules", "whole"} <= found.keys()
    refused = confpress("profile", tiny_ctc, "--json", tiny_ctc)
    assert refused.status != 0
    assert tiny_ctc.name in refused.err


def test_transcribe_takes_files_and_folders(
    confpress: Confpress, tiny_ctc: Path, speech_folder: Path, tmp_path: Path
) -> None:
    audio = (speech_folder / "0.flac", speech_folder)
    ok(confpress("transcribe", tiny_ctc, *audio, "--json", tmp_path / "t.json"))
    rows = json.loads((tmp_path / "t.json").read_text())
    assert [Path(row["path"]).name for row in rows] == ["0.flac", "0.flac", "1.flac", "2.flac"]
    assert rows[0]["text"] == rows[1]["text"]


def test_kernels_names_its_library(confpress: Confpress) -> None:
    from confpress.runtime import kernels

    if not any((Path(folder) / "lib").is_dir() for folder in kernels.__path__):
        done = confpress("kernels")
        assert done.status == 1
        assert "pip install" in done.err
        return
    assert ok(confpress("kernels", "--path")) == f"{kernels.library_path()}\n"
    assert "portable" in ok(confpress("kernels"))


@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["SIGINT", "SIGTERM"]
)
def test_an_interrupted_run_leaves_what_the_next_one_goes_on_from(
    tiny_ctc: Path, tmp_path: Path, number: signal.Signals, status: int
) -> None:
    recipe = tmp_path / "long.toml"
    recipe.write_text("[bench]\nrounds = 1000000\nseconds = [1.0]\n")
    before = set(tmp_path.iterdir())
    with subprocess.Popen(
        [
            *(sys.executable, "-m", "confpress.optimizer", "optimize", str(tiny_ctc)),
            *("-o", str(tmp_path / "out"), "--recipe", str(recipe)),
        ],
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
        env=os.environ | {"PYTHONUNBUFFERED": "1"},
    ) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if line.startswith("validate"):
                break
        time.sleep(0.5)
        process.send_signal(number)
        said = process.stderr.read()
        process.wait(timeout=30)
    assert process.returncode == status
    assert "Traceback" not in said
    assert "goes on from it" in said
    work = tmp_path / ".out.work"
    assert set(tmp_path.iterdir()) == {*before, work}
    assert {path.name for path in work.iterdir()} == {"lock", "steps"}


def test_audit_names_layers_that_only_look_quantised(
    confpress: Confpress, tiny_ctc: Path, tmp_path: Path
) -> None:
    qdq, fast = tmp_path / "qdq.onnx", tmp_path / "fast.onnx"
    ok(confpress("quantize", tiny_ctc, "-o", qdq, "--convolution", "float32"))
    ok(confpress("lower", qdq, "-o", fast, "--target", "portable"))
    frontend = ("--frontend", tiny_ctc.with_name("frontend.json"))
    quick = ("--seconds", "2", "--runs", "2", *frontend)
    trapped = confpress("audit", qdq, "--layers", *quick)
    assert trapped.status == 3
    assert "1 of 2 layers run as the file says" in trapped.out
    assert "computed in float32" in trapped.out
    lowered = ok(confpress("audit", fast, "--json", tmp_path / "audit.json", *quick))
    assert "2 of 2 layers run as the file says" in lowered
    layers = json.loads((tmp_path / "audit.json").read_text())["layers"]
    assert [layer["runs"] for layer in layers] == ["integer", "float"]


def test_simplify_with_sizes(confpress: Confpress, tiny_ctc: Path, tmp_path: Path) -> None:
    fixed = tmp_path / "fixed.onnx"
    names = [d.dim_param for d in onnx.load(tiny_ctc).graph.input[0].type.tensor_type.shape.dim]
    free = next(name for name in names if name)
    done = confpress("simplify", tiny_ctc, "-o", fixed, "--size", f"{free}=3")
    assert done.status == 0, done.err
    shape = onnx.load(fixed).graph.input[0].type.tensor_type.shape
    assert [d.dim_value for d in shape.dim][names.index(free)] == 3
    wrong = confpress("simplify", tiny_ctc, "-o", tmp_path / "no.onnx", "--size", "time:3")
    assert wrong.status == 2
    assert "'time:3' is not NAME=N" in wrong.err
    assert not (tmp_path / "no.onnx").exists()
