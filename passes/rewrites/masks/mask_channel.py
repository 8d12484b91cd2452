"""A mask behind the subsampling's first convolution, as a second channel of its input.

Exports with a length mask multiply what the first convolution and its ReLU compute, [batch,
channels, frames, mels] and the largest tensor of the model, by zero where an utterance has ended.
ONNX Runtime keeps float32 convolutions in a layout of its own, and turns the tensor out of it and
back for this product alone. The same zeros come from ``ReLU(Conv(x) - 1e30)``: the convolution gets
a second channel of zeros and -1e30, which one tap with the weight 1 adds.
"""

from __future__ import annotations

import dataclasses
from typing import Final

import numpy as np
import numpy.typing as npt
import onnx_ir as ir
import onnx_ir.passes.common as common

from ...base import InPlacePass, Journal, PassResult, layer_of
from ...linear import only_user
from ...rewrite import Patch, constant, replace_value
from .frame_mask import is_of_frames, masked_value

#: Far below what a convolution of features gives, and finite in float32 with any of it added.
_FAR: Final = np.float32(-1e30)


@dataclasses.dataclass(frozen=True)
class MaskChannel(InPlacePass):
    """Rewrites ``Mul(Relu(Conv(x)), mask)`` with x [B, 1, T, F] and mask [B, 1, T', 1].

    Only between convolutions in float32. Lossless where the convolution's results are finite and
    below 1e30: what is kept has a zero added.
    """

    def call(self, model: ir.Model) -> PassResult:
        journal = Journal()
        for node in list(model.graph):
            found = _masked_convolution(node)
            if found is None:
                continue
            _sizes_from_input(found)
            if _depends_on(found.mask, found.conv):
                journal.refuse(layer_of(node), "the mask is computed from what it masks")
                continue
            _rewrite(found)
            journal.change(layer_of(found.conv), "the mask behind it is a channel of its input")
        common.RemoveUnusedNodesPass()(model)
        return journal.result(model)


@dataclasses.dataclass(frozen=True)
class _MaskedConvolution:
    """A convolution of one channel, its ReLU and the mask of frames behind it.

    Attributes:
        conv: The convolution.
        weight: float32 [N, 1, kernel T, kernel F].
        activated: The ReLU's result.
        mask: Bool [B, 1, T', 1], true where a frame is kept.
        masked: The product.
    """

    conv: ir.Node
    weight: npt.NDArray[np.float32]
    activated: ir.Value
    mask: ir.Value
    masked: ir.Value

    @property
    def strides(self) -> tuple[int, ...]:
        """Over time and frequency."""
        return tuple(self.conv.attributes.get_ints("strides", (1, 1)))

    @property
    def pads(self) -> tuple[int, ...]:
        """Rows and columns of zeros in front, then behind."""
        return tuple(self.conv.attributes.get_ints("pads", (0,) * 4))


def _masked_convolution(node: ir.Node) -> _MaskedConvolution | None:
    """Reads the product of a mask, between two convolutions; None where a node is none."""
    masked = masked_value(node)
    relu = masked.value.producer() if masked is not None else None
    if masked is None or relu is None or relu.op_type != "Relu" or not is_of_frames(masked.mask):
        return None
    convolved = relu.inputs[0]
    conv = convolved.producer() if convolved is not None else None
    following = only_user(node.outputs[0])
    if conv is None or convolved is None or following is None:
        return None
    weight = _weight(conv)
    if weight is None or _weight(following) is None:
        return None
    if not (_is_read_by(convolved, relu) and _is_read_by(masked.value, node)):
        return None
    if weight.ndim != 4 or weight.shape[1] != 1 or not _is_plain(conv, weight):
        return None
    return _MaskedConvolution(conv, weight, masked.value, masked.mask, node.outputs[0])


def _weight(node: ir.Node) -> npt.NDArray[np.float32] | None:
    """Of a convolution in float32."""
    if node.op_type != "Conv" or node.domain:
        return None
    weight = constant(node.inputs[1])
    return weight if weight is not None and weight.dtype == np.float32 else None


def _is_plain(conv: ir.Node, weight: npt.NDArray[np.float32]) -> bool:
    """Whether some tap reads, at each place, a row and a column that are not padding.

    The tap that reads row or column 0 at the first place reads no padding at the last one either,
    unless the padding on both sides is as wide as the kernel.
    """
    attributes = conv.attributes
    pads = attributes.get_ints("pads", (0,) * 4)
    return (
        attributes.get_int("group", 1) == 1
        and set(attributes.get_ints("dilations", (1,))) == {1}
        and attributes.get_string("auto_pad", "NOTSET") == "NOTSET"
        and all(
            front + behind < kernel
            for front, behind, kernel in zip(pads[:2], pads[2:], weight.shape[2:], strict=True)
        )
    )


