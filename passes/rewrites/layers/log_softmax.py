"""The last LogSoftmax dropped: the best token of a frame is that of the scores before it."""

from __future__ import annotations

import dataclasses

import onnx_ir as ir
import onnx_ir.passes.common as common

from ...base import InPlacePass, Journal, PassResult, layer_of
from ...rewrite import replace_value


@dataclasses.dataclass(frozen=True)
class DropLogSoftmax(InPlacePass):
    """Graph outputs of LogSoftmax become its inputs.

    Greedy decoding stays the same. Beam search and confidences need probabilities: not for them.
    """

    def call(self, model: ir.Model) -> PassResult:
        journal = Journal()
        for output in list(model.graph.outputs):
            node = output.producer()
            scores = node.inputs[0] if node is not None else None
            if node is None or scores is None or node.op_type != "LogSoftmax" or node.domain:
                journal.refuse(output.name, "it is not computed by a LogSoftmax")
                continue
            if scores.is_graph_input() or scores.is_graph_output():
                journal.refuse(output.name, "what comes before it is an input or output, too")
                continue
            replace_value(output, scores)
            journal.change(layer_of(node), "the output gives scores without LogSoftmax")
        common.RemoveUnusedNodesPass()(model)
        return journal.result(model)
