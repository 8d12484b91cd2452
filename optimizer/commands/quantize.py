"""``confpress quantize``: QDQ nodes alone."""

from __future__ import annotations

from pathlib import Path
from typing import cast

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
@click.option(
    "--formats",
    type=click.Choice(["mofq4", "mofq8"]),
    help="Choose a format for each linear layer on the calibration speech. mofq4: int4 or FP4 "
    "weights; mofq8: weights and frames int8 or FP8.",
)
@click.option(
    "--float-frames",
    is_flag=True,
    help="For mofq4: codes are storage, frames stay float32 instead of int8.",
)
@click.option(
    "--format-plan",
    type=PATH,
    metavar="PLAN.json",
    help="The formats of linear layers, as --save-plan wrote or you edited them.",
)
@click.option(
    "--save-plan", type=PATH, metavar="PLAN.json", help="Write the formats that were chosen."
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
    formats: str | None,
    float_frames: bool,
    format_plan: Path | None,
    save_plan: Path | None,
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
      confpress quantize model.onnx -o small.onnx --calibration calls/ --formats mofq4 \\
          --save-plan plan.json
    """  # noqa: D301 (\b tells click to keep lines)
    import onnx_ir as ir

    from ...passes.base import run
    from ...passes.errors import ConfpressError
    from ...passes.format_plan import FormatPlan
    from ...passes.quantize import Quantize
    from ...runtime.asr import AsrModel
    from ..calibration import calibrated_ranges, load_recordings
    from ..console import check_output_file
    from ..format_stage import Choice, choose_formats
    from ..recipe import preset
    from ..stages import preparation
    from .single import run_alone

    recipe = preset("default").replace(
        {
            "quantize": {"linear": linear, "convolution": convolution, "exclude": list(exclude)},
            "calibration": {"subset": subset},
        }
    )
    if format_plan is not None and formats is not None:
        raise ConfpressError("--format-plan says the formats and --formats chooses; give one.")
    if formats is not None and calibration is None:
        raise ConfpressError("--formats needs --calibration: speech that shows what matters.")
    if formats is None and (float_frames or save_plan is not None):
        raise ConfpressError("--float-frames and --save-plan go with --formats.")
    if save_plan is not None:
        check_output_file(save_plan, inputs=[model, output])
    given = None if format_plan is None else FormatPlan.load(format_plan)
    recordings = None
    if calibration is not None:
        recordings = load_recordings(calibration, AsrModel.load(model, frontend).frontend, recipe)

    def passes(loaded: ir.Model) -> list[ir.passes.PassBase]:
        prepared = preparation(recipe)
        run(prepared, loaded)
        ranges = {} if recordings is None else calibrated_ranges(loaded, recordings, recipe)
        plan, importance = given, {}
        if formats is not None and recordings is not None:
            found = choose_formats(
                loaded,
                recordings,
                cast(Choice, formats),
                integer_frames=not float_frames,
                exclude=exclude,
            )
            plan, importance = found.plan, found.importance
            if save_plan is not None:
                plan.save(save_plan)
        return [
            Quantize(
                **recipe.quantize.model_dump(), ranges=ranges, plan=plan, importance=importance
            )
        ]

    run_alone("quantize", model, output, json_file, passes)
