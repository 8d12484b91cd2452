"""Export to ONNX, with either of torch's exporters."""

from __future__ import annotations

import logging
import warnings
from pathlib import Path
from typing import Literal

import torch

from .ctc import ConformerCTC

Exporter = Literal["dynamo", "torchscript"]

INPUTS = ("audio_signal", "length")
OUTPUTS = ("logprobs", "encoded_lengths")
DEFAULT_OPSET = 17


def export_onnx(
    model: ConformerCTC,
    path: Path,
    exporter: Exporter = "torchscript",
    opset: int = DEFAULT_OPSET,
) -> None:
    """Write a model with dynamic batch and time.

    The file has the inputs `audio_signal` float32 [batch, features, time] and `length` int64
    [batch], and the outputs `logprobs` float32 [batch, time', vocabulary + 1] and
    `encoded_lengths` int64 [batch].

    Args:
        model: the model; its training mode is left as it was.
        path: the file to write.
        exporter: `torchscript` traces, `dynamo` uses torch.export (opset 18 or later).
        opset: version of the ONNX operators.
    """
    training = model.training
    model.eval()
    # Odd sizes above one: a size of one or an even one would let torch.export specialise.
    example = (torch.randn(3, model.config.features, 211), torch.tensor([211, 150, 97]))
    try:
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")
            if exporter == "dynamo":
                _export_dynamo(model, example, path, opset)
            else:
                _export_torchscript(model, example, path, opset)
    finally:
        model.train(training)


def _export_torchscript(
    model: ConformerCTC, example: tuple[torch.Tensor, torch.Tensor], path: Path, opset: int
) -> None:
    torch.onnx.export(
        model,
        example,
        str(path),
        dynamo=False,
        opset_version=opset,
        input_names=list(INPUTS),
        output_names=list(OUTPUTS),
        dynamic_axes={
            "audio_signal": {0: "batch", 2: "time"},
            "length": {0: "batch"},
            "logprobs": {0: "batch", 1: "frames"},
            "encoded_lengths": {0: "batch"},
        },
    )


def _export_dynamo(
    model: ConformerCTC, example: tuple[torch.Tensor, torch.Tensor], path: Path, opset: int
) -> None:
    batch = torch.export.Dim("batch", min=1, max=4096)
    time = torch.export.Dim("time", min=9, max=1_000_000)
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    torch.onnx.export(
        model,
        example,
        str(path),
        dynamo=True,
        opset_version=opset,
        input_names=list(INPUTS),
        output_names=list(OUTPUTS),
        dynamic_shapes={"audio_signal": {0: batch, 2: time}, "length": {0: batch}},
        external_data=False,
        verbose=False,
    )
