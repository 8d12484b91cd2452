"""What a product owes to inputs that were constant goes into its bias before they are cut.

``Σ_i x_i w_ij`` over places with a constant ``x_i = c_i`` is the constant ``Σ_i c_i w_ij``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from ..linear import only_user
from ..rewrite import Patch, add_initializer, constant, replace_value
from .links import Axis, Contraction

if TYPE_CHECKING:
    from .surgery import Surgery


def fold_constants(surgery: Surgery) -> None:
    """Adds the share of constant inputs that will be cut to the bias of every product."""
    for link in surgery.analysis.wiring.links:
        if not isinstance(link, Contraction):
            continue
        gone = ~surgery.analysis.need.flags(link.input)
        share = np.where(gone, np.nan_to_num(link.known), 0.0)
        if share.any():
            _fold(surgery, link, share)


def _fold(surgery: Surgery, link: Contraction, share: npt.NDArray[Any]) -> None:
    node = link.node
    weight = surgery.analysis.facts.constant(node.inputs[1])
    assert weight is not None, "a contraction has a constant weight"
    if node.op_type == "Conv":
        matrix = weight.reshape(*weight.shape[:2], -1).sum(axis=-1, dtype=np.float64).T
    elif node.op_type == "Gemm":
        turned = node.attributes.get_int("transB", 0)
        matrix = (weight.T if turned else weight) * node.attributes.get_float("alpha", 1.0)
    else:
        matrix = weight
    used = share != 0
    delta = share[used] @ matrix[used].astype(np.float64)
    if delta.any():
        kind = node.outputs[0].dtype or ir.DataType.FLOAT
        _add(surgery, node, delta.astype(kind.numpy()))


def _add(surgery: Surgery, node: ir.Node, delta: npt.NDArray[Any]) -> None:
    """Adds a vector to a product's output channels.

    1. Into the bias that Conv and Gemm (with beta 1) read.
    2. Into the constant of the Add that alone reads a MatMul.
    3. Otherwise by a new Add.
    """
    if node.op_type != "MatMul" and node.attributes.get_float("beta", 1.0) == 1.0:
        bias = node.inputs[2] if len(node.inputs) > 2 else None
        if _replace(node, 2, bias, delta):
            return
    if node.op_type == "MatMul":
        user = only_user(node.outputs[0])
        if user is not None and user.op_type == "Add" and not user.domain:
            for index, value in enumerate(user.inputs):
                if _replace(user, index, value, delta):
                    return
    output = node.outputs[0]
    kept = surgery.kept(Axis(output, 1 if node.op_type == "Conv" else len(output.shape or ()) - 1))
    part = delta if kept is None else delta[kept]
    if node.op_type == "Conv":
        part = part.reshape((1, -1) + (1,) * (len(output.shape or ()) - 2))
    # Rules look values up by who reads them: new nodes come when all cuts are done.
    surgery.later(lambda: _add_after(node, part))


def _replace(node: ir.Node, index: int, old: ir.Value | None, delta: npt.NDArray[Any]) -> bool:
    """Gives a node a bias of its own, if it has a constant one that fits."""
    array = constant(old)
    if array is None or array.shape != delta.shape or array.dtype.kind != "f":
        return False
    bias = Patch(node).constant((array + delta).astype(array.dtype), "bias")
    node.replace_input_with(index, bias)
    return True


def _add_after(node: ir.Node, part: npt.NDArray[Any]) -> None:
    """Puts an Add of a constant behind a node; whatever read the node reads the sum."""
    output, graph = node.outputs[0], node.graph
    assert isinstance(graph, ir.Graph), "only main graphs are cut"
    bias = add_initializer(graph, f"{node.name or output.name}.bias", part)
    add = ir.node("Add", [bias], name=f"{node.name or output.name}/Bias")
    add.metadata_props.update(node.metadata_props)
    graph.insert_after(node, add)
    add.outputs[0].type, add.outputs[0].shape = output.type, output.shape
    replace_value(output, add.outputs[0])
    add.resize_inputs(2)
    add.replace_input_with(1, output)
