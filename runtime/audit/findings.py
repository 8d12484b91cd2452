"""What is known about the kernels of ONNX Runtime's CPU provider, layer by layer, in sentences.

Measured on ONNX Runtime 1.31; the audit's times tell what each costs on the machine at hand.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import Final

import numpy as np
import onnx_ir as ir

from ...passes.products import Product
from ...passes.seven_bits import LARGEST
from ..instructions import sums_saturate

#: Whose weights are int8 and inputs uint8, so that sums of two products can exceed 16 bits.
_MAY_SATURATE: Final = ("DynamicQuantizeMatMul", "MatMulIntegerToFloat", "QLinearMatMul")
_DYNAMIC: Final = ("DynamicQuantizeMatMul", "MatMulInteger", "MatMulIntegerToFloat")


def findings_of(
    stated: Product,
    running: Product | None,
    runs: str,
    features: Sequence[str],
    bodies: Collection[tuple[str, str]],
) -> Iterator[str]:
    """What there is to know about a layer.

    Args:
        stated: As the file says.
        running: What runs in its place; None if nothing was found.
        runs: How, as the audit calls it.
        features: Instruction sets of the processor.
        bodies: Domain and name of the functions in the file.
    """
    if running is None:
        if runs == "gone":
            yield "no product of it was found in the graph that runs"
    elif stated.form == "integer" and running.kernel == "float" and not stated.ours:
        yield _why_float(stated, running)
    yield from _of_weights(stated, runs)
    if running is not None and running.kernel != "float":
        yield from _of_kernel(stated, running, features)
    if stated.ours and (stated.node.domain, stated.node.op_type) not in bodies:
        yield (
            f"the file has lost the body of {stated.operator}: it runs with the kernel library only"
        )


def _why_float(stated: Product, running: Product) -> str:
    start = "it is rounded as if it were quantised, and computed in float32: "
    if stated.node.op_type == "Conv":
        if not _output_is_quantised(stated.node):
            return f"{start}its output has no QuantizeLinear, which ONNX Runtime asks for"
    elif running.node.op_type != "MatMul" and stated.node.op_type == "MatMul":
        return (
            f"{start}with a constant number of frames ONNX Runtime makes a Gemm of product and "
            "bias before it looks for QDQ nodes; keep the axis dynamic, or quantise the output"
        )
    elif any(node.op_type == "ReduceMax" for node in stated.rounding):
        return (
            f"{start}ONNX Runtime has no kernel for QDQ nodes whose scale is computed per frame; "
            "`confpress lower` makes one"
        )
    return f"{start}ONNX Runtime has no kernel for QDQ nodes arranged like this"


def _of_weights(stated: Product, runs: str) -> Iterator[str]:
    if runs == "body":
        yield (
            "the kernel library is not there or has no such operator: the body of "
            f"{stated.operator} runs"
        )
    elif runs == "decoded":
        yield f"its {stated.stored} weight is decoded to float32 on every call"
    elif runs == "folded" and stated.form == "weights":
        yield (
            f"its {stated.stored} weight is decoded to float32 when the model is loaded: a small "
            "file, with the speed and memory of float32"
        )
    if stated.form == "float16":
        yield "float16 is computed in float32, with conversions"


def _of_kernel(stated: Product, running: Product, features: Sequence[str]) -> Iterator[str]:
    operator = running.node.op_type
    if operator in ("MatMulNBits", "MatMulBnb4"):
        yield f"{operator} is no faster than float32 from 16 frames on"
    if operator == "ConvInteger":
        yield (
            "ConvInteger is hardly faster than float32; static QDQ nodes with one pair on the "
            "output become QLinearConv, which is"
        )
    if operator in _DYNAMIC and running.stored == "uint8":
        yield "unsigned weights run at half the speed of signed ones"
    if operator == "DynamicQuantizeMatMul" or _is_dynamic(running):
        yield (
            "one range for the whole tensor: a loud utterance of a batch, and padding, take "
            "precision from the others"
        )
    if _saturates(stated, running, features):
        yield (
            "without VNNI, sums of uint8 times int8 can saturate: set session.x64quantprecision, "
            "or lower with --instructions avx2, for 7-bit weights"
        )


def _is_dynamic(running: Product) -> bool:
    return any(node.op_type == "DynamicQuantizeLinear" for node in running.rounding)


def _saturates(stated: Product, running: Product, features: Sequence[str]) -> bool:
    return (
        (running.node.op_type in _MAY_SATURATE or running.node.op_type in ("QLinearConv", "QGemm"))
        and running.stored == "int8"
        and sums_saturate(features)
        and _fills_eight_bits(stated)
    )


def _output_is_quantised(node: ir.Node) -> bool:
    """Whether a convolution's result, behind its activation, goes into a QuantizeLinear."""
    users = [use.node for use in node.outputs[0].uses()]
    if len(users) == 1 and users[0].op_type in ("Relu", "Clip"):
        users = [use.node for use in users[0].outputs[0].uses()]
    return any(user.op_type == "QuantizeLinear" for user in users)


def _fills_eight_bits(stated: Product) -> bool:
    """Whether codes of the file are beyond seven bits; what runs no longer has its weights."""
    codes = stated.weight.numpy()
    return codes.dtype != np.int8 or int(np.abs(codes.astype(np.int16)).max()) > LARGEST
