"""``confpress transcribe``: the quickest way to hear whether a model still works."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .options import (
    PATH,
    chunk_option,
    frontend_option,
    json_option,
    model_argument,
    threads_option,
    tokens_option,
)

if TYPE_CHECKING:
    import onnxruntime as ort

    from ...runtime.recognition.asr import AsrModel
    from ...runtime.speech.manifest import Utterance


@click.command("transcribe", short_help="Print what a model hears in audio files.")
@model_argument
@click.argument("audio", type=PATH, nargs=-1, required=True)
@click.option(
    "--stream",
    is_flag=True,
    help="Feed a streaming model chunk by chunk and print the text as it grows.",
)
@chunk_option
@frontend_option
@tokens_option
@threads_option
@json_option
def command(
    model: Path,
    audio: tuple[Path, ...],
    stream: bool,
    chunk: float | None,
    frontend: Path | None,
    tokens: Path | None,
    threads: int | None,
    json_file: Path | None,
) -> None:
    """Transcribes AUDIO (files, or folders of them) with MODEL, by greedy CTC decoding.

    \b
    Examples:
      confpress transcribe out/cpu/model.onnx call.flac
      confpress transcribe streaming.onnx call.flac --stream
    """  # noqa: D301 (\b tells click to keep lines)
    from ...runtime.recognition.asr import AsrModel
    from ...runtime.session import SessionOptions, create_session
    from ..console import check_output_file, write_json

    if json_file is not None:
        check_output_file(json_file, inputs=[model, *audio, frontend, tokens])
    utterances = _utterances(audio)
    recogniser = AsrModel.load(model, frontend, tokens, chunk)
    session = create_session(recogniser.path, SessionOptions(threads=threads or 1))
    hear = _stream if stream else _whole
    write_json(json_file, hear(recogniser, session, utterances))


def _utterances(audio: Sequence[Path]) -> list[Utterance]:
    """Files, and those of folders."""
    from ...passes.errors import ConfpressError
    from ...runtime.speech.audio import audio_seconds
    from ...runtime.speech.manifest import Utterance, load_utterances

    utterances: list[Utterance] = []
    for path in audio:
        if path.is_dir():
            utterances += load_utterances(path)
        elif path.is_file():
            utterances.append(Utterance(path.stem, path, audio_seconds(path)))
        else:
            raise ConfpressError(f"there is no audio file {path}.")
    return utterances


def _whole(
    model: AsrModel, session: ort.InferenceSession, utterances: Sequence[Utterance]
) -> list[dict[str, Any]]:
    """Prints a table of texts, and returns it for machines."""
    from ...runtime.recognition.asr import transcribe
    from ..console import Column, print_table

    found = transcribe(model, session, utterances)
    print_table(
        "",
        [Column("audio"), Column("seconds", number=True), Column("text")],
        [[str(u.path), f"{u.seconds:.1f}", t.text] for u, t in zip(utterances, found, strict=True)],
    )
    return [
        {"path": str(u.path), "seconds": u.seconds, "text": t.text}
        for u, t in zip(utterances, found, strict=True)
    ]


def _stream(
    model: AsrModel, session: ort.InferenceSession, utterances: Sequence[Utterance]
) -> list[dict[str, Any]]:
    """Prints each text as it grows, and returns the texts after every chunk."""
    from statistics import median

    from ...runtime.recognition.live import Partial, transcribe_live
    from ...runtime.speech.audio import read_audio
    from ..console import print_line
    from ..text import milliseconds

    heard = []
    for utterance in utterances:
        audio = read_audio(utterance.path, model.frontend.sample_rate)
        partials: list[Partial] = []
        printed = 0
        for partial in transcribe_live(model, session, model.frontend.features(audio)):
            if not partials:
                click.echo(f"{utterance.path}: ", nl=False)
            click.echo(partial.text[printed:], nl=False)
            printed = len(partial.text)
            partials.append(partial)
        click.echo()
        times = [partial.milliseconds for partial in partials]
        print_line(
            f"{utterance.seconds:.1f} s in {len(partials)} chunks, each in "
            f"{milliseconds(median(times))} (median), {milliseconds(max(times))} (longest)"
        )
        text = partials[-1].text
        heard.append(
            {"path": str(utterance.path), "seconds": utterance.seconds, "text": text}
            | {"chunks": partials}
        )
    return heard
