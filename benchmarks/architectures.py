"""Three Conformers through the whole pipeline: what each target gains, and what is left.

    taskset -c 0 python benchmarks/architectures.py DATA WORK --markdown docs/architectures.md

DATA is the folder that docs/data.md describes; its Conformer-CTC is the first model. The second is
the FastConformer of transformers (Parakeet's encoder, 17 layers of width 512), the third a
Conformer of models/ (6 layers of width 256 under a stated length); both have seeded random weights,
so they tell of speed only, as do the sparse variants of all three, whose weights nobody trained
again.
Needs `pip install '.[train]' transformers`. Models made by an earlier run in WORK are taken as they
are.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path

import click
import confpress
from confpress.optimizer.recipe.recipe import load_recipe
from confpress.runtime.benchmark.bench import BenchOptions, BenchResult, bench
from confpress.runtime.environment import describe_environment
from confpress.runtime.model_file import file_bytes
from confpress.runtime.profile.modules import ModuleProfile, profile_modules
from confpress.runtime.recognition.asr import AsrModel
from onnxruntime.quantization import QuantType, quantize_dynamic

SHARED = "models/nemo_conformer_ctc_small/model.onnx"
CALIBRATION = "data/librispeech/train_clean_calibration"
SPARSE = ("4:16", "2:16")
#: What is profiled, to say what is left.
PROFILED = ("portable", "cpu")


def parakeet(path: Path) -> None:
    """Exports the encoder of transformers' Parakeet, 109 million parameters."""
    import torch
    from transformers import ParakeetEncoder, ParakeetEncoderConfig

    class Encoder(torch.nn.Module):
        def __init__(self, inner: torch.nn.Module) -> None:
            super().__init__()
            self.inner = inner

        def forward(self, features: torch.Tensor) -> torch.Tensor:
            return self.inner(features).last_hidden_state  # type: ignore[no-any-return]

    torch.manual_seed(0)
    config = ParakeetEncoderConfig(
        hidden_size=512,
        num_hidden_layers=17,
        num_attention_heads=8,
        intermediate_size=2048,
        num_mel_bins=80,
    )
    model = Encoder(ParakeetEncoder(config)).eval()
    axes = {"features": {0: "batch", 1: "time"}, "encoded": {0: "batch", 1: "frames"}}
    torch.onnx.export(
        model,
        (torch.randn(3, 211, 80),),
        path,
        dynamo=False,
        opset_version=17,
        input_names=["features"],
        output_names=["encoded"],
        dynamic_axes=axes,
    )


def own(path: Path) -> None:
    """Exports a Conformer of models/: 6 layers, d 256, subsampling by 4, with a length mask."""
    import torch
    from confpress.models.config import ConformerConfig
    from confpress.models.ctc import ConformerCTC
    from confpress.models.export import export_onnx

    torch.manual_seed(0)
    config = ConformerConfig(
        vocabulary=1024, d_model=256, layers=6, ff_dim=1024, subsampling_channels=256
    )
    export_onnx(ConformerCTC(config).eval(), path)


#: By name, what writes the model; the shared one is there already.
MADE: Mapping[str, Callable[[Path], None]] = {
    "FastConformer, 17 × 512": parakeet,
    "Conformer, 6 × 256": own,
}


def dynamic(original: Path, path: Path, operators: list[str] | None) -> None:
    """ONNX Runtime's own int8: dynamic activations, per output channel."""
    quantize_dynamic(
        original,
        path,
        op_types_to_quantize=operators,
        per_channel=True,
        weight_type=QuantType.QInt8,
    )


