from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from confpress.runtime import cache as module
from confpress.runtime.cache import Cache, user_cache_folder
from confpress.runtime.calibration.statistics import Statistics
from confpress.runtime.calibration.statistics_cache import dump, known_statistics, parse


def test_the_folder_follows_the_environment(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert user_cache_folder() == tmp_path / "confpress"
    for ignored in ("", "relative/path"):
        monkeypatch.setenv("XDG_CACHE_HOME", ignored)
        assert user_cache_folder() == Path.home() / ".cache" / "confpress"


def test_files_and_entries_come_back(tmp_path: Path) -> None:
    cache = Cache(tmp_path / "new" / "cache")
    assert cache.read("a") is None
    cache.write("a", b"one")
    cache.write("a", b"two")
    assert cache.read("a") == b"two"
    assert [p.name for p in (tmp_path / "new" / "cache").iterdir()] == ["a"]
    for count in range(3):
        cache.append("b", {"count": count})
    assert [entry["count"] for entry in cache.entries("b")] == [0, 1, 2]


def test_without_a_folder_nothing_is_kept() -> None:
    cache = Cache()
    cache.write("a", b"one")
    cache.append("b", {})
    assert cache.read("a") is None
    assert list(cache.entries("b")) == []


def test_half_a_line_costs_only_itself(tmp_path: Path) -> None:
    told: list[str] = []
    cache = Cache(tmp_path, told.append)
    cache.append("b", {"count": 0})
    with (tmp_path / "b").open("ab") as file:
        file.write(b'\n{"count": 1, "tex')  # killed here
    cache.append("b", {"count": 2})
    assert [entry["count"] for entry in cache.entries("b")] == [0, 2]
    assert told == [f"{tmp_path}/b is damaged in part, which is ignored."]


def test_a_full_disk_is_told_once_and_fails_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("needs /dev/full")
    told: list[str] = []
    cache = Cache(tmp_path, told.append)
    (tmp_path / "b").symlink_to("/dev/full")
    cache.append("b", {"count": 0})
    cache.append("b", {"count": 1})
    cache.write("a", b"one")
    assert told == [
        f"cannot write the cache {tmp_path}: No space left on device; going on without it."
    ]


def test_the_oldest_files_make_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LIMIT_BYTES", 25)
    cache = Cache(tmp_path)
    for age, name in enumerate("abc"):
        cache.write(name, b"0123456789")
        os.utime(tmp_path / name, (age, age))
    cache.write("d", b"0123456789")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["c", "d"]


def statistics() -> dict[str, Statistics]:
    found = Statistics("x", channel_axis=1, with_gram=True, rows=4)
    found.update(np.random.default_rng(0).standard_normal((2, 3, 50)).astype(np.float32))
    return {"x": found, "nothing": Statistics("nothing")}


def test_statistics_come_back_as_they_were() -> None:
    before = statistics()
    after = parse(dump(before))
    assert list(after) == ["x", "nothing"]
    assert after["x"].range("mse") == before["x"].range("mse")
    assert after["x"].range("percentile", percentile=95) == before["x"].range(
        "percentile", percentile=95
    )
    for name in ("gram", "sample", "channel_sum", "histogram"):
        assert np.array_equal(getattr(after["x"], name), getattr(before["x"], name))
    assert after["nothing"].gram is None


def test_statistics_are_collected_once_and_again_where_the_file_is_damaged(tmp_path: Path) -> None:
    told: list[str] = []
    cache = Cache(tmp_path, told.append)
    calls = []

    def observe() -> dict[str, Statistics]:
        calls.append(1)
        return statistics()

    for _ in range(2):
        assert known_statistics(cache, "key", observe)["x"].count == 300
    assert len(calls) == 1
    (path,) = tmp_path.iterdir()
    path.write_bytes(path.read_bytes()[:-40])
    assert known_statistics(cache, "key", observe)["x"].count == 300
    assert len(calls) == 2
    assert "known from an earlier run" in told[0]
    assert "damaged" in told[1]
