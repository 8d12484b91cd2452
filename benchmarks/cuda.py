"""Everything that is to be known of CUDA, in one run on a machine with a GPU.

    cmake -B build -DCONFPRESS_CUDA=ON && cmake --build build
    python benchmarks/cuda.py model.onnx --data test/ --out cuda

Three parts, which write their tables to OUT/cuda.md and their numbers to OUT/cuda.json after every
row; a row that fails is written down with its reason, and the others go on. What touches the GPU
has a process of its own.

`words`: word error rates of the float16 and low-bit models on the GPU against float32 on the
CPU.
`layers`: sparse layers, balanced and 2:4, and dense int8 ones against dense ones, float32 without
and with TF32 and float16, under CUDA graphs, with the floor that bytes and operations set.
`models`: whole models at batch 1 and 32 of 10 s and at chunks of 0.64 s, where their operators run,
and what is copied between devices.

`--provider cpu` tries all of it on a machine without a GPU; its times mean nothing for one.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass, field
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Final

import click
import numpy as np
import onnx_ir as ir
import onnxruntime as ort
from confpress.optimizer.known_validation import validate_once
from confpress.optimizer.recipe.recipe import Recipe
from confpress.optimizer.stages import preparation
from confpress.passes.base import run
from confpress.passes.errors import ConfpressError
from confpress.passes.format_plan import FormatPlan, LayerFormat
from confpress.passes.linear import matmul_layers
from confpress.passes.lower.cuda import LowerCuda
from confpress.passes.lower.float16 import Float16
from confpress.passes.quantize import Quantize
from confpress.passes.rewrites.versions import MinimiseVersions
from confpress.passes.sparsify import Sparsify
from confpress.runtime.audit.placement import Placement, placement
from confpress.runtime.benchmark.bench import BenchOptions, BenchResult, bench
from confpress.runtime.cache import Cache
from confpress.runtime.kernels import describe
from confpress.runtime.model_file import load_model, save_model
from confpress.runtime.profile.operators import profile
from confpress.runtime.recognition.asr import AsrModel
from confpress.runtime.session import Provider, SessionOptions, create_session
from confpress.runtime.speech.manifest import Utterance, load_utterances
from confpress.runtime.validation.validate import Validation
from cuda_layers import Peaks, Timing, check, measure, sides

#: Data sheets, dense and without boost beyond what they say: gigabytes/s, TFLOPS of float32, TF32
#: and float16 with sums in float32; and what 64 lanes of `dp4a` a multiprocessor do at that rate: 4
#: times float32 on A100, 2 times on the others, which have 128 lanes for float32.
#: By the names that nvidia-smi gives, as a part of a name is another GPU: A10, A100 and A10G.
PEAKS: Final = {
    "A100-SXM4-40GB": Peaks(1555, 19.5, 156, 312, 78),
    "A100-SXM4-80GB": Peaks(2039, 19.5, 156, 312, 78),
    "H100 80GB HBM3": Peaks(3350, 67, 494, 989, 134),
    "H100 PCIe": Peaks(2000, 51, 378, 756, 102),
    "H200": Peaks(4800, 67, 494, 989, 134),
    "A10": Peaks(600, 31.2, 62.5, 125, 62.5),
}
SHAPES = "256x1024,512x512,512x2048,2048x512,4096x4096,4096x8192"
FRAMES = "1,16,64,128,400"
CASES = "10x1,10x32,0.64x1"


class Report:
    """What was found, in two files that are complete after every step."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.found: dict[str, object] = {}
        self.sections: dict[str, str] = {}

    def put(self, key: str, value: object, *lines: str) -> None:
        """Writes a section, in place of what it was."""
        self.found[key] = value
        self.sections[key] = "\n".join(lines)
        text = json.dumps(self.found, indent=1, default=str)
        (self.folder / "cuda.json").write_text(text, encoding="utf-8")
        sections = "\n\n".join(self.sections.values())
        (self.folder / "cuda.md").write_text(f"{sections}\n", encoding="utf-8")

    def show(self, key: str) -> None:
        """Prints a section."""
        click.echo(f"{self.sections[key]}\n")


@dataclass(frozen=True)
class Job:
    """What every part needs."""

    original: AsrModel
    folder: Path
    provider: Provider
    rounds: int
    cases: tuple[tuple[float, int], ...]
    report: Report

    @property
    def session(self) -> SessionOptions:
        return SessionOptions(provider=self.provider)