def _is_read_by(value: ir.Value, node: ir.Node) -> bool:
    """Whether others ask for no more than its sizes."""
    users = [user for user in value.consumers() if user.op_type != "Shape"]
    return users == [node] and not value.is_graph_output()


def _sizes_from_input(found: _MaskedConvolution) -> None:
    """Sizes of the convolution's result are computed from those of its input.

    The mask may depend on them; and asking the result would turn it out of its layout, too.
    """
    readers = [
        user
        for value in (found.conv.outputs[0], found.activated)
        for user in value.consumers()
        if user.op_type == "Shape"
    ]
    for reader in readers:
        patch = Patch(reader)
        first, last = (reader.attributes.get_int(name, size) for name, size in _WHOLE)
        outer = patch.op("Shape", found.conv.inputs[0], start=0, end=1)
        channels = patch.ints(len(found.weight))
        sizes = patch.op("Concat", outer, channels, _places(patch, found), axis=0)
        asked = patch.ints(*range(*slice(first, last).indices(4)))
        replace_value(reader.outputs[0], patch.op("Gather", sizes, asked, axis=0))


#: Attributes of Shape and what they are where they are left out.
_WHOLE: Final = (("start", 0), ("end", 4))


def _places(patch: Patch, found: _MaskedConvolution) -> ir.Value:
    """[T', F']: so many places the window takes over time and frequency."""
    grown = [
        front + behind - kernel
        for front, behind, kernel in zip(
            found.pads[:2], found.pads[2:], found.weight.shape[2:], strict=True
        )
    ]
    read = patch.op("Shape", found.conv.inputs[0], start=2, end=4)
    steps = patch.op("Div", patch.op("Add", read, patch.ints(*grown)), patch.ints(*found.strides))
    return patch.op("Add", steps, patch.ints(1))


def _depends_on(value: ir.Value, node: ir.Node) -> bool:
    """Whether a node comes before a value."""
    pending = [value.producer()]
    seen = set(pending)
    while pending:
        each = pending.pop()
        if each is node:
            return True
        before = {v.producer() for v in each.inputs if v is not None} if each is not None else set()
        pending += before - seen
        seen |= before
    return False


def _rewrite(found: _MaskedConvolution) -> None:
    conv = found.conv
    patch = Patch(conv)
    features = conv.inputs[0]
    channel = patch.op("Expand", _at_taps(patch, found), patch.op("Shape", features))
    tap = np.zeros_like(found.weight)
    # With the padding in front as its place, a tap reads row stride · t at place t.
    tap[:, :, found.pads[0], found.pads[1]] = 1.0
    weight = np.concatenate([found.weight, tap], axis=1)
    conv.replace_input_with(0, patch.op("Concat", features, channel, axis=1))
    conv.replace_input_with(1, patch.constant(weight, "weight_and_mask"))
    replace_value(found.masked, found.activated)
    # The mask stood behind the convolution that now reads it.
    patch.graph.sort()


def _at_taps(patch: Patch, found: _MaskedConvolution) -> ir.Value:
    """[B, 1, T, 1]: zero or far below at the rows that the mask's tap reads, anything between."""
    zero = patch.shared(np.zeros((), np.float32), "zero")
    away = patch.op("Where", found.mask, zero, patch.shared(np.array(_FAR), "far_below"))
    stride = found.strides[0]
    repeated = patch.op("Expand", away, patch.ints(1, 1, 1, stride))
    rows = patch.op("Reshape", repeated, patch.ints(0, 1, -1, 1))
    # Rows behind the last tap: none, or some that nothing reads.
    frames = patch.op("Shape", found.conv.inputs[0], start=2, end=3)
    lacking = patch.op("Sub", frames, patch.op("Shape", rows, start=2, end=3))
    behind = patch.op("Max", lacking, patch.ints(0))
    pads = patch.op("Concat", patch.ints(0, 0, 0, 0, 0, 0), behind, patch.ints(0), axis=0)
    padded = patch.op("Pad", rows, pads)
    return patch.op("Slice", padded, patch.ints(0), frames, patch.ints(2))
