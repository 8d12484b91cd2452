"""``confpress demo``: see it work."""

from __future__ import annotations

from pathlib import Path

import click

from .options import PATH, json_option


@click.command("demo", short_help="See the whole pipeline work on a small Conformer.")
@click.option(
    "-o",
    "--output",
    type=PATH,
    default=Path("confpress-demo"),
    show_default=True,
    metavar="OUT",
    help="The result folder to write.",
)
@json_option
@click.pass_obj
def command(called: tuple[str, ...], output: Path, json_file: Path | None) -> None:
    """Optimises a small trained Conformer on speech clips; both come with the package.

    Takes about a minute. Prints size, word error rate and latency before and after, and writes
    the same result folder as `confpress optimize`.

    \b
    Example:
      confpress demo
      confpress demo -o /tmp/demo
    """  # noqa: D301 (\b tells click to keep lines)
    from ..console import check_output_file, print_line, write_json
    from ..demo import run_demo
    from ..tables import print_summary

    if json_file is not None:
        check_output_file(json_file, outside=output)
    result = run_demo(output, command=called)
    write_json(json_file, result.report)
    print_summary(result.report)
    print_line(f"{output / 'report.html'} has the evidence; `confpress optimize` takes your model.")