def table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> list[str]:
    """Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return [f"| {' | '.join(str(cell) for cell in line)} |" for line in lines]


def attempt(function: Callable[..., Any], *arguments: object) -> tuple[Any, str]:
    """The result, or why there is none: whatever fails here must not stop the other parts."""
    try:
        return function(*arguments), ""
    except Exception as error:
        text = " ".join(str(error).split())[:1000]
        return None, text if isinstance(
            error, ConfpressError
        ) else f"{type(error).__name__}: {text}"


def apart(function: Callable[..., Any], *arguments: object) -> tuple[Any, str]:
    """`attempt` in a process of its own.

    A kernel that reads what is not its own leaves CUDA useless to the rest of its process, and
    ONNX Runtime ends a process in which a CUDA graph could not be recorded.
    """
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        try:
            found: tuple[Any, str] = pool.submit(attempt, function, *arguments).result()
        except BrokenProcessPool:
            return None, "its process ended without a reason; what it printed may have one"
    return found


def gpu_name() -> str:
    """The first GPU and its driver; "none" without one."""
    command = ["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"]
    said, _ = attempt(lambda: subprocess.run(command, capture_output=True, text=True, check=True))
    return said.stdout.strip().splitlines()[0] if said is not None else "none"


# Models ------------------------------------------------------------------------------------------


def plan_of(model: ir.Model, form: LayerFormat) -> FormatPlan:
    """The same format for every linear layer."""
    return FormatPlan(layers={layer.id: form for layer in matmul_layers(model.graph)})


def passes_of(name: str, model: ir.Model) -> list[ir.passes.PassBase]:
    """From the prepared float32 model to a target's, but for float16."""
    match name:
        case "float16":
            return [LowerCuda()]
        case "int8 weights":
            form = LayerFormat(weight="int8")
        case "int4 weights":
            form = LayerFormat(weight="int4", block=32, method="mse")
        case "FP8 weights":
            form = LayerFormat(weight="fp8")
        case _:
            pattern = name.removeprefix("sparse ")
            return [Sparsify(pattern=pattern, least_energy=0.0), LowerCuda(sparse=True)]
    return [Quantize(convolution="float32", plan=plan_of(model, form)), LowerCuda()]


MODELS: Final = (
    "float16",
    "int8 weights",
    "int4 weights",
    "FP8 weights",
    "sparse 8:64",
    "sparse 2:4",
)


def models(job: Job) -> Iterator[tuple[str, AsrModel | None, str]]:
    """Every model that can be made and loaded, and why the others cannot."""
    yield "float32", job.original, ""
    for name in MODELS:
        path = job.folder / f"{name.replace(' ', '-').replace(':', '-')}.onnx"
        yield name, *apart(make, job.original, name, path, job.session)


def make(original: AsrModel, name: str, path: Path, options: SessionOptions) -> AsrModel:
    """A model that can be loaded."""
    model = load_model(original.path)
    run(preparation(Recipe()), model)
    model = run([*passes_of(name, model), Float16(), MinimiseVersions(widened=True)], model).model
    save_model(model, path)
    made = original.with_model(path)
    create_session(path, options)
    return made


# Parts -------------------------------------------------------------------------------------------


def words(
    job: Job,
    made: Sequence[tuple[str, AsrModel | None, str]],
    utterances: Sequence[Utterance],
) -> None:
    """Word error rates against float32 on the CPU."""
    if not utterances:
        job.report.put("words", {}, "## Words", "", "No speech was given (--data).")
        return
    head = ["model", "WER", "points over float32 on the CPU (95 %)", "utterances that changed"]
    compared = partial(
        validate_once,
        candidate_options=job.session,
        batch_size=1,
        layers=False,
        cache=Cache(job.folder / "cache"),
    )
    found, rows = {}, []
    for name, model, why in made:
        if name.startswith("sparse"):
            continue  # its zeros were set without training: speed only
        known, reason = (
            apart(compared, job.original, model, utterances, SessionOptions())
            if model is not None
            else (None, why)
        )
        if known is None:
            rows.append([name, reason, "", ""])
        else:
            found[name] = known.validation.model_dump(mode="json")
            rows.append([name, *_words_row(known.validation)])
        job.report.put("words", found, "## Words", "", *table(head, rows))


def _words_row(validation: Validation) -> list[object]:
    rates = validation.speech.words
    low, high = (100 * bound for bound in _ends(rates.difference_interval))
    return [
        f"{100 * rates.candidate.rate:.2f} %",
        f"{100 * rates.difference:+.2f} ({low:+.2f} to {high:+.2f})",
        validation.speech.changed,
    ]


