"""What the convolutions of a subsampling and the nodes around them compute, read off a graph.

A step is one convolution with its activation and the mask of frames that follows. Between steps an
interchange model has QuantizeLinear and DequantizeLinear with constant scales, which are passed
over: the operators that take the steps' place make scales of their own.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from ..linear import only_reader
from ..operators.depthwiseconv2d import ConvActivation
from ..operators.quantconv2d import MOST_ROW_PRODUCTS, MOST_WINDOW
from ..rewrite import constant
from ..rewrites.masks.frame_mask import is_of_frames, masked_value
from ..structure.activations import fusible_activation
from .region import NotFusedError


@dataclasses.dataclass(frozen=True)
class Step:
    """One convolution and what follows it.

    Attributes:
        conv: The node.
        weight: Codes int8 or filters float32, [N, C, kernel T, kernel F].
        scales: float32 [N, kernel T] of int8 codes, None of filters.
        activation: What follows.
        sized: The result before and after the activation, its codes and so on: values of one shape
            that later nodes may ask for it.
        end: The result: behind the activation, its codes and the mask.
        coded: Whether the result is quantised behind the activation.
        mask: Bool [B, 1, T, 1], true where a frame of the result counts; or None.
        last: The last node whose inputs are known where the result is made: what applies the mask,
            or the convolution.
    """

    conv: ir.Node
    weight: npt.NDArray[np.float32] | npt.NDArray[np.int8]
    scales: npt.NDArray[np.float32] | None
    activation: ConvActivation
    sized: tuple[ir.Value, ...]
    end: ir.Value
    coded: bool
    mask: ir.Value | None
    last: ir.Node

    @property
    def bias(self) -> npt.NDArray[np.float32]:
        """float32 [N]."""
        bias = constant(self.conv.inputs[2]) if len(self.conv.inputs) > 2 else None
        return np.zeros(len(self.weight), np.float32) if bias is None else bias

    @property
    def group(self) -> int:
        return self.conv.attributes.get_int("group", 1)

    @property
    def strides(self) -> tuple[int, ...]:
        """Over time and frequency."""
        return tuple(self.conv.attributes.get_ints("strides", (1, 1)))

    @property
    def pads(self) -> tuple[int, ...]:
        """Rows and columns of zeros in front, then behind."""
        return tuple(self.conv.attributes.get_ints("pads", (0,) * 4))


def is_conv2d(node: ir.Node) -> bool:
    """Whether a node is a convolution over two axes."""
    if node.op_type != "Conv" or node.domain:
        return False
    weight = node.inputs[1]
    decode = weight.producer() if weight is not None else None
    if decode is not None and decode.op_type == "DequantizeLinear":
        weight = decode.inputs[0]
    return weight is not None and weight.shape is not None and len(weight.shape) == 4


def read_steps(first: ir.Node) -> list[Step]:
    """The convolution and those that follow it, as far as the operators can express them.

    Raises:
        NotFusedError: They cannot express the first one.
    """
    steps = [read_step(first)]
    while (following := only_reader(steps[-1].end)) is not None and is_conv2d(following):
        try:
            steps.append(read_step(following))
        except NotFusedError:
            break
    return steps


def read_step(conv: ir.Node) -> Step:
    """One convolution and what follows it.

    Raises:
        NotFusedError: The operators cannot express it.
    """
    weight, scales = _weight(conv)
    _check_window(conv, weight.shape[2:])
    if len(conv.inputs) > 2 and conv.inputs[2] is not None and constant(conv.inputs[2]) is None:
        raise NotFusedError("its bias is computed")
    activation, activated = _activation(conv.outputs[0])
    mask, last, sized = None, conv, [conv.outputs[0], activated]
    value = _behind_codes(activated, sized)
    coded = value is not activated
    reader = only_reader(value)
    masked = masked_value(reader) if reader is not None else None
    if reader is not None and masked is not None and is_of_frames(masked.mask):
        mask, last, value = masked.mask, reader, reader.outputs[0]
        sized.append(value)
        value = _behind_codes(value, sized)
    shapes = tuple(dict.fromkeys(sized))
    return Step(conv, weight, scales, activation, shapes, value, coded, mask, last)


def shape_readers(step: Step) -> Iterator[ir.Node]:
    """Nodes that ask for the shape of a step's values."""
    for value in step.sized:
        yield from [user for user in value.consumers() if user.op_type == "Shape"]


