"""Fine-tuned checkpoints through the pipeline: size, word error rate and latency against before.

    python benchmarks/finetuning.py DATA WORK sparse=runs/sparse/model.safetensors ...

DATA is the folder that docs/data.md describes. NAME=CHECKPOINT is what `confpress finetune` made of
its model, optimised by the default recipe or, as NAME=CHECKPOINT=RECIPE.toml, by another;
NAME=RECIPE.toml is the model itself, without fine-tuning. Every row is a model of a target; nothing
is chosen on the test parts. Pin it to a quiet core (`taskset -c 0`): the models take turns in one
run, and only ratios are reported.
"""

from __future__ import annotations

import json
from pathlib import Path

import click
import confpress
from confpress.optimizer.training.export import export_checkpoint
from confpress.runtime.benchmark.bench import BenchOptions, bench
from confpress.runtime.environment import describe_environment
from confpress.runtime.recognition.asr import AsrModel
from confpress.runtime.speech.manifest import load_utterances
from results import CALIBRATION, MODEL, TESTS, recognition, recorded, summary

#: Shown of a result; the fine-tuned model in float32, too.
TARGETS = ("portable", "cpu")


def candidates(name: str, sources: list[Path], data: Path, work: Path) -> dict[str, Path]:
    """The models of a row's sources: a checkpoint, a recipe, or both."""
    checkpoint = next((each for each in sources if each.suffix != ".toml"), None)
    recipe = next((each for each in sources if each.suffix == ".toml"), None)
    model = data / MODEL
    found: dict[str, Path] = {}
    if checkpoint is not None:
        tokens = model.with_name("tokens.txt").read_text(encoding="utf-8")
        model = work / name / "model.onnx"
        model.parent.mkdir(parents=True, exist_ok=True)
        export_checkpoint(checkpoint, model)
        model.with_name("tokens.txt").write_text(tokens, encoding="utf-8")
        found[f"{name}, float32"] = model
    result = work / name / "result"
    confpress.optimize(model, output=result, recipe=recipe, calibration=data / CALIBRATION)
    return found | {f"{name}, {target}": result / target / "model.onnx" for target in TARGETS}


@click.command()
@click.argument("data", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.argument("work", type=click.Path(file_okay=False, path_type=Path))
@click.argument("rows", nargs=-1, required=True, metavar="NAME=CHECKPOINT[=RECIPE]...")
@click.option("--markdown", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--rounds", default=15, show_default=True, help="Timed runs of each model.")
def main(data: Path, work: Path, rows: tuple[str, ...], markdown: Path | None, rounds: int) -> None:
    """Runs everything and writes finetuning.json and a table."""
    paths = {"float32": data / MODEL}
    for row in rows:
        name, *sources = row.split("=")
        paths |= candidates(name, [Path(each) for each in sources], data, work)
    original = AsrModel.load(paths["float32"])
    models = {n: AsrModel.load(p, original.frontend, original.tokens) for n, p in paths.items()}
    parts = {part: load_utterances(data / path, only) for part, (path, only) in TESTS.items()}
    timed = bench(list(models.values()), BenchOptions(rounds=rounds), parts["test-other"])
    heard = recognition(models, parts)
    record = {
        "environment": describe_environment().model_dump(mode="json"),
        "bench": timed.model_dump(mode="json"),
        "recognition": recorded(heard),
    }
    (work / "finetuning.json").write_text(json.dumps(record, indent=1), encoding="utf-8")
    text = "\n".join(summary(paths, heard, timed)) + "\n"
    print(text)
    if markdown is not None:
        markdown.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
