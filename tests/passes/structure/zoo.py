"""Small seeded Conformers of ``transformers``, exported by either of torch's exporters."""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import nn
from transformers.models.fastspeech2_conformer import modeling_fastspeech2_conformer as fastspeech2
from transformers.models.gemma3n import modeling_gemma3n as gemma3n
from transformers.models.granite_speech import modeling_granite_speech as granite
from transformers.models.nemotron_asr_streaming import (
    modeling_nemotron_asr_streaming as nemotron,
)
from transformers.models.phi4_multimodal import modeling_phi4_multimodal as phi4
from transformers.models.seamless_m4t import modeling_seamless_m4t as seamless
from transformers.models.seamless_m4t_v2 import modeling_seamless_m4t_v2 as seamless_v2

WIDTH, LAYERS, HEADS, UNITS, VOCABULARY = 32, 2, 4, 64, 20
BATCH, FRAMES = 2, 160

Inputs = tuple[torch.Tensor, ...]


@dataclass(frozen=True)
class Architecture:
    """A model and what must be recognised in it.

    Attributes:
        build: Makes the module and its example inputs.
        position: How positions enter the attention.
        activation: Of the feed-forward modules.
        factor: Input frames per frame of the encoder; None for an encoder alone.
        kernel: Of the depthwise convolutions.
        units: Of the feed-forward modules.
        norm: After the depthwise convolution; "" for none or a folded one.
    """

    build: Callable[[], tuple[nn.Module, Inputs]]
    position: str
    activation: str = "silu"
    factor: int | None = 1
    kernel: int = 9
    units: int = UNITS
    norm: str = ""


