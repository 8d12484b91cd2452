"""The pass that removes everything that is pruned, exactly."""

from __future__ import annotations

import dataclasses

import onnx_ir as ir
import onnx_ir.passes.common as common

from ..base import InPlacePass, Journal, PassResult
from ..structure import Structure, recognise
from . import rewriting  # noqa: F401  (registers what nodes need when they are cut)
from .analysis import analyse
from .facts import Facts
from .idle import drop_constant_branches, drop_idle
from .report import Report
from .shapes import Shapes
from .surgery import Surgery
from .transposes import restore_transposes
from .wiring import Cached

#: What one round removes makes room for the next; masked models settle in two or three.
_MOST_ROUNDS = 6


@dataclasses.dataclass(frozen=True)
class RemovePruned(InPlacePass):
    """Removes what no output depends on, or what is constant whatever goes in.

    1. Branches that are constant leave their Add, with everything that computes them.
    2. Units, heads, channels and other places on coupled axes are cut out of all weights, biases,
       masks, scales and shape constants; what was constant but not zero goes into the next bias.
    3. Additions of zero and products with one go.

    Exact up to float rounding, for finite activations (0 · x is taken for 0). Places that are
    idle but cannot be cut are refused with the reason.
    """

    def call(self, model: ir.Model) -> PassResult:
        prepare(model)
        return remove(model, recognise(model))


def prepare(model: ir.Model) -> None:
    """What the analysis and the recogniser rely on: constants lifted, types known."""
    common.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(model)
    if _lacks_types(model.graph):
        common.ShapeInferencePass()(model)


def remove(model: ir.Model, structure: Structure) -> PassResult:
    """Removes what is pruned, round by round.

    Args:
        model: Changed in place.
        structure: Its modules, by which the report speaks; zeros may have been written since.
    """
    journal = Journal()
    report = Report(structure, journal)
    names = state_names(structure)
    for _ in range(_MOST_ROUNDS):
        changed = _drop(model, report)
        analysis = analyse(model.graph, states(model.graph, names))
        surgery = Surgery(model.graph, analysis)
        report.before_cut(analysis)
        if surgery.operate():
            changed = True
            report.cut(analysis, surgery)
            common.RemoveUnusedNodesPass()(model)
        if not changed:
            break
    report.refusals(analysis)
    report.finish()
    if report.modified:
        common.ShapeInferencePass()(model)
    return journal.result(model, modified=report.modified)


def _drop(model: ir.Model, report: Report) -> bool:
    """Takes constant branches and idle nodes out until there are none."""
    changed = False
    shapes = Shapes(model.graph)
    if restore_transposes(model.graph, shapes):
        common.RemoveUnusedNodesPass()(model)
        report.modified = True
        shapes = Shapes(model.graph)
    while True:
        constant = drop_constant_branches(model.graph, Facts(model.graph, shapes))
        idle = drop_idle(model.graph, shapes)
        if not constant and not idle:
            return changed
        changed = True
        common.RemoveUnusedNodesPass()(model)
        report.dropped(model.graph)
        shapes = Shapes(model.graph)


def state_names(structure: Structure) -> list[tuple[str, str]]:
    """Input and output of every streaming state that the recogniser found."""
    return [
        (str(cache.input.name), str(cache.output.name))
        for module in structure.modules
        for cache in module.caches
        if cache.output is not None
    ]


def states(graph: ir.Graph, names: list[tuple[str, str]]) -> list[Cached]:
    """The values of streaming states; rounds before this one may have made new ones."""
    inputs = {value.name: value for value in graph.inputs}
    outputs = {value.name: value for value in graph.outputs}
    known = [(a, b) for a, b in names if a in inputs and b in outputs]
    return [(inputs[a], outputs[b]) for a, b in known]


def _lacks_types(graph: ir.Graph) -> bool:
    """Whether a file states too little for constants to be written in place of its values."""
    return any(value.dtype is None for node in graph for value in node.outputs if value.uses())
