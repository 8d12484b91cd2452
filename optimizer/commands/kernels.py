"""``confpress kernels``: what the kernel library can do, and what it uses here."""

from __future__ import annotations

from pathlib import Path

import click

from .options import json_option


@click.command("kernels", short_help="Show the kernel library and the paths it uses.")
@click.option("--path", is_flag=True, help="Print the library's path and nothing else.")
@json_option
def command(path: bool, json_file: Path | None) -> None:
    """Shows what the kernel library was built with, what this processor offers, what is chosen.

    \b
    In your own program, models of target `cpu` run fast after:
      options = onnxruntime.SessionOptions()
      options.register_custom_ops_library("$(confpress kernels --path)")
    """  # noqa: D301 (\b tells click to keep lines)
    from ...runtime.kernels import describe, library_path
    from ..console import Column, check_output_file, print_line, print_table, write_json

    if json_file is not None:
        check_output_file(json_file)
    if path:
        print_line(str(library_path()))
        return
    info = describe()
    write_json(json_file, info)
    print_table(
        str(info.path),
        [Column("path"), Column("built in"), Column("this processor"), Column("chosen")],
        [
            [
                name,
                "yes" if name in info.built else "no",
                "yes" if name in info.available else "no",
                "yes" if name == info.chosen else "",
            ]
            for name in dict.fromkeys((*info.built, *info.available))
        ],
    )
    print_line(f"for GPUs (CUDA): {', '.join(info.cuda) or 'nothing'}")
    print_line(f"compiled by {info.compiler}")
