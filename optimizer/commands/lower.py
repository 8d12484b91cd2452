"""``confpress lower``: from QDQ nodes to operators that run fast on a target."""

from __future__ import annotations

from pathlib import Path

import click

from .options import json_option, model_argument, output_option


@click.command("lower", short_help="Turn QDQ nodes into a target's fast operators.")
@model_argument
@output_option
@click.option(
    "--target",
    type=click.Choice(["portable", "cpu"]),
    default="portable",
    show_default=True,
    help="`portable`: stock ONNX Runtime. `cpu`: with the kernel library, correct without it.",
)
@json_option
def command(model: Path, output: Path, target: str, json_file: Path | None) -> None:
    """Lowers MODEL, an interchange model with QDQ nodes, for one target.

    \b
    Examples:
      confpress lower out/interchange.onnx -o cpu.onnx --target cpu
      confpress quantize model.onnx -o qdq.onnx && confpress lower qdq.onnx -o fast.onnx
    """  # noqa: D301 (\b tells click to keep lines)
    from ..stages import LOWER, passes_of
    from .single import run_alone

    stage = LOWER["cpu" if target == "cpu" else "portable"]
    run_alone(stage.name, model, output, json_file, lambda _: passes_of(stage))
