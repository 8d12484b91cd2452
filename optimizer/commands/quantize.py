"""``confpress quantize``: QDQ nodes alone."""

from __future__ import annotations

from pathlib import Path

import click

from .options import PATH, frontend_option, json_option, model_argument, output_option

_FORMATS = click.Choice(["int8", "float32"])


@click.command("quantize", short_help="Insert the QDQ nodes of int8 layers.")
@model_argument
@output_option
@click.option(
    "--linear", type=_FORMATS, default="int8", show_default=True, help="Format of linear layers."
)
@click.option(
    "--convolution",
    type=_FORMATS,
    default="int8",
    show_default=True,
    help="Format of the subsampling's convolutions; int8 needs --calibration.",
)
@click.option(
    "--exclude",
    multiple=True,
    metavar="PATTERN",
    help="Layer ids that stay float32, such as 'encoder.layers.0.*'; may be given several times.",
)
@click.option(
    "--calibration",
    type=PATH,
    metavar="DIR",
    help="Speech that sets the ranges of int8 convolutions: a folder or a manifest.tsv.",
)
@click.option(
    "--subset", metavar="TEXT", help="Calibrate only on files whose path contains this text."
)
@frontend_option
@json_option
def command(
    model: Path,
    output: Path,
    linear: str,
    convolution: str,
    exclude: tuple[str, ...],
    calibration: Path | None,
    subset: str | None,
    frontend: Path | None,
    json_file: Path | None,
) -> None:
    """Writes MODEL with QuantizeLinear and DequantizeLinear around its layers.

    The model is simplified first and its layers are named, so that patterns can speak of them.
    The result is an interchange model in standard operators; `confpress lower` makes it fast.

    \b
    Examples:
      confpress quantize model.onnx -o qdq.onnx --calibration calls/
      confpress quantize model.onnx -o qdq.onnx --convolution float32 --exclude 'head*'
    """  # noqa: D301 (\b tells click to keep lines)
    import onnx_ir as ir

    from ...passes.base import run
    from ...passes.quantize import Quantize
    from ...runtime.asr import AsrModel
    from ..calibration import calibrated_ranges, load_recordings
    from ..recipe import preset
    from ..stages import preparation
    from .single import run_alone

    recipe = preset("default").replace(
        {
            "quantize": {"linear": linear, "convolution": convolution, "exclude": list(exclude)},
            "calibration": {"subset": subset},
        }
    )
    recordings = None
    if calibration is not None:
        recordings = load_recordings(calibration, AsrModel.load(model, frontend).frontend, recipe)

    def passes(loaded: ir.Model) -> list[ir.passes.PassBase]:
        prepared = preparation(recipe)
        run(prepared, loaded)
        ranges = {} if recordings is None else calibrated_ranges(loaded, recordings, recipe)
        return [Quantize(**recipe.quantize.model_dump(), ranges=ranges)]

    run_alone("quantize", model, output, json_file, passes)
