"""``confpress finetune``: a checkpoint with fewer or smaller weights, trained to do as before."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from .options import PATH, FiniteRange, epochs_option, json_option, minutes_option


@click.command("finetune", short_help="Train a checkpoint to do with fewer, smaller weights.")
@click.argument("checkpoint", type=PATH)
@click.option(
    "--data",
    type=PATH,
    required=True,
    multiple=True,
    metavar="DIR",
    help="Speech to learn from, without texts; may be given several times.",
)
@click.option(
    "--exclude",
    metavar="TEXT",
    help="Learn from no file whose path contains this text, such as those of a test.",
)
@click.option(
    "--validation",
    type=PATH,
    metavar="DIR",
    help="Other speech, to keep the best weights by; without it every 20th recording is held out.",
)
@click.option(
    "-o",
    "--output",
    type=PATH,
    required=True,
    metavar="WORK",
    help="Folder of the result; a run that was stopped goes on from there.",
)
@click.option(
    "--sparse",
    metavar="N:M",
    help="Keep N of every M neighbouring weights of a row: 4:16, 16:64, 2:4 and others.",
)
@click.option(
    "--keep",
    type=FiniteRange(0, 1, min_open=True, max_open=True),
    metavar="SHARE",
    help="Leave out units, heads, channels and modules until this share of parameters is left.",
)
@click.option(
    "--bits",
    type=click.IntRange(2, 8),
    metavar="B",
    help="Learn with weights of B bits, in blocks of 32 inputs.",
)
@click.option(
    "--experts",
    type=click.IntRange(2),
    metavar="E",
    help="Divide feed-forward modules into E parts, of which each frame goes through one.",
)
@click.option(
    "--config",
    type=PATH,
    metavar="FILE",
    help="TOML with the sections `training`, `distillation`, `hearing`, `experts`, `gates`, "
    "`sparsity` and `low_bit`.",
)
@epochs_option(20)
@minutes_option
@json_option
def command(
    checkpoint: Path,
    data: tuple[Path, ...],
    exclude: str | None,
    validation: Path | None,
    output: Path,
    sparse: str | None,
    keep: float | None,
    bits: int | None,
    experts: int | None,
    config: Path | None,
    epochs: int | None,
    minutes: float | None,
    json_file: Path | None,
) -> None:
    """Trains CHECKPOINT to give the scores it gave before with fewer or smaller weights.

    CHECKPOINT is a Conformer-CTC in safetensors under NeMo's names, or `best.pt` of `confpress
    train`. The model as it is teaches: its scores and the outputs of its blocks, on speech that
    needs no texts. WORK holds the result as a checkpoint of the same kind (`model.safetensors` or
    `model.pt`), with zeros and rounded weights in it that the other commands make use of: `prune`
    removes what --keep left out, target `cpu` skips the zeros of --sparse, `quantize` finds the
    codes of --bits again, `optimize` routes frames to the --experts that their gates take.

    \b
    Example:
      confpress finetune conformer.safetensors --data calls/ -o work --sparse 4:16
      confpress export work/model.safetensors -o sparse.onnx
      confpress optimize sparse.onnx -o out --calibration calls/ --validation test.tsv
    """  # noqa: D301 (\b tells click to keep lines)
    from ..console import check_output_file, print_line, print_step, write_json
    from ..training.finetune import finetune, held_out, load_speech
    from ..training.torch_extra import import_models

    import_models("training.loop")
    if json_file is not None:
        check_output_file(json_file, inputs=[checkpoint])
    asked: dict[str, dict[str, Any]] = {
        "training": {"epochs": epochs, "minutes": minutes},
        "sparsity": {"pattern": sparse},
        "gates": {"keep": keep},
        "low_bit": {"bits": bits},
        "experts": {"experts": experts},
    }
    overrides: dict[str, Any] = {
        section: said
        for section, keys in asked.items()
        if (said := {key: value for key, value in keys.items() if value is not None})
    }
    speech = load_speech(data, exclude)
    parts = held_out(speech) if validation is None else (speech, load_speech([validation]))
    done = finetune(checkpoint, parts, output, config, overrides, print_step)
    print_line(
        f"{done.model}: {done.divergence:.4f} nats a frame from {checkpoint.name} on speech held "
        f"out; {done.zeros:,} of {done.parameters:,} parameters are zero."
    )
    write_json(json_file, done)
