"""``confpress simplify``: the first stage alone."""

from __future__ import annotations

from pathlib import Path

import click

from .options import json_option, model_argument, output_option


def _sizes(_: click.Context, __: click.Parameter, given: tuple[str, ...]) -> dict[str, int]:
    """Reads ``NAME=N``."""
    sizes = {}
    for each in given:
        name, _sign, size = each.rpartition("=")
        if not name or not size.isdecimal():
            raise click.BadParameter(f"'{each}' is not NAME=N, as in time=1000")
        sizes[name] = int(size)
    return sizes


@click.command("simplify", short_help="Lift and fold constants, drop what is unused.")
@model_argument
@output_option
@click.option(
    "--size",
    "sizes",
    multiple=True,
    callback=_sizes,
    metavar="NAME=N",
    help="Give an axis of the inputs a constant size, for compilers that want it; what follows of "
    "it is folded. `confpress inspect` shows the axes' names. May be repeated.",
)
@click.option(
    "--drop-log-softmax",
    is_flag=True,
    help="Let the model give scores instead of logarithms of probabilities, which greedy decoding "
    "does not need.",
)
@json_option
def command(
    model: Path,
    output: Path,
    sizes: dict[str, int],
    drop_log_softmax: bool,
    json_file: Path | None,
) -> None:
    """Removes from MODEL what is constant, unused, equal or idle. The outputs stay the same.

    \b
    Examples:
      confpress simplify model.onnx -o small.onnx
      confpress simplify model.onnx -o fixed.onnx --size batch=1 --size time=1000
    """  # noqa: D301 (\b tells click to keep lines)
    from ...passes.rewrites.layers.log_softmax import DropLogSoftmax
    from ...passes.rewrites.simplify import Simplify
    from ...passes.rewrites.sizes.static_sizes import StaticSizes
    from ...passes.rewrites.versions import MinimiseVersions
    from .single import run_alone

    asked = [StaticSizes(sizes)] if sizes else []
    dropped = [DropLogSoftmax()] if drop_log_softmax else []
    run_alone(
        "simplify",
        model,
        output,
        json_file,
        lambda _: [*asked, Simplify(), *dropped, MinimiseVersions()],
    )
