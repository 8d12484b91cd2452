"""Scores instead of logarithms of probabilities: the best token is the same."""

from __future__ import annotations

import numpy as np
from confpress.passes.base import run
from confpress.passes.rewrites.layers.log_softmax import DropLogSoftmax

from ...graphs import evaluate, operators, parse

MODEL = """<ir_version: 10, opset_import: ["": 18]>
g (float[b, t, 8] x) => (float[b, t, 8] logprobs, float[b, t, 8] hidden) {
    hidden = Relu (x)
    scores = Neg (hidden)
    logprobs = LogSoftmax <axis = -1> (scores)
}"""


def test_the_best_token_stays() -> None:
    x = np.random.default_rng(0).standard_normal((2, 5, 8)).astype(np.float32)
    before, hidden = evaluate(parse(MODEL), {"x": x})
    model = parse(MODEL)
    result = run([DropLogSoftmax()], model)
    assert len(result.changes) == 1
    assert [refusal.where for refusal in result.refusals] == ["hidden"]
    assert operators(model) == ["Relu", "Neg"]
    assert [output.name for output in model.graph.outputs] == ["logprobs", "hidden"]
    after, kept = evaluate(model, {"x": x})
    assert not np.allclose(before, after)
    np.testing.assert_array_equal(before.argmax(-1), after.argmax(-1))
    np.testing.assert_array_equal(hidden, kept)


def test_scores_that_are_an_output_stay_theirs() -> None:
    model = parse(MODEL.replace("hidden) {", "scores) {"))
    assert not run([DropLogSoftmax()], model).changes
