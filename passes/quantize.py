"""Quantize: standard QDQ nodes that say, layer by layer, which numbers a product is made of.

Linear layers: what a plan says layer by layer; without one, weights int8 per output channel and
activations int8 per frame with a scale that is computed from the frame (dynamic). Convolutions of
the subsampling: weights int8 per output channel; activations uint8 with constant ranges from
calibration (static), QDQ on the output too, without which ONNX Runtime does not compute in
integers. Everything else stays float.
"""

from __future__ import annotations

import dataclasses
import fnmatch
from collections.abc import Iterator, Mapping
from typing import Literal

import numpy as np
import numpy.typing as npt
import onnx_ir as ir
import onnx_ir.passes.common as common

from .base import InPlacePass, Journal, PassResult, layer_of
from .errors import ConfpressError
from .format_plan import FormatPlan, LayerFormat
from .linear import MatMulLayer, matmul_layers, only_user
from .quantize_linear import INT8_DYNAMIC, LinearFormats, Repaired, opset_of
from .rewrite import Patch, constant
from .rewrites.masks.frame_mask import masked_value
from .rewrites.versions import WORKING_OPSET, raise_opset

Format = Literal["int8", "float32"]


@dataclasses.dataclass(frozen=True)
class Range:
    """Smallest and largest value that calibration saw (or kept)."""

    low: float
    high: float

    def __post_init__(self) -> None:
        if not (np.isfinite(self.low) and np.isfinite(self.high) and self.low <= self.high):
            raise ValueError(f"[{self.low}, {self.high}] is no range")