def before_codes(value: ir.Value) -> ir.Value:
    """The value in front of DequantizeLinear and QuantizeLinear with constant scales."""
    dequantize = value.producer()
    if dequantize is None or dequantize.op_type != "DequantizeLinear":
        return value
    codes = dequantize.inputs[0]
    quantize = codes.producer() if codes is not None else None
    if quantize is None or quantize.op_type != "QuantizeLinear" or quantize.inputs[0] is None:
        return value
    return quantize.inputs[0] if _are_constant(quantize, dequantize) else value


def _check_window(conv: ir.Node, kernel: tuple[int, ...]) -> None:
    attributes = conv.attributes
    if set(attributes.get_ints("dilations", [1])) != {1}:
        raise NotFusedError("it skips elements between its taps")
    if attributes.get_string("auto_pad", "NOTSET") != "NOTSET":
        raise NotFusedError("its padding is automatic")
    if max(*kernel, *attributes.get_ints("strides", [1])) > MOST_WINDOW:
        raise NotFusedError(f"its kernel or its stride is larger than {MOST_WINDOW}")
    pads = attributes.get_ints("pads", [0] * 4)
    if any(pad >= kernel[axis % 2] for axis, pad in enumerate(pads)):
        raise NotFusedError("its padding is as wide as its kernel")


def _weight(
    conv: ir.Node,
) -> tuple[npt.NDArray[np.float32] | npt.NDArray[np.int8], npt.NDArray[np.float32] | None]:
    """Filters of a depthwise convolution, or codes and scales of another one."""
    value = conv.inputs[1]
    dequantize = value.producer() if value is not None else None
    filters = constant(value)
    scales = None
    if dequantize is not None and dequantize.op_type == "DequantizeLinear":
        filters, scales = _codes(dequantize)
    if filters is None or filters.dtype not in (np.float32, np.int8):
        raise NotFusedError("its weight is not float32 and not stored as int8 codes")
    outputs, inputs, rows, columns = filters.shape
    group = conv.attributes.get_int("group", 1)
    if inputs == 1 and group in (1, outputs):
        if scales is not None:
            filters = (filters * scales[:, None, None, None]).astype(np.float32)
        return filters, None
    if scales is None:
        raise NotFusedError("it is float32 and has more products than a depthwise convolution")
    if group != 1:
        raise NotFusedError("its channels are in groups")
    if inputs * columns > MOST_ROW_PRODUCTS:
        raise NotFusedError(f"a row of its window has more than {MOST_ROW_PRODUCTS} products")
    return filters, np.repeat(scales[:, None], rows, axis=1)


def _codes(dequantize: ir.Node) -> tuple[npt.NDArray[np.int8], npt.NDArray[np.float32]]:
    """Symmetric codes and their scales [N]."""
    codes, scales = constant(dequantize.inputs[0]), constant(dequantize.inputs[1])
    zero = constant(dequantize.inputs[2]) if len(dequantize.inputs) > 2 else None
    if codes is None or scales is None or codes.dtype != np.int8:
        raise NotFusedError("its weight is not int8")
    if zero is not None and zero.any():
        raise NotFusedError("its weight's codes are not symmetric")
    if scales.shape != codes.shape[:1] or dequantize.attributes.get_int("axis", 1) not in (0, -4):
        raise NotFusedError("its weight's scales are not those of output channels")
    return codes, scales.astype(np.float32)


def _activation(convolved: ir.Value) -> tuple[ConvActivation, ir.Value]:
    reader = only_reader(convolved)
    if reader is not None and reader.op_type == "Relu":
        return "relu", reader.outputs[0]
    activated = fusible_activation(convolved, ("silu",))
    return ("", convolved) if activated is None else ("silu", activated.output)


def _behind_codes(value: ir.Value, sized: list[ir.Value]) -> ir.Value:
    """The value behind QuantizeLinear and DequantizeLinear with constant scales, if they follow."""
    quantize = only_reader(value)
    if quantize is None or quantize.op_type != "QuantizeLinear":
        return value
    dequantize = only_reader(quantize.outputs[0])
    if dequantize is None or dequantize.op_type != "DequantizeLinear":
        return value
    if not _are_constant(quantize, dequantize):
        return value
    sized += [quantize.outputs[0], dequantize.outputs[0]]
    return dequantize.outputs[0]


def _are_constant(*nodes: ir.Node) -> bool:
    """Whether the scales of nodes are."""
    return all(constant(node.inputs[1]) is not None for node in nodes)
