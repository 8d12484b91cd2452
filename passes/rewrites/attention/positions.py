"""Position tables of relative attention: computed in the graph, or trimmed to a longest duration.

Exporters store the table of sines for the longest sequence the trainer could imagine (±4,999
frames, 7 MB at d_model 176), though an utterance of ten seconds reads 5 % of it. The table is a
formula (Vaswani et al. 2017, section 3.5): row p holds sin(p·w_i) and cos(p·w_i). Computing the
rows in use costs about as much as copying them and stores only the frequencies w.
"""

from __future__ import annotations

import dataclasses
from typing import Literal

import numpy as np
import numpy.typing as npt
import onnx_ir as ir
import onnx_ir.passes.common as common

from ...base import InPlacePass, Journal, PassResult
from ...rewrite import Patch, constant, integers_of, replace_value

Floats = npt.NDArray[np.float32]

#: A table is taken for sines if every entry is within this of the formula (float32 sines agree
#: to 6e-8; tables that are only similar, learned ones for instance, are far off).
TOLERANCE = 1e-6
#: Smaller constants are not worth a rewrite.
_LEAST_ENTRIES = 4096
#: Key of ``model.metadata_props``: the most encoder frames that a trimmed table serves.
MAX_FRAMES_KEY = "confpress.max_encoder_frames"


@dataclasses.dataclass(frozen=True)
class Sinusoid:
    """A table as a formula: row r is position ``first + r * step``.

    Attributes:
        first: Position of row 0.
        step: 1 or -1.
        frequencies: w_i, float32 [dimensions / 2].
        interleaved: sin, cos, sin, cos ... if true, else all sines and then all cosines.
    """

    first: int
    step: int
    frequencies: Floats
    interleaved: bool


@dataclasses.dataclass(frozen=True)
class Positions(InPlacePass):
    """Replaces stored position tables that are sliced by length.

    1. ``compute``: a table of sines becomes Range, Mul, Sin and Cos on the rows in use.
    2. ``trim``: rows that no utterance of at most ``max_frames`` encoder frames reads are cut;
       the model's metadata states the limit, and the runtime refuses longer audio.
    3. ``keep``: nothing is done.

    Attributes:
        mode: One of the three.
        max_frames: For ``trim``: the longest sequence in encoder frames.
    """

    mode: Literal["compute", "trim", "keep"] = "compute"
    max_frames: int | None = None

    def __post_init__(self) -> None:
        if self.mode == "trim" and (self.max_frames is None or self.max_frames < 1):
            raise ValueError("positions: mode 'trim' needs max_frames of at least 1")

    def call(self, model: ir.Model) -> PassResult:
        journal = Journal()
        if self.mode == "keep":
            return journal.result(model)
        for node in list(model.graph):
            if is_table_slice(node):
                if self.mode == "compute":
                    _compute(node, journal)
                else:
                    self._trim(model, node, journal)
        common.RemoveUnusedNodesPass()(model)
        return journal.result(model)

    def _trim(self, model: ir.Model, node: ir.Node, journal: Journal) -> None:
        assert self.max_frames is not None
        table = constant(node.inputs[0])
        assert table is not None
        where = node.inputs[0].name if node.inputs[0] else None
        axis = _table_axis(node)
        rows, kept = table.shape[axis], 2 * self.max_frames - 1
        if rows <= kept:
            journal.refuse(where, f"the table has {rows} rows, no more than {kept} that are needed")
            return
        if rows % 2 == 0 or constant(node.inputs[1]) is not None:
            journal.refuse(
                where, "it is not read around its middle row, so which rows are unused is unknown"
            )
            return
        cut = (rows - kept) // 2
        patch = Patch(node)
        trimmed = patch.constant(
            np.ascontiguousarray(np.take(table, range(cut, rows - cut), axis=axis)), "trimmed"
        )
        offset = patch.ints(cut, kind=integers_of(node.inputs[1]))
        node.replace_input_with(0, trimmed)
        for index in (1, 2):
            node.replace_input_with(index, patch.op("Sub", node.inputs[index], offset))
        model.metadata_props[MAX_FRAMES_KEY] = str(self.max_frames)
        journal.change(where, f"{rows} rows trimmed to {kept}")


def is_table_slice(node: ir.Node) -> bool:
    """Whether a node slices a large float constant of rank 2 or [1, rows, columns] by its rows."""
    if node.op_type != "Slice" or node.domain or len(node.inputs) < 4:
        return False
    table, axes = constant(node.inputs[0]), constant(node.inputs[3])
    return (
        table is not None
        and table.dtype == np.float32
        and table.size >= _LEAST_ENTRIES
        and (table.ndim == 2 or (table.ndim == 3 and table.shape[0] == 1))
        and axes is not None
        and axes.size == 1
        and int(axes[0]) % table.ndim == table.ndim - 2
        and (len(node.inputs) < 5 or bool(np.all(constant(node.inputs[4]) == 1)))
    )


