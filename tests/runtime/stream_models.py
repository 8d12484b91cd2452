"""A small streaming CTC model in ONNX's text format, made without torch."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from confpress.runtime.speech import FrontEnd
from onnx import checker, numpy_helper, parser

from tests.conftest import PIECES


def write_stream_ctc(path: Path, *, keep: float = 0.5) -> None:
    """Write a model whose state is a mean of everything before a chunk, with front end and tokens.

    Every second frame is read; to it the state is added, `keep` of which stays from one chunk to
    the next; with `keep` above one what is in the state grows on and on.

    Args:
        path: The file to write.
        keep: Share of the state that stays.
    """
    vocabulary = len(PIECES) + 1
    model = parser.parse_model(
        f"""
        <ir_version: 8, opset_import: ["" : 17]>
        ctc (float[batch, 80, time] features, float[batch, 1, 80] past_mean)
          => (float[batch, steps, {vocabulary}] logprobs, float[batch, 1, 80] next_mean)
        <float keep = {{{keep}}}>
        {{
          turned = Transpose <perm = [0, 2, 1]> (features)
          mixed = MatMul (turned, weight0)
          heard = ReduceMean <axes = [1], keepdims = 1> (mixed)
          kept = Mul (past_mean, keep)
          next_mean = Add (kept, heard)
          one = Constant <value = int64[1] {{1}}> ()
          two = Constant <value = int64[1] {{2}}> ()
          zero = Constant <value = int64[1] {{0}}> ()
          many = Constant <value = int64[1] {{1000000}}> ()
          halved = Slice (turned, zero, many, one, two)
          moved = Add (halved, next_mean)
          logits = MatMul (moved, weight1)
          logprobs = LogSoftmax <axis = -1> (logits)
        }}
        """
    )
    generator = np.random.default_rng(0)
    for name, shape in (("weight0", (80, 80)), ("weight1", (80, vocabulary))):
        weight = generator.standard_normal(shape) / np.sqrt(80) * (12 if name == "weight1" else 1)
        model.graph.initializer.append(numpy_helper.from_array(weight.astype(np.float32), name))
    checker.check_model(model)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(model.SerializeToString())
    FrontEnd().save(path.parent / "frontend.json")
    tokens = "".join(f"{piece} {index}\n" for index, piece in enumerate(PIECES))
    (path.parent / "tokens.txt").write_text(tokens, encoding="utf-8")
