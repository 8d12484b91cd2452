"""``confpress sparsify``: balanced zeros alone."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import click

from .options import (
    PATH,
    FiniteRange,
    frontend_option,
    instructions_option,
    json_option,
    model_argument,
    output_option,
)

_PATTERNS = click.Choice(
    ["50%", "75%", "87.5%", "8:16", "4:16", "2:16", "32:64", "16:64", "8:64", "2:4", "1:4"]
)


@click.command("sparsify", short_help="Set weights to zero in a pattern that kernels skip.")
@model_argument
@output_option
@click.option(
    "--pattern",
    type=_PATTERNS,
    default="4:16",
    show_default=True,
    help="N:M keeps N of every M weights of a row. A share of zeros takes the pattern that suits "
    "--instructions: 75% is 16:64 with AVX-512 VBMI, else 4:16.",
)
@click.option(
    "--layer",
    "layers",
    type=(str, _PATTERNS),
    multiple=True,
    metavar="LAYERS N:M",
    help="Another pattern for layer ids such as 'encoder.layers.0.*'; may be given several times, "
    "the first that fits counts.",
)
@click.option(
    "--counts",
    type=click.Choice(["equal", "energy"]),
    default="equal",
    show_default=True,
    help="equal keeps N of every M weights; energy keeps as many in a layer, in every row more of "
    "them in the columns that matter more.",
)
@click.option(
    "--exclude",
    multiple=True,
    metavar="LAYERS",
    help="Layer ids that stay dense; may be given several times.",
)
@click.option(
    "--least-energy",
    type=FiniteRange(0, 1),
    default=0.4,
    show_default=True,
    metavar="SHARE",
    help="Layers that would keep a smaller share of their weights' energy stay dense.",
)
@click.option(
    "--calibration",
    type=PATH,
    metavar="DIR",
    help="Speech that shows which inputs matter, and by which the weights that stay make good "
    "what goes; without it weights are scored by magnitude.",
)
@click.option("--no-repair", is_flag=True, help="Leave the weights that stay as they are.")
@click.option(
    "--subset", metavar="TEXT", help="Calibrate only on files whose path contains this text."
)
@instructions_option
@frontend_option
@json_option
def command(
    model: Path,
    output: Path,
    pattern: str,
    layers: tuple[tuple[str, str], ...],
    counts: Literal["equal", "energy"],
    exclude: tuple[str, ...],
    least_energy: float,
    calibration: Path | None,
    no_repair: bool,
    subset: str | None,
    instructions: str,
    frontend: Path | None,
    json_file: Path | None,
) -> None:
    """Writes MODEL with zeros in its weights, the same number in every few inputs.

    Of linear layers and of the subsampling's convolutions over several channels.

    The weights that matter least become zero: by magnitude, or with --calibration those, and the
    others changed so, that the layer's output changes least (compressed sensing). Even so 75 % of
    zeros are speed only: a model that has not learned with them (`confpress finetune` on its
    checkpoint) loses its words.
    Quantised and lowered for target `cpu`, it skips the zeros.

    \b
    Examples:
      confpress sparsify model.onnx -o sparse.onnx --calibration calls/ --counts energy
      confpress sparsify model.onnx -o sparse.onnx --layer '*.ff*' 2:16 --exclude 'head*'
    """  # noqa: D301 (\b tells click to keep lines)
    import onnx_ir as ir

    from ...passes.base import run
    from ...passes.sparsify import Sparsify
    from ...runtime.instructions import look_up_reach
    from ...runtime.recognition.asr import AsrModel
    from ..calibration import load_recordings
    from ..recipe.recipe import preset
    from ..sparse_pass import SetZeros
    from ..stages import preparation
    from .single import run_alone

    recipe = preset("default").replace({"calibration": {"subset": subset}})
    recordings = None
    if calibration is not None:
        recordings = load_recordings(calibration, AsrModel.load(model, frontend).frontend, recipe)

    def passes(loaded: ir.Model) -> list[ir.passes.PassBase]:
        run(preparation(recipe), loaded)
        zeros = Sparsify(
            pattern=pattern,
            least_energy=least_energy,
            exclude=exclude,
            layers=dict(layers),
            counts=counts,
            reach=look_up_reach(instructions),
        )
        if recordings is None:
            return [zeros]
        return [SetZeros(zeros, recordings, repair=not no_repair)]

    run_alone("sparsify", model, output, json_file, passes)
