from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
import sys
import venv
from pathlib import Path

import pytest
from confpress import optimize
from confpress.optimizer.demo import demo_folder
from confpress.optimizer.package import bundle as bundle_kind
from confpress.optimizer.package.archive import unpack
from confpress.optimizer.package.build import KINDS, Built, build
from confpress.optimizer.package.clips import write_clips
from confpress.optimizer.package.manifest import PackageManifest
from confpress.optimizer.recipe.recipe import Recipe
from confpress.optimizer.report.schema import Report
from confpress.optimizer.result.manifest import verify, write_manifest
from confpress.passes.errors import ConfpressError
from confpress.runtime.kernels import library_path
from confpress.runtime.model_file import load_model, save_model
from confpress.runtime.recognition.asr import AsrModel, transcribe
from confpress.runtime.session import create_session

from ..conftest import Confpress
from .conftest import QUICK

BUNDLE = KINDS["bundle"]

#: Runs a script where importing anything beside numpy and ONNX Runtime fails.
ALONE = """
import runpy, sys
for name in ("onnx", "onnx_ir", "onnxscript", "pydantic", "scipy", "soundfile", "rich",
             "click", "torch", "jiwer", "jinja2", "ml_dtypes"):
    sys.modules[name] = None
sys.path.insert(0, ".")
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def run_alone(folder: Path, script: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    command = [sys.executable, "-c", ALONE, script, *map(str, arguments)]
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, encoding="utf-8", check=False
    )


@pytest.fixture(scope="module")
def bundle(small_result: Path, tmp_path_factory: pytest.TempPathFactory) -> Built:
    return build(small_result, BUNDLE, tmp_path_factory.mktemp("ü") / "packed", licence="CC0-1.0")


@pytest.fixture
def unpacked(bundle: Built, tmp_path: Path) -> Path:
    unpack(bundle.archive, tmp_path / "device")
    return tmp_path / "device"


def test_it_hears_the_same_without_any_other_package(
    bundle: Built, unpacked: Path, small_result: Path, tmp_path: Path
) -> None:
    clips = write_clips(tmp_path, 16000)
    model = AsrModel.load(small_result / "cpu" / "model.onnx")
    expected = [each.text for each in transcribe(model, create_session(model.path), clips)]
    done = run_alone(unpacked, "transcribe.py", *(clip.path for clip in clips))
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        f"{clip.path}\t{text}" for clip, text in zip(clips, expected, strict=True)
    ]
    assert len("".join(expected)) > 40
    assert bundle.checked.words == sum(len(text.split()) for text in expected)


def test_it_writes_a_cost_table(unpacked: Path, tmp_path: Path) -> None:
    options = ("--seconds", "0.5,1", "--threads", "1,2", "--rounds", 3, "-o", tmp_path / "t.json")
    done = run_alone(unpacked, "bench.py", *options)
    assert done.returncode == 0, done.stderr
    table = json.loads((tmp_path / "t.json").read_text())
    cases = [(entry["seconds"], entry["threads"]) for entry in table["entries"]]
    assert cases == [(0.5, 1), (0.5, 2), (1.0, 1), (1.0, 2)]
    for entry in table["entries"]:
        assert 0 < entry["p10_ms"] <= entry["p50_ms"] <= entry["p90_ms"]
        assert entry["real_time_factor"] == pytest.approx(entry["p50_ms"] / 1000 / entry["seconds"])
    assert table["machine"]["cpu"]
    assert table["kernels"] is True


def test_two_packages_of_one_result_are_equal_bit_for_bit(
    bundle: Built, small_result: Path, tmp_path: Path
) -> None:
    again = build(small_result, BUNDLE, tmp_path / "another name", licence="CC0-1.0")
    assert again.archive.read_bytes() == bundle.archive.read_bytes()


def test_the_manifest_says_what_is_in_it(bundle: Built, small_result: Path) -> None:
    text = (bundle.folder / "manifest.json").read_text(encoding="utf-8")
    manifest = PackageManifest.model_validate_json(text)
    assert manifest == bundle.manifest
    found = {p.relative_to(bundle.folder).as_posix() for p in bundle.folder.rglob("*")}
    files = {name for name in found if (bundle.folder / name).is_file()}
    assert set(manifest.files) == files - {"manifest.json"}
    (kernels,) = manifest.kernels
    assert (bundle.folder / kernels.file).is_file()
    assert kernels.paths
    assert manifest.licences.model == "CC0-1.0"
    assert manifest.model.minimum_onnxruntime == "1.18"
    assert manifest.model.operators["confpress.v1"]["QuantLinearReLU"] == 1
    report = Report.model_validate_json((small_result / "report.json").read_text())
    assert manifest.metrics.summary == next(r for r in report.summary if r.name == "cpu")
    readme = (bundle.folder / "README.md").read_text(encoding="utf-8")
    assert "CC0-1.0" in readme
    assert "transcribe.py" in readme


def test_portable_needs_no_kernels(small_result: Path, tmp_path: Path) -> None:
    built = build(small_result, BUNDLE, tmp_path / "out", target="portable")
    assert built.manifest.kernels == ()
    assert not (built.folder / "lib").exists()
    assert set(built.manifest.model.operators) <= {"ai.onnx", "com.microsoft"}


def test_libraries_for_other_architectures_travel_along(
    confpress: Confpress, small_result: Path, tmp_path: Path
) -> None:
    machines = {"x86_64": 62, "aarch64": 183}
    library = bytearray(library_path().read_bytes())
    other = next(name for name in machines if name != platform.machine())
    library[18:20] = machines[other].to_bytes(2, "little")
    (tmp_path / "other.so").write_bytes(library)
    command = ("package", small_result, "-o", tmp_path / "packed")
    given = ("--kernel-library", tmp_path / "other.so")
    done = confpress(*command, "--for", "bundle", *given)
    assert done.status == 0, done.err
    folder = tmp_path / "packed" / "bundle"
    assert (folder / "lib" / other / "libconfpress_kernels.so").read_bytes() == library
    readme = (folder / "README.md").read_text(encoding="utf-8")
    assert f"for {platform.machine()}, `lib/{other}/" in readme
    (tmp_path / "no.so").write_bytes(library.replace(b"confpress_kernel_paths", b"x" * 22))
    library[18:20] = (8).to_bytes(2, "little")
    (tmp_path / "mips.so").write_bytes(library)
    for arguments, status, reason in (
        ((*given, *given), 1, "are both for"),
        (("--kernel-library", tmp_path / "no.so"), 1, "is no kernel library"),
        (("--kernel-library", tmp_path / "mips.so"), 1, "ELF machine 8"),
        (("--kernel-library", tmp_path / "none.so"), 1, "cannot read"),
        ((*given, "--target", "portable"), 1, "uses no kernel library"),
    ):
        done = confpress(*command[:-1], tmp_path / "q", "--for", "bundle", *arguments)
        assert done.status == status, done.err
        assert reason in done.err
    done = confpress(*command[:-1], tmp_path / "q", "--for", "ort", *given)
    assert done.status == 2
    assert not (tmp_path / "q").exists()


@pytest.mark.parametrize("script", ["transcribe.py", "bench.py"])
@pytest.mark.parametrize(
    "name", ["model.onnx", "tokens.txt", "lib", "confpress/runtime/benchmark/turns.py"]
)
def test_nothing_is_loaded_that_was_changed(unpacked: Path, script: str, name: str) -> None:
    path = unpacked / name
    changed = next(path.rglob("*.so")) if path.is_dir() else path
    with changed.open("ab") as file:
        file.write(b"\n")
    done = run_alone(unpacked, script, *(["no.wav"] if script == "transcribe.py" else []))
    assert done.returncode == 1
    assert done.stderr.startswith("Error: ")
    assert done.stderr.count("\n") == 1
    assert "its SHA-256 differs" in done.stderr


def test_a_machine_without_kernels_gets_the_same_text(
    unpacked: Path, tmp_path: Path, small_result: Path
) -> None:
    """Another architecture in the manifest: the model runs by its function bodies."""
    path = unpacked / "manifest.json"
    manifest = json.loads(path.read_text(encoding="utf-8"))
    manifest["kernels"][0]["architecture"] = "another"
    path.write_text(json.dumps(manifest), encoding="utf-8")
    clips = write_clips(tmp_path, 16000)
    model = AsrModel.load(small_result / "cpu" / "model.onnx")
    expected = transcribe(model, create_session(model.path), clips[:1])[0].text
    done = run_alone(unpacked, "transcribe.py", clips[0].path)
    assert done.stdout == f"{clips[0].path}\t{expected}\n"


def test_packing_needs_no_other_runtime() -> None:
    """sherpa-onnx is an extra: what imports it runs in packages alone."""
    script = (
        "import sys; sys.modules['sherpa_onnx'] = None; "
        "from confpress.optimizer.package.build import KINDS; print(*KINDS)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout == "bundle ort sherpa-onnx\n"


def test_weights_beside_the_model_are_packed(small_result: Path, tmp_path: Path) -> None:
    result = Path(shutil.copytree(small_result, tmp_path / "out"))
    path = result / "cpu" / "model.onnx"
    save_model(load_model(path), path, external_data=True)
    old = verify(small_result)
    (result / "manifest.json").unlink()
    write_manifest(
        result, command=old.command, created=old.created, versions=old.versions, source=old.source
    )
    built = build(result, BUNDLE, tmp_path / "packed")
    assert "model.onnx.data" in built.manifest.files


def test_a_package_that_hears_something_else_is_not_written(
    small_result: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bundle_kind, "transcripts", lambda _, clips: ["other"] * len(clips))
    with pytest.raises(ConfpressError, match="hears 'other' in clip-01"):
        build(small_result, BUNDLE, tmp_path / "packed")
    assert list(tmp_path.iterdir()) == []


def test_bad_input_is_one_sentence_and_writes_nothing(
    confpress: Confpress, small_result: Path, tmp_path: Path
) -> None:
    half = Path(shutil.copytree(small_result, tmp_path / "half"))
    (half / "cpu" / "model.onnx").unlink()
    changed = Path(shutil.copytree(small_result, tmp_path / "changed"))
    (changed / "cpu" / "tokens.txt").write_text("other 0\n")
    taken = tmp_path / "taken"
    taken.mkdir()
    (taken / "thesis.tex").write_text("x")
    empty = tmp_path / "empty"
    empty.mkdir()
    before = sorted(p.name for p in tmp_path.iterdir())
    output = tmp_path / "packed"
    for arguments, reason in (
        ((tmp_path / "none", "-o", output), "there is no result folder"),
        ((empty, "-o", output), "is not a result of Confpress"),
        ((half, "-o", output), "is not there"),
        ((changed, "-o", output), "SHA-256 differs"),
        ((small_result, "-o", taken), "exists already"),
        ((small_result, "-o", small_result), "exists already"),
        ((small_result, "-o", small_result / "cpu" / "model.onnx" / "x"), "is a file"),
    ):
        done = confpress("package", *arguments, "--for", "bundle")
        assert done.status == 1, arguments
        assert done.err.count("\n") == 1, done.err
        assert reason in done.err, done.err
        assert sorted(p.name for p in tmp_path.iterdir()) == before
    done = confpress("package", small_result, "--for", "toaster")
    assert done.status == 2
    assert "toaster" in done.err


def test_a_result_without_words_or_target_is_refused(make_ctc, tmp_path: Path) -> None:
    model = make_ctc("a/model.onnx", beside=False)
    recipe = Recipe().replace(QUICK)
    optimize(model, recipe, output=tmp_path / "wordless", target="portable")
    with pytest.raises(ConfpressError, match=r"no tokens\.txt"):
        build(tmp_path / "wordless", BUNDLE, tmp_path / "packed")
    with pytest.raises(ConfpressError, match="no model for cpu, only for portable"):
        build(tmp_path / "wordless", BUNDLE, tmp_path / "packed", target="cpu")
    fixed = make_ctc("b/model.onnx", frames=70, batch=1)
    optimize(fixed, recipe, output=tmp_path / "fixed", target="portable")
    with pytest.raises(ConfpressError, match="one size of input only"):
        build(tmp_path / "fixed", BUNDLE, tmp_path / "packed")


def test_the_command_names_what_it_wrote(
    confpress: Confpress, small_result: Path, tmp_path: Path
) -> None:
    done = confpress(
        *("package", small_result, "--for", "bundle", "-o", tmp_path / "p"),
        *("--json", tmp_path / "package.json"),
    )
    assert done.status == 0, done.err
    assert f"{tmp_path / 'p' / 'bundle.tar'}" in done.out
    written = PackageManifest.model_validate_json((tmp_path / "package.json").read_text())
    assert written.package == "bundle"
    done = confpress("unpack", tmp_path / "p" / "bundle.tar", "-o", tmp_path / "q")
    assert done.status == 0, done.err
    assert (tmp_path / "q" / "transcribe.py").is_file()


@pytest.mark.evidence
def test_the_demo_in_a_new_virtual_environment(tmp_path: Path) -> None:
    """Only numpy and ONNX Runtime are installed; needs a package index."""
    clips = demo_folder() / "clips"
    recipe = Recipe().replace(
        QUICK | {"calibration": {"subset": "calibration-"}, "validation": {"subset": "clip-"}}
    )
    model = demo_folder() / "model.onnx"
    optimize(model, recipe, output=tmp_path / "out", calibration=clips, validation=clips)
    built = build(tmp_path / "out", BUNDLE, tmp_path / "packed")
    venv.create(tmp_path / "venv", with_pip=True)
    python = tmp_path / "venv" / "bin" / "python"
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    install = [python, "-m", "pip", "install", "--quiet", "numpy", "onnxruntime"]
    if subprocess.run(install, env=environment, check=False).returncode:
        pytest.skip("numpy and onnxruntime cannot be installed here")
    unpack(built.archive, tmp_path / "device")
    wav = write_clips(tmp_path, 16000)
    texts = subprocess.run(
        [python, "transcribe.py", *(clip.path for clip in wav)],
        cwd=tmp_path / "device",
        env=environment,
        capture_output=True,
        encoding="utf-8",
        check=True,
    ).stdout.splitlines()
    own = AsrModel.load(tmp_path / "out" / "cpu" / "model.onnx")
    expected = transcribe(own, create_session(own.path), wav)
    assert [line.split("\t")[1] for line in texts] == [each.text for each in expected]
    assert sum(len(each.text.split()) for each in expected) > 20