def fit_sinusoid(table: Floats) -> Sinusoid | None:
    """Finds the formula of a position table.

    The frequencies are known only to a unit in the last place (exporters compute them in float32
    with their own exp), which far from zero moves the sines by 5e-4; so the neighbours of each
    frequency are tried and the best one is taken.

    Args:
        table: float32 [rows, columns].

    Returns:
        The formula if every entry agrees to within ``TOLERANCE``, else None.
    """
    rows, columns = table.shape
    if columns % 2 or rows < 3:
        return None
    nominal = np.exp(np.arange(0, columns, 2) * (-np.log(10000.0) / columns)).astype(np.float32)
    for interleaved in (True, False):
        half = columns // 2
        sines = table[:, 0::2] if interleaved else table[:, :half]
        cosines = table[:, 1::2] if interleaved else table[:, half:]
        for first, step in (((rows - 1) // 2, -1), (-((rows - 1) // 2), 1), (0, 1)):
            positions = (first + step * np.arange(rows)).astype(np.float32)
            if np.abs(np.sin(positions * nominal[0]) - sines[:, 0]).max() > 1e-3:
                continue
            # The ends tell frequencies apart best; a few rows suffice to choose.
            some = np.unique(np.linspace(0, rows - 1, 64).astype(int))
            frequencies = _best_frequencies(positions[some], nominal, sines[some], cosines[some])
            if _errors(positions, frequencies, sines, cosines).max() <= TOLERANCE:
                return Sinusoid(first, step, frequencies, interleaved)
    return None


def _best_frequencies(
    positions: Floats, nominal: Floats, sines: Floats, cosines: Floats, neighbours: int = 24
) -> Floats:
    """The float32 frequencies within some units in the last place with the least error."""
    best = nominal.copy()
    least = np.full(nominal.shape, np.inf)
    for units in range(-neighbours, neighbours + 1):
        candidate = (nominal.view(np.int32) + np.int32(units)).view(np.float32)
        error = _errors(positions, candidate, sines, cosines)
        better = error < least
        best[better], least[better] = candidate[better], error[better]
    return best


def _errors(positions: Floats, frequencies: Floats, sines: Floats, cosines: Floats) -> Floats:
    """Largest difference of each column pair from sin and cos of position times frequency."""
    angles = positions[:, None] * frequencies[None, :]
    sine_errors: Floats = np.abs(np.sin(angles) - sines).max(axis=0)
    cosine_errors: Floats = np.abs(np.cos(angles) - cosines).max(axis=0)
    return np.maximum(sine_errors, cosine_errors)


def _table_axis(node: ir.Node) -> int:
    table = constant(node.inputs[0])
    assert table is not None
    return table.ndim - 2


def _compute(node: ir.Node, journal: Journal) -> None:
    """Replaces one Slice of a table of sines by the computation of its rows."""
    source = node.inputs[0]
    table = constant(source)
    assert source is not None and table is not None
    begin, end = constant(node.inputs[1]), constant(node.inputs[2])
    if (begin is not None and begin.min() < 0) or (
        end is not None and not 0 <= end.max() <= table.shape[-2]
    ):
        journal.refuse(source.name, "the slice counts from the table's end, so it is kept")
        return
    formula = fit_sinusoid(table.reshape(table.shape[-2:]))
    if formula is None:
        journal.refuse(
            source.name,
            "the table is not made of sines (it may be learned), so it cannot be computed; "
            "mode 'trim' with max_frames makes it smaller",
        )
        return
    patch = Patch(node, source.name)
    replace_value(node.outputs[0], _rows(patch, node, formula, table.ndim))
    journal.change(source.name, f"table of {table.nbytes:,} bytes computed in the graph")


def _rows(patch: Patch, node: ir.Node, formula: Sinusoid, rank: int) -> ir.Value:
    """The rows [start, end) of the table, float32 [rows, columns] or [1, rows, columns]."""
    axis0, axis1 = patch.ints(0), patch.ints(1)
    start = patch.op("Squeeze", node.inputs[1], axis0)
    end = patch.op("Squeeze", node.inputs[2], axis0)
    one = patch.constant(np.array(1, integers_of(node.inputs[1]).numpy()), "one")
    index = patch.op("Cast", patch.op("Range", start, end, one), to=int(ir.DataType.FLOAT))
    first = patch.constant(np.array(formula.first, np.float32), "first")
    position = patch.op("Add" if formula.step > 0 else "Sub", first, index)
    frequencies = patch.constant(formula.frequencies, "frequencies")
    angle = patch.op("Mul", patch.op("Unsqueeze", position, axis1), frequencies)
    sine, cosine = patch.op("Sin", angle), patch.op("Cos", angle)
    if formula.interleaved:
        two = patch.ints(2)
        pair = patch.op(
            "Concat", patch.op("Unsqueeze", sine, two), patch.op("Unsqueeze", cosine, two), axis=2
        )
        rows = patch.op("Reshape", pair, patch.ints(0, 2 * formula.frequencies.size))
    else:
        rows = patch.op("Concat", sine, cosine, axis=1)
    return patch.op("Unsqueeze", rows, axis0) if rank == 3 else rows
