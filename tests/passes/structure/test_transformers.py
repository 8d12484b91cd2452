"""Conformers of ``transformers`` under both exporters: modules, sizes and every single weight."""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np
import onnx_ir as ir
import pytest

pytest.importorskip("torch", reason="the extra `train` is not installed")
pytest.importorskip("transformers", reason="transformers is not installed")

import torch
from confpress.passes.rewrites.simplify import Simplify
from confpress.passes.structure import Kind, Linear, Structure, recognise, summarise

from .zoo import ARCHITECTURES, HEADS, LAYERS, WIDTH, export

Export = Callable[[str, str, int], tuple[ir.Model, dict[str, torch.Tensor]]]

#: What the modules and layers of a role are called in the various architectures.
MODULES = {
    "feed_forward1": "feed_forward1|ffn1|ff1|feed_forward_in|ffw_layer_start|feed_forward_macaron",
    "self_attn": "self_attn|attn|attention",
    "conv": "conv|conv_module|lconv1d",
    "feed_forward2": "feed_forward2|ffn2|ff2|feed_forward_out|ffw_layer_end|feed_forward",
    "norm_out": "norm_out|final_layer_norm|post_norm|layer_norm|norm",
}
LAYERS_OF_ROLE = {
    "linear_q": "q_proj|linear_q|to_q",
    "linear_k": "k_proj|linear_k",
    "linear_v": "v_proj|linear_v",
    "linear_kv": "to_kv",
    "linear_pos": "relative_k_proj|linear_pos",
    "linear_out": "o_proj|linear_out|to_out|post",
    "linear1": "linear1|intermediate_dense|up_proj|gate_up_proj|ffw_layer_1",
    "linear2": "linear2|output_dense|down_proj|ffw_layer_2",
    "conv1": "conv1",
    "conv2": "conv2",
    "pointwise1": "pointwise_conv1|pointwise_lin1|up_conv|linear_start|ext_pw_conv_1d",
    "pointwise2": "pointwise_conv2|pointwise_lin2|down_conv|linear_end|pw_conv",
    "pointwise3": "ext_pw_conv_1d",
}

TORCHSCRIPT = [
    ("parakeet", 13), ("parakeet", 17), ("parakeet masked", 17), ("parakeet sdpa", 17),
    ("wav2vec2-conformer relative", 17), ("wav2vec2-conformer rotary", 17),
    ("wav2vec2-conformer none", 13), ("wav2vec2-bert shaw", 17), ("wav2vec2-bert masked", 13),
    ("wav2vec2-bert relative", 17), ("wav2vec2-bert rotary", 17), ("lasr", 17),
    ("lasr masked", 13), ("seamless", 13), ("granite", 17), ("phi4", 17), ("fastspeech2", 13),
]  # fmt: skip
#: The dynamo exporter takes ten seconds a model: one in every run, all of them as evidence.
DYNAMO = [("parakeet masked", 18)]
EVIDENCE = [(name, 18) for name in ARCHITECTURES if (name, 18) not in DYNAMO]
EVIDENCE += [("parakeet sdpa", 23), ("lasr", 23), ("wav2vec2-bert shaw", 23)]

CASES = [
    *[pytest.param(name, "torchscript", opset) for name, opset in TORCHSCRIPT],
    *[pytest.param(name, "dynamo", opset) for name, opset in DYNAMO],
    *[pytest.param(name, "dynamo", opset, marks=pytest.mark.evidence) for name, opset in EVIDENCE],
]


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Export:
    """Exports every architecture once a setting; gives the model and the parameters."""
    folder = tmp_path_factory.mktemp("transformers")
    done: dict[tuple[str, str, int], dict[str, torch.Tensor]] = {}

    def get(name: str, exporter: str, opset: int) -> tuple[ir.Model, dict[str, torch.Tensor]]:
        path = folder / f"{name}.{exporter}.{opset}.onnx"
        if (name, exporter, opset) not in done:
            done[name, exporter, opset] = export(name, exporter, opset, path)
        return ir.load(path), done[name, exporter, opset]

    return get


