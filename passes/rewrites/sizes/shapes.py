"""Shape inference that knows what a Slice leaves alone.

Where the end of a Slice is computed, ONNX's inference forgets the sizes of all axes, those too that
are not cut; masks and position tables, which models cut to the frames at hand, then end as shapes
of unknown sizes.
"""

from __future__ import annotations

import onnx_ir as ir
import onnx_ir.passes.common as common

from ...rewrite import constant

#: What a Slice leaves may be cut again further down; exports do so once or twice.
_MOST_ROUNDS = 4
#: What ONNX's inference calls the sizes that it does not know.
_MADE_UP = "unk__"


def infer_shapes(model: ir.Model) -> None:
    """Infers the shapes of all values, in place."""
    common.ShapeInferencePass()(model)
    for _ in range(_MOST_ROUNDS):
        # All of them, as one may cut what another left.
        if not sum(_keep_uncut(node) for node in model.graph if node.op_type == "Slice"):
            return
        _forget_names(model.graph)
        common.ShapeInferencePass()(model)


def _forget_names(graph: ir.Graph) -> None:
    """Sizes that inference could only give a name may now be known."""
    for value in (v for node in graph for v in node.outputs):
        if value.shape is not None:
            value.shape = ir.Shape([None if _is_made_up(size) else size for size in value.shape])


def _is_made_up(size: int | ir.SymbolicDim) -> bool:
    return isinstance(size, ir.SymbolicDim) and (size.value or "").startswith(_MADE_UP)


def _keep_uncut(node: ir.Node) -> bool:
    """States the sizes of axes that a Slice does not cut; whether any was not known before."""
    data, result = node.inputs[0], node.outputs[0]
    cut = _cut_axes(node)
    if data is None or data.shape is None or cut is None:
        return False
    unknown = [ir.SymbolicDim(None)] * len(data.shape)
    before = list(result.shape) if result.shape is not None else unknown
    sizes = [
        old if axis in cut or isinstance(old, int) else new
        for axis, (old, new) in enumerate(zip(before, data.shape, strict=True))
    ]
    if sizes == before:
        return False
    result.shape = ir.Shape(sizes)
    return True


def _cut_axes(node: ir.Node) -> set[int] | None:
    """The axes that a Slice cuts, None where they are not known."""
    data, starts, _, axes = (*node.inputs, None)[:4]
    if data is None or data.shape is None:
        return None
    if axes is not None:
        given = constant(axes)
        return None if given is None else {int(axis) % len(data.shape) for axis in given}
    count = starts.shape[0] if starts is not None and starts.shape is not None else None
    return set(range(count)) if isinstance(count, int) else None
