"""``confpress train``: a Conformer-CTC on speech with texts."""

from __future__ import annotations

from pathlib import Path

import click

from .options import PATH, epochs_option, minutes_option


@click.command("train", short_help="Train a Conformer-CTC (extra `train`).")
@click.option(
    "--data",
    type=PATH,
    required=True,
    metavar="DIR",
    help="Speech with texts to learn from: a folder with a manifest.tsv.",
)
@click.option(
    "--subset", metavar="TEXT", help="Learn only from files whose path contains this text."
)
@click.option(
    "--validation",
    type=PATH,
    required=True,
    metavar="DIR",
    help="Other speech with texts; the weights with its lowest error rate are kept.",
)
@click.option(
    "--validation-subset",
    metavar="TEXT",
    help="Validate only on files whose path contains this text.",
)
@click.option(
    "-o",
    "--output",
    type=PATH,
    required=True,
    metavar="WORK",
    help="Folder of the checkpoints; a run that was stopped goes on from there.",
)
@click.option(
    "--config",
    type=PATH,
    metavar="FILE",
    help="TOML with the sections `model`, `training` and `frontend`.",
)
@epochs_option(50)
@minutes_option
def command(
    data: Path,
    subset: str | None,
    validation: Path,
    validation_subset: str | None,
    output: Path,
    config: Path | None,
    epochs: int | None,
    minutes: float | None,
) -> None:
    """Trains a Conformer-CTC over characters, on this computer's processor.

    WORK holds `best.pt`, for `confpress export`, and `last.pt`, to go on from.

    \b
    Example:
      confpress train --data an4 --subset /an4_clstk/ --validation an4 \\
          --validation-subset /an4_clstk/fejs -o work --minutes 60
      confpress export work/best.pt -o model.onnx
    """  # noqa: D301 (\b tells click to keep lines)
    from ..console import print_line, print_step
    from ..text import percent
    from ..training.torch_extra import import_models
    from ..training.train import load_data, train

    import_models("training.loop")
    overrides = {name: value for name, value in (("epochs", epochs), ("minutes", minutes)) if value}
    spoken = load_data(data, validation, subset, validation_subset)
    best = train(spoken, output, config, overrides, print_step)
    print_line(f"{output / 'best.pt'}: word error rate {percent(best)} on the validation speech.")
