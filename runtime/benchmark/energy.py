"""Energy that runs of models take, where the machine counts it (Linux powercap, RAPL).

https://docs.kernel.org/power/powercap/powercap.html; counters are often readable by root alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

_ZONES = Path("/sys/class/powercap")
_RANGE = "max_energy_range_uj"
_COUNTER = "energy_uj"


@dataclass(frozen=True)
class EnergyMeter:
    """Counters of the processors' packages: all cores, idle ones and caches included.

    Attributes:
        zones: A folder for each package.
        ranges: Microjoules after which each counter begins anew.
    """

    zones: tuple[Path, ...]
    ranges: tuple[int, ...]

    @classmethod
    def of_this_machine(cls, root: Path = _ZONES) -> EnergyMeter | None:
        """The meter; None where the machine has none that this user may read."""
        zones = tuple(z for z in sorted(root.glob("*:*")) if _text(z, "name").startswith("package"))
        meter = cls(zones, tuple(int(_text(z, _RANGE) or 0) for z in zones))
        return meter if zones and all(_text(z, _COUNTER) for z in zones) else None

    def joules(self, run: Callable[[], object]) -> float:
        """Energy of the whole machine's processors during a run."""
        before = self._counters()
        run()
        parts = zip(self._counters(), before, self.ranges, strict=True)
        return sum((after - start) % (most + 1) for after, start, most in parts) / 1e6

    def _counters(self) -> list[int]:
        return [int(_text(zone, _COUNTER)) for zone in self.zones]


def measure_energy(
    meter: EnergyMeter, runs: Sequence[Callable[[], object]], rounds: int, seed: int
) -> list[float]:
    """Mean joules of a run of each of `runs`, in turn, in a new order every round."""
    generator = np.random.default_rng(seed)
    totals = [0.0] * len(runs)
    for _ in range(rounds):
        for which in generator.permutation(len(runs)):
            totals[which] += meter.joules(runs[which])
    return [total / rounds for total in totals]


def _text(zone: Path, name: str) -> str:
    """A file of a zone; empty where it cannot be read."""
    try:
        return (zone / name).read_text(encoding="ascii").strip()
    except OSError:
        return ""
