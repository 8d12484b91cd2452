"""Changes that make a layer's model malformed."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
from onnx import numpy_helper

Change = Callable[[onnx.ModelProto], None]


def weight(name: str, array: np.ndarray) -> Change:
    """Another array under an initializer's name."""

    def change(model: onnx.ModelProto) -> None:
        old = next(t for t in model.graph.initializer if t.name == name)
        old.CopyFrom(numpy_helper.from_array(array, name))

    return change


def attribute(name: str, value: object) -> Change:
    """Another value of an attribute of the only node."""

    def change(model: onnx.ModelProto) -> None:
        node = model.graph.node[0]
        kept = [a for a in node.attribute if a.name != name]
        del node.attribute[:]
        node.attribute.extend([*kept, onnx.helper.make_attribute(name, value)])

    return change


def as_input(name: str) -> Change:
    """An initializer becomes an input."""

    def change(model: onnx.ModelProto) -> None:
        tensor = next(t for t in model.graph.initializer if t.name == name)
        model.graph.initializer.remove(tensor)
        value = onnx.helper.make_tensor_value_info(name, tensor.data_type, list(tensor.dims))
        model.graph.input.append(value)

    return change
