"""Export to ONNX, with either of torch's exporters."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

from ..passes.errors import ConfpressError
from .ctc import ConformerCTC
from .streaming import LAYER_STATES, StreamingConformerCTC

Exporter = Literal["dynamo", "torchscript"]

#: Names of the sizes that vary, by input or output and axis.
Axes = Mapping[str, Mapping[int, str]]

INPUTS = ("audio_signal", "length")
OUTPUTS = ("logprobs", "encoded_lengths")
DEFAULT_OPSET = 17
#: What the exporters write. Asked for another version, `dynamo` writes 18 and says nothing.
OPSETS: Mapping[Exporter, range] = {"torchscript": range(11, 24), "dynamo": range(18, 26)}


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
        exporter: `torchscript` traces, `dynamo` uses torch.export.
        opset: version of the ONNX operators.

    Raises:
        ConfpressError: the exporter does not write this version.
    """
    # Odd sizes above one: a size of one or an even one would let torch.export specialise.
    config = model.config
    frames = 211
    if config.max_positions is not None:
        frames = min(frames, config.subsampling_factor * config.max_positions - 1)
    example = (torch.randn(3, config.features, frames), torch.tensor([frames, 150, 97]))
    _export(
        model,
        example,
        path,
        exporter,
        opset,
        INPUTS,
        OUTPUTS,
        input_axes={"audio_signal": {0: "batch", 2: "time"}, "length": {0: "batch"}},
        output_axes={"logprobs": {0: "batch", 1: "frames"}, "encoded_lengths": {0: "batch"}},
    )


def export_streaming_onnx(
    model: StreamingConformerCTC,
    path: Path,
    exporter: Exporter = "torchscript",
    opset: int = DEFAULT_OPSET,
) -> None:
    """Write a model that reads chunks, with dynamic batch and chunk length.

    The file has the inputs `audio_signal` float32 [batch, features, time], time a multiple of the
    subsampling factor, and the states `features`, `seen` and, for every layer, `keys_0`,
    `values_0`, `convolution_0`; the outputs `logprobs` and the next states, named `next_<state>`.
    The first states are zeros (`StreamingConformerCTC.initial_states`).

    Args and errors: as `export_onnx`.
    """
    states = ["features", "seen"] + [
        f"{kind}_{layer}" for layer in range(model.config.layers) for kind in LAYER_STATES
    ]
    following = [f"next_{state}" for state in states]
    chunk = torch.randn(3, model.config.features, 7 * model.config.subsampling_factor)
    _export(
        model,
        (chunk, *model.initial_states(3)),
        path,
        exporter,
        opset,
        ("audio_signal", *states),
        ("logprobs", *following),
        input_axes={"audio_signal": {0: "batch", 2: "time"}} | {s: {0: "batch"} for s in states},
        output_axes={"logprobs": {0: "batch", 1: "frames"}} | {s: {0: "batch"} for s in following},
    )


def _export(
    model: nn.Module,
    example: tuple[Tensor, ...],
    path: Path,
    exporter: Exporter,
    opset: int,
    inputs: Sequence[str],
    outputs: Sequence[str],
    *,
    input_axes: Axes,
    output_axes: Axes,
) -> None:
    """Exports with either exporter; `example` holds the inputs in order."""
    if opset not in OPSETS[exporter]:
        raise ConfpressError(
            f"torch's exporter {exporter} writes opsets {OPSETS[exporter][0]} to "
            f"{OPSETS[exporter][-1]}, not {opset}."
        )
    training = model.training
    model.eval()
    try:
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")
            if exporter == "dynamo":
                logging.getLogger("torch.onnx").setLevel(logging.ERROR)
                torch.onnx.export(
                    model,
                    example,
                    str(path),
                    dynamo=True,
                    opset_version=opset,
                    input_names=list(inputs),
                    output_names=list(outputs),
                    dynamic_shapes=_dynamic_shapes(model, inputs, input_axes),
                    external_data=False,
                    verbose=False,
                )
            else:
                torch.onnx.export(
                    model,
                    example,
                    str(path),
                    dynamo=False,
                    opset_version=opset,
                    input_names=list(inputs),
                    output_names=list(outputs),
                    dynamic_axes={**input_axes, **output_axes},
                )
    finally:
        model.train(training)


def _dynamic_shapes(model: nn.Module, inputs: Sequence[str], axes: Axes) -> tuple[object, ...]:
    """Sizes as torch.export takes them: one for each parameter of `forward`, in order."""
    dims = {
        "batch": torch.export.Dim("batch", min=1, max=4096),
        "time": torch.export.Dim("time", min=9, max=1_000_000),
    }
    shapes = tuple({axis: dims[name] for axis, name in axes[each].items()} for each in inputs)
    return (shapes[0], shapes[1:]) if isinstance(model, StreamingConformerCTC) else shapes
