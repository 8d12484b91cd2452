from __future__ import annotations

import pytest
from confpress.passes.errors import ConfpressError
from confpress.passes.operators.sparselinear import BLOCK, WINDOW
from confpress.runtime import instructions
from confpress.runtime.instructions import look_up_reach, needs_seven_bits
from confpress.runtime.kernels import KernelInfo, library_path


def test_a_look_up_reaches_a_block_with_vbmi_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    assert look_up_reach("avx512vbmi") == BLOCK
    assert look_up_reach("any") == look_up_reach("avx2") == WINDOW
    for path, reach in (("avx512vnni", WINDOW), ("avx512vbmi", BLOCK)):
        info = KernelInfo(library_path(), (path,), (path,), path, "none")
        monkeypatch.setattr(instructions, "describe", lambda info=info: info)
        assert look_up_reach() == reach


def test_without_the_library_any_processor_is_meant(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent() -> None:
        raise ConfpressError("there is none")

    monkeypatch.setattr(instructions, "library_path", absent)
    assert look_up_reach() == WINDOW


def test_weights_have_seven_bits_where_sums_saturate(monkeypatch: pytest.MonkeyPatch) -> None:
    assert needs_seven_bits("avx2")
    assert not needs_seven_bits("any") and not needs_seven_bits("avx512vbmi")
    for features, needed in ((("avx2",), True), (("avx2", "avx_vnni"), False), (("asimd",), False)):
        machine = {"cpu_features": features}
        monkeypatch.setattr(instructions, "describe_machine", lambda machine=machine: machine)
        assert needs_seven_bits() == needed
