"""``confpress lower``: from QDQ nodes to operators that run fast on a target."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from .options import (
    FiniteRange,
    instructions_option,
    json_option,
    model_argument,
    output_option,
    speech_option,
)

if TYPE_CHECKING:
    import onnx_ir as ir


@click.command("lower", short_help="Turn QDQ nodes into a target's fast operators.")
@model_argument
@output_option
@click.option(
    "--target",
    type=click.Choice(["portable", "cpu", "cuda"]),
    default="portable",
    show_default=True,
    help="`portable`: stock ONNX Runtime. `cpu`: with the kernel library, correct without it. "
    "`cuda`: float16 and low-bit weights for onnxruntime-gpu.",
)
@click.option(
    "--cost-table",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="For `cpu`: measured times that choose dense or sparse for each layer with balanced "
    "zeros. Where there is no such file, they are measured here and written to it.",
)
@instructions_option
@click.option(
    "--float16/--no-float16",
    default=True,
    show_default=True,
    help="For `cuda`: whether what is float32 becomes float16.",
)
@click.option(
    "--float32-part",
    "float32_parts",
    multiple=True,
    metavar="ID",
    help="For `cuda`: a layer or block that stays float32; can be given several times.",
)
@click.option(
    "--least-db",
    type=FiniteRange(min=0),
    metavar="DB",
    help="For `cuda`: keep as many blocks float32 as the outputs need to have this much signal "
    "over error, measured on 3 seconds of --data or noise.",
)
@click.option(
    "--sparse",
    is_flag=True,
    help="For `cuda`: float32 layers that keep at most 8 of 64 weights, or 2 of every 4, become "
    "SparseLinearHalf of the kernel library, which nobody has timed on a GPU.",
)
@speech_option
@json_option
def command(
    model: Path,
    output: Path,
    target: str,
    cost_table: Path | None,
    instructions: str,
    float16: bool,
    float32_parts: tuple[str, ...],
    least_db: float | None,
    sparse: bool,
    data: Path | None,
    json_file: Path | None,
) -> None:
    """Lowers MODEL, an interchange model with QDQ nodes, for one target.

    \b
    Examples:
      confpress lower out/interchange.onnx -o cpu.onnx --target cpu
      confpress quantize model.onnx -o qdq.onnx && confpress lower qdq.onnx -o fast.onnx
      confpress lower sparse-qdq.onnx -o cpu.onnx --target cpu --cost-table here.json
      confpress lower model.onnx -o cuda.onnx --target cuda --least-db 40 --data speech/
    """  # noqa: D301 (\b tells click to keep lines)
    from ...passes.errors import ConfpressError
    from ..recipe.recipe import Recipe
    from ..stages import LOWER, passes_of
    from .single import run_alone

    if cost_table is not None and target != "cpu":
        raise ConfpressError("--cost-table goes with --target cpu.")
    if target == "cuda":
        options = CudaOptions(float16, float32_parts, least_db, sparse, data)
        run_alone("lower.cuda", model, output, json_file, lambda m: _cuda(m, model, options))
        return
    if float32_parts or least_db is not None or sparse or data is not None or not float16:
        raise ConfpressError(
            "--no-float16, --float32-part, --least-db, --data and --sparse go with --target cuda."
        )
    stage = LOWER["cpu" if target == "cpu" else "portable"]

    def passes(loaded: ir.Model) -> Sequence[ir.passes.PassBase]:
        known = passes_of(stage, Recipe().replace({"lower": {"instructions": instructions}}))
        return known if cost_table is None else _with_costs(known, loaded, cost_table)

    run_alone(stage.name, model, output, json_file, passes)


@dataclasses.dataclass(frozen=True)
class CudaOptions:
    """What is asked for with --target cuda; fields are the command's options."""

    float16: bool
    float32_parts: tuple[str, ...]
    least_db: float | None
    sparse: bool
    data: Path | None


def _cuda(model: ir.Model, source: Path, options: CudaOptions) -> Sequence[ir.passes.PassBase]:
    """The passes for CUDA, after those parts were found that stay float32."""
    from ...passes.base import run
    from ...passes.lower.cuda import LowerCuda
    from ...passes.lower.float16 import Float16
    from ...passes.rewrites.versions import MinimiseVersions
    from ...runtime.recognition.asr import AsrModel
    from ...runtime.speech.manifest import load_utterances
    from ..cuda.half import float32_parts
    from ..recipe.recipe import Recipe
    from ..stages import preparation

    lower = [*preparation(Recipe()), LowerCuda(sparse=options.sparse)]
    if not options.float16:
        return [*lower, MinimiseVersions(widened=True)]
    keep = options.float32_parts
    if options.least_db is not None:
        utterances = () if options.data is None else load_utterances(options.data)
        lowered = run(lower, model.clone()).model
        found = float32_parts(lowered, AsrModel.load(source), options.least_db, utterances)
        keep = (*keep, *found)
    return [*lower, Float16(keep=keep), MinimiseVersions(widened=True)]


def _with_costs(
    passes: Sequence[ir.passes.PassBase], model: ir.Model, file: Path
) -> list[ir.passes.PassBase]:
    """The passes, told what the table says; it is measured first where it is not there."""
    from ...passes.fuse.subsampling import FuseSubsampling
    from ...passes.fuse.subsampling_sparse import balanced_convolutions
    from ...passes.lower.cpu import LowerCpu, balanced_layers
    from ...runtime.costs.linear import measure_costs, read_costs
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
