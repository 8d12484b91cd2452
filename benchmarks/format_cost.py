"""What choosing formats costs for a large model, beside repairing it: seconds and memory.

    python benchmarks/format_cost.py DATA WORK

DATA is the folder that docs/data.md describes; the model is the FastConformer of
benchmarks/architectures.py with 109 million parameters, exported to WORK if it is not there. Its
weights are seeded random numbers: this tells of time and memory, not of words. Every step runs in a
process of its own, so that its peak memory is known. One thread; takes about three minutes, and
leaves WORK/format_cost.json, of which benchmarks/formats.py writes a paragraph.
"""

from __future__ import annotations

import json
import multiprocessing
import resource
import time
from collections.abc import Callable
from pathlib import Path

import click
import onnx_ir as ir
from architectures import CALIBRATION, MADE, once
from confpress.optimizer.formats.choose import choose_formats
from confpress.optimizer.formats.repair import repair
from confpress.optimizer.formats.wish import Wish
from confpress.optimizer.recipe.recipe import preset
from confpress.optimizer.stages import preparation
from confpress.passes.base import run
from confpress.passes.format_plan import FormatPlan
from confpress.runtime.calibration.calibrate import CalibrationSet, load_calibration
from confpress.runtime.model_file import file_bytes, load_model
from confpress.runtime.speech.frontend import FrontEnd

MODEL = "FastConformer, 17 × 512"
RECORD = "format_cost.json"
#: Seconds of calibration speech.
SECONDS = 60.0


def choose(model: Path, data: Path, plan: Path) -> None:
    """int4 or FP4 for every layer, by errors weighted with what the speech shows of its inputs."""
    loaded, recordings = _prepared(model, data)
    choose_formats(loaded, recordings, Wish("mofq4", integer_frames=False)).plan.save(plan)


def compensate(model: Path, data: Path, plan: Path) -> None:
    """GPTQ's compensation of the layers in the formats that were chosen."""
    loaded, recordings = _prepared(model, data)
    repair(loaded, recordings, FormatPlan.load(plan), "gptq")


def _prepared(path: Path, data: Path) -> tuple[ir.Model, CalibrationSet]:
    model = load_model(path)
    run(preparation(preset("default")), model)
    return model, load_calibration(data / CALIBRATION, FrontEnd(), max_seconds=SECONDS)


def measured(step: Callable[[Path, Path, Path], None], *paths: Path) -> dict[str, float]:
    """Seconds and peak memory of a step, reading the model included, in this process."""
    wall, processor = time.perf_counter(), time.process_time()
    step(*paths)
    return {
        "seconds": time.perf_counter() - wall,
        "processor_seconds": time.process_time() - processor,
        "peak_bytes": 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss,
    }


@click.command()
@click.argument("data", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.argument("work", type=click.Path(file_okay=False, path_type=Path))
def main(data: Path, work: Path) -> None:
    """Measures both steps and prints them."""
    # Exported in a process of its own, too: a process hands its peak on to those that it starts.
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        model = pool.apply(once, (work / "large" / "original.onnx", MADE[MODEL]))
    size = file_bytes(model)
    found: dict[str, object] = {"bytes": size}
    for step in (choose, compensate):
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            cost = pool.apply(measured, (step, model, data, work / "plan.json"))
        found[step.__name__] = cost
        click.echo(
            f"{step.__name__}: {cost['seconds']:.0f} s, {cost['processor_seconds']:.0f} s of "
            f"processor, peak {cost['peak_bytes'] / size:.2f} times the file of {size / 1e6:.0f} MB"
        )
    (work / RECORD).write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
