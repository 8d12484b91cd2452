"""Target ``cpu``: the kernel library's operators, each with a function body as its meaning."""

from __future__ import annotations

import dataclasses

import numpy as np
import numpy.typing as npt
import onnx_ir as ir
import onnx_ir.passes.common as common

from ..base import LAYER_KEY, InPlacePass, Journal, PassResult
from ..linear import MatMulLayer, matmul_layers, stored_weight
from ..operators.activated import ACTIVATED, ACTIVATIONS
from ..operators.functions import define_operator
from ..operators.linear_layers import FAMILY_OF
from ..operators.quantlinear import pack_int8, quant_linear_function, quant_linear_node
from ..operators.quantlinear_lowbit import lowbit_function, lowbit_node, pack_codes, pack_scales
from ..operators.sparselinear import (
    BLOCK,
    BREAK_EVEN,
    SLOT,
    WINDOW,
    Costs,
    Pattern,
    is_faster,
    pack_sparse,
    pattern_of,
    sparse_function,
    sparse_node,
)
from ..operators.sparselinear_float import BREAK_EVEN as FLOAT_BREAK_EVEN
from ..operators.sparselinear_float import FAMILY as FLOAT_FAMILY
from ..operators.sparselinear_float import (
    WEIGHT_TYPES,
    kept_of,
    pack_sparse_float,
    sparse_float_function,
    sparse_float_node,
)
from ..operators.sparselinear_uneven import look_ups_of, pack_uneven, uneven_function, uneven_node
from ..rewrite import Patch, constant, replace_value
from ..structure.activations import fusible_activation
from ..structure.modules import Activation
from .lowbit import LowBitLinear, lowbit_linears
from .portable import store_linears
from .qdq import Int8Linear, bias_of, int8_linears, refuse_lowered


@dataclasses.dataclass(frozen=True)
class LowerCpu(InPlacePass):
    """Linear layers become ``confpress.v1.QuantLinear``, with the activation that follows fused.

    Int8 weights whose zeros are balanced over a few columns, whoever put them there, become
    ``SparseLinear`` where that is faster, or ``SparseLinearUneven`` where columns that keep
    different numbers of them make it faster still. Weights of 4 and 2 bits with scales per block
    (int4, uint4, FP4, int2) become ``QuantLinear4Bit`` and ``QuantLinear2Bit``. Activations are
    quantised per frame exactly as the interchange model says. Weights in float32, or stored as
    bfloat16, with enough zeros in every block become ``SparseLinearFloat``. Other formats of linear
    layers are stored in codes and computed with in float32, as on target ``portable``. Convolutions
    keep their QDQ nodes, which ONNX Runtime turns into QLinearConv.

    Attributes:
        costs: Measured times that decide between sparse and dense.
        reach: Bytes that a table look-up reaches where the model will run: BLOCK with AVX-512
            VBMI, else WINDOW.
    """

    costs: Costs = dataclasses.field(default_factory=dict)
    reach: int = WINDOW

    def call(self, model: ir.Model) -> PassResult:
        refuse_lowered(model)
        journal = Journal()
        for linear in int8_linears(model):
            rows = np.ascontiguousarray(linear.codes.T)
            pattern = pattern_of(rows, self.reach)
            even = BREAK_EVEN if pattern is None else pattern.look_ups(self.reach)
            look_ups = look_ups_of(rows, self.reach)
            if look_ups < min(even, BREAK_EVEN):
                node = _uneven(model, linear, rows, self.reach)
                form = f"{SLOT * look_ups:.3g}:{BLOCK} in the mean"
                _finish(linear.layer, node, journal, form)
            elif pattern is not None and is_faster(pattern, rows.shape, self.costs, self.reach):
                node = _sparse(model, linear, rows, pattern)
                _finish(linear.layer, node, journal, str(pattern))
            else:
                _finish(linear.layer, _int8(model, linear, rows), journal)
        for low in lowbit_linears(model, journal):
            _finish(low.layer, _lowbit(model, low), journal, low.form.name)
        for layer in matmul_layers(model.graph):
            _float(model, layer, journal)
        # What stands replaced is no layer to be stored.
        common.RemoveUnusedNodesPass()(model)
        store_linears(model, journal)
        common.RemoveUnusedNodesPass()(model)
        return journal.result(model)


def balanced_layers(model: ir.Model, reach: int = WINDOW) -> set[tuple[int, int, Pattern]]:
    """N, K and pattern of the int8 layers of an interchange model that could become sparse."""
    layers = set()
    for linear in int8_linears(model):
        pattern = pattern_of(linear.codes.T, reach)
        if pattern is not None:
            k, n = linear.codes.shape
            layers.add((n, k, pattern))
    return layers