@dataclasses.dataclass(frozen=True)
class Quantize(InPlacePass):
    """Inserts QuantizeLinear and DequantizeLinear around linear layers and convolutions.

    1. MatMul with a constant matrix: dynamic per frame, ``s = max(max|x|, eps) / 127``.
    2. Conv with several output channels per group over [batch, channels, ...]: static, from
       ``ranges``. Depthwise convolutions stay float.

    Attributes:
        linear: Format of linear layers.
        convolution: Format of convolutions.
        exclude: Patterns of layer ids that stay float (``encoder.layers.0.*``).
        ranges: Calibrated range by value name; see :func:`values_to_calibrate`.
        plan: Formats of linear layers by their id; it takes the place of ``linear``.
        importance: E[x²] of the inputs of linear layers, [K], by the input's value name; scales
            that are searched for heed it.
        repaired: What an error repair made of linear layers, by their id.
    """

    linear: Format = "int8"
    convolution: Format = "int8"
    exclude: tuple[str, ...] = ()
    ranges: Mapping[str, Range] = dataclasses.field(default_factory=dict)
    plan: FormatPlan | None = None
    importance: Mapping[str, npt.NDArray[np.float64]] = dataclasses.field(default_factory=dict)
    repaired: Mapping[str, Repaired] = dataclasses.field(default_factory=dict)

    def call(self, model: ir.Model) -> PassResult:
        journal = Journal()
        journal.refuse_unknown(self.exclude, model.graph)
        wanted = [form for _, form in self._linear_formats(model)]
        if not wanted and self.convolution == "float32":
            return journal.result(model)
        opset = max([WORKING_OPSET, *(opset_of(form) for form in wanted)])
        if raise_opset(model, opset):
            journal.change("opset", f"raised to {opset} for scales and types of codes")
        static: dict[ir.Value, ir.Value] = {}
        formats = LinearFormats(journal)
        for layer, form in self._linear_formats(model):
            if self._wants(layer.id, journal):
                importance = self.importance.get(str(layer.input.name))
                formats.apply(layer, form, importance, self.repaired.get(layer.id))
        if self.convolution == "int8":
            for node in list(model.graph):
                if node.op_type == "Conv" and self._wants(layer_of(node), journal):
                    self._convolution(node, static, journal)
        common.RemoveUnusedNodesPass()(model)
        return journal.result(model)

    def _linear_formats(self, model: ir.Model) -> Iterator[tuple[MatMulLayer, LayerFormat]]:
        """The linear layers that get a format, and which.

        Each is looked up when it is asked for: a repaired layer may have got a bias, which is the
        input of the next.
        """
        if self.plan is None:
            if self.linear == "int8":
                yield from ((layer, INT8_DYNAMIC) for layer in matmul_layers(model.graph))
            return
        unknown = set(self.plan.layers) - {layer.id for layer in matmul_layers(model.graph)}
        if unknown:
            raise ConfpressError(
                f"the plan of formats names '{min(unknown)}', and the model has no linear layer "
                "of this id; `confpress inspect` lists them."
            )
        for layer in matmul_layers(model.graph):
            if layer.id in self.plan.layers:
                yield layer, self.plan.layers[layer.id]

    def _wants(self, layer: str, journal: Journal) -> bool:
        for pattern in self.exclude:
            if fnmatch.fnmatchcase(layer, pattern):
                journal.refuse(layer, f"excluded by the pattern '{pattern}'")
                return False
        return True

    def _convolution(
        self, node: ir.Node, static: dict[ir.Value, ir.Value], journal: Journal
    ) -> None:
        reason = _why_not_convolution(node)
        source, result = node.inputs[0], quantized_output(node)
        if source is not None and source not in static:
            _keep_quantised(source, static)
        # The result of a convolution before this one is quantised already.
        done = source in static.values()
        missing = [
            value.name
            for value in (() if done or source in static else (source,)) + (result,)
            if value is not None and self._range(value) is None
        ]
        if reason is None and missing:
            reason = f"no calibrated range for {' and '.join(map(str, missing))}"
        if reason is not None or source is None:
            journal.refuse(layer_of(node), reason or "it has no input")
            return
        if not done:
            if source not in static:
                static[source] = _static_qdq(Patch(node, source.name), source, self._range(source))
            node.replace_input_with(0, static[source])
        weight = constant(node.inputs[1])
        assert weight is not None
        codes, scales = int8_codes(weight.reshape(weight.shape[0], -1), _least_scales(node))
        patch = Patch(node, node.inputs[1].name if node.inputs[1] else None)
        node.replace_input_with(1, dequantized(patch, codes.reshape(weight.shape), scales, axis=0))
        users = [(use.node, use.idx) for use in result.uses()]
        quantized = _static_qdq(_behind(result), result, self._range(result))
        static[result] = quantized
        for user, index in users:
            # Whoever asks for the sizes only need not have the codes decoded.
            sizes = user.op_type == "Shape"
            user.replace_input_with(index, _codes_of(quantized) if sizes else quantized)
        journal.change(layer_of(node), "convolution: int8 per channel, activations uint8 static")

    def _range(self, value: ir.Value) -> Range | None:
        """The calibrated range of a value, or of what a mask takes it from."""
        masked = _masked(value)
        found = self.ranges.get(str(value.name))
        return found if found or masked is None else self.ranges.get(str(masked.name))


def values_to_calibrate(model: ir.Model) -> list[str]:
    """Names of the values whose ranges :class:`Quantize` needs, in graph order."""
    names: dict[str, None] = {}
    for node in model.graph:
        if node.op_type == "Conv" and _why_not_convolution(node) is None:
            source = node.inputs[0]
            masked = _masked(source)
            if masked is None or masked.name not in names:
                names[str(source.name)] = None  # type: ignore[union-attr]
            names[str(quantized_output(node).name)] = None
    return list(names)


def _masked(source: ir.Value | None) -> ir.Value | None:
    """What a mask in front of a convolution multiplies by one or zero, or None without one."""
    node = source.producer() if source is not None else None
    masked = masked_value(node) if node is not None else None
    return masked.value if masked is not None else None


def _keep_quantised(source: ir.Value, static: dict[ir.Value, ir.Value]) -> None:
    """Gives a masked value the scale of what is masked, where that is quantised already.

    Every range holds zero, so a mask takes nothing out of it; and with one scale on either side it
    can work on the codes.
    """
    before = _masked(source)
    if before is None or before not in static.values():
        return
    decode = before.producer()
    assert decode is not None
    static[source] = _qdq(_behind(source), source, decode.inputs[1], decode.inputs[2])


def _codes_of(decoded: ir.Value) -> ir.Value:
    """The codes of a value that a DequantizeLinear decodes."""
    decode = decoded.producer()
    assert decode is not None and decode.inputs[0] is not None
    return decode.inputs[0]


