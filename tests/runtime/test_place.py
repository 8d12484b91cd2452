"""What WeNet's chunk models are told, chunk after chunk."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest
from confpress.passes.errors import ConfpressError
from confpress.runtime.benchmark.bench import BenchOptions, bench
from confpress.runtime.chunks import Chunks
from confpress.runtime.interface import read_interface
from confpress.runtime.profile.operators import profile
from confpress.runtime.recognition.asr import AsrModel
from confpress.runtime.runner import Runner
from confpress.runtime.speech import FrontEnd

#: Scores are features, the offset and the number of keys that count.
TEXT = """
<ir_version: 10, opset_import: ["": 21]>
net (float[1, T, 16] chunk, int64 offset, int64 required_cache_size, float[2, 1, C, 16] att_cache,
     bool[1, 1, M] att_mask)
  => (float[1, T, 16] output, float[2, 1, C, 16] r_att_cache)
{
  one = Constant <value_ints = [1]> ()
  two = Constant <value_ints = [2]> ()
  many = Constant <value_ints = [1000]> ()
  counted = Cast <to = 1> (att_mask)
  keys = ReduceSum <keepdims = 0> (counted)
  before = Cast <to = 1> (offset)
  sum = Add (keys, before)
  output = Add (chunk, sum)
  first = Unsqueeze (chunk, one)
  new = Concat <axis = 0> (first, first)
  longer = Concat <axis = 2> (att_cache, new)
  kept = Neg (required_cache_size)
  start = Reshape (kept, one)
  r_att_cache = Slice (longer, start, many, two)
}"""
METADATA = {
    "chunk_size": "4", "left_chunks": "2", "subsampling_rate": "1", "decoding_window": "4",
}  # fmt: skip


def model(**metadata: str) -> ir.Model:
    made = ir.from_onnx_text(TEXT)
    made.metadata_props.update(metadata)
    return made


def test_offset_mask_and_cache_of_chunk_after_chunk() -> None:
    runner = Runner.start(model(**METADATA))
    assert runner.chunks == Chunks(4, 4)
    chunks = [[np.full((16, 4), k, np.float32)] for k in range(5)]
    found = list(runner.stream(chunks))
    # The offset begins with the cache of two chunks; keys count from the first chunk on.
    told = [each["output"][0][0, 0] - k for k, each in enumerate(found)]
    assert told == [8 + 4, 12 + 8, 16 + 12, 20 + 12, 24 + 12]
    # States are outputs to compare too, although no axis of theirs is the batch.
    assert found[0]["r_att_cache"][0].shape == (2, 1, 8, 16)
    assert runner.scores([np.zeros((16, 10), np.float32)])[0].shape == (12, 16)


def test_what_times_a_model_of_one_window_runs_that(tmp_path: Path) -> None:
    path = tmp_path / "encoder.onnx"
    ir.save(model(**METADATA), path)
    loaded = AsrModel.load(path, frontend=FrontEnd(n_mels=16))
    assert loaded.run_seconds(10.0) == pytest.approx(0.04)
    assert profile(loaded, runs=1).seconds == pytest.approx(0.04)
    (case,) = bench([loaded], BenchOptions(rounds=3, memory=False)).cases
    assert (case.seconds, case.frames) == (pytest.approx(0.04), 4)


def test_without_metadata_the_input_is_refused() -> None:
    with pytest.raises(ConfpressError, match="takes 'offset' besides features"):
        read_interface(model())


def test_a_cache_of_all_that_was_begins_empty() -> None:
    face = read_interface(model(**METADATA | {"left_chunks": "-1"}))
    feeds = face.feeds([np.zeros((16, 4), np.float32)])
    assert feeds["att_cache"].shape == (2, 1, 0, 16)
    assert (feeds["offset"], feeds["required_cache_size"]) == (0, -4)
    assert feeds["att_mask"].shape == (1, 1, 4)
    assert feeds["att_mask"].all()
