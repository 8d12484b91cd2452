"""The audit: which kernel each layer really runs on, and which layers only look quantised.

ONNX Runtime rewrites a model when it loads it, and decides there whether a layer that the file
states in integers is computed in integers. So the graph that it made is read back, its products
are told which layer of the file they are, and the two are held against each other.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final, Literal

import onnx_ir as ir
import onnx_ir.passes.common as common
from pydantic import Field

from ...passes.products import Form, Product, products
from ...passes.structure import Recognise
from ..environment import describe_environment
from ..model_file import load_model
from ..profile.attribution import attribute
from ..profile.optimised import optimised_graph
from ..record import Record
from ..session import DEFAULT_OPTIONS, SessionOptions
from .findings import findings_of
from .saturation import Saturation

#: `folded`: float32, of weights that were decoded when the model was loaded. `decoded`: float32,
#: of weights that are decoded on every call. `body`: the operators of a function's body, as no
#: kernel is registered. `gone`: no product of the layer is left in the graph that runs.
Runs = Literal["integer", "low-bit", "float", "folded", "decoded", "body", "gone"]

#: What a form that a file states must run as; float16 has no kernel on CPUs.
PLANNED: Final[Mapping[Form, frozenset[Runs]]] = {
    "integer": frozenset({"integer"}),
    "low-bit": frozenset({"low-bit"}),
    "weights": frozenset({"low-bit", "integer"}),
    "storage": frozenset({"folded"}),
    "float16": frozenset(),
    "float32": frozenset({"float"}),
}


class LayerAudit(Record):
    """One layer: what the file says, and what runs."""

    id: str
    operator: str = Field(description="in the file")
    stated: Form = Field(description="how the file says that it is computed")
    stored: str = Field(description="the type of the stored weight")
    kernel: str | None = Field(description="the operator that runs; none if none could be found")
    runs: Runs = Field(description="how it is computed")
    as_planned: bool = Field(description="whether it runs as the file says")
    findings: tuple[str, ...] = Field(description="what is to be known about it, in sentences")
    ms: float | None = Field(
        default=None, description="time of a run, decoding and rounding included"
    )
    float_ms: float | None = Field(
        default=None, description="time of the same product in float32, measured beside it"
    )


class Audit(Record):
    """A whole model."""

    model: str
    seconds: float | None = Field(
        default=None, description="audio that times are of; none without times"
    )
    batch: int | None = Field(
        default=None, description="utterances that ran together, each so long; none without times"
    )
    threads: int
    layers: tuple[LayerAudit, ...] = Field(description="in the order of the graph")
    saturation: tuple[Saturation, ...] = Field(
        default=(), description="sums that would saturate without VNNI, where they were counted"
    )

    @property
    def unplanned(self) -> tuple[LayerAudit, ...]:
        """Layers that do not run as the file says."""
        return tuple(layer for layer in self.layers if not layer.as_planned)


def audit(path: Path, options: SessionOptions = DEFAULT_OPTIONS) -> Audit:
    """Loads a model and tells how each of its layers runs, without times.

    Args:
        path: The model.
        options: How it is loaded; kernels and graph level decide what runs.

    Raises:
        ConfpressError: ONNX Runtime refuses the model.
    """
    model, optimised = load_model(path), optimised_graph(path, options)
    pairs = pair(model, optimised)
    return Audit(
        model=str(path),
        threads=options.threads,
        layers=judged(pairs, model, describe_environment().cpu_features),
    )


def pair(model: ir.Model, optimised: ir.Model) -> list[tuple[Product, Product | None]]:
    """Every product of a file with the one that runs in its place.

    Args:
        model: The file; its layers are named here where they have no names yet.
        optimised: The graph that ONNX Runtime made of it.
    """
    Recognise()(model)
    common.NameFixPass()(optimised)
    stated = {str(p.node.outputs[0].name): p for p in products(model.graph)}
    owners = _owners(model.graph, stated)
    told = attribute(optimised.graph, owners)
    running: dict[str, Product] = {}
    rest: list[Product] = []
    # A product's own value decides first; then neighbours, those behind a product before others.
    placed = [(p, owners.get(str(p.node.outputs[0].name))) for p in products(optimised.graph)]
    running |= {owner: product for product, owner in placed if owner is not None}
    for product in reversed([each for each, owner in placed if owner is None]):
        owner = told.get(str(product.node.name))
        if owner is None or owner in running:
            rest.insert(0, product)
        else:
            running[owner] = product
    running |= _in_order([name for name in stated if name not in running], rest)
    return [(product, running.get(name)) for name, product in stated.items()]


def _in_order(names: Sequence[str], rest: Sequence[Product]) -> dict[str, Product]:
    """What nothing tells, such as one of several convolutions between two changes of layout."""
    return dict(zip(names, rest, strict=True)) if len(names) == len(rest) else {}


def judged(
    pairs: Iterable[tuple[Product, Product | None]], model: ir.Model, features: Sequence[str]
) -> tuple[LayerAudit, ...]:
    """What the pairs come to.

    Args:
        pairs: Of :func:`pair`.
        model: The file.
        features: Instruction sets of the processor.
    """
    bodies = {(domain, name) for domain, name, _ in model.functions}
    found = []
    for stated, running in pairs:
        runs = _runs(stated, running)
        found.append(
            LayerAudit(
                id=stated.layer,
                operator=stated.operator,
                stated=stated.form,
                stored=stated.stored,
                kernel=None if running is None else running.operator,
                runs=runs,
                as_planned=runs in PLANNED[stated.form],
                findings=tuple(findings_of(stated, running, runs, features, bodies)),
            )
        )
    return tuple(found)


def _owners(graph: ir.Graph, stated: Mapping[str, Product]) -> dict[str, str]:
    """By value, the product that it is the result of, through what only that result goes into.

    A product that is fused with its bias, activation or quantisation gives out one of these values.
    """
    owners = dict.fromkeys(stated, "")
    for node in graph:
        name = str(node.outputs[0].name)
        owned = [v for v in node.inputs if v is not None and v.name in owners]
        before = {owners[str(v.name)] for v in owned}
        if name in stated:
            before = {name}
        elif len(before) != 1 or any(len(v.uses()) != 1 for v in owned):
            continue
        owners |= dict.fromkeys((str(v.name) for v in node.outputs), before.pop())
    return owners


def _runs(stated: Product, running: Product | None) -> Runs:
    if stated.ours:
        return stated.kernel if running is not None and running.ours else "body"
    if running is None:
        return "gone"
    if running.kernel != "float":
        return running.kernel
    if running.decoding:
        return "decoded"
    return "folded" if stated.form in ("integer", "weights", "storage") else "float"
