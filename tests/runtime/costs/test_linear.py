from __future__ import annotations

from confpress.passes.fuse.subsampling_sparse import BalancedConvolution
from confpress.passes.operators.sparselinear import Pattern
from confpress.runtime.costs.linear import measure_costs


def test_layers_are_timed_dense_and_sparse() -> None:
    pattern = Pattern(16, 16)
    convolution = BalancedConvolution((16, 20, 3, 3), (2, 2), pattern)
    table = measure_costs([(16, 180, pattern)], [convolution], frames=4)
    assert set(table.costs()) == {
        (16, 180, "dense"),
        (16, 180, "4:16"),
        (16, 180, "Conv 3x3 by 2x2 dense"),
        (16, 180, "Conv 3x3 by 2x2 4:16"),
    }
    assert min(table.costs().values()) > 0
    costs = {key: 2.0 if key[2].endswith("dense") else 1.0 for key in table.costs()}
    assert convolution.is_faster(costs, 16)
