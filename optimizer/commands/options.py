"""Arguments and options that several commands share, so that they mean the same everywhere."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

PATH = click.Path(path_type=Path)


class FiniteRange(click.FloatRange):
    """A number in a range; click's own lets nan through, and infinity where there is no end."""

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """Reads the number, or says that it is none."""
        if not math.isfinite(click.FLOAT.convert(value, param, ctx)):
            self.fail(f"{value} is not a finite number.", param, ctx)
        return float(super().convert(value, param, ctx))


#: Durations of audio: a day at most, so that a slip is not asked of the memory.
SECONDS = FiniteRange(min=0, max=86_400, min_open=True)

model_argument = click.argument("model", type=PATH)

json_option = click.option(
    "--json", "json_file", type=PATH, metavar="FILE", help="Also write the result as JSON."
)

output_option = click.option(
    "-o", "--output", type=PATH, required=True, metavar="OUT.onnx", help="The model to write."
)

frontend_option = click.option(
    "--frontend",
    type=PATH,
    metavar="FILE",
    help="Description of the log-mel features (JSON). By default `frontend.json` beside the "
    "model, or else 80 features as in NeMo's recipes.",
)

instructions_option = click.option(
    "--instructions",
    type=click.Choice(["here", "any", "avx2", "avx512vbmi"]),
    default="here",
    show_default=True,
    help="Where the model will run: avx512vbmi (Ice Lake, Zen 4 and newer) has its own best layout "
    "of zeros for target cpu; on avx2 (x86 without VNNI) int8 weights get 7 bits, as ONNX "
    "Runtime's sums saturate there and our kernels are faster (here does so for target portable "
    "alone); any other processor, or one such as here.",
)

minutes_option = click.option(
    "--minutes",
    type=FiniteRange(min=0, min_open=True),
    metavar="M",
    help="End the schedule after this time, where that is sooner.",
)


def epochs_option(default: int) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """`--epochs` of a training run whose schedule has so many by default."""
    return click.option(
        "--epochs",
        type=click.IntRange(min=1),
        metavar="N",
        help=f"Epochs of the schedule [{default}].",
    )


tokens_option = click.option(
    "--tokens",
    type=PATH,
    metavar="FILE",
    help="Vocabulary, `piece id` a line. By default `tokens.txt` beside the model.",
)

chunk_option = click.option(
    "--chunk",
    type=SECONDS,
    metavar="S",
    help="Streaming models: seconds of audio from one chunk to the next, where the model does not "
    "say [0.64].",
)

threads_option = click.option(
    "--threads", type=click.IntRange(min=1), metavar="N", help="Threads of ONNX Runtime [1]."
)

one_thread_option = click.option(
    "--threads",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    metavar="N",
    help="Threads of ONNX Runtime.",
)

runs_option = click.option(
    "--runs",
    type=click.IntRange(min=1),
    default=10,
    show_default=True,
    metavar="N",
    help="Runs that count; times are medians over them.",
)

speech_option = click.option(
    "--data",
    type=PATH,
    metavar="DIR",
    help="Speech to run on: a folder or a manifest.tsv; without it, noise that resembles speech.",
)

kernels_option = click.option(
    "--kernels/--no-kernels",
    default=True,
    show_default=True,
    help="Whether models of target `cpu` run with the kernel library.",
)

subset_option = click.option(
    "--subset", metavar="TEXT", help="Take only the utterances whose path contains this text."
)

no_cache_option = click.option(
    "--no-cache",
    is_flag=True,
    help="Neither take anything from the user's cache (~/.cache/confpress) nor add to it.",
)

on_undecided_option = click.option(
    "--on-undecided",
    type=click.Choice(["pass", "fail"]),
    help="Exit with the status of this outcome where --max-wer-increase is undecided.",
)

formats_option = click.option(
    "--formats",
    type=click.Choice(["mofq4", "mofq8", "mixed"]),
    help="Choose a number format for each linear layer on the calibration speech. mofq4: int4 or "
    "FP4 weights; mofq8: weights and frames int8 or FP8; mixed: what keeps --max-size, "
    "--max-latency, --max-error, or --max-wer-increase on --selection, best.",
)

max_size_option = click.option(
    "--max-size",
    type=FiniteRange(min=0, min_open=True),
    metavar="MB",
    help="For mixed: megabytes (10^6 bytes) of the file of target portable.",
)

max_latency_option = click.option(
    "--max-latency",
    type=FiniteRange(min=0, min_open=True),
    metavar="MS",
    help="For mixed: milliseconds of all linear layers for 5 s of speech on target cpu, one "
    "thread, measured here.",
)

max_error_option = click.option(
    "--max-error",
    type=FiniteRange(min=0, min_open=True),
    metavar="KL",
    help="For mixed: the smallest file whose layers change the scores by at most this much "
    "together (KL a frame).",
)

selection_option = click.option(
    "--selection",
    type=PATH,
    metavar="DIR",
    help="For mixed: speech with texts, a folder or a manifest.tsv, on which the smallest file "
    "raises the word error rate by at most --max-wer-increase, found in six trials. It may share "
    "no audio with other speech.",
)

selection_subset_option = click.option(
    "--selection-subset",
    metavar="TEXT",
    help="Choose formats only by files of --selection whose path contains this text.",
)

repair_option = click.option(
    "--repair",
    type=click.Choice(["gptq", "bias", "both"]),
    help="Repair the layers that get codes on the calibration speech: gptq makes rounding errors "
    "good in the rows that follow, bias keeps the mean of outputs.",
)

format_plan_option = click.option(
    "--format-plan",
    type=PATH,
    metavar="PLAN.json",
    help="The formats of linear layers, as `confpress quantize --save-plan` wrote or you edited "
    "them.",
)
