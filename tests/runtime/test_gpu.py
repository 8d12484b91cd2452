from __future__ import annotations

import onnxruntime as ort
import pytest
from confpress.runtime import session
from confpress.runtime.gpu import why_no_gpu


def test_without_the_provider_the_reason_says_so() -> None:
    if "CUDAExecutionProvider" in ort.get_available_providers():
        pytest.skip("this ONNX Runtime has the cuda provider")
    assert "has no cuda provider; install onnxruntime-gpu" in str(why_no_gpu())


@pytest.mark.filterwarnings("ignore:Duplicate provider")
def test_with_a_provider_that_starts_there_is_no_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(session.PROVIDERS, "cuda", "CPUExecutionProvider")
    assert why_no_gpu() is None


@pytest.mark.filterwarnings("ignore:Duplicate provider")
def test_libraries_that_pip_put_beside_are_loaded_in_silence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(session.PROVIDERS, "cuda", "CPUExecutionProvider")
    asked: list[bool] = []
    monkeypatch.setattr(ort, "preload_dlls", lambda: print("no") or asked.append(True))
    assert why_no_gpu() is None
    assert asked == [True]
    assert not capsys.readouterr().out
