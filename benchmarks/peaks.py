"""What registers alone can multiply with the path that the kernels use: ``peaks.c``, run here."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from pathlib import Path

from confpress.runtime.kernels import describe

SOURCE = Path(__file__).with_suffix(".c")


def peaks() -> dict[str, float]:
    """G operations/s by kind; none without a C compiler, or on AArch64.

    Kinds are float32, int8 and sparse, and on AVX2 the last two "of 7 bits" as well.
    """
    compiler = shutil.which("cc")
    path = describe().chosen
    if compiler is None or not path.startswith("avx"):
        return {}
    with tempfile.TemporaryDirectory() as folder:
        program = Path(folder) / "peaks"
        subprocess.run([compiler, "-O2", "-std=c11", SOURCE, "-o", program], check=True)
        done = subprocess.run([program, path], check=True, capture_output=True, text=True)
    pairs = (line.rsplit(" ", 1) for line in done.stdout.splitlines())
    return {name: float(rate) for name, rate in pairs}
