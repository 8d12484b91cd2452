"""``confpress export``: a trained checkpoint to ONNX."""

from __future__ import annotations

from pathlib import Path

import click

from .options import PATH, output_option


@click.command("export", short_help="Write a trained checkpoint as ONNX (extra `train`).")
@click.argument("checkpoint", type=PATH)
@output_option
@click.option(
    "--exporter",
    type=click.Choice(["torchscript", "dynamo"]),
    default="torchscript",
    show_default=True,
    help="Which of torch's exporters writes the graph.",
)
@click.option(
    "--opset",
    type=click.IntRange(min=11),
    metavar="N",
    help="Version of the ONNX operators [17; 18 for dynamo].",
)
def command(checkpoint: Path, output: Path, exporter: str, opset: int | None) -> None:
    """Writes CHECKPOINT as an ONNX model with dynamic batch and time.

    CHECKPOINT is `best.pt` of `confpress train`, or a Conformer-CTC in safetensors under NeMo's
    names. With the former, the vocabulary and the front end are written beside the model.

    \b
    Examples:
      confpress export work/best.pt -o model.onnx
      confpress export stt_en_conformer_ctc_small.safetensors -o model.onnx --exporter dynamo
    """  # noqa: D301 (\b tells click to keep lines)
    from ...runtime.model_file import file_bytes
    from ..console import check_output_file, print_line
    from ..text import size
    from ..training.export import export_checkpoint

    check_output_file(output, inputs=[checkpoint])
    for path in export_checkpoint(checkpoint, output, exporter, opset):
        shown = file_bytes(path) if path == output else path.stat().st_size
        print_line(f"{path} {size(shown)}")
