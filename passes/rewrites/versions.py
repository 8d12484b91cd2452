"""Opset and IR version of the models that passes work on and write.

Every pass writes one spelling of each operator, that of ``WORKING_OPSET``: the lowest that can
state per-frame scales, loaded by every onnxruntime since 1.18. Models of newer opsets stay as they
are: the newest onnx writes opsets that no released runtime loads, so nothing is raised further.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
from collections.abc import Iterator

import onnx
import onnx_ir as ir
import onnx_ir.passes.common as common
from onnxscript import version_converter

from ..base import InPlacePass, Journal, PassResult
from ..errors import ConfpressError

#: Blocked QuantizeLinear with ``output_dtype`` came with opset 21 (onnx 1.16).
WORKING_OPSET = 21
#: Model-local functions with overloads came with IR 10, as did opset 21.
OVERLOAD_IR_VERSION = 10
#: onnxscript converts from this opset on.
_FIRST_MODERN_OPSET = 18
#: Operators to which opsets 19 to 21 gave types and a mode, such as float8 and Pad's `wrap`, and
#: nothing else.
_WIDENED = frozenset(
    (
        *("Cast", "CastLike", "Constant", "ConstantOfShape", "Equal", "Flatten", "Identity", "If"),
        *("IsInf", "IsNaN", "Loop", "Pad", "ReduceMax", "ReduceMin", "Reshape", "Scan", "Shape"),
        *("Size", "Squeeze", "Transpose", "Unsqueeze"),
    )
)
_BEFORE_WIDENING = 18
#: Before it, Scan had a batch axis, which onnx's converter drops from the model's inputs too.
_PLAIN_SCAN = 9


@contextlib.contextmanager
def quiet(logger: str) -> Iterator[None]:
    """Keeps a library's warnings about what we handle ourselves off the user's screen."""
    named = logging.getLogger(logger)
    level = named.level
    named.setLevel(logging.ERROR)
    try:
        yield
    finally:
        named.setLevel(level)


def raise_opset(model: ir.Model, opset: int = WORKING_OPSET) -> bool:
    """Converts the model to at least this opset of the standard domain.

    Args:
        model: Modified in place.
        opset: The least version that is needed.

    Returns:
        Whether the model was converted.

    Raises:
        ConfpressError: There is no conversion for one of the operators.
    """
    current = model.opset_imports.get("", 1)
    if current >= opset:
        return False
    if current < _FIRST_MODERN_OPSET:
        if any(node.op_type == "Scan" for node in _standard_nodes(model)) and current < _PLAIN_SCAN:
            raise ConfpressError(
                f"the model is at opset {current}, where Scan has a batch axis of its own, and "
                "converting it would change the model's inputs; export it again at opset 17 or "
                "newer"
            )
        # onnx's own converter knows the older versions; it drops names of scopes, which only
        # exporters of newer opsets write.
        with quiet("onnxscript.version_converter"):
            version_converter.convert_version(model, _FIRST_MODERN_OPSET, fallback=True)
    reached = model.opset_imports.get("", 1)
    if reached < _FIRST_MODERN_OPSET:
        raise ConfpressError(
            f"the model is at opset {current}, and one of its operators cannot be converted to "
            f"opset {opset}, which is needed; export it again at opset 17 or newer"
        )
    version_converter.convert_version(model, opset)
    needed = onnx.helper.find_min_ir_version_for([onnx.helper.make_opsetid("", opset)])
    model.ir_version = max(OVERLOAD_IR_VERSION, needed)
    return True


@dataclasses.dataclass(frozen=True)
class MinimiseVersions(InPlacePass):
    """States the lowest versions under which the model means what it means.

    1. The opset sinks as long as every operator keeps the same schema.
    2. Imports of domains that nothing uses go.
    3. The IR version becomes the least that the opset, or an overloaded function, needs.

    Lossless: no operator changes.

    Attributes:
        widened: Whether the opset also sinks, as far as 18, below versions of operators that only
            take more types, none of which the model has. ONNX Runtime's CUDA provider looks for a
            kernel of the very version: 1.23 has none for opset 21's Transpose, Reshape and Pad,
            and leaves them to the processor.
    """

    widened: bool = False

    def call(self, model: ir.Model) -> PassResult:
        journal = Journal()
        common.RemoveUnusedOpsetsPass()(model)
        current = model.opset_imports.get("", 1)
        lowest = max((_since(node, current) for node in _standard_nodes(model)), default=current)
        opset = lowest
        if self.widened:
            opset = max((_plain(node, current) for node in _standard_nodes(model)), default=lowest)
        if opset < current:
            for imports in (
                model.opset_imports,
                *(f.opset_imports for f in model.functions.values()),
            ):
                imports[""] = opset
            journal.change("opset", f"{current} to {opset}")
        ir_version = onnx.helper.find_min_ir_version_for(
            [onnx.helper.make_opsetid("", lowest)], ignore_unknown=True
        )
        if any(overload for _, _, overload in model.functions):
            ir_version = max(ir_version, OVERLOAD_IR_VERSION)
        if ir_version != model.ir_version:
            journal.change("IR version", f"{model.ir_version} to {ir_version}")
            model.ir_version = ir_version
        return journal.result(model)


def _standard_nodes(model: ir.Model) -> Iterator[ir.Node]:
    graphs: list[ir.Graph | ir.Function] = [model.graph, *model.functions.values()]
    for graph in graphs:
        for node in ir.traversal.RecursiveGraphIterator(graph):
            if not node.domain:
                yield node


def _since(node: ir.Node, opset: int) -> int:
    """The opset that brought the schema which a node has at this opset."""
    return onnx.defs.get_schema(node.op_type, opset).since_version


def _plain(node: ir.Node, opset: int) -> int:
    """As `_since`, but of the schema before types were added, where that takes the node too."""
    since = _since(node, opset)
    if node.op_type not in _WIDENED or since <= _BEFORE_WIDENING:
        return since
    before = onnx.defs.get_schema(node.op_type, _BEFORE_WIDENING)
    known = {name for each in before.type_constraints for name in each.allowed_type_strs}
    values = (value for value in (*node.inputs, *node.outputs) if value is not None)
    types = {f"tensor({value.dtype.name.lower()})" for value in values if value.dtype is not None}
    mode = node.attributes.get("mode")
    fits = (
        types <= known
        and node.attributes.keys() <= before.attributes.keys()
        and (mode is None or mode.as_string() != "wrap")
    )
    return before.since_version if fits else since
