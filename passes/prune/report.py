"""What went and what could not go, module by module, in the words of people who prune."""

from __future__ import annotations

from collections import Counter, defaultdict

import numpy as np
import onnx_ir as ir

from ..base import Journal, layer_of
from ..structure import Kind, Module, Structure
from .analysis import Analysis
from .links import Contraction, Product
from .surgery import Surgery

_NOUNS = {Kind.FEED_FORWARD: "units", Kind.CONVOLUTION: "channels", Kind.SELF_ATTENTION: "features"}


class Report:
    """Collects what several rounds did and tells it once for every module."""

    def __init__(self, structure: Structure, journal: Journal) -> None:
        self._structure = structure
        self._journal = journal
        self._owner = {
            node: (module.id, module) for module in structure.modules for node in module.nodes
        }
        self._alive = {
            module.id: _computing_nodes(module)
            for module in structure.modules
            if module.residual_add
        }
        self._sizes = {module.id: _parameters(module) for module in structure.modules}
        self._cuts: defaultdict[str, list[str]] = defaultdict(list)
        self._parameters: Counter[str] = Counter()
        self._gone: list[str] = []
        self._idle = 0
        self.modified = False

    def dropped(self, graph: ir.Graph) -> None:
        """Notes which modules have left the graph."""
        self.modified = True
        present = set(graph)
        for module_id, nodes in list(self._alive.items()):
            if not nodes & present:
                del self._alive[module_id]
                self._gone.append(module_id)

    def before_cut(self, analysis: Analysis) -> None:
        """Notes, before the graph changes, how many places every sum loses."""
        for link in analysis.wiring.links:
            if isinstance(link, Contraction) and analysis.need.is_cut(link.input):
                flags = analysis.need.flags(link.input)
                where, module = self._place(link.node)
                gone, size = int((~flags).sum()), flags.size
                self._cuts[where].append(_counted(module, gone, size))

    def cut(self, analysis: Analysis, surgery: Surgery) -> None:
        """Notes how many numbers every module lost."""
        self.modified = True
        for axis in analysis.wiring.sizes:
            value = axis.owner
            if not isinstance(value, ir.Value) or not analysis.need.is_cut(axis):
                continue
            if value.is_graph_input() or value.is_graph_output():
                self._journal.change(
                    value.name,
                    f"axis {axis.axis} shrinks from {analysis.wiring.sizes[axis]} to "
                    f"{surgery.count(axis)}; callers must feed and take the smaller state",
                )
        for node, count in surgery.removed.items():
            self._parameters[self._place(node)[0]] += count

    def refusals(self, analysis: Analysis) -> None:
        """Says which places are idle and had to stay."""
        for link in analysis.wiring.links:
            if isinstance(link, Contraction):
                idle = ~np.isnan(link.known) | ~link.matrix().any(axis=1)
            elif isinstance(link, Product):
                idle = link.zero
            else:
                continue
            axis = link.input if isinstance(link, Contraction) else link.left
            stuck = np.flatnonzero(idle & analysis.need.flags(axis))
            if not stuck.size or not isinstance(link, Contraction):
                continue
            why = Counter(analysis.need.why(axis, int(place)) for place in stuck)
            reason, _ = why.most_common(1)[0]
            self._journal.refuse(
                self._place(link.node)[0],
                f"{stuck.size} of {idle.size} inputs of {layer_of(link.node)} contribute nothing, "
                f"but they cannot go because {reason}",
            )

    def finish(self) -> None:
        """Tells what was collected."""
        for module_id in self._gone:
            self._cuts.pop(module_id, None)
            count = self._sizes.get(module_id, 0)
            self._journal.change(module_id, f"removed with {count:,} parameters: it adds nothing")
        for where in dict.fromkeys([*self._cuts, *self._parameters]):
            if where in self._gone:
                continue
            what = ", ".join(dict.fromkeys(self._cuts.get(where, ()))) or "cut with its neighbours"
            count = self._parameters[where]
            self._journal.change(where, f"{what}: {count:,} parameters fewer")

    def _place(self, node: ir.Node) -> tuple[str, Module | None]:
        return self._owner.get(node, (layer_of(node), None))


def _counted(module: Module | None, gone: int, size: int) -> str:
    if module is None:
        return f"{gone} of {size} inputs"
    if module.kind is Kind.SELF_ATTENTION:
        width = module.attention.head_size
        if gone % width == 0 and size % width == 0:
            return f"{gone // width} of {size // width} heads"
    return f"{gone} of {size} {_NOUNS.get(module.kind, 'inputs')}"


def _computing_nodes(module: Module) -> set[ir.Node]:
    linears = {each.node for each in module.linears}
    return linears | {each.node for each in module.convolutions}


def _parameters(module: Module) -> int:
    stored = {
        value: value.const_value.size
        for node in module.nodes
        for value in node.inputs
        if value is not None and value.const_value is not None and not value.is_graph_input()
    }
    return int(sum(stored.values()))