def once(path: Path, make: Callable[[Path], object]) -> Path:
    """The path, made if it is not there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        make(path)
    return path


def variants(original: Path, work: Path, calibration: Path) -> dict[str, Path]:
    """Everything that is compared, the original first."""
    quiet = {
        "bench": {"enabled": False},
        "lower": {"measure": False},
        "proof": {"enabled": False},
    }
    recipes = {
        "float32 rewritten": load_recipe(preset_name="lossless").replace(quiet),
        "int8": load_recipe().replace(quiet),
        **{
            pattern: load_recipe().replace(
                quiet
                | {"sparsify": {"pattern": pattern, "least_energy": 0.0}}
                | {"lower": {"targets": ["cpu"], "measure": False}}
            )
            for pattern in SPARSE
        },
    }
    results = {
        name: once(
            work / name.replace(":", "-").replace(" ", "_"),
            lambda path, recipe=recipe: confpress.optimize(  # type: ignore[misc]
                original, recipe, output=path, calibration=calibration
            ),
        )
        for name, recipe in recipes.items()
    }
    linears = work / "dynamic_linears.onnx"
    everything = work / "dynamic_everything.onnx"
    return {
        "float32": original,
        "quantize_dynamic, MatMul and Gemm": once(
            linears, lambda path: dynamic(original, path, ["MatMul", "Gemm"])
        ),
        "quantize_dynamic, all": once(everything, lambda path: dynamic(original, path, None)),
        "portable, float32": results["float32 rewritten"] / "portable" / "model.onnx",
        "cpu, float32": results["float32 rewritten"] / "cpu" / "model.onnx",
        "portable": results["int8"] / "portable" / "model.onnx",
        "cpu": results["int8"] / "cpu" / "model.onnx",
        **{f"cpu, {p} (speed only)": results[p] / "cpu" / "model.onnx" for p in SPARSE},
    }


def sizes_and_speeds(paths: Mapping[str, Path], timed: BenchResult) -> list[str]:
    """One row a variant."""
    lines = ["| model | size | speed (95 % interval) |", "|---|---|---|"]
    for (name, path), timing in zip(paths.items(), timed.cases[0].timings, strict=True):
        speed = timing.speedup
        gain = (
            "1" if speed is None else f"{speed.median:.2f}× ({speed.low:.2f} to {speed.high:.2f})"
        )
        lines.append(f"| {name} | {file_bytes(path) / 1e6:.1f} MB | {gain} |")
    return lines


def left(name: str, profile: ModuleProfile, speed: float) -> list[str]:
    """Where a variant's time goes: share of the run, and of the arithmetic limit."""
    taken = sum(module.ms for module in profile.modules) + profile.unattributed_ms
    limit = sum(module.limit_ms for module in profile.modules)
    lines = [
        f"What is left of `{name}`; at its arithmetic limit it would be "
        f"{speed * taken / limit:.1f}× as fast as float32:",
        "",
    ]
    lines += ["| modules | share of the time | of the limit | in |", "|---|---|---|---|"]
    for kind in profile.by_kind():
        limit = "" if kind.of_limit is None else f"{100 * kind.of_limit:.0f} %"
        slowest = list(kind.operators.items())[:3]
        operators = ", ".join(f"{name} {100 * ms / kind.ms:.0f} %" for name, ms in slowest)
        lines.append(f"| {kind.kind} | {100 * kind.share:.0f} % | {limit} | {operators} |")
    return [*lines, ""]


@click.command()
@click.argument("data", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.argument("work", type=click.Path(file_okay=False, path_type=Path))
@click.option("--markdown", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--rounds", default=15, show_default=True, help="Timed runs of each model.")
@click.option("--only", default="", help="Take the models whose name contains this text.")
def main(data: Path, work: Path, markdown: Path | None, rounds: int, only: str) -> None:
    """Runs everything and writes architectures.json and tables."""
    originals = {"Conformer-CTC small, 16 × 176": data / SHARED} | {
        name: once(work / str(number) / "original.onnx", make)
        for number, (name, make) in enumerate(MADE.items())
        if only in name
    }
    environment = describe_environment()
    lines = [
        "# Three architectures",
        "",
        "Written by `taskset -c 0 python benchmarks/architectures.py DATA WORK --markdown FILE`.",
        f"One thread, 10 s of audio, batch 1, {rounds} rounds in turn; {environment.cpu}, "
        f"ONNX Runtime {environment.libraries['onnxruntime']}.",
        "Of the limit: the time that a module's products would take at the rate of one large "
        "product, float32 or int8 as the module's own, measured in the same run, over the time "
        "that the module takes. The arithmetic limit counts these products and nothing else.",
    ]
    record = {}
    for name, original in originals.items():
        if only not in name:
            continue
        paths = variants(original, work / name.split(",")[0].replace(" ", "_"), data / CALIBRATION)
        models = {each: AsrModel.load(path) for each, path in paths.items()}
        timed = bench(list(models.values()), BenchOptions(rounds=rounds, memory=False))
        profiles = {each: profile_modules(models[each]) for each in PROFILED}
        record[name] = {
            "bench": timed.model_dump(mode="json"),
            "profiles": {each: found.model_dump(mode="json") for each, found in profiles.items()},
        }
        lines += ["", f"## {name}", "", *sizes_and_speeds(paths, timed), ""]
        speeds = {
            each: timing.speedup.median
            for each, timing in zip(paths, timed.cases[0].timings, strict=True)
            if timing.speedup is not None
        }
        for each, found in profiles.items():
            lines += left(each, found, speeds[each])
        work.mkdir(parents=True, exist_ok=True)
        (work / "architectures.json").write_text(json.dumps(record, indent=1), encoding="utf-8")
    text = "\n".join(lines).rstrip() + "\n"
    print(text)
    if markdown is not None:
        markdown.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
