from __future__ import annotations

from pathlib import Path

import pytest
from confpress.runtime.benchmark.energy import EnergyMeter, measure_energy

RANGE = 1_000_000


@pytest.fixture
def powercap(tmp_path: Path) -> Path:
    """Two packages, a part of one and a memory controller, as Linux shows them."""
    for zone, name in (
        ("intel-rapl:0", "package-0"),
        ("intel-rapl:0:0", "core"),
        ("intel-rapl:1", "package-1"),
        ("intel-rapl:2", "dram"),
    ):
        folder = tmp_path / zone
        folder.mkdir()
        for file, text in (("name", name), ("energy_uj", "0"), ("max_energy_range_uj", RANGE)):
            (folder / file).write_text(f"{text}\n")
    return tmp_path


def spend(powercap: Path, zone: str, microjoules: int) -> None:
    counter = powercap / zone / "energy_uj"
    counter.write_text(str((int(counter.read_text()) + microjoules) % (RANGE + 1)))


def test_packages_are_summed_and_their_parts_are_not(powercap: Path) -> None:
    meter = EnergyMeter.of_this_machine(powercap)
    assert meter is not None

    def run() -> None:
        for zone, microjoules in (
            ("intel-rapl:0", 300_000),
            ("intel-rapl:0:0", 200_000),
            ("intel-rapl:1", 100_000),
            ("intel-rapl:2", 50_000),
        ):
            spend(powercap, zone, microjoules)

    # The counters begin anew several times.
    found = measure_energy(meter, [run, lambda: None], rounds=7, seed=0)
    assert found == pytest.approx([0.4, 0.0])


def test_a_machine_without_counters_has_no_meter(powercap: Path, tmp_path: Path) -> None:
    assert EnergyMeter.of_this_machine(tmp_path / "none") is None
    (powercap / "intel-rapl:1" / "energy_uj").unlink()
    assert EnergyMeter.of_this_machine(powercap) is None
