"""``confpress unpack``: a package's archive, verified."""

from __future__ import annotations

from pathlib import Path

import click

from .options import PATH, json_option


@click.command("unpack", short_help="Unpack and verify a package.")
@click.argument("archive", type=PATH)
@click.option(
    "-o", "--output", type=PATH, required=True, metavar="OUT", help="The folder to write."
)
@json_option
def command(archive: Path, output: Path, json_file: Path | None) -> None:
    """Unpacks ARCHIVE, a tar of `confpress package`, and compares every file with its manifest.

    Links, paths that leave OUT, files that the manifest does not list and files whose SHA-256
    differs are refused, and nothing is written.

    \b
    Example:
      confpress unpack out-bundle/bundle.tar -o recogniser
    """  # noqa: D301 (\b tells click to keep lines)
    from ..console import check_output_file, print_line, write_json
    from ..package.archive import unpack

    if json_file is not None:
        check_output_file(json_file, [archive], outside=output)
    manifest = unpack(archive, output)
    write_json(json_file, manifest)
    print_line(f"{output} is what its manifest says.")
