"""Where one model's time goes, by module and by layer, held to what the machine could do."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

from pydantic import Field

from ...passes.fuse.unfuse import Unfuse
from ...passes.structure import recognise
from ...passes.structure.summary import SHARED, ModuleSummary, summarise
from ..recognition.asr import AsrModel
from ..record import Record
from ..session import DEFAULT_OPTIONS, SessionOptions
from ..speech.manifest import Utterance
from .attribution import attribute
from .operators import Profile
from .optimised import trace
from .peak import Peak, measure_peak


class ModuleTime(Record):
    """One module of the model, or what several share."""

    id: str
    kind: str
    layer: int | None = Field(description="index of its block")
    ms: float
    share: float = Field(description="part of the time of all nodes")
    macs: int = Field(description="multiply-accumulates of a run")
    limit_ms: float = Field(description="the time of its products at the machine's peak")
    operators: Mapping[str, float] = Field(description="milliseconds by operator, slowest first")

    @property
    def rate(self) -> float:
        """Multiply-accumulates a second."""
        return self.macs / (self.ms / 1e3) if self.ms else 0.0

    @property
    def of_limit(self) -> float | None:
        """Time at the peak over time taken; None where there are no products."""
        return self.limit_ms / self.ms if self.ms and self.limit_ms else None


class ModuleProfile(Record):
    """Where the time of one run goes, by module."""

    peak: Peak
    modules: tuple[ModuleTime, ...] = Field(description="in the order of data, the shared last")
    unattributed_ms: float = Field(description="time of nodes that no module could be told for")
    whole: Profile

    def by_kind(self) -> tuple[ModuleTime, ...]:
        """The modules of each kind as one, slowest first."""
        groups: dict[str, list[ModuleTime]] = defaultdict(list)
        for module in self.modules:
            groups[SHARED if module.id == SHARED else module.kind].append(module)
        merged = [_together(kind, kind, None, group) for kind, group in groups.items()]
        return tuple(sorted(merged, key=lambda m: -m.ms))

    def by_layer(self) -> tuple[ModuleTime, ...]:
        """The modules of each block as one, in order; what is in no block stands alone."""
        groups: dict[str, list[ModuleTime]] = defaultdict(list)
        for module in self.modules:
            groups[module.id if module.layer is None else f"block {module.layer}"].append(module)
        return tuple(
            _together(name, group[0].kind if len(group) == 1 else "block", group[0].layer, group)
            for name, group in groups.items()
        )


def profile_modules(
    model: AsrModel,
    options: SessionOptions = DEFAULT_OPTIONS,
    *,
    seconds: float = 10.0,
    batch: int = 1,
    runs: int = 10,
    utterances: Sequence[Utterance] = (),
) -> ModuleProfile:
    """Measures the time of every node and gives it to the module that it serves.

    Args: as `profile`.

    Raises:
        ConfpressError: the model cannot be run, or audio cannot be read.
    """
    traced = trace(model, options, seconds=seconds, batch=batch, runs=runs, utterances=utterances)
    loaded, whole = traced.model, traced.whole
    Unfuse()(loaded)
    structure = recognise(loaded)
    owners = {}
    for node in loaded.graph:
        module = structure.module_of(node)
        for value in node.outputs:
            owners[str(value.name)] = SHARED if module is None else module.id
    spent = _time_by_owner(whole, attribute(traced.optimised.graph, owners))
    frames = round(model.run_seconds(seconds) / model.frontend.seconds_per_frame)
    peak = measure_peak(options.threads)
    total = sum(node.ms for node in whole.nodes) or 1.0
    return ModuleProfile(
        peak=peak,
        modules=tuple(
            _module_time(summary, spent.pop(summary.id, {}), total, batch, peak)
            for summary in summarise(loaded, structure, frames).modules
        ),
        unattributed_ms=sum(sum(times.values()) for times in spent.values()),
        whole=whole,
    )


def _time_by_owner(whole: Profile, owners: Mapping[str, str]) -> dict[str, dict[str, float]]:
    """Milliseconds by owner and operator; "" owns what could not be told."""
    spent: dict[str, dict[str, float]] = defaultdict(lambda: defaultdict(float))
    for node in whole.nodes:
        spent[owners.get(node.name, "")][node.operator] += node.ms
    return spent


def _slowest_first(operators: Mapping[str, float]) -> dict[str, float]:
    return dict(sorted(operators.items(), key=lambda item: -item[1]))


def _module_time(
    summary: ModuleSummary, spent: Mapping[str, float], total: float, batch: int, peak: Peak
) -> ModuleTime:
    in_int8 = sum(
        layer.macs or 0
        for layer in summary.layers
        if "int" in layer.format and layer.activations != "float"
    )
    ms = sum(spent.values())
    seconds = in_int8 / peak.int8 + (summary.macs - in_int8) / peak.float32
    return ModuleTime(
        id=summary.id,
        kind=summary.kind,
        layer=summary.layer,
        ms=ms,
        share=ms / total,
        macs=batch * summary.macs,
        limit_ms=1e3 * batch * seconds,
        operators=_slowest_first(spent),
    )


def _together(name: str, kind: str, layer: int | None, parts: Iterable[ModuleTime]) -> ModuleTime:
    parts = list(parts)
    operators: dict[str, float] = defaultdict(float)
    for part in parts:
        for operator, ms in part.operators.items():
            operators[operator] += ms
    return ModuleTime(
        id=name,
        kind=kind,
        layer=layer,
        ms=sum(p.ms for p in parts),
        share=sum(p.share for p in parts),
        macs=sum(p.macs for p in parts),
        limit_ms=sum(p.limit_ms for p in parts),
        operators=_slowest_first(operators),
    )
