"""Small seeded Conformers of other toolkits, where those are installed.

ESPnet, WeNet, SpeechBrain, torchaudio and the package ``conformer``.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any

import torch
from torch import nn

from .zoo import BATCH, FRAMES, HEADS, LAYERS, UNITS, WIDTH, Inputs

MELS = 80
KERNEL = 15


class OfLengths(nn.Module):
    """Gives back the first output of an encoder of features and lengths."""

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, features: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        return self.encoder(features, lengths)[0]


def _inputs() -> Inputs:
    return torch.randn(BATCH, FRAMES, MELS), torch.tensor([FRAMES, FRAMES - 40])


def _espnet(kind: str, name: str, **options: Any) -> tuple[nn.Module, Inputs]:
    module = import_module(f"espnet2.asr.encoder.{kind}")
    encoder = getattr(module, name)(
        input_size=MELS, output_size=WIDTH, attention_heads=HEADS, num_blocks=LAYERS,
        input_layer="conv2d", rel_pos_type="latest", pos_enc_layer_type="rel_pos", **options,
    )  # fmt: skip
    return OfLengths(encoder), _inputs()


def espnet_conformer() -> tuple[nn.Module, Inputs]:
    return _espnet(
        "conformer_encoder", "ConformerEncoder", linear_units=UNITS, macaron_style=True,
        cnn_module_kernel=KERNEL, selfattention_layer_type="rel_selfattn", activation_type="swish",
    )  # fmt: skip


def espnet_e_branchformer() -> tuple[nn.Module, Inputs]:
    return _espnet(
        "e_branchformer_encoder", "EBranchformerEncoder", linear_units=UNITS,
        cgmlp_linear_units=UNITS,
        attention_layer_type="rel_selfattn", use_ffn=True, macaron_ffn=True,
    )  # fmt: skip


def espnet_branchformer() -> tuple[nn.Module, Inputs]:
    return _espnet(
        "branchformer_encoder", "BranchformerEncoder", cgmlp_linear_units=UNITS,
        attention_layer_type="rel_selfattn", merge_method="concat",
    )  # fmt: skip


def _wenet(kind: str, name: str, **options: Any) -> tuple[nn.Module, Inputs]:
    module = import_module(f"wenet.models.{kind}.encoder")
    encoder = getattr(module, name)(
        input_size=MELS, output_size=WIDTH, attention_heads=HEADS, num_blocks=LAYERS,
        linear_units=UNITS, cnn_module_kernel=KERNEL, **options,
    )  # fmt: skip
    return OfLengths(encoder), _inputs()


def wenet_conformer() -> tuple[nn.Module, Inputs]:
    return _wenet("transformer", "ConformerEncoder", activation_type="swish")


def wenet_causal_conformer() -> tuple[nn.Module, Inputs]:
    """As U2++ models are: convolutions that see what was alone, with a norm of features."""
    return _wenet(
        "transformer", "ConformerEncoder", activation_type="swish", causal=True,
        cnn_module_norm="layer_norm",
    )  # fmt: skip


def wenet_squeezeformer() -> tuple[nn.Module, Inputs]:
    """Half as many frames in the middle, a scale and a shift of features before every module."""
    module = import_module("wenet.models.squeezeformer.encoder")
    encoder = module.SqueezeformerEncoder(
        input_size=MELS, encoder_dim=WIDTH, output_size=WIDTH, attention_heads=HEADS,
        num_blocks=2 * LAYERS, reduce_idx=1, recover_idx=3, cnn_module_kernel=KERNEL,
        do_rel_shift=False,
    )  # fmt: skip
    return OfLengths(encoder), _inputs()


class SpeechBrain(nn.Module):
    """An encoder with its positions, behind one linear layer."""

    def __init__(self) -> None:
        super().__init__()
        conformer = import_module("speechbrain.lobes.models.transformer.Conformer")
        positions = import_module("speechbrain.nnet.attention")
        swish = import_module("speechbrain.nnet.activations").Swish
        self.project = nn.Linear(MELS, WIDTH)
        self.positions = positions.RelPosEncXL(WIDTH)
        self.encoder = conformer.ConformerEncoder(
            num_layers=LAYERS, d_model=WIDTH, d_ffn=UNITS, nhead=HEADS, kernel_size=KERNEL,
            activation=swish, dropout=0.0, attention_type="RelPosMHAXL",
        )  # fmt: skip

    def forward(self, features: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        x = self.project(features)
        padding = torch.arange(x.shape[1])[None] >= lengths[:, None]
        encoded, _ = self.encoder(x, src_key_padding_mask=padding, pos_embs=self.positions(x))
        return encoded


def speechbrain_conformer() -> tuple[nn.Module, Inputs]:
    return SpeechBrain(), _inputs()


class TorchAudio(nn.Module):
    """Layers of [frames, batch, width] around nn.MultiheadAttention, behind one linear layer.

    torchaudio's own encoder makes the mask as long as the longest of its lengths, which no exporter
    can follow.
    """

    def __init__(self, **options: bool) -> None:
        super().__init__()
        self.project = nn.Linear(MELS, WIDTH)
        self.encoder = import_module("torchaudio.models.conformer").Conformer(
            input_dim=WIDTH, num_heads=HEADS, ffn_dim=UNITS, num_layers=LAYERS,
            depthwise_conv_kernel_size=KERNEL, **options,
        )  # fmt: skip

    def forward(self, features: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        x = self.project(features).transpose(0, 1)
        padding = torch.arange(x.shape[0])[None] >= lengths[:, None]
        for layer in self.encoder.conformer_layers:
            x = layer(x, padding)
        return x.transpose(0, 1)


def torchaudio_conformer() -> tuple[nn.Module, Inputs]:
    return TorchAudio(), _inputs()


def torchaudio_convolution_first() -> tuple[nn.Module, Inputs]:
    return TorchAudio(convolution_first=True, use_group_norm=True), _inputs()


def lucidrains_conformer() -> tuple[nn.Module, Inputs]:
    conformer = import_module("conformer").Conformer(
        dim=WIDTH, depth=LAYERS, dim_head=WIDTH // HEADS, heads=HEADS, ff_mult=2,
        conv_expansion_factor=2, conv_kernel_size=KERNEL,
    )  # fmt: skip
    # It knows no lengths.
    return nn.Sequential(nn.Linear(MELS, WIDTH), conformer), _inputs()[:1]


#: What builds a model, and the package that it needs.
TOOLKITS: dict[str, tuple[Callable[[], tuple[nn.Module, Inputs]], str]] = {
    "espnet conformer": (espnet_conformer, "espnet2"),
    "espnet e-branchformer": (espnet_e_branchformer, "espnet2"),
    "espnet branchformer": (espnet_branchformer, "espnet2"),
    "wenet conformer": (wenet_conformer, "wenet"),
    "wenet causal conformer": (wenet_causal_conformer, "wenet"),
    "wenet squeezeformer": (wenet_squeezeformer, "wenet"),
    "speechbrain conformer": (speechbrain_conformer, "speechbrain"),
    "torchaudio conformer": (torchaudio_conformer, "torchaudio"),
    "torchaudio convolution first": (torchaudio_convolution_first, "torchaudio"),
    "lucidrains conformer": (lucidrains_conformer, "conformer"),
}
