"""``confpress compare``: several results side by side."""

from __future__ import annotations

from pathlib import Path

import click

from .options import PATH, json_option


@click.command("compare", short_help="Put several results beside each other.")
@click.argument("reports", metavar="REPORT...", type=PATH, nargs=-1, required=True)
@click.option(
    "--html",
    "html_file",
    type=PATH,
    metavar="FILE",
    help="Also write a page with the table and the plot of error rate over latency.",
)
@json_option
def command(reports: tuple[Path, ...], html_file: Path | None, json_file: Path | None) -> None:
    """Puts results of `confpress optimize` beside each other: size, word error rate, latency.

    REPORT is a result folder, or the report.json of one. Where results differ in what they were
    measured on (model, speech, machine, audio), that is said.

    \b
    Examples:
      confpress compare out-int8 out-linear
      confpress compare out-*/report.json --html compare.html
    """  # noqa: D301 (\b tells click to keep lines)
    from ..console import check_output_file, print_line, write_json, write_text
    from ..report.comparison import compare_reports
    from ..report.comparison_html import render_comparison
    from ..tables import print_comparison

    for path in (html_file, json_file):
        if path is not None:
            check_output_file(path, reports)
    found = compare_reports(reports)
    write_json(json_file, found)
    print_comparison(found)
    if html_file is not None:
        write_text(html_file, render_comparison(found))
        print_line(f"{html_file} has the plots.")
