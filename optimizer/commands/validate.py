"""``confpress validate``: what two models say about the same speech."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

import click

from .options import (
    PATH,
    FiniteRange,
    chunk_option,
    frontend_option,
    json_option,
    no_cache_option,
    on_undecided_option,
    subset_option,
    threads_option,
    tokens_option,
)

if TYPE_CHECKING:
    from ...runtime.session import Provider
    from ..gate import Outcome


@click.command("validate", short_help="Compare two models: outputs and word error rate.")
@click.argument("reference", metavar="A", type=PATH)
@click.argument("candidate", metavar="B", type=PATH)
@click.option(
    "--data",
    type=PATH,
    metavar="DIR",
    help="Speech: a folder of audio or a manifest.tsv. With texts, word error rates are "
    "compared; without them, what the two models heard. Without --data, only outputs on noise.",
)
@subset_option
@click.option(
    "--batch-size",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    metavar="N",
    help="Utterances that are transcribed together.",
)
@click.option(
    "--max-wer-increase",
    type=FiniteRange(min=0),
    metavar="X",
    help="Percentage points of word error rate that B may lose; see the exit status below.",
)
@on_undecided_option
@click.option(
    "--layers",
    is_flag=True,
    help="Show module by module where the error enters (the error that a module adds when it is "
    "fed what A's module is fed, and the error after it).",
)
@click.option(
    "--provider",
    type=click.Choice(["cpu", "cuda"]),
    default="cpu",
    show_default=True,
    help="Execution provider that runs B; A runs on the CPU.",
)
@chunk_option
@frontend_option
@tokens_option
@threads_option
@no_cache_option
@json_option
def command(
    reference: Path,
    candidate: Path,
    data: Path | None,
    subset: str | None,
    batch_size: int,
    max_wer_increase: float | None,
    on_undecided: Outcome | None,
    layers: bool,
    provider: Provider,
    chunk: float | None,
    frontend: Path | None,
    tokens: Path | None,
    threads: int | None,
    no_cache: bool,
    json_file: Path | None,
) -> int:
    """Compares model B with model A: their outputs, and the words they hear.

    Outputs are compared at two lengths and two batch sizes. Word error rates come with 95 %
    bootstrap intervals, their difference with one that is paired. Speakers are drawn where all are
    known and there are at least eight, else utterances.

    Streaming models (those that hand states on) are compared chunk by chunk, with carried states:
    outputs over 200 chunks, whether errors grow along them, and the time that a chunk takes.

    What models heard is kept in the user's cache, utterance by utterance: an interrupted run goes
    on, and what is known is not computed again (--no-cache does).

    \b
    Examples:
      confpress validate model.onnx out/cpu/model.onnx --data test.tsv
      confpress validate a.onnx b.onnx --data calls/ --max-wer-increase 0.5
      confpress validate model.onnx out/portable/model.onnx --layers

    \b
    Exit status:
      0  done; with --max-wer-increase: passed, the 95 % interval lies within the limit
      1  error
      2  wrong usage
      3  --max-wer-increase: failed, the interval lies above the limit
      4  --max-wer-increase: undecided, the interval contains the limit
    """  # noqa: D301 (\b tells click to keep lines)
    from ...passes.errors import ConfpressError
    from ...runtime.cache import Cache
    from ...runtime.recognition.asr import AsrModel
    from ...runtime.session import SessionOptions
    from ...runtime.speech.manifest import load_utterances
    from ..console import check_output_file, print_line, user_cache, write_json
    from ..gate import exit_status, judge
    from ..known_validation import validate_once
    from ..tables import print_modules, print_outputs, print_speech, print_stream

    if json_file is not None:
        check_output_file(json_file, [reference, candidate, data, frontend, tokens])
    utterances = load_utterances(data, subset) if data else []
    if layers and provider != "cpu":
        raise ConfpressError("--layers compares on the CPU.")
    if max_wer_increase is not None and not any(u.text for u in utterances):
        raise ConfpressError("a limit on the word error rate needs speech with texts: give --data.")
    options = SessionOptions(threads=threads or 1)
    models = [AsrModel.load(path, frontend, tokens, chunk) for path in (reference, candidate)]
    once = validate_once(
        models[0],
        models[1],
        utterances,
        options,
        candidate_options=dataclasses.replace(options, provider=provider),
        batch_size=batch_size,
        layers=layers,
        cache=Cache() if no_cache else user_cache(),
    )
    found, modules = once.validation, once.modules
    verdict = None
    if max_wer_increase is not None and found.speech is not None:
        verdict = judge({str(candidate): found.speech}, max_wer_increase)
    write_json(json_file, {"validation": found, "modules": modules, "verdict": verdict})
    print_outputs(found)
    print_stream(found.stream)
    if modules is not None:
        print_modules(modules)
    print_speech(found)
    if verdict is None:
        return 0
    print_line(verdict.sentence)
    return exit_status(verdict.outcome, on_undecided)
