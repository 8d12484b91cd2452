"""What a model needs to run: its operators, and the oldest ONNX Runtime that knows them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import onnx_ir as ir
import onnxruntime as ort

# https://onnxruntime.ai/docs/reference/compatibility.html: release, opset, IR version.
_RELEASES = (("1.18", 21, 10), ("1.21", 22, 10), ("1.22", 23, 11))


def minimum_onnxruntime(opset: int, ir_version: int) -> str:
    """The oldest ONNX Runtime that knows these versions, 1.18 being the oldest supported.

    Versions beyond the table get the ONNX Runtime that is installed, which has run the model.
    """
    for release, newest_opset, newest_ir in _RELEASES:
        if opset <= newest_opset and ir_version <= newest_ir:
            return release
    return str(ort.__version__)


def operators(model: ir.Model) -> Mapping[str, Mapping[str, int]]:
    """How often each operator occurs, by domain, in the graph and once in every function body."""
    counts: dict[str, Counter[str]] = {}
    bodies: list[ir.Graph | ir.Function] = [model.graph, *model.functions.values()]
    for body in bodies:
        for node in body.all_nodes():
            counts.setdefault(node.domain or "ai.onnx", Counter())[node.op_type] += 1
    return {domain: dict(sorted(found.items())) for domain, found in sorted(counts.items())}
