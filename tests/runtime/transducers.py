"""Small seeded transducers in torch, written as the three files of NeMo's or icefall's exports."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import onnx
import torch
from confpress.models.config import ConformerConfig
from confpress.models.encoder import ConformerEncoder
from confpress.runtime.speech import FrontEnd
from torch import Tensor, nn

Family = Literal["nemo", "icefall"]
FAMILIES: tuple[Family, ...] = ("nemo", "icefall")

PIECES = ("▁a", "▁b", "▁c", "d", "e", "f")
WIDTH, HIDDEN, CONTEXT = 16, 12, 2
# Favours the blank as training does: some words come out of a second of noise, not all frames.
_BLANK_BIAS: Mapping[Family, float] = {"nemo": 1.5, "icefall": -1.0}


class Encoder(nn.Module):
    """A Conformer; NeMo's gives its frames last."""

    def __init__(self, family: Family) -> None:
        super().__init__()
        config = ConformerConfig(
            vocabulary=len(PIECES),
            d_model=WIDTH,
            layers=2,
            heads=2,
            ff_dim=24,
            kernel=5,
            subsampling_channels=4,
        )
        self.encoder = ConformerEncoder(config)
        self.family = family

    def forward(self, features: Tensor, length: Tensor) -> tuple[Tensor, Tensor]:
        if self.family == "icefall":
            features = features.transpose(1, 2)
        outputs, length = self.encoder(features, length)
        return outputs[-1].transpose(1, 2) if self.family == "nemo" else outputs[-1], length


class LstmDecoder(nn.Module):
    """NeMo's: tokens [B, U], their number and an LSTM's states to [B, H, U]."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(len(PIECES) + 1, HIDDEN, padding_idx=len(PIECES))
        self.lstm = nn.LSTM(HIDDEN, HIDDEN, num_layers=2)

    def forward(
        self, targets: Tensor, target_length: Tensor, hidden: Tensor, cell: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        embedded = self.embedding(targets).transpose(0, 1)
        output, (hidden, cell) = self.lstm(embedded, (hidden, cell))
        return output.permute(1, 2, 0), target_length + 0, hidden, cell


class StatelessDecoder(nn.Module):
    """icefall's: the last tokens [B, context], -1 for none, to [B, H]."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(len(PIECES) + 1, HIDDEN)
        self.mix = nn.Linear(CONTEXT * HIDDEN, HIDDEN)

    def forward(self, y: Tensor) -> Tensor:
        embedded = self.embedding(y.clamp(min=0)) * (y >= 0).unsqueeze(-1)
        return torch.relu(self.mix(embedded.flatten(1)))


class Joiner(nn.Module):
    """A frame and what the decoder gives to scores; NeMo's has axes for frames and tokens."""

    def __init__(self, family: Family) -> None:
        super().__init__()
        self.family = family
        self.encoded = nn.Linear(WIDTH, HIDDEN)
        self.decoded = nn.Linear(HIDDEN, HIDDEN)
        self.out = nn.Linear(HIDDEN, len(PIECES) + 1)
        blank = len(PIECES) if family == "nemo" else 0
        with torch.no_grad():
            self.out.weight *= 6
            self.out.bias[blank] += _BLANK_BIAS[family]

    def forward(self, encoder_out: Tensor, decoder_out: Tensor) -> Tensor:
        if self.family == "nemo":
            encoder_out = encoder_out.transpose(1, 2)[:, :, None]
            decoder_out = decoder_out.transpose(1, 2)[:, None]
        joined = torch.tanh(self.encoded(encoder_out) + self.decoded(decoder_out))
        scores: Tensor = self.out(joined)
        return scores


@dataclass(frozen=True)
class Transducer:
    """The modules that were exported."""

    family: Family
    encoder: Encoder
    decoder: nn.Module
    joiner: Joiner

    @property
    def blank(self) -> int:
        return len(PIECES) if self.family == "nemo" else 0

    @torch.no_grad()
    def tokens(self, features: Tensor) -> list[int]:
        """Greedy search, written for one family at a time.

        Args:
            features: float32 [80, frames].
        """
        signal = features[None] if self.family == "nemo" else features.T[None]
        encoded, _ = self.encoder(signal, torch.tensor([features.shape[1]]))
        return self._nemo(encoded) if self.family == "nemo" else self._icefall(encoded)

    def _nemo(self, encoded: Tensor) -> list[int]:
        found: list[int] = []
        one, state = torch.ones(1, dtype=torch.int32), torch.zeros(2, 1, HIDDEN)
        out, _, hidden, cell = self.decoder(torch.tensor([[self.blank]]), one, state, state)
        for frame in range(encoded.shape[2]):
            for _ in range(10):
                scores = self.joiner(encoded[:, :, frame : frame + 1], out)
                token = int(scores.argmax())
                if token == self.blank:
                    break
                found.append(token)
                out, _, hidden, cell = self.decoder(torch.tensor([[token]]), one, hidden, cell)
        return found

    def _icefall(self, encoded: Tensor) -> list[int]:
        hypothesis = [-1] * (CONTEXT - 1) + [self.blank]
        for frame in encoded[0]:
            out = self.decoder(torch.tensor([hypothesis[-CONTEXT:]]))
            token = int(self.joiner(frame[None], out).argmax())
            if token != self.blank:
                hypothesis.append(token)
        return hypothesis[CONTEXT:]


