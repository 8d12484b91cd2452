"""Least-squares repair: what remains takes over, as well as it can, from what goes.

With a the inputs of a layer on calibration data, S the ones that stay and y = Wᵀa + b, the weights
that minimise E‖y' − y‖² are ``W' = (G_SS + ρI)⁻¹ G_S· W`` with the Gram matrix G = E[a aᵀ]; a
constant input of one lets the bias take part (as Kwon et al. 2022 tune masks).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from ..base import InPlacePass, Journal, PassResult
from ..rewrite import add_initializer, constant
from ..structure import Linear, recognise
from .importance import Moments
from .plan import PARTS, Plan, resolve
from .weights import features_of, last_linear, matrix_of, write_matrix

Floats = npt.NDArray[np.float64]

#: ρ as a share of the mean of G's diagonal.
RIDGE = 1e-4


@dataclasses.dataclass(frozen=True)
class RepairPlan(InPlacePass):
    """Refits the last layer of every module that a plan cuts; run it before ``ApplyPlan``.

    Attributes:
        plan: What goes.
        moments: What calibration saw of the layers' inputs, by module id; others stay as they are.
        ridge: Weight of ρ.
    """

    plan: Plan
    moments: Mapping[str, Moments]
    ridge: float = RIDGE

    def call(self, model: ir.Model) -> PassResult:
        journal = Journal()
        for module, parts in resolve(self.plan, recognise(model)):
            linear = last_linear(module)
            if parts is None:
                continue
            if module.id not in self.moments or not linear.weight.dtype.is_floating_point():  # type: ignore[union-attr]
                journal.refuse(module.id, "calibration has not seen it, or it is quantised already")
                continue
            stays = np.ones(linear.in_features, bool)
            stays[features_of(module, parts)] = False
            moments = self.moments[module.id]
            if linear.bias is None:
                moments = Moments(np.zeros_like(moments.mean), moments.gram)
            fit = refit(matrix_of(linear), moments, stays, self.ridge)
            write_matrix(model.graph, linear, fit.weight)
            if linear.bias is not None:
                _shift_bias(model.graph, linear, fit.shift)
            journal.change(
                module.id,
                f"{len(parts)} {PARTS[module.kind]} fewer leave {fit.error:.1%} of the output's "
                f"energy wrong instead of {fit.unrepaired:.1%}",
            )
        return journal.result(model)


@dataclasses.dataclass(frozen=True)
class Fit:
    """The result for one layer.

    Attributes:
        weight: [inputs, outputs], zero for what goes.
        shift: What the bias gains, [outputs].
        error: E‖y' − y‖² / E‖y‖² with the repair, bias left out of y.
        unrepaired: The same without.
    """

    weight: Floats
    shift: Floats
    error: float
    unrepaired: float


def refit(
    weight: npt.NDArray[np.floating], moments: Moments, stays: npt.NDArray[np.bool_], ridge: float
) -> Fit:
    """Solves for the weights of the inputs that stay.

    Args:
        weight: [inputs, outputs].
        moments: Of the inputs.
        stays: Which inputs stay, [inputs].
        ridge: ρ as a share of the mean of the Gram matrix's diagonal.
    """
    w = weight.astype(np.float64)
    gone = ~stays
    gram = moments.gram
    # Inputs that stay and the constant one, of which the bias is the weight.
    n = int(stays.sum())
    system = np.empty((n + 1, n + 1))
    system[:n, :n] = gram[np.ix_(stays, stays)]
    system[:n, n] = system[n, :n] = moments.mean[stays]
    system[n, n] = 1.0
    right = np.vstack([gram[np.ix_(stays, gone)], moments.mean[None, gone]]) @ w[gone]
    damping = ridge * max(float(np.diag(gram).mean()), np.finfo(np.float64).tiny)
    system[np.arange(n), np.arange(n)] += damping
    gain = np.linalg.solve(system, right)
    fitted = np.zeros_like(w)
    fitted[stays] = w[stays] + gain[:n]
    total = float(np.einsum("ij,ik,kj->", w, gram, w, optimize=True))
    lost = float(np.einsum("ij,ik,kj->", w[gone], gram[np.ix_(gone, gone)], w[gone], optimize=True))
    delta, shift = fitted - w, gain[n]
    wrong = (
        float(np.einsum("ij,ik,kj->", delta, gram, delta, optimize=True))
        + 2 * float((moments.mean @ delta) @ shift)
        + float(shift @ shift)
    )
    scale = max(total, np.finfo(np.float64).tiny)
    return Fit(fitted, shift, wrong / scale, lost / scale)


def _shift_bias(graph: ir.Graph, linear: Linear, shift: Floats) -> None:
    """Adds to the layer's bias, in a copy of its own."""
    assert linear.bias is not None
    array = constant(linear.bias)
    assert array is not None, "a layer's bias is constant"
    moved = (array.reshape(-1) + shift).reshape(array.shape).astype(array.dtype)
    own = add_initializer(graph, f"{linear.bias.name}.repaired", moved)
    for node in linear.nodes:
        for index, value in enumerate(node.inputs):
            if value is linear.bias:
                node.replace_input_with(index, own)
