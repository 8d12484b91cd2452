"""Every model that onnx ships with its backend tests gives the same outputs after removal."""

from __future__ import annotations

import dataclasses
import functools
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort
import pytest
from confpress.passes.errors import ConfpressError
from confpress.passes.prune import RemovePruned
from confpress.passes.rewrites.simplify import Simplify
from onnx import numpy_helper
from onnx.backend.test import loader
from onnx.backend.test.case.test_case import TestCase

#: One in so many cases runs by default; ``-m evidence`` runs all of them.
_SAMPLE = 60
#: Below this many the installed onnx would not have its test data, and the test would be empty.
_LEAST_CASES = 1000


Arrays = list[object]


@dataclasses.dataclass(frozen=True)
class Case:
    """A model with the inputs and outputs that onnx states for it."""

    name: str
    model: onnx.ModelProto
    inputs: Arrays
    outputs: Arrays


@functools.cache
def cases() -> tuple[Case, ...]:
    """All cases that need no download and whose data are tensors."""
    found = list(_node_cases())
    for kind in ("simple", "pytorch-operator", "pytorch-converted"):
        found += [
            case for each in loader.load_model_tests(kind=kind) for case in _stored_case(each)
        ]
    return tuple(found)


def _node_cases() -> Iterator[Case]:
    for case in loader.load_node_model_tests():
        for given, expected in case.data_sets or ():
            if all(isinstance(each, np.ndarray | np.generic) for each in (*given, *expected)):
                yield Case(case.name, case.model, list(given), list(expected))


def _stored_case(case: TestCase) -> Iterator[Case]:
    if case.model_dir is None:
        return
    folder = Path(case.model_dir)
    model = onnx.load(folder / "model.onnx")
    data = folder / "test_data_set_0"
    given, expected = stored(data, "input", model), stored(data, "output", model)
    if given is not None and expected is not None:
        yield Case(case.name, model, given, expected)


def outputs(model: onnx.ModelProto, feeds: dict[str, object]) -> list[object] | None:
    """What ONNX Runtime computes without optimisation; None where it does not run the model."""
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    try:
        session = ort.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
        return list(session.run(None, feeds))
    except Exception:  # whatever keeps the unchanged model from running
        return None


def stored(folder: Path, kind: str, model: onnx.ModelProto) -> list[object] | None:
    """Arrays of one kind (``input`` or ``output``); None for sequences and optionals."""
    arrays = []
    values = model.graph.input if kind == "input" else model.graph.output
    for index, value in enumerate(values):
        path = folder / f"{kind}_{index}.pb"
        if not path.exists() or not value.type.HasField("tensor_type"):
            return None
        tensor = onnx.TensorProto()
        tensor.ParseFromString(path.read_bytes())
        arrays.append(numpy_helper.to_array(tensor))
    return arrays


def agree(left: object, right: object, tolerance: float = 1e-4) -> bool:
    """Equal within the tolerance, or equal outright for what is no number."""
    a, b = np.asarray(left), np.asarray(right)
    if a.shape != b.shape or a.dtype != b.dtype:
        return False
    if a.dtype == np.float16:
        # Constant folding rounds in another order: one unit in the last place.
        tolerance = max(tolerance, 2.0**-10)
    if a.dtype.kind == "f":
        return bool(np.allclose(a, b, rtol=tolerance, atol=tolerance, equal_nan=True))
    return bool((a == b).all())


def check(which: Sequence[Case]) -> tuple[int, list[str]]:
    """How many cases run unchanged, and which of them removal breaks."""
    ran, broken = 0, []
    for case in which:
        feeds = dict(zip((v.name for v in case.model.graph.input), case.inputs, strict=False))
        before = outputs(case.model, feeds)
        if before is None or not _all_agree(before, case.outputs, 1e-3):
            continue
        ran += 1
        try:
            model = ir.from_proto(case.model)
            if case.name == "test_scan_sum":
                with pytest.raises(ConfpressError, match="batch axis"):
                    Simplify()(model)
                continue
            Simplify()(model)
            RemovePruned()(model)
            after = outputs(ir.to_proto(model), feeds)
        except Exception as error:
            broken.append(f"{case.name}: {type(error).__name__}: {str(error)[:150]}")
            continue
        if after is None or not _all_agree(after, before):
            broken.append(f"{case.name}: {'does not run' if after is None else 'other outputs'}")
    return ran, broken


def _all_agree(left: Arrays, right: Arrays, tolerance: float = 1e-4) -> bool:
    pairs = zip(left, right, strict=True)
    return len(left) == len(right) and all(agree(a, b, tolerance) for a, b in pairs)


def test_a_sample_of_the_backend_tests() -> None:
    sample = cases()[::_SAMPLE]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ran, broken = check(sample)
    assert ran > len(sample) // 2
    assert not broken


@pytest.mark.evidence
def test_all_backend_tests() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ran, broken = check(cases())
    print(f"{ran} cases run unchanged; {len(broken)} differ afterwards")
    assert ran > _LEAST_CASES
    assert not broken, "\n".join(broken)
