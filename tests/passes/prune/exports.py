"""Small Conformers of transformers with seeded weights, exported as a user would export them."""

from __future__ import annotations

import logging
import warnings
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import onnx_ir as ir
import pytest
from confpress.passes.rewrites.simplify import Simplify

Exporter = Literal["ts17", "ts14", "dynamo"]

#: Name of the architecture to the shape of its input, None for what varies.
ARCHITECTURES: dict[str, tuple[int | None, ...]] = {
    "wav2vec2_conformer_relative": (None, None),
    "wav2vec2_conformer_rotary": (None, None),
    "wav2vec2_bert": (None, None, 40),
    "parakeet": (None, None, 40),
    "seamless_m4t": (None, None, 40),
    "seamless_m4t_v2": (None, None, 40),
}
_WIDTH = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "layerdrop": 0.0}
_SEAMLESS: dict[str, Any] = {
    "hidden_size": 64, "speech_encoder_layers": 2, "speech_encoder_attention_heads": 4,
    "speech_encoder_intermediate_size": 128, "feature_projection_input_dim": 40,
    "conv_depthwise_kernel_size": 7, "speech_encoder_layerdrop": 0.0,
}  # fmt: skip


def export(name: str, exporter: Exporter, path: Path) -> ir.Model:
    """Exports an architecture; returns the simplified model."""
    torch = pytest.importorskip("torch")
    pytest.importorskip("transformers", reason="makes the Conformers that masks are tried on")
    torch.manual_seed(0)
    network = _network(name).eval()
    randomise(network)
    shape = ARCHITECTURES[name]
    length = 4001 if len(shape) == 2 else 211 if name == "parakeet" else 51
    x = torch.randn(3, length, *shape[2:])
    axes = {0: "batch", 1: "time"}
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logging.disable(logging.ERROR)
        names: dict[str, Any] = {"input_names": ["x"], "output_names": ["y"]}
        try:
            if exporter == "dynamo":
                auto = torch.export.Dim.AUTO
                torch.onnx.export(
                    network, (x,), str(path), dynamo=True, opset_version=18, verbose=False,
                    external_data=False, dynamic_shapes={"x": {0: auto, 1: auto}}, **names,
                )  # fmt: skip
            else:
                torch.onnx.export(
                    network, (x,), str(path), dynamo=False, opset_version=int(exporter[2:]),
                    dynamic_axes={"x": axes, "y": axes}, **names,
                )  # fmt: skip
        finally:
            logging.disable(logging.NOTSET)
    model = ir.load(path)
    Simplify()(model)
    return model


def feeds(name: str) -> list[dict[str, npt.NDArray[np.float32]]]:
    """Two lengths and two batch sizes."""
    shape, random = ARCHITECTURES[name], np.random.default_rng(0)
    found = []
    for batch, frames in ((1, 60), (2, 97)):
        length = frames * 80 if len(shape) == 2 else frames
        size = (batch, length, *(each or 1 for each in shape[2:]))
        found.append({"x": random.standard_normal(size).astype(np.float32)})
    return found


def _network(name: str) -> Any:
    import transformers as tf
    from torch import nn

    wav2vec2: dict[str, Any] = {
        **_WIDTH, "intermediate_size": 128, "conv_dim": (32, 32, 32), "conv_stride": (5, 4, 4),
        "conv_kernel": (10, 8, 8), "num_feat_extract_layers": 3, "num_conv_pos_embeddings": 16,
        "num_conv_pos_embedding_groups": 4, "conv_depthwise_kernel_size": 7,
        "max_source_positions": 500,
    }  # fmt: skip
    model: Any
    match name:
        case "wav2vec2_conformer_relative" | "wav2vec2_conformer_rotary":
            kind = name.rsplit("_", 1)[1]
            config = tf.Wav2Vec2ConformerConfig(**wav2vec2, position_embeddings_type=kind)
            model = tf.Wav2Vec2ConformerModel(config)
        case "wav2vec2_bert":
            model = tf.Wav2Vec2BertModel(
                tf.Wav2Vec2BertConfig(
                    **_WIDTH, intermediate_size=128, feature_projection_input_dim=40,
                    conv_depthwise_kernel_size=7, left_max_position_embeddings=16,
                    right_max_position_embeddings=4,
                )
            )  # fmt: skip
        case "parakeet":
            model = tf.ParakeetEncoder(
                tf.ParakeetEncoderConfig(
                    **_WIDTH, intermediate_size=128, num_mel_bins=40, conv_kernel_size=7,
                    subsampling_conv_channels=16, max_position_embeddings=500,
                )
            )  # fmt: skip
        case "seamless_m4t":
            from transformers.models.seamless_m4t import modeling_seamless_m4t as seamless

            model = seamless.SeamlessM4TSpeechEncoder(
                tf.SeamlessM4TConfig(**_SEAMLESS, max_source_positions=500)
            )
        case _:
            from transformers.models.seamless_m4t_v2 import modeling_seamless_m4t_v2 as seamless_v2

            model = seamless_v2.SeamlessM4Tv2SpeechEncoder(
                tf.SeamlessM4Tv2Config(
                    **_SEAMLESS, left_max_position_embeddings=16, right_max_position_embeddings=4,
                )
            )  # fmt: skip

    class Encoder(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, x: Any) -> Any:
            return self.model(x).last_hidden_state

    return Encoder()


def randomise(network: Any) -> None:
    """Norms and position biases that start as zeros and ones would hide mistakes and be shared."""
    from torch import nn

    for name, parameter in network.named_parameters():
        if "norm" not in name and not parameter.detach().any():
            nn.init.normal_(parameter, std=0.1)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm1d):
            nn.init.normal_(module.running_mean, std=0.1)
            nn.init.uniform_(module.running_var, 0.5, 2.0)
        if isinstance(module, nn.BatchNorm1d | nn.LayerNorm):
            nn.init.uniform_(module.weight, 0.5, 2.0)
            if module.bias is not None:
                nn.init.normal_(module.bias, std=0.1)
