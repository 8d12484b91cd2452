"""``confpress lower``: from QDQ nodes to operators that run fast on a target."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from .options import instructions_option, json_option, model_argument, output_option

if TYPE_CHECKING:
    import onnx_ir as ir


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
@click.option(
    "--cost-table",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="For `cpu`: measured times that choose dense or sparse for each layer with balanced "
    "zeros. Where there is no such file, they are measured here and written to it.",
)
@instructions_option
@json_option
def command(
    model: Path,
    output: Path,
    target: str,
    cost_table: Path | None,
    instructions: str,
    json_file: Path | None,
) -> None:
    """Lowers MODEL, an interchange model with QDQ nodes, for one target.

    \b
    Examples:
      confpress lower out/interchange.onnx -o cpu.onnx --target cpu
      confpress quantize model.onnx -o qdq.onnx && confpress lower qdq.onnx -o fast.onnx
      confpress lower sparse-qdq.onnx -o cpu.onnx --target cpu --cost-table here.json
    """  # noqa: D301 (\b tells click to keep lines)
    from ...passes.errors import ConfpressError
    from ..recipe import Recipe
    from ..stages import LOWER, passes_of
    from .single import run_alone

    if cost_table is not None and target != "cpu":
        raise ConfpressError("--cost-table goes with --target cpu.")
    stage = LOWER["cpu" if target == "cpu" else "portable"]

    def passes(loaded: ir.Model) -> Sequence[ir.passes.PassBase]:
        known = passes_of(stage, Recipe().replace({"lower": {"instructions": instructions}}))
        return known if cost_table is None else _with_costs(known, loaded, cost_table)

    run_alone(stage.name, model, output, json_file, passes)


def _with_costs(
    passes: Sequence[ir.passes.PassBase], model: ir.Model, file: Path
) -> list[ir.passes.PassBase]:
    """The passes, told what the table says; it is measured first where it is not there."""
    from ...passes.fuse.subsampling import FuseSubsampling
    from ...passes.fuse.subsampling_sparse import balanced_convolutions
    from ...passes.lower.cpu import LowerCpu, balanced_layers
    from ...runtime.linear_costs import measure_costs, read_costs
    from ..console import check_output_file, write_json

    if file.exists():
        table = read_costs(file)
    else:
        check_output_file(file, inputs=[])
        reach = next(each.reach for each in passes if isinstance(each, LowerCpu))
        table = measure_costs(balanced_layers(model, reach), balanced_convolutions(model, reach))
        write_json(file, table)
    return [
        dataclasses.replace(each, costs=table.costs())
        if isinstance(each, LowerCpu | FuseSubsampling)
        else each
        for each in passes
    ]
