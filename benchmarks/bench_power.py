"""Does `confpress bench` see a difference where there is one, and none where there is none?

    taskset -c 0 python -m benchmarks.bench_power MODEL [--runs 20] [--rounds 20]

Benchmarks a model so many times against itself, and so many times against a copy that computes its
last block twice (of a Conformer with 16 blocks: about 5 % more work), each run with sessions of its
own as the command makes them. Prints in how many runs the benchmark tells a difference.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import onnx_ir as ir
from confpress.passes.rewrites.simplify import Simplify
from confpress.passes.structure import recognise
from confpress.runtime.benchmark.bench import BenchOptions, bench
from confpress.runtime.model_file import load_model, save_model
from confpress.runtime.recognition.asr import AsrModel


def main() -> None:
    """Runs the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("model", type=Path)
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=20)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        model = load_model(arguments.model)
        Simplify()(model)
        save_model(model, Path(folder) / "same.onnx")
        compute_last_block_twice(model)
        save_model(model, Path(folder) / "more.onnx")
        frontend = AsrModel.load(arguments.model).frontend
        same, more = (AsrModel.load(Path(folder) / f"{n}.onnx", frontend) for n in ("same", "more"))
        for name, other in (("itself", same), ("a copy with one block more", more)):
            told = 0
            for seed in range(arguments.runs):
                options = BenchOptions(rounds=arguments.rounds, memory=False, seed=seed)
                speedup = bench([same, other], options).cases[0].timings[1].speedup
                assert speedup is not None, "it is not the first"
                told += speedup.different
                print(
                    f"{name}: {speedup.median:.4f} ({speedup.low:.4f} to {speedup.high:.4f})"
                    f"{' different' if speedup.different else ''}",
                    flush=True,
                )
            print(f"against {name}: a difference told in {told} of {arguments.runs} runs")


def compute_last_block_twice(model: ir.Model) -> None:
    """Appends a copy of the last block, with the same weights, behind it."""
    structure = recognise(model)
    last = max(module.layer for module in structure.modules if module.layer is not None)
    block = [module for module in structure.modules if module.layer == last]
    result = block[-1].output
    readers = [(use.node, use.idx) for use in result.uses()]
    copies: dict[ir.Value, ir.Value] = {block[0].input: result}
    anchor = result.producer()
    assert anchor is not None, "a block computes its result"
    for node in list(model.graph):
        owner = structure.module_of(node)
        if owner is None or owner.layer != last:
            continue
        copy = ir.Node(
            node.domain,
            node.op_type,
            [copies.get(value, value) if value is not None else None for value in node.inputs],
            list(node.attributes.values()),
            num_outputs=len(node.outputs),
            name=f"{node.name}.again",
        )
        for value, twin in zip(node.outputs, copy.outputs, strict=True):
            twin.name = f"{value.name}.again"
            copies[value] = twin
        model.graph.insert_after(anchor, copy)
        anchor = copy
    for reader, index in readers:
        reader.replace_input_with(index, copies[result])


if __name__ == "__main__":
    main()
