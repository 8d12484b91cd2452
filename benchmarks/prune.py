"""Time and memory of removal on one model, alone in its process.

    python -m benchmarks.prune MODEL [--plan PLAN.json]

Loads the model, simplifies it, removes what is pruned, saves the result, and prints the seconds of
this process's own processor time and its peak memory in multiples of the file.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from pathlib import Path

from confpress.passes.prune import ApplyPlan, Plan, RemovePruned
from confpress.passes.rewrites.simplify import Simplify
from confpress.runtime.model_file import load_model, save_model


def main() -> None:
    """Runs the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("model", type=Path)
    parser.add_argument("--plan", type=Path)
    arguments = parser.parse_args()
    size = arguments.model.stat().st_size
    data = arguments.model.with_name(arguments.model.name + ".data")
    size += data.stat().st_size if data.exists() else 0
    base = _peak()
    marks, peaks = [time.process_time()], [base]

    def mark() -> None:
        marks.append(time.process_time())
        peaks.append(_peak())

    model = load_model(arguments.model)
    mark()
    Simplify()(model)
    mark()
    step = ApplyPlan(Plan.load(arguments.plan)) if arguments.plan else RemovePruned()
    result = step(model)
    mark()
    with tempfile.TemporaryDirectory() as folder:
        save_model(model, Path(folder) / "pruned.onnx", external_data=data.exists())
    mark()
    names = ("load", "simplify", "prune", "save")
    for name, start, end, peak in zip(names, marks, marks[1:], peaks[1:], strict=False):
        print(f"{name:10s} {end - start:6.1f} s   peak so far {peak / size:.2f} x the file")
    print(f"{'total':10s} {marks[-1] - marks[0]:6.1f} s of processor time")
    print(
        f"peak memory {_peak() / 2**20:.0f} MB = {_peak() / size:.2f} x the file ({size:,} bytes)"
    )
    print(f"of which {base / 2**20:.0f} MB before the model was loaded")
    print(f"{len(getattr(result, 'changes', ()))} modules changed")


def _peak() -> int:
    """The most memory this process has had, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


if __name__ == "__main__":
    main()
