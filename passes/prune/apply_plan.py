"""The pass that carries out a plan: zeros in the right places, then removal of what is zero."""

from __future__ import annotations

import dataclasses

import numpy as np
import onnx_ir as ir

from ..base import InPlacePass, PassResult
from ..errors import ConfpressError
from ..rewrite import Patch
from ..structure import recognise
from .analysis import Analysis, analyse
from .links import Contraction
from .plan import PARTS, Item, Plan, resolve
from .remove import prepare, remove, state_names, states
from .shapes import Shapes
from .transposes import restore_transposes
from .weights import features_of, last_linear, zero_inputs


@dataclasses.dataclass(frozen=True)
class ApplyPlan(InPlacePass):
    """Prunes what a plan names and removes it.

    The plan is tried on a copy that shares the weights first: names that the model has not, parts
    that it has not and cuts that removal cannot carry out raise a ConfpressError before anything
    is written.
    """

    plan: Plan

    def call(self, model: ir.Model) -> PassResult:
        prepare(model)
        check_plan(model, self.plan)
        structure = recognise(model)
        mask_plan(model, self.plan)
        return remove(model, structure)


def mask_plan(model: ir.Model, plan: Plan) -> None:
    """Writes the zeros of a plan; the model computes as if it were pruned, at its old size.

    Raises:
        ConfpressError: the plan does not fit the model.
    """
    for item in resolve(plan, recognise(model)):
        if item.parts is None:
            _drop(item)
        else:
            linear = last_linear(item.module)
            zero_inputs(model.graph, linear, features_of(item.module, item.parts).tolist())


def check_plan(model: ir.Model, plan: Plan) -> None:
    """Tries a plan on a copy.

    Raises:
        ConfpressError: the plan does not fit the model, or a cut cannot be carried out.
    """
    trial = model.clone()
    mask_plan(trial, plan)
    restore_transposes(trial.graph, Shapes(trial.graph))
    structure = recognise(model)
    analysis = analyse(trial.graph, states(trial.graph, state_names(structure)))
    trial_modules = {module.id: module for module in recognise(trial).modules}
    for item in resolve(plan, structure):
        module = trial_modules.get(item.module.id)
        if item.parts is None or module is None:
            continue
        reason = _obstacle(analysis, Item(module, item.parts))
        if reason is not None:
            raise ConfpressError(
                f"the {PARTS[module.kind]} of '{module.id}' cannot be cut because {reason}."
            )


def _drop(item: Item) -> None:
    """The branch becomes a zero; its Add is idle and goes with everything before it."""
    add = item.module.residual_add
    assert add is not None, "the plan was checked"
    kind = item.module.output.dtype or ir.DataType.FLOAT
    zero = Patch(add).constant(np.zeros((), kind.numpy()), "dropped")
    for index, value in enumerate(add.inputs):
        if value is not item.module.input:
            add.replace_input_with(index, zero)


def _obstacle(analysis: Analysis, item: Item) -> str | None:
    """Why the parts of a masked module would stay; None if they go."""
    node = last_linear(item.module).node
    for link in analysis.wiring.links:
        if isinstance(link, Contraction) and link.node is node:
            places = features_of(item.module, item.parts or ())
            staying = places[analysis.need.flags(link.input)[places]]
            # Where all parts go, the whole branch does, and nothing is cut.
            if staying.size and places.size < analysis.need.flags(link.input).size:
                return analysis.need.why(link.input, int(staying[0]))
            return None
    return f"'{node.name}' is no product with a constant that removal follows"