@pytest.mark.parametrize(("name", "exporter", "opset"), CASES)
def test_recognised_completely(exported: Export, name: str, exporter: str, opset: int) -> None:
    model, parameters = exported(name, exporter, opset)
    check_structure(name, recognise(model))
    Simplify()(model)
    structure = recognise(model)
    check_structure(name, structure)
    check_weights(structure, parameters)
    check_scopes(structure)
    if name != "phi4":  # its export fixes the example's length in the attention mask
        unknown = [m.id for m in summarise(model, structure).modules if m.unknown_macs]
        assert unknown == []


def check_structure(name: str, structure: Structure) -> None:
    """Every block has its modules, every module its sizes."""
    expected = ARCHITECTURES[name]
    assert len(structure.of_kind(Kind.SELF_ATTENTION)) == LAYERS
    for index in range(LAYERS):
        block = {m.id.rpartition(".")[2]: m for m in structure.layers[index]}
        assert MODULES.keys() <= block.keys()
        for half in (block["feed_forward1"], block["feed_forward2"]):
            assert half.feed_forward.units == expected.units
            assert half.feed_forward.activation == expected.activation
            assert half.scale == 0.5
        attention = block["self_attn"].attention
        assert attention.position == expected.position
        assert (attention.heads, attention.head_size) == (HEADS, WIDTH // HEADS)
        convolution = block["conv"].convolution
        assert convolution.kernel == expected.kernel
        assert convolution.gate_half == 1
        assert (convolution.norm.type if convolution.norm else "") == expected.norm
    front = structure.of_kind(Kind.SUBSAMPLING)
    assert [m.subsampling.factor for m in front] == (
        [] if expected.factor is None else [expected.factor]
    )
    # Granite feeds predictions back into the stream, which no Conformer module does.
    misses = [miss.reason for miss in structure.near_misses]
    assert len(misses) == name.startswith("granite")
    assert all("self-conditioned CTC" in reason for reason in misses)


def check_weights(structure: Structure, parameters: dict[str, torch.Tensor]) -> None:
    """Every layer holds the weight that the exporter's name for it has in the checkpoint."""
    compared = 0
    for layer in structure.linears:
        module, _, role = layer.id.rpartition(".")
        is_known = ".layers." in module and not module.endswith(".other")
        if is_known:
            assert re.fullmatch(LAYERS_OF_ROLE[role], layer.scope.rpartition(".")[2]), layer.id
        original = parameters.get(f"{layer.scope}.weight")
        if original is None:
            assert not is_known, layer.scope
            continue
        compared += 1
        np.testing.assert_array_equal(_as_stored_by_torch(layer), original.numpy())
    assert compared > 0.8 * len(structure.linears)


def _as_stored_by_torch(layer: Linear) -> np.ndarray:
    tensor = layer.weight.const_value
    assert tensor is not None
    weight = tensor.numpy()
    return weight if layer.out_axis == 0 else weight.T


def check_scopes(structure: Structure) -> None:
    """Blocks and roles are those of the exporter's names."""
    for module in structure.modules:
        role = module.id.rpartition(".")[2]
        index = re.search(r"\.(\d+)(?:\.|$)", module.scope)
        if module.layer is None or role not in MODULES or index is None:
            continue
        assert int(index.group(1)) == module.layer, module.id
        last = module.scope.rpartition(".")[2]
        assert re.fullmatch(MODULES[role], last) or last.isdigit(), (module.id, module.scope)


@pytest.mark.parametrize(
    "name", ["parakeet masked", pytest.param("lasr masked", marks=pytest.mark.evidence)]
)
def test_ids_and_counts_do_not_depend_on_the_exporter(exported: Export, name: str) -> None:
    found = []
    for exporter, opset in (("torchscript", 13), ("torchscript", 17), ("dynamo", 18)):
        model, _ = exported(name, exporter, opset)
        Simplify()(model)
        structure = recognise(model)
        macs = {m.id: m.macs for m in summarise(model, structure).modules}
        layers = {layer.id: (layer.in_features, layer.out_features) for layer in structure.linears}
        found.append((macs, layers))
    assert found[0] == found[1] == found[2]
