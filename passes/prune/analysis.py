"""Both directions of the analysis of one graph, together."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

import onnx_ir as ir

from . import rules  # noqa: F401  (registers the transfer rules)
from .facts import Facts
from .need import Need
from .shapes import Shapes
from .wiring import Cached, Wiring


@dataclasses.dataclass(frozen=True)
class Analysis:
    """What is known of a graph; out of date as soon as the graph changes.

    Attributes:
        shapes: Symbolic shapes.
        facts: Forward: what is constant.
        wiring: The axes and the links between them.
        need: Backward: what must stay.
    """

    shapes: Shapes
    facts: Facts
    wiring: Wiring
    need: Need


def analyse(graph: ir.Graph, caches: Iterable[Cached] = ()) -> Analysis:
    """Analyses a graph; changes nothing.

    Args:
        graph: The main graph of a model.
        caches: Streaming states, whose declared shapes may shrink, input and output alike.
    """
    shapes = Shapes(graph)
    facts = Facts(graph, shapes)
    wiring = Wiring(graph, shapes, facts, caches)
    return Analysis(shapes, facts, wiring, Need(wiring.sizes, wiring.links))