def write_transducer(folder: Path, family: Family) -> Transducer:
    """Writes `encoder.onnx`, `decoder.onnx`, `joiner.onnx`, `tokens.txt` and `frontend.json`."""
    torch.manual_seed(3)
    decoder = LstmDecoder() if family == "nemo" else StatelessDecoder()
    made = Transducer(family, Encoder(family).eval(), decoder.eval(), Joiner(family).eval())
    folder.mkdir(parents=True, exist_ok=True)
    _write_encoder(made, folder / "encoder.onnx")
    if family == "nemo":
        _write_nemo(made, folder)
    else:
        _write_icefall(made, folder)
    pieces = (*PIECES, "<blk>") if family == "nemo" else ("<blk>", *PIECES)
    lines = "".join(f"{piece} {index}\n" for index, piece in enumerate(pieces))
    (folder / "tokens.txt").write_text(lines, encoding="utf-8")
    FrontEnd().save(folder / "frontend.json")
    return made


def _write_encoder(made: Transducer, path: Path) -> None:
    nemo = made.family == "nemo"
    features = torch.randn(3, *((80, 211) if nemo else (211, 80)))
    names = ("audio_signal", "length") if nemo else ("x", "x_lens")
    outputs = ("outputs", "encoded_lengths") if nemo else ("encoder_out", "encoder_out_lens")
    last = 2 if nemo else 1
    axes = {
        names[0]: {0: "N", last: "T"},
        names[1]: {0: "N"},
        outputs[0]: {0: "N", last: "S"},
        outputs[1]: {0: "N"},
    }
    _export(made.encoder, (features, torch.tensor([211, 150, 97])), path, names, outputs, axes)


def _write_nemo(made: Transducer, folder: Path) -> None:
    state = torch.zeros(2, 3, HIDDEN)
    inputs = ("targets", "target_length", "states.1", "onnx::Slice_3")
    outputs = ("outputs", "prednet_lengths", "states", "states.2")
    tokens = torch.zeros(3, 5, dtype=torch.int32)
    axes = {"targets": {0: "N", 1: "U"}, "target_length": {0: "N"}, "outputs": {0: "N", 2: "U"}}
    axes |= {name: {1: "N"} for name in (*inputs[2:], *outputs[2:])}
    lengths = torch.full((3,), 5, dtype=torch.int32)
    _export(
        made.decoder,
        (tokens, lengths, state, state),
        folder / "decoder.onnx",
        inputs,
        outputs,
        axes,
    )
    inputs = ("encoder_outputs", "decoder_outputs")
    example = (torch.randn(3, WIDTH, 7), torch.randn(3, HIDDEN, 5))
    axes = {inputs[0]: {0: "N", 2: "T"}, inputs[1]: {0: "N", 2: "U"}}
    axes["outputs"] = {0: "N", 1: "T", 2: "U"}
    _export(made.joiner, example, folder / "joiner.onnx", inputs, ("outputs",), axes)


def _write_icefall(made: Transducer, folder: Path) -> None:
    decoder, joiner = folder / "decoder.onnx", folder / "joiner.onnx"
    tokens = torch.zeros(3, CONTEXT, dtype=torch.int64)
    axes = {"y": {0: "N"}, "decoder_out": {0: "N"}}
    _export(made.decoder, (tokens,), decoder, ("y",), ("decoder_out",), axes)
    model = onnx.load(decoder)
    model.metadata_props.add(key="context_size", value=str(CONTEXT))
    model.metadata_props.add(key="vocab_size", value=str(len(PIECES) + 1))
    onnx.save(model, decoder)
    inputs = ("encoder_out", "decoder_out")
    example = (torch.randn(3, WIDTH), torch.randn(3, HIDDEN))
    axes = {name: {0: "N"} for name in (*inputs, "logit")}
    _export(made.joiner, example, joiner, inputs, ("logit",), axes)


def _export(
    module: nn.Module,
    example: tuple[Tensor, ...],
    path: Path,
    inputs: Sequence[str],
    outputs: Sequence[str],
    axes: Mapping[str, Mapping[int, str]],
) -> None:
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            module,
            example,
            str(path),
            dynamo=False,
            opset_version=17,
            input_names=list(inputs),
            output_names=list(outputs),
            dynamic_axes=axes,
        )
