from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from confpress.passes.errors import ConfpressError
from confpress.runtime.profile.operators import Profile, _node_times, profile
from confpress.runtime.recognition.asr import AsrModel


def kernel(name: str, op: str, ts: int, dur: int, index: str = "0") -> dict[str, Any]:
    return {
        "cat": "Node",
        "name": f"{name}_kernel_time",
        "ts": ts,
        "dur": dur,
        "args": {"op_name": op, "provider": "CPU", "node_index": index},
    }


def test_shares_add_up_and_nodes_are_named(tiny_ctc: Path) -> None:
    result = profile(AsrModel.load(tiny_ctc), seconds=2.0, runs=3)
    assert {"Transpose", "LogSoftmax"} <= {o.operator for o in result.operators}
    assert sum(o.share for o in result.operators) == pytest.approx(1.0)
    assert sum(n.share for n in result.nodes) == pytest.approx(1.0)
    assert sum(o.nodes for o in result.operators) == len(result.nodes)
    assert [o.ms for o in result.operators] == sorted(
        (o.ms for o in result.operators), reverse=True
    )
    assert sum(n.ms for n in result.nodes) + result.outside_ms >= result.run_ms - 1e-9
    assert Profile.model_validate_json(result.model_dump_json()) == result


def test_runs_before_are_left_out_and_medians_taken() -> None:
    runs = [{"ts": 100, "dur": 50}, {"ts": 200, "dur": 50}, {"ts": 300, "dur": 50}]
    events = [
        kernel("a", "MatMul", 10, 9000),
        kernel("a", "MatMul", 110, 10),
        kernel("a", "MatMul", 210, 20),
        kernel("a", "MatMul", 310, 900),
    ]
    (node,) = _node_times(events, runs)
    assert (node.name, node.operator, node.ms, node.share) == ("a", "MatMul", 0.02, 1.0)


def test_a_loop_does_not_count_its_nodes_twice() -> None:
    runs = [{"ts": 100, "dur": 100}]
    events = [
        kernel("loop", "Loop", 100, 100, "0"),
        kernel("inner", "Add", 110, 30, "1"),
        kernel("inner", "Add", 150, 30, "1"),
    ]
    found = {n.name: n.ms for n in _node_times(events, runs)}
    assert found == {"loop": pytest.approx(0.04), "inner": pytest.approx(0.06)}


def test_nodes_of_equal_names_stay_apart() -> None:
    events = [kernel("", "Add", 110, 10, "1"), kernel("", "Add", 130, 10, "2")]
    assert len(_node_times(events, [{"ts": 100, "dur": 100}])) == 2


def test_runs_must_be_positive(tiny_ctc: Path) -> None:
    with pytest.raises(ConfpressError, match="at least 1 run"):
        profile(AsrModel.load(tiny_ctc), runs=0)


def test_a_real_model_spends_its_time_in_products(nemo_model: Path) -> None:
    result = profile(AsrModel.load(nemo_model), seconds=3.0, runs=2)
    shares = {o.operator: o.share for o in result.operators}
    assert shares["MatMul"] + shares["Conv"] > 0.4
