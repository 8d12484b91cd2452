"""Statistics of calibration as a file, so that the same speech runs through a model once."""

from __future__ import annotations

import dataclasses
import io
import json
import zipfile
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from ..cache import Cache
from .statistics import Statistics

#: What a finished statistic is; the rest serves its growth.
_FIELDS = tuple(field.name for field in dataclasses.fields(Statistics) if field.name[0] != "_")
_HEAD = "head"


def known_statistics(
    cache: Cache, key: str, observe: Callable[[], dict[str, Statistics]]
) -> dict[str, Statistics]:
    """Statistics of an earlier run, or of this one.

    Args:
        cache: Where they are kept.
        key: Stands for the model, the speech and what is watched.
        observe: Collects them.
    """
    name = f"statistics-{key}.npz"
    data = cache.read(name)
    if data is not None:
        try:
            found = parse(data)
        except (ValueError, KeyError, TypeError, zipfile.BadZipFile):
            cache.ignored(name)
        else:
            cache.tell("The calibration is known from an earlier run (--no-cache repeats it).")
            return found
    found = observe()
    cache.write(name, dump(found))
    return found


def dump(statistics: Mapping[str, Statistics]) -> bytes:
    """Finished statistics as an .npz file: plain values in its head, arrays by place and field."""
    head: list[dict[str, Any]] = []
    arrays: dict[str, Any] = {}
    for place, each in enumerate(statistics.values()):
        values = {name: getattr(each, name) for name in _FIELDS}
        fields = {name: v for name, v in values.items() if isinstance(v, np.ndarray)}
        head.append({name: v for name, v in values.items() if name not in fields})
        arrays |= {f"{place}.{name}": array for name, array in fields.items()}
    file = io.BytesIO()
    np.savez_compressed(file, allow_pickle=False, **{_HEAD: np.array(json.dumps(head))}, **arrays)
    return file.getvalue()


def parse(data: bytes) -> dict[str, Statistics]:
    """What `dump` wrote.

    Raises:
        ValueError, KeyError, TypeError, zipfile.BadZipFile: it is something else.
    """
    with np.load(io.BytesIO(data), allow_pickle=False) as file:
        found: list[dict[str, Any]] = json.loads(str(file[_HEAD]))
        for key in set(file.files) - {_HEAD}:
            place, _, field = key.partition(".")
            found[int(place)][field] = file[key]
    return {each["name"]: Statistics(**each) for each in found}