def _ends(interval: Any) -> tuple[float, float]:
    return (interval.low, interval.high) if hasattr(interval, "low") else tuple(interval)


@dataclass
class Layers:
    """What was found of layers: times, differences from bodies of every side, and what failed."""

    timings: list[Timing] = field(default_factory=list)
    errors: dict[str, list[float]] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)

    def lines(self) -> list[str]:
        """Markdown."""
        rows = [
            [
                f"{each.k} → {each.n}",
                each.frames,
                "yes" if each.graph else "no",
                *(_cell(each, name) for name in self.errors),
            ]
            for each in self.timings
        ]
        # Python's own maximum would pass over a NaN.
        errors = (f"{name} {np.max(each):.1e}" for name, each in self.errors.items() if each)
        return [
            "## Layers",
            "",
            "Float32 without TF32 in µs; the others as many times as fast as it, in brackets the "
            "floor of bytes and operations as a share of the time.",
            "",
            *table(["K → N", "frames", "CUDA graph", *self.errors], rows),
            "",
            "Largest difference from the function's body, as a share of the largest output: "
            f"{', '.join(errors)}.",
            "",
            *self.failures,
        ]


def layers(job: Job, shapes: str, frames: str, peaks: Peaks | None) -> None:
    """Our layers against ONNX Runtime's dense ones, as far as each can be run and timed."""
    sizes = [(int(k), int(n)) for k, n in (shape.split("x") for shape in shapes.split(","))]
    counts = [int(count) for count in frames.split(",")]
    found = Layers()
    for side in sides():
        errors, reason = apart(check, side.name, sizes, counts, job.provider)
        if errors is None:
            found.failures.append(f"{side.name}: {reason}")
        else:
            found.errors[side.name] = errors
    for k, n in sizes:
        for graph in (True, False) if job.provider == "cuda" else (False,):
            if not _time_layers(job, found, (k, n), counts, graph=graph, peaks=peaks):
                break
        click.echo(f"{k}x{n}: done")


def _time_layers(
    job: Job,
    found: Layers,
    shape: tuple[int, int],
    counts: Sequence[int],
    *,
    graph: bool,
    peaks: Peaks | None,
) -> bool:
    """Takes up the times of one shape; whether anything failed."""
    timed = partial(
        measure,
        names=tuple(found.errors),
        rounds=job.rounds,
        provider=job.provider,
        graph=graph,
        peaks=peaks,
    )
    timings, reason = apart(timed, *shape, counts)
    found.timings += timings or ()
    failed = [
        f"{each.frames} frames, {name}: {why}"
        for each in timings or ()
        for name, why in each.failed.items()
    ] + ([reason] if reason else [])
    how = f"{shape[0]}x{shape[1]}, {'with' if graph else 'without'} CUDA graphs"
    found.failures += [f"{how}, {each}" for each in failed]
    job.report.put("layers", asdict(found), *found.lines())
    return bool(failed)


def _cell(timing: Timing, name: str) -> str:
    if name not in timing.us:
        return ""
    time = f"{timing.us[name]:.1f} µs"
    floor = timing.floor_us.get(name)
    share = "" if floor is None else f" ({floor / timing.us[name]:.0%})"
    if name == "float32" or "float32" not in timing.us:
        return f"{time}{share}"
    return f"{timing.speed_up[name]:.2f}{share}"


def whole(job: Job, made: Sequence[tuple[str, AsrModel | None, str]]) -> None:
    """Whole models, each in turn with float32."""
    head = ["model", *(f"{batch} × {seconds:g} s" for seconds, batch in job.cases), "where it runs"]
    found: dict[str, Any] = {}
    reasons: list[str] = []
    rows: list[list[object]] = []
    for name, model, why in made:
        row: list[object] = [name]
        for seconds, batch in job.cases if model is not None else ():
            case = f"{name}, {batch} × {seconds:g} s"
            best, graph, reason = _bench(job, model, seconds, batch)
            row.append("" if best is None else _time(best, graph))
            if best is not None:
                found[case] = best.model_dump(mode="json")
            if reason:
                reasons.append(f"{case}: {reason}")
        placed, reason = apart(_placed, model, job.session) if model is not None else (None, why)
        row += [""] * (len(head) - 1 - len(row))
        row.append(reason if placed is None else placed.sentence)
        rows.append(row)
        job.report.put(
            "models",
            {**found, "failures": reasons},
            "## Whole models",
            "",
            *table(head, rows),
            "",
            *reasons,
        )


