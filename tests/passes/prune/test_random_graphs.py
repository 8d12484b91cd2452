"""Random graphs with random zeros: outputs stay, and nothing that the rules remove is left."""

from __future__ import annotations

import dataclasses

import numpy as np
import numpy.typing as npt
import onnx
import onnx_ir as ir
from confpress.passes.prune import RemovePruned
from confpress.passes.prune.analysis import analyse
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from tests.passes.graphs import difference

WIDTH = 8
TOLERANCE = 1e-4


@dataclasses.dataclass
class Builder:
    """Grows a graph whose values are [batch, time, WIDTH] between blocks."""

    random: np.random.Generator
    nodes: list[onnx.NodeProto] = dataclasses.field(default_factory=list)
    constants: list[onnx.TensorProto] = dataclasses.field(default_factory=list)

    def op(self, op_type: str, *inputs: str, **attributes: object) -> str:
        name = f"v{len(self.nodes)}"
        self.nodes.append(helper.make_node(op_type, inputs, [name], name=name, **attributes))
        return name

    def constant(self, array: npt.NDArray[np.generic]) -> str:
        name = f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(array, name))
        return name

    def ints(self, *numbers: int) -> str:
        return self.constant(np.array(numbers, np.int64))

    def matrix(self, *shape: int) -> str:
        """A weight some of whose rows and columns are zero."""
        array = self.random.standard_normal(shape).astype(np.float32) / 2
        for axis in range(len(shape)):
            gone = self.random.random(shape[axis]) < self.random.choice([0.0, 0.3])
            np.moveaxis(array, axis, 0)[gone] = 0
        return self.constant(array)

    def vector(self, size: int) -> str:
        array = self.random.standard_normal(size).astype(np.float32)
        array[self.random.random(size) < self.random.choice([0.0, 0.5])] = 0
        return self.constant(array)

    def mask(self, size: int) -> str:
        return self.constant((self.random.random(size) < 0.6).astype(np.float32))

    def linear(self, x: str, inputs: int, outputs: int) -> str:
        product = self.op("MatMul", x, self.matrix(inputs, outputs))
        return (
            self.op("Add", product, self.vector(outputs)) if self.random.random() < 0.7 else product
        )

    def feed_forward(self, x: str) -> str:
        hidden = self.linear(x, WIDTH, 6)
        hidden = self.op(str(self.random.choice(["Relu", "Sigmoid", "Tanh", "Softplus"])), hidden)
        if self.random.random() < 0.5:
            hidden = self.op("Mul", hidden, self.mask(6))
        return self.linear(hidden, 6, WIDTH)

    def gated(self, x: str) -> str:
        both = self.linear(x, WIDTH, 10)
        self.nodes.append(
            helper.make_node("Split", [both], [f"{both}a", f"{both}b"], axis=-1, num_outputs=2)
        )
        product = self.op("Mul", f"{both}a", self.op("Sigmoid", f"{both}b"))
        return self.linear(product, 5, WIDTH)

    def attention(self, x: str) -> str:
        heads, size = 3, 2
        split = self.ints(0, 0, heads, size)
        q, k, v = (
            self.op("Transpose", self.op("Reshape", self.linear(x, WIDTH, 6), split), perm=perm)
            for perm in ([0, 2, 1, 3], [0, 2, 3, 1], [0, 2, 1, 3])
        )
        weights = self.op("Softmax", self.op("MatMul", q, k), axis=-1)
        if self.random.random() < 0.5:
            weights = self.op("Mul", weights, self.constant(
                (self.random.random((heads, 1, 1)) < 0.5).astype(np.float32)))  # fmt: skip
        found = self.op("Transpose", self.op("MatMul", weights, v), perm=[0, 2, 1, 3])
        return self.linear(self.op("Reshape", found, self.ints(0, 0, heads * size)), 6, WIDTH)

    def convolution(self, x: str) -> str:
        channels = self.op("Transpose", x, perm=[0, 2, 1])
        wide = self.op("Conv", channels, self.matrix(4, WIDTH, 1), self.vector(4))
        deep = self.op("Conv", wide, self.matrix(4, 1, 3), self.vector(4), group=4, pads=[1, 1])
        back = self.op("Conv", self.op("Relu", deep), self.matrix(WIDTH, 4, 1))
        return self.op("Transpose", back, perm=[0, 2, 1])

    def rotated(self, x: str) -> str:
        """Halves of a hidden layer that change places, as rotary positions do."""
        hidden = self.linear(x, WIDTH, 6)
        parts = [
            self.op("Slice", hidden, self.ints(a), self.ints(b), self.ints(-1))
            for a, b in ((3, 6), (0, 3))
        ]
        turned = self.op("Concat", self.op("Neg", parts[0]), parts[1], axis=-1)
        return self.linear(self.op("Add", hidden, turned), 6, WIDTH)

    def norm(self, x: str) -> str:
        return self.op("LayerNormalization", x, self.vector(WIDTH), self.vector(WIDTH), axis=-1)


BLOCKS = ("feed_forward", "gated", "attention", "convolution", "rotated", "norm")


@st.composite
def models(draw: st.DrawFn) -> ir.Model:
    builder = Builder(np.random.default_rng(draw(st.integers(0, 2**32 - 1))))
    x = "x"
    for name in draw(st.lists(st.sampled_from(BLOCKS), min_size=1, max_size=4)):
        branch = getattr(builder, name)(x)
        if draw(st.booleans()):
            gate = draw(st.sampled_from([0.0, 0.5, 1.0]))
            branch = builder.op("Mul", branch, builder.constant(np.array(gate, np.float32)))
        x = builder.op("Add", x, branch) if draw(st.booleans()) else branch
    shape = ["batch", "time", WIDTH]
    last = builder.nodes[-1].output[0]
    builder.nodes.append(helper.make_node("Identity", [last], ["y"], name="y"))
    graph = helper.make_graph(
        builder.nodes,
        "random",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, shape)],
        builder.constants,
    )
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    return ir.from_proto(onnx.shape_inference.infer_shapes(proto))


@given(models())
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
def test_outputs_stay_and_nothing_is_left(model: ir.Model) -> None:
    original = model.clone()
    RemovePruned()(model)
    onnx.checker.check_model(ir.to_proto(model), full_check=True)
    for batch, time in ((1, 5), (3, 4)):
        x = np.random.default_rng(batch).standard_normal((batch, time, WIDTH)).astype(np.float32)
        assert difference(model, original, {"x": x}) <= TOLERANCE
    analysis = analyse(model.graph)
    assert not any(analysis.need.is_cut(axis) for axis in analysis.wiring.sizes)
    assert not RemovePruned()(model).modified
