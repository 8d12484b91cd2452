from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from confpress.passes.errors import ConfpressError
from confpress.runtime import kernels
from confpress.runtime.model_file import load_model
from confpress.runtime.session import SessionOptions, create_session, error_text, run_session

FEEDS = {
    "features": np.zeros((1, 80, 20), np.float32),
    "length": np.array([20], np.int64),
}

# An operator of ours with its meaning in standard operators: y = x + x.
OURS = """
<ir_version: 9, opset_import: ["" : 17, "confpress.v1" : 1]>
g (float[N] x) => (float[N] y) { y = confpress.v1.Twice (x) }
<domain: "confpress.v1", opset_import: ["" : 17]>
Twice (x) => (y) { y = Add (x, x) }
"""


def test_file_bytes_and_memory_give_the_same_outputs(tiny_ctc: Path) -> None:
    kinds = (tiny_ctc, str(tiny_ctc), tiny_ctc.read_bytes(), load_model(tiny_ctc))
    outputs = [run_session(create_session(kind), FEEDS) for kind in kinds]
    assert all(np.array_equal(outputs[0][0], other[0]) for other in outputs[1:])
    assert outputs[0][1].tolist() == [10]


def test_options_reach_onnx_runtime(tiny_ctc: Path, tmp_path: Path) -> None:
    optimised = tmp_path / "optimised.onnx"
    options = SessionOptions(
        threads=2,
        graph_level="disabled",
        profile_prefix=tmp_path / "trace",
        optimised_path=optimised,
        config=(("session.force_spinning_stop", "1"),),
    )
    session = create_session(tiny_ctc, options)
    native = session.get_session_options()
    assert native.intra_op_num_threads == 2
    assert native.graph_optimization_level == ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    assert native.get_session_config_entry("session.force_spinning_stop") == "1"
    run_session(session, FEEDS)
    assert Path(session.end_profiling()).is_relative_to(tmp_path)
    assert any(
        n.op_type == "Constant" or n.op_type == "MatMul" for n in onnx.load(optimised).graph.node
    )


def test_outputs_can_be_chosen(tiny_ctc: Path) -> None:
    lengths = run_session(create_session(tiny_ctc), FEEDS, ["encoded_lengths"])
    assert [a.tolist() for a in lengths] == [[10]]


def test_a_model_of_ours_runs_by_its_functions_without_the_library() -> None:
    model = onnx.parser.parse_model(OURS).SerializeToString()
    session = create_session(model, SessionOptions(kernels=False))
    assert run_session(session, {"x": np.float32([1, 2])})[0].tolist() == [2, 4]


def test_the_library_is_asked_for_only_where_it_is_used(
    tiny_ctc: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing() -> Path:
        raise ConfpressError("the kernel library is not built.")

    monkeypatch.setattr(kernels, "library_path", missing)
    create_session(tiny_ctc)
    with pytest.raises(ConfpressError, match="not built"):
        create_session(onnx.parser.parse_model(OURS).SerializeToString())


def test_a_library_that_cannot_be_loaded_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    library = tmp_path / "libkernels.so"
    library.write_bytes(b"no library")
    monkeypatch.setattr(kernels, "library_path", lambda: library)
    with pytest.raises(ConfpressError, match="cannot load the model") as caught:
        create_session(onnx.parser.parse_model(OURS).SerializeToString())
    assert "\n" not in str(caught.value)


def test_a_graph_that_onnx_runtime_refuses_is_one_sentence() -> None:
    model = onnx.parser.parse_model(
        '<ir_version: 8, opset_import: ["" : 17]> g (float[N] x) => (float[N] y)'
        "{ y = NoSuchOperator (x) }"
    )
    with pytest.raises(ConfpressError) as caught:
        create_session(model.SerializeToString())
    text = str(caught.value)
    assert "NoSuchOperator" in text
    assert "\n" not in text
    assert "ONNXRuntimeError" not in text


@pytest.mark.parametrize("content", [b"text", b"\x08\x08:\xff\xff\xff\x0f"])
def test_broken_files_are_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(content)
    with pytest.raises(ConfpressError, match=r"model\.onnx is"):
        create_session(path)


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(ConfpressError, match="no model file"):
        create_session(tmp_path / "none.onnx")


def test_missing_provider(tiny_ctc: Path) -> None:
    if "CUDAExecutionProvider" in ort.get_available_providers():
        pytest.skip("this ONNX Runtime has the cuda provider")
    with pytest.raises(ConfpressError, match="no cuda provider"):
        create_session(tiny_ctc, SessionOptions(provider="cuda"))


def test_threads_must_be_positive(tiny_ctc: Path) -> None:
    with pytest.raises(ConfpressError, match="threads must be at least 1"):
        create_session(tiny_ctc, SessionOptions(threads=0))


def test_failing_runs_name_the_shapes(tiny_ctc: Path) -> None:
    session = create_session(tiny_ctc)
    with pytest.raises(ConfpressError, match=r"features \[1, 79, 20\]"):
        run_session(session, {**FEEDS, "features": np.zeros((1, 79, 20), np.float32)})


def test_error_text_drops_codes_and_further_lines() -> None:
    error = RuntimeError("[ONNXRuntimeError] : 1 : FAIL : It failed.\nStacktrace:\n...")
    assert error_text(error) == "It failed"
    assert error_text(RuntimeError()) == "RuntimeError"
