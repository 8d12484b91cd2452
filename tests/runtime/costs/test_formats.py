"""Times of layers in formats: measured once, for what really runs."""

from __future__ import annotations

from pathlib import Path

from confpress.passes.format_plan import LayerFormat
from confpress.runtime.cache import Cache
from confpress.runtime.costs.formats import measure_formats

FORMS = [
    LayerFormat(weight="float32"),
    LayerFormat(weight="int8", activations="int8"),
    LayerFormat(weight="fp4", block=32, activations="int8"),
]


def test_every_shape_in_every_format(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    found = measure_formats([(64, 48), (32, 64), (64, 48)], FORMS, cache=cache)
    labels = [form.label for form in FORMS]
    assert set(found) == {(k, n, label) for k, n in ((64, 48), (32, 64)) for label in labels}
    assert all(ms > 0 for ms in found.values())
    assert measure_formats([(64, 48)], FORMS, cache=cache).items() <= found.items()
    (kept,) = tmp_path.iterdir()
    before = kept.read_bytes()
    more = measure_formats([(64, 48)], [LayerFormat(weight="int4", block=32)], cache=cache)
    assert set(more) == {(64, 48, "int4 per block of 32")}
    assert kept.read_bytes() != before
    kept.write_text("no times")
    assert measure_formats([(32, 64)], FORMS[:1], cache=cache)[32, 64, "float32"] > 0
