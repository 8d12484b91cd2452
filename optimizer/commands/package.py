"""``confpress package``: a result as a package that runs elsewhere."""

from __future__ import annotations

from pathlib import Path

import click

from .options import PATH, json_option


@click.command("package", short_help="Pack a result for a device or another runtime.")
@click.argument("result", type=PATH)
@click.option(
    "--for",
    "kind",
    type=click.Choice(["bundle", "ort", "sherpa-onnx"]),
    required=True,
    help="`bundle`: everything a device needs beside numpy and ONNX Runtime, programs included. "
    "`ort`: the `portable` model in ORT format, with the kernels that a minimal build needs. "
    "`sherpa-onnx`: metadata and tokens with which sherpa-onnx loads the `portable` model.",
)
@click.option(
    "-o", "--output", type=PATH, metavar="OUT", help="The folder to write [RESULT-<kind>]."
)
@click.option(
    "--target",
    type=click.Choice(["cpu", "portable"]),
    help="Which of the result's models [cpu where there is one, and the kind can take it].",
)
@click.option(
    "--licence", metavar="TEXT", help="Terms of use of the model, for manifest and README."
)
@click.option(
    "--kernel-library",
    "libraries",
    type=PATH,
    multiple=True,
    metavar="FILE",
    help="Kernel library for another architecture, which `bundle` then also has; may be given "
    "several times. This machine's is always there.",
)
@json_option
def command(
    result: Path,
    kind: str,
    output: Path | None,
    target: str | None,
    licence: str | None,
    libraries: tuple[Path, ...],
    json_file: Path | None,
) -> None:
    """Packs RESULT, a folder of `confpress optimize`, and checks the package by running it.

    OUT gets a folder named after the kind and the same as a tar. Made again from the same result,
    the tar is equal bit for bit (but for `ort`, which ONNX Runtime writes). The package is unpacked
    elsewhere and must hear in some clips what the result's model hears; else nothing is written.

    \b
    Examples:
      confpress package out --for bundle
      confpress package out --for bundle --target portable -o device --licence "CC BY 4.0"
      confpress package out --for bundle --kernel-library arm/libconfpress_kernels.so
      confpress package out --for sherpa-onnx
    """  # noqa: D301 (\b tells click to keep lines)
    from ...runtime.progress import progress
    from ..console import check_output_file, print_line, write_json
    from ..package.build import KINDS, build
    from ..package.bundle import Bundle
    from ..text import size

    chosen = output or Path(f"{result.resolve()}-{kind}")
    if json_file is not None:
        check_output_file(json_file, [result], outside=chosen)
    if libraries and kind != "bundle":
        raise click.UsageError("--kernel-library is for bundles: only they have kernel libraries.")
    packed_as = Bundle(libraries=libraries) if libraries else KINDS[kind]
    with progress(f"Packing {result} for {kind}", None):
        built = build(result, packed_as, chosen, target=target, licence=licence)
    write_json(json_file, built.manifest)
    packed = sum(entry.bytes for entry in built.manifest.files.values())
    print_line(f"{built.folder} ({len(built.manifest.files) + 1} files, {size(packed)})")
    print_line(f"{built.archive} ({size(built.archive.stat().st_size)})")
    print_line(built.checked.sentence)
