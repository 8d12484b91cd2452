"""``confpress simplify``: the first stage alone."""

from __future__ import annotations

from pathlib import Path

import click

from .options import json_option, model_argument, output_option


@click.command("simplify", short_help="Lift and fold constants, drop what is unused.")
@model_argument
@output_option
@json_option
def command(model: Path, output: Path, json_file: Path | None) -> None:
    """Removes from MODEL what is constant, unused, equal or idle. The outputs stay the same.

    \b
    Example:
      confpress simplify model.onnx -o small.onnx
    """  # noqa: D301 (\b tells click to keep lines)
    from ...passes.simplify import Simplify
    from ...passes.versions import MinimiseVersions
    from .single import run_alone

    run_alone("simplify", model, output, json_file, lambda _: [Simplify(), MinimiseVersions()])