class Encoder(nn.Module):
    """Calls a model of transformers with tensors only and gives back one."""

    def __init__(self, model: nn.Module, output: str, mask: str = "attention_mask") -> None:
        super().__init__()
        self.model = model
        self.output = output
        self.mask = mask

    def forward(self, features: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
        options = {} if mask is None else {self.mask: mask}
        result = self.model(features, **options)
        return getattr(result, self.output) if self.output else result


def _features(size: int, *, mask: torch.dtype | None = None) -> Inputs:
    features = torch.randn(BATCH, FRAMES, size)
    return (features,) if mask is None else (features, torch.ones(BATCH, FRAMES, dtype=mask))


SIZES = {
    "hidden_size": WIDTH, "num_hidden_layers": LAYERS, "num_attention_heads": HEADS,
    "intermediate_size": UNITS,
}  # fmt: skip


def parakeet(*, mask: bool = False, attention: str = "eager") -> tuple[nn.Module, Inputs]:
    encoder = SIZES | {"subsampling_conv_channels": 8, "num_mel_bins": 80, "conv_kernel_size": 9}
    config = transformers.ParakeetCTCConfig(
        encoder_config=encoder, vocab_size=VOCABULARY, attn_implementation=attention
    )
    model = transformers.ParakeetForCTC(config)
    return Encoder(model, "logits"), _features(80, mask=torch.bool if mask else None)


def lasr(*, mask: bool = False) -> tuple[nn.Module, Inputs]:
    encoder = SIZES | {"subsampling_conv_channels": 8, "num_mel_bins": 80, "conv_kernel_size": 8}
    config = transformers.LasrCTCConfig(encoder_config=encoder, vocab_size=VOCABULARY)
    model = transformers.LasrForCTC(config)
    return Encoder(model, "logits"), _features(80, mask=torch.bool if mask else None)


def wav2vec2_conformer(position: str | None) -> tuple[nn.Module, Inputs]:
    config = transformers.Wav2Vec2ConformerConfig(
        **SIZES, position_embeddings_type=position, conv_dim=(16, 16), conv_stride=(5, 2),
        conv_kernel=(10, 3), num_feat_extract_layers=2, vocab_size=VOCABULARY,
        num_conv_pos_embeddings=16, num_conv_pos_embedding_groups=4,
        conv_depthwise_kernel_size=9, mask_time_prob=0.0,
    )  # fmt: skip
    model = transformers.Wav2Vec2ConformerForCTC(config)
    return Encoder(model, "logits"), (torch.randn(BATCH, 1600),)


def wav2vec2_bert(position: str, *, mask: bool = False) -> tuple[nn.Module, Inputs]:
    config = transformers.Wav2Vec2BertConfig(
        **SIZES, position_embeddings_type=position, feature_projection_input_dim=160,
        vocab_size=VOCABULARY, conv_depthwise_kernel_size=9, mask_time_prob=0.0,
    )  # fmt: skip
    model = transformers.Wav2Vec2BertForCTC(config)
    return Encoder(model, "logits"), _features(160, mask=torch.long if mask else None)


def seamless_m4t() -> tuple[nn.Module, Inputs]:
    config = transformers.SeamlessM4TConfig(
        hidden_size=WIDTH, speech_encoder_layers=LAYERS, speech_encoder_attention_heads=HEADS,
        speech_encoder_intermediate_size=UNITS, feature_projection_input_dim=160,
        conv_depthwise_kernel_size=9, add_adapter=False, num_conv_pos_embeddings=16,
        num_conv_pos_embedding_groups=4,
    )  # fmt: skip
    model = seamless.SeamlessM4TSpeechEncoder(config)
    return Encoder(model, "last_hidden_state"), _features(160)


def seamless_m4t_v2() -> tuple[nn.Module, Inputs]:
    config = transformers.SeamlessM4Tv2Config(
        hidden_size=WIDTH, speech_encoder_layers=LAYERS, speech_encoder_attention_heads=HEADS,
        speech_encoder_intermediate_size=UNITS, feature_projection_input_dim=160,
        conv_depthwise_kernel_size=9, add_adapter=False, speech_encoder_chunk_size=16,
        speech_encoder_left_chunk_num=2, left_max_position_embeddings=16,
        right_max_position_embeddings=4,
    )  # fmt: skip
    model = seamless_v2.SeamlessM4Tv2SpeechEncoder(config)
    return Encoder(model, "last_hidden_state"), _features(160, mask=torch.long)


def granite_speech() -> tuple[nn.Module, Inputs]:
    config = granite.GraniteSpeechEncoderConfig(
        input_dim=160, num_layers=LAYERS, hidden_dim=WIDTH, num_heads=HEADS,
        dim_head=WIDTH // HEADS, output_dim=VOCABULARY, context_size=28, max_pos_emb=32,
        conv_kernel_size=9,
    )  # fmt: skip
    return Encoder(granite.GraniteSpeechCTCEncoder(config), "last_hidden_state"), _features(160)


def granite_speech5() -> tuple[nn.Module, Inputs]:
    encoder = SIZES | {
        "num_mel_bins": 80, "context_size": 20, "max_position_embeddings": 32,
        "head_dim": WIDTH // HEADS, "conv_kernel_size": 7, "vocab_size": VOCABULARY,
    }  # fmt: skip
    config = transformers.GraniteSpeech5CTCConfig(encoder_config=encoder, vocab_size=VOCABULARY)
    return Encoder(transformers.GraniteSpeech5ForCTC(config), "logits"), _features(4 * 80)


def phi4_audio() -> tuple[nn.Module, Inputs]:
    config = phi4.Phi4MultimodalAudioConfig(
        hidden_size=WIDTH, intermediate_size=UNITS, num_blocks=LAYERS, num_attention_heads=HEADS,
        ext_pw_out_channel=WIDTH, depthwise_separable_out_channel=WIDTH, nemo_conv_channels=WIDTH,
    )  # fmt: skip
    model = phi4.Phi4MultimodalAudioModel(config)
    model.forward = _without_mask(model.forward)
    return Encoder(model, ""), _features(80)


def _without_mask(forward: Callable[..., torch.Tensor]) -> Callable[[torch.Tensor], torch.Tensor]:
    return lambda features: forward(features, None)


def fastspeech2_encoder() -> tuple[nn.Module, Inputs]:
    config = transformers.FastSpeech2ConformerConfig(
        hidden_size=WIDTH, encoder_layers=LAYERS, encoder_num_attention_heads=HEADS,
        encoder_linear_units=UNITS, vocab_size=VOCABULARY,
    )  # fmt: skip
    model = fastspeech2.FastSpeech2ConformerEncoder(config, config.encoder_config)
    for name, parameter in model.named_parameters():
        if "pos_bias" in name:  # left as the memory was
            nn.init.normal_(parameter, std=0.1)
    model.forward = _as_result(model.forward)
    return Encoder(model, "last_hidden_state"), (torch.randn(BATCH, 40, WIDTH),)


def _as_result(forward: Callable[..., Any]) -> Callable[[torch.Tensor], Any]:
    return lambda features: forward(features, return_dict=True)


def gemma3n_audio() -> tuple[nn.Module, Inputs]:
    config = gemma3n.Gemma3nAudioConfig(
        input_feat_size=64, hidden_size=WIDTH, conf_num_attention_heads=HEADS,
        conf_num_hidden_layers=LAYERS, sscp_conv_channel_size=(8, 8),
        conf_attention_context_left=5, conf_attention_chunk_size=4,
    )  # fmt: skip
    model = gemma3n.Gemma3nAudioEncoder(config)
    return Encoder(model, "last_hidden_state", "audio_mel_mask"), _features(64, mask=torch.bool)


def nemotron_streaming() -> tuple[nn.Module, Inputs]:
    sizes = SIZES | {"subsampling_conv_channels": 8, "num_mel_bins": 80}
    config = transformers.NemotronAsrStreamingEncoderConfig(**sizes)
    model = nemotron.NemotronAsrStreamingEncoder(config)
    return Encoder(model, "last_hidden_state"), _features(80)


ARCHITECTURES = {
    "parakeet": Architecture(parakeet, "relative", factor=8),
    "parakeet masked": Architecture(lambda: parakeet(mask=True), "relative", factor=8),
    "parakeet sdpa": Architecture(
        lambda: parakeet(mask=True, attention="sdpa"), "relative", factor=8
    ),
    "wav2vec2-conformer relative": Architecture(
        lambda: wav2vec2_conformer("relative"), "relative", "gelu", factor=10
    ),
    "wav2vec2-conformer rotary": Architecture(
        lambda: wav2vec2_conformer("rotary"), "rotary", "gelu", factor=10
    ),
    "wav2vec2-conformer none": Architecture(
        lambda: wav2vec2_conformer(None), "none", "gelu", factor=10
    ),
    "wav2vec2-bert shaw": Architecture(lambda: wav2vec2_bert("relative_key"), "shaw", norm="layer"),
    "wav2vec2-bert masked": Architecture(
        lambda: wav2vec2_bert("relative_key", mask=True), "shaw", norm="layer"
    ),
    "wav2vec2-bert relative": Architecture(
        lambda: wav2vec2_bert("relative"), "relative", norm="layer"
    ),
    "wav2vec2-bert rotary": Architecture(lambda: wav2vec2_bert("rotary"), "rotary", norm="layer"),
    "lasr": Architecture(lasr, "rotary", factor=4, kernel=8),
    "lasr masked": Architecture(lambda: lasr(mask=True), "rotary", factor=4, kernel=8),
    "seamless": Architecture(seamless_m4t, "relative"),
    "seamless 2 masked": Architecture(seamless_m4t_v2, "shaw", norm="layer"),
    "granite": Architecture(granite_speech, "shaw", units=4 * WIDTH),
    "granite 5": Architecture(granite_speech5, "shaw", kernel=7),
    "phi4": Architecture(phi4_audio, "bias", factor=8, kernel=3),
    "fastspeech2": Architecture(fastspeech2_encoder, "relative", "relu", factor=None, kernel=7),
    "gemma3n": Architecture(
        gemma3n_audio, "relative", factor=4, kernel=5, units=4 * WIDTH, norm="rms"
    ),
    "nemotron": Architecture(nemotron_streaming, "relative", factor=8, norm="layer"),
}


def export(
    name: str,
    exporter: str,
    opset: int,
    path: Path,
    prepare: Callable[[nn.Module], None] = lambda model: None,
) -> dict[str, torch.Tensor]:
    """Exports an architecture with varying batch and time.

    Args:
        name: Key of ``ARCHITECTURES``.
        exporter: ``torchscript`` or ``dynamo``.
        opset: Of the standard domain.
        path: The file to write.
        prepare: Changes the module before it is exported.

    Returns:
        The parameters by the names that the exporter's scopes begin with.
    """
    return export_built(ARCHITECTURES[name].build, exporter, opset, path, prepare)


def export_built(
    build: Callable[[], tuple[nn.Module, Inputs]],
    exporter: str,
    opset: int,
    path: Path,
    prepare: Callable[[nn.Module], None] = lambda model: None,
) -> dict[str, torch.Tensor]:
    """Exports what a function builds, as :func:`export` does."""
    torch.manual_seed(0)
    model, inputs = build()
    model.eval()
    prepare(model)
    if opset < 14:
        _attend_eagerly(model)
    names = ["features", "mask"][: len(inputs)]
    free = ["batch", "time"]
    quiet = io.StringIO()
    with (
        contextlib.redirect_stdout(quiet),
        contextlib.redirect_stderr(quiet),
        warnings.catch_warnings(),
        torch.no_grad(),
    ):
        warnings.simplefilter("ignore")
        options: dict[str, Any] = {"opset_version": opset, "input_names": names}
        if exporter == "torchscript":
            axes = {
                name: dict(enumerate(free[: each.dim()]))
                for name, each in zip(names, inputs, strict=True)
            }
            torch.onnx.export(model, inputs, path, dynamo=False, dynamic_axes=axes, **options)
        else:
            shapes = tuple(
                dict.fromkeys(range(min(2, each.dim())), torch.export.Dim.DYNAMIC)
                for each in inputs
            )
            torch.onnx.export(
                model, inputs, path, dynamo=True, dynamic_shapes=shapes, verbose=False, **options
            )
    return dict(model.state_dict())


def _attend_eagerly(model: nn.Module) -> None:
    """Opset 13 has no spelling of torch's scaled_dot_product_attention."""
    for module in model.modules():
        config = getattr(module, "config", None)
        if config is not None and hasattr(config, "_attn_implementation"):
            config._attn_implementation = "eager"