def _time(found: BenchResult, graph: bool) -> str:
    timing = found.cases[0].timings[-1]
    times = "" if timing.speedup is None else f", × {timing.speedup.median:.2f}"
    return f"{timing.p50_ms:.2f} ms{times}{', graph' if graph else ''}"


def _bench(
    job: Job, model: AsrModel, seconds: float, batch: int
) -> tuple[BenchResult | None, bool, str]:
    """With a CUDA graph where that can be recorded, else without, and why not."""
    subjects = [model] if model is job.original else [job.original, model]
    reasons = []
    for graph in (True, False) if job.provider == "cuda" else (False,):
        options = BenchOptions(
            seconds=(seconds,),
            batches=(batch,),
            rounds=job.rounds,
            provider=job.provider,
            cuda_graph=graph,
            memory=False,
        )
        result, reason = apart(bench, subjects, options)
        if result is not None:
            return result, graph, "; ".join(reasons)
        reasons.append(f"{'with' if graph else 'without'} a CUDA graph: {reason}")
    return None, False, "; ".join(reasons)


def _placed(model: AsrModel, options: SessionOptions) -> Placement:
    return placement(profile(model, options, runs=3).nodes, options.provider)


@click.command(help=__doc__)
@click.argument("model", type=click.Path(exists=True, path_type=Path))
@click.option("--data", type=click.Path(exists=True, path_type=Path), help="Speech with texts.")
@click.option("--subset", help="Only utterances whose path contains this text.")
@click.option("--out", type=click.Path(path_type=Path), default=Path("cuda"), show_default=True)
@click.option("--provider", type=click.Choice(["cuda", "cpu"]), default="cuda", show_default=True)
@click.option("--parts", default="words,layers,models", show_default=True)
@click.option("--shapes", default=SHAPES, show_default=True, help="K x N of layers.")
@click.option("--frames", default=FRAMES, show_default=True)
@click.option("--cases", default=CASES, show_default=True, help="Seconds x batch of models.")
@click.option("--rounds", type=click.IntRange(min=3), default=21, show_default=True)
@click.option(
    "--peaks",
    metavar="GB/s,FLOAT32,TF32,FLOAT16,DP4A",
    help="10^12 operations a second, for GPUs that this program does not know.",
)
def main(
    model: Path,
    data: Path | None,
    subset: str | None,
    out: Path,
    provider: Provider,
    parts: str,
    shapes: str,
    frames: str,
    cases: str,
    rounds: int,
    peaks: str | None,
) -> None:
    """Runs the parts; the help is the module's."""
    utterances = load_utterances(data, subset) if data else []
    pairs = [each.split("x") for each in cases.split(",")]
    report = Report(out)
    original = AsrModel.load(model)
    # A run, as a session starts without cuDNN and fails at the first convolution.
    _, reason = apart(_placed, original, SessionOptions(provider=provider))
    if reason:
        raise click.ClickException(reason)
    gpu = gpu_name()
    kernels, why = attempt(describe)
    known = PEAKS.get(gpu.partition(",")[0].removeprefix("NVIDIA "))
    limits = Peaks(*(float(each) for each in peaks.split(","))) if peaks else known
    library = ", ".join(kernels.cuda) if kernels else why
    report.put(
        "machine",
        {"gpu": gpu, "onnxruntime": ort.__version__, "kernels": str(kernels), "peaks": limits},
        f"GPU: {gpu}. ONNX Runtime {ort.__version__}, provider {provider}. The kernel library has "
        f"operators for: {library or 'no GPU (build it with -DCONFPRESS_CUDA=ON)'}. Models in "
        "float32 multiply in TF32 where the GPU has it, ONNX Runtime's default.",
        *([] if limits else ["Floors need --peaks: those of this GPU are not known here."]),
    )
    sizes = tuple((float(seconds), int(batch)) for seconds, batch in pairs)
    job = Job(original, out, provider, rounds, sizes, report)
    report.show("machine")
    chosen = parts.split(",")
    made = list(models(job)) if {"words", "models"} & set(chosen) else []
    if "words" in chosen:
        words(job, made, utterances)
        report.show("words")
    if "layers" in chosen:
        layers(job, shapes, frames, limits)
        report.show("layers")
    if "models" in chosen:
        whole(job, made)
        report.show("models")


if __name__ == "__main__":
    main()