def _int8(model: ir.Model, linear: Int8Linear, rows: npt.NDArray[np.int8]) -> ir.Node:
    patch = Patch(linear.layer.node)
    activation = _activation_of(linear.layer)
    define_operator(model, quant_linear_function, activation)
    return quant_linear_node(
        linear.input,
        patch.constant(pack_int8(rows), "packed"),
        patch.constant(linear.scales, "scale"),
        patch.constant(linear.bias, "bias"),
        shape=rows.shape,
        activation=activation,
        name=f"{patch.name}/QuantLinear",
    )


def _sparse(
    model: ir.Model, linear: Int8Linear, rows: npt.NDArray[np.int8], pattern: Pattern
) -> ir.Node:
    patch = Patch(linear.layer.node)
    activation = _activation_of(linear.layer)
    packed, columns = pack_sparse(rows, pattern)
    define_operator(model, sparse_function, activation)
    return sparse_node(
        linear.input,
        patch.constant(packed, "packed"),
        patch.constant(columns, "columns"),
        patch.constant(linear.scales, "scale"),
        patch.constant(linear.bias, "bias"),
        shape=rows.shape,
        activation=activation,
        name=f"{patch.name}/SparseLinear",
    )


def _uneven(model: ir.Model, linear: Int8Linear, rows: npt.NDArray[np.int8], span: int) -> ir.Node:
    patch = Patch(linear.layer.node)
    activation = _activation_of(linear.layer)
    packed = pack_uneven(rows, span)
    define_operator(model, uneven_function, activation)
    return uneven_node(
        linear.input,
        patch.constant(packed.packed, "packed"),
        patch.constant(packed.columns, "columns"),
        patch.constant(packed.blocks, "blocks"),
        patch.constant(linear.scales, "scale"),
        patch.constant(linear.bias, "bias"),
        shape=rows.shape,
        activation=activation,
        name=f"{patch.name}/SparseLinearUneven",
    )


def _lowbit(model: ir.Model, linear: LowBitLinear) -> ir.Node:
    patch = Patch(linear.layer.node)
    activation = _activation_of(linear.layer)
    bits = linear.form.bits
    define_operator(model, lowbit_function, bits, activation)
    return lowbit_node(
        linear.input,
        patch.constant(pack_codes(linear.codes, bits), "packed"),
        patch.constant(pack_scales(linear.scales), "scale"),
        patch.constant(linear.bias, "bias"),
        shape=linear.codes.shape,
        block=linear.block,
        form=linear.form,
        activation=activation,
        name=f"{patch.name}/QuantLinear",
    )


def _float(model: ir.Model, layer: MatMulLayer, journal: Journal) -> None:
    """A layer that multiplies in float32, where its zeros make it faster."""
    stored = constant(stored_weight(layer.weight))
    if stored is None or stored.dtype not in WEIGHT_TYPES:
        return
    if stored.size == 0 or np.count_nonzero(stored) > stored.size * FLOAT_BREAK_EVEN / BLOCK:
        return
    rows = np.ascontiguousarray(stored.T)
    kept = kept_of(rows)
    if kept > FLOAT_BREAK_EVEN:
        journal.refuse(
            layer.id,
            f"some row keeps {kept} weights in a block of {BLOCK} inputs, and {FLOAT_FAMILY} is "
            f"faster up to {FLOAT_BREAK_EVEN}; `sparsify` leaves as many in every block",
        )
        return
    patch = Patch(layer.node)
    activation = _activation_of(layer)
    packed, columns = pack_sparse_float(rows)
    define_operator(model, sparse_float_function, activation)
    node = sparse_float_node(
        layer.input,
        patch.constant(packed, "packed"),
        patch.constant(columns, "columns"),
        patch.constant(bias_of(layer, len(rows)), "bias"),
        shape=rows.shape,
        activation=activation,
        name=f"{patch.name}/{FLOAT_FAMILY}",
    )
    note = "" if rows.dtype == np.float32 else f" in {rows.dtype}"
    _finish(layer, node, journal, f"{kept}:{BLOCK}{note}")


def _finish(layer: MatMulLayer, node: ir.Node, journal: Journal, form: str = "") -> None:
    """Puts an operator in the place of a layer and of the activation that it computes too."""
    activated = _activation(layer)
    Patch(layer.node).graph.insert_before(layer.node, node)
    node.metadata_props[LAYER_KEY] = layer.id
    replace_value(activated.output if activated else layer.output, node.outputs[0])
    note = f" ({form})" if form else ""
    ending = f" with {ACTIVATED[activated.name][0]}" if activated else ""
    journal.change(layer.id, f"{FAMILY_OF[node.op_type]}{note}{ending}")


def _activation(layer: MatMulLayer) -> Activation | None:
    return fusible_activation(layer.output, ACTIVATIONS)


def _activation_of(layer: MatMulLayer) -> str:
    found = _activation(layer)
    return "" if found is None else found.name