def quantized_output(conv: ir.Node) -> ir.Value:
    """The value that carries a convolution's output QDQ: behind its ReLU where it has one.

    The ReLU disappears into the quantisation when the range starts at zero.
    """
    user = only_user(conv.outputs[0])
    return user.outputs[0] if user is not None and user.op_type == "Relu" else conv.outputs[0]


def int8_codes(
    weight: npt.NDArray[np.float32], least: npt.ArrayLike = 0.0
) -> tuple[npt.NDArray[np.int8], npt.NDArray[np.float32]]:
    """Symmetric int8 codes per row.

    Args:
        weight: float32 [rows, columns].
        least: No row has a smaller scale; [rows] or one number.

    Returns:
        Codes int8 [rows, columns] within ±127 and scales float32 [rows]; a row whose scale would
        be zero has scale 1.
    """
    scales = np.maximum(np.abs(weight).max(axis=1) / 127, least).astype(np.float32)
    scales = np.where(scales > 0, scales, np.float32(1))
    codes = np.clip(np.rint(weight / scales[:, None]), -127, 127).astype(np.int8)
    return codes, scales


def _least_scales(conv: ir.Node) -> npt.ArrayLike:
    """Scales of the rows of a convolution's weight with which its bias fits into int32, [rows].

    ONNX Runtime stores the bias as int32 with the scale of input and weight together, and beside
    it there must be room for the sum of products. All but weights that vanish next to it have
    larger scales.
    """
    bias = constant(conv.inputs[2]) if len(conv.inputs) > 2 else None
    decode = conv.inputs[0].producer() if conv.inputs[0] is not None else None
    step = constant(decode.inputs[1]) if decode is not None else None
    assert step is not None, "the input was quantised before"
    return 0.0 if bias is None else np.abs(bias) / (step * 2.0**30)


def _behind(value: ir.Value) -> Patch:
    """Writes what reads a computed value."""
    producer = value.producer()
    assert producer is not None
    return Patch(producer, value.name, behind=True)


def _static_qdq(patch: Patch, value: ir.Value, seen: Range | None) -> ir.Value:
    """Uint8 with one constant scale and zero point; the range is widened to hold zero."""
    assert seen is not None, "asked for before"
    low, high = min(seen.low, 0.0), max(seen.high, 0.0)
    step = (high - low) / 255 or 1.0
    scale = patch.constant(np.array(step, np.float32), "scale")
    zero = patch.constant(np.array(round(-low / step), np.uint8), "zero_point")
    return _qdq(patch, value, scale, zero)


def _qdq(patch: Patch, value: ir.Value, scale: ir.Value | None, zero: ir.Value | None) -> ir.Value:
    codes = patch.op("QuantizeLinear", value, scale, zero)
    codes.dtype, codes.shape = ir.DataType.UINT8, value.shape
    result = patch.op("DequantizeLinear", codes, scale, zero)
    result.type, result.shape = value.type, value.shape
    return result


def dequantized(
    patch: Patch, codes: npt.NDArray[np.int8], scales: npt.NDArray[np.float32], axis: int
) -> ir.Value:
    """Codes with one scale for every place on an axis, and what decodes them."""
    result = patch.op(
        "DequantizeLinear",
        patch.constant(codes, "int8"),
        patch.constant(scales, "scale"),
        axis=axis,
    )
    result.type, result.shape = ir.TensorType(ir.DataType.FLOAT), ir.Shape(codes.shape)
    return result


def _why_not_convolution(node: ir.Node) -> str | None:
    stored = node.inputs[1]
    weight = constant(stored)
    if stored is None or weight is None:
        return "its weight is computed, not stored"
    if weight.dtype != np.float32 or not np.isfinite(weight).all():
        return f"weight {stored.name} is {weight.dtype} or holds infinities or NaN"
    if weight.ndim != 4:
        return "only two-dimensional convolutions run in integers on every runtime"
    if weight.shape[1] == 1 and 1 < weight.shape[0] == node.attributes.get_int("group", 1):
        return "depthwise convolutions stay float: they move more bytes than they multiply"
    return None
