"""Measure this bundle's model on this device: ``python bench.py -o cost_table.json``.

Needs numpy and onnxruntime, nothing else.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path

from confpress.passes.errors import ConfpressError
from confpress.runtime.machine import usable_cores
from confpress.runtime.on_device.cost_table import cost_table
from confpress.runtime.on_device.recogniser import Recogniser


def main() -> int:
    """Writes the cost table and prints it."""
    parser = argparse.ArgumentParser(description="Measure the model; writes a table as JSON.")
    parser.add_argument("-o", "--output", type=Path, default=Path("cost_table.json"))
    parser.add_argument(
        "--seconds", type=_positive_floats, default=(1, 5, 10), help="durations of audio [1,5,10]"
    )
    parser.add_argument(
        "--threads", type=_threads, default=_default_threads(), help="numbers of threads"
    )
    parser.add_argument("--rounds", type=int, default=20, help="timed runs of each case [20]")
    given = parser.parse_args()
    folder = Path(__file__).resolve().parent
    try:
        table = cost_table(
            lambda threads: Recogniser.open(folder, threads),
            given.seconds,
            given.threads,
            max(given.rounds, 1),
        )
        _write(given.output, json.dumps(table, indent=2) + "\n")
    except (ConfpressError, OSError) as error:
        print(f"Error: {error}", file=sys.stderr)
        return 1
    print("seconds  threads   p50 ms   p90 ms  real-time factor")
    for entry in table["entries"]:
        print(
            f"{entry['seconds']:7g}  {entry['threads']:7d}  {entry['p50_ms']:7.1f}  "
            f"{entry['p90_ms']:7.1f}  {entry['real_time_factor']:16.4f}"
        )
    return 0


def _positive_floats(text: str) -> tuple[float, ...]:
    values = tuple(float(part) for part in text.split(","))
    if min(values) <= 0:
        raise ValueError
    return values


def _threads(text: str) -> tuple[int, ...]:
    values = tuple(int(part) for part in text.split(","))
    if min(values) < 1:
        raise ValueError
    return values


def _default_threads() -> tuple[int, ...]:
    """One thread, and all cores."""
    return tuple(sorted({1, usable_cores()}))


def _write(path: Path, text: str) -> None:
    """Writes a file whole or not at all."""
    partial = path.with_name(f".{path.name}.partial-{os.getpid()}")
    try:
        partial.write_text(text, encoding="utf-8")
        partial.replace(path)
    finally:
        if partial.exists():
            partial.unlink()


if __name__ == "__main__":
    sys.exit(main())
