"""``confpress quantize``: QDQ nodes alone."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

import click

from .options import (
    PATH,
    FiniteRange,
    format_plan_option,
    formats_option,
    frontend_option,
    json_option,
    max_error_option,
    max_latency_option,
    max_size_option,
    model_argument,
    no_cache_option,
    output_option,
    repair_option,
    selection_option,
    selection_subset_option,
    tokens_option,
)

if TYPE_CHECKING:
    from ..formats.repair import Repair
    from ..formats.wish import Choice

_FORMATS = click.Choice(["int8", "float32"])


@click.command("quantize", short_help="Insert the QDQ nodes of int8 layers.")
@model_argument
@output_option
@click.option(
    "--linear", type=_FORMATS, default="int8", show_default=True, help="Format of linear layers."
)
@click.option(
    "--convolution",
    type=_FORMATS,
    default="int8",
    show_default=True,
    help="Format of the subsampling's convolutions; int8 needs --calibration.",
)
@click.option(
    "--exclude",
    multiple=True,
    metavar="PATTERN",
    help="Layer ids that stay float32, such as 'encoder.layers.0.*'; may be given several times.",
)
@click.option(
    "--calibration",
    type=PATH,
    metavar="DIR",
    help="Speech that sets the ranges of int8 convolutions: a folder or a manifest.tsv.",
)
@click.option(
    "--subset", metavar="TEXT", help="Calibrate only on files whose path contains this text."
)
@formats_option
@click.option(
    "--float-frames",
    is_flag=True,
    help="For mofq4 and mixed: codes are storage, frames stay float32 instead of int8.",
)
@max_size_option
@max_latency_option
@max_error_option
@selection_option
@selection_subset_option
@click.option(
    "--max-wer-increase",
    type=FiniteRange(min=0),
    metavar="X",
    help="For mixed: percentage points of word error rate that the smallest file may lose on "
    "--selection.",
)
@repair_option
@format_plan_option
@click.option(
    "--save-plan", type=PATH, metavar="PLAN.json", help="Write the formats that were chosen."
)
@frontend_option
@tokens_option
@no_cache_option
@json_option
def command(
    model: Path,
    output: Path,
    linear: str,
    convolution: str,
    exclude: tuple[str, ...],
    calibration: Path | None,
    subset: str | None,
    formats: Choice | None,
    float_frames: bool,
    max_size: float | None,
    max_latency: float | None,
    max_error: float | None,
    selection: Path | None,
    selection_subset: str | None,
    max_wer_increase: float | None,
    repair: Repair | None,
    format_plan: Path | None,
    save_plan: Path | None,
    frontend: Path | None,
    tokens: Path | None,
    no_cache: bool,
    json_file: Path | None,
) -> None:
    """Writes MODEL with QuantizeLinear and DequantizeLinear around its layers.

    The model is simplified first and its layers are named, so that patterns can speak of them.
    The result is an interchange model in standard operators; `confpress lower` makes it fast.

    \b
    Examples:
      confpress quantize model.onnx -o qdq.onnx --calibration calls/
      confpress quantize model.onnx -o qdq.onnx --convolution float32 --exclude 'head*'
      confpress quantize model.onnx -o small.onnx --calibration calls/ --formats mofq4 \\
          --save-plan plan.json
      confpress quantize model.onnx -o small.onnx --calibration calls/ --formats mixed \\
          --selection more.tsv --max-wer-increase 0.5
    """  # noqa: D301 (\b tells click to keep lines)
    import onnx_ir as ir

    from ...passes.base import run
    from ...passes.errors import ConfpressError
    from ...passes.format_plan import FormatPlan
    from ...passes.quantize import Quantize
    from ...runtime.fingerprint import digest, model_digest, program_digest
    from ...runtime.recognition.asr import AsrModel
    from ...runtime.speech.content import audio_digests, refuse_overlap
    from ..calibration import calibrated_ranges, load_recordings
    from ..console import check_output_file, print_step, user_cache, write_text
    from ..formats.choose import choose_formats
    from ..formats.sensitivity import Known
    from ..formats.wish import Wish
    from ..formats.words import SelectionSpeech
    from ..job import selection_speech
    from ..recipe.recipe import preset
    from ..stages import preparation
    from .single import run_alone

    recipe = preset("default").replace(
        {
            "quantize": {"linear": linear, "convolution": convolution, "exclude": list(exclude)},
            "calibration": {"subset": subset},
        }
    )
    if format_plan is not None and formats is not None:
        raise ConfpressError("--format-plan says the formats and --formats chooses; give one.")
    if (formats or repair) and calibration is None:
        raise ConfpressError(
            "--formats and --repair need --calibration: speech that shows what matters."
        )
    if repair is not None and formats is None and format_plan is None:
        raise ConfpressError("--repair goes with --formats or --format-plan.")
    if formats is None and (float_frames or save_plan is not None):
        raise ConfpressError("--float-frames and --save-plan go with --formats.")
    limits = (max_size, max_latency, max_error, max_wer_increase)
    if (formats == "mixed") != any(limit is not None for limit in limits):
        raise ConfpressError(
            "--formats mixed goes together with --max-size, --max-latency, --max-error or "
            "--max-wer-increase."
        )
    if (selection is None) != (max_wer_increase is None):
        raise ConfpressError("--selection and --max-wer-increase go together.")
    if save_plan is not None:
        check_output_file(save_plan, inputs=[model, output])
    given = None if format_plan is None else FormatPlan.load(format_plan)
    recordings = None
    known = Known()
    speech = None
    told = set()

    def tell(note: str) -> None:
        if note not in told:
            print_step(note)
        told.add(note)

    if calibration is not None:
        original = AsrModel.load(model, frontend, tokens)
        heard = original.frontend
        recordings = load_recordings(calibration, heard, recipe)
        audio = audio_digests(recordings.utterances, heard.sample_rate)
        if not no_cache:
            known = Known(
                user_cache(),
                digest(program_digest(), model_digest(model), heard, list(audio.values())),
            )
        if selection is not None:
            spoken = selection_speech(selection, selection_subset, original)
            content = audio | audio_digests(spoken, heard.sample_rate)
            refuse_overlap({"calibration": recordings.utterances, "selection": spoken}, content)
            speech = SelectionSpeech(original, spoken, content, known.cache, tell)

    def passes(loaded: ir.Model) -> list[ir.passes.PassBase]:
        prepared = preparation(recipe)
        run(prepared, loaded)
        ranges = {} if recordings is None else calibrated_ranges(loaded, recordings, recipe)
        options = recipe.quantize.model_dump()
        if recordings is None or (formats is None and given is None):
            return [Quantize(**options, ranges=ranges, plan=given)]
        found = choose_formats(
            loaded,
            recordings,
            Wish(
                choice=formats,
                plan=given,
                integer_frames=not float_frames,
                exclude=exclude,
                repair=repair,
                max_bytes=None if max_size is None else round(max_size * 1e6),
                max_milliseconds=max_latency,
                max_error=max_error,
                max_wer_increase=max_wer_increase,
                ranges=ranges if convolution == "int8" else {},
            ),
            known,
            speech,
        )
        if save_plan is not None:
            write_text(save_plan, found.plan.to_json())
        for note in found.notes:
            tell(note)
        return [
            dataclasses.replace(found.quantize, **(options | {"linear": "float32"}), ranges=ranges)
        ]

    run_alone("quantize", model, output, json_file, passes)
