"""``confpress transcribe``: the quickest way to hear whether a model still works."""

from __future__ import annotations

from pathlib import Path

import click

from .options import (
    PATH,
    frontend_option,
    json_option,
    model_argument,
    threads_option,
    tokens_option,
)


@click.command("transcribe", short_help="Print what a model hears in audio files.")
@model_argument
@click.argument("audio", type=PATH, nargs=-1, required=True)
@frontend_option
@tokens_option
@threads_option
@json_option
def command(
    model: Path,
    audio: tuple[Path, ...],
    frontend: Path | None,
    tokens: Path | None,
    threads: int | None,
    json_file: Path | None,
) -> None:
    """Transcribes AUDIO (files, or folders of them) with MODEL, by greedy CTC decoding.

    \b
    Example:
      confpress transcribe out/cpu/model.onnx call.flac
    """  # noqa: D301 (\b tells click to keep lines)
    from ...passes.errors import ConfpressError
    from ...runtime.asr import AsrModel, transcribe
    from ...runtime.session import SessionOptions, create_session
    from ...runtime.speech.audio import audio_seconds
    from ...runtime.speech.manifest import Utterance, load_utterances
    from ..console import Column, check_output_file, print_table, write_json

    if json_file is not None:
        check_output_file(json_file, inputs=[model, *audio])
    utterances: list[Utterance] = []
    for path in audio:
        if path.is_dir():
            utterances += load_utterances(path)
        elif path.is_file():
            utterances.append(Utterance(path.stem, path, audio_seconds(path)))
        else:
            raise ConfpressError(f"there is no audio file {path}.")
    recogniser = AsrModel.load(model, frontend, tokens)
    session = create_session(model, SessionOptions(threads=threads or 1))
    found = transcribe(recogniser, session, utterances)
    write_json(
        json_file,
        [
            {"path": str(u.path), "seconds": u.seconds, "text": t.text}
            for u, t in zip(utterances, found, strict=True)
        ],
    )
    print_table(
        "",
        [Column("audio"), Column("seconds", number=True), Column("text")],
        [[str(u.path), f"{u.seconds:.1f}", t.text] for u, t in zip(utterances, found, strict=True)],
    )
