from __future__ import annotations

import pytest
from confpress.passes.structure.ids import block_of, module_of_layer, role_of


@pytest.mark.parametrize(
    ("layer", "module", "block", "role"),
    [
        ("encoder.layers.3.self_attn.linear_q", "encoder.layers.3.self_attn", 3, "self_attn"),
        ("encoder.layers.12.feed_forward2", "encoder.layers.12.feed_forward2", 12, "feed_forward"),
        ("encoder.layers.0.other_2.linear1", "encoder.layers.0.other_2", 0, "other"),
        ("encoder.pre_encode.conv1", "encoder.pre_encode", None, "pre_encode"),
        ("encoder.after.feed_forward.linear1", "encoder.after.feed_forward", None, "feed_forward"),
        ("encoder.norm_out", "encoder.norm_out", None, "norm_out"),
        ("decoder", "decoder", None, "decoder"),
        ("some.weight", "some.weight", None, "weight"),
    ],
)
def test_ids_say_where_they_belong(layer: str, module: str, block: int | None, role: str) -> None:
    assert module_of_layer(layer) == module
    assert block_of(layer) == block
    assert role_of(layer) == role
