"""What each rewrite and fusion is worth on one model: everything, and everything but one.

    taskset -c 0 python benchmarks/rewrites.py MODEL WORK --calibration DIR --markdown rewrites.md

MODEL goes through the pipeline once with all, and once without each that a recipe can leave out;
for each target these models are then measured in turn within one run. A factor above 1 says that
the rewrite gains; a dash, that the model has no place for it. `--only NAME` measures some of them,
such as `lower.attention`. Results that an earlier run left in WORK are taken as they are.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
import confpress
from confpress.optimizer.fusions import FUSIONS
from confpress.optimizer.recipe.recipe import load_recipe
from confpress.runtime.benchmark.bench import BenchOptions, bench
from confpress.runtime.recognition.asr import AsrModel

Change = Mapping[str, Mapping[str, Any]]

#: Stages before quantisation, which serve all targets.
STAGES = (
    "layer_norm",
    "pointwise",
    "relative_shift",
    "softmax_mask",
    "subsampling",
    "fold_scales",
    "merge_linears",
)
ALL = "all"
#: What is timed here: targets that have fusions.
TARGETS = tuple(target for target, fusions in FUSIONS.items() if fusions)


def changes() -> dict[str, Change]:
    """By what is left out, a stage or a fusion of ``lower``, how a recipe says so."""
    fusions = dict.fromkeys(name for names in FUSIONS.values() for name in names)
    return {
        ALL: {},
        **{name: {name: {"enabled": False}} for name in STAGES},
        **{f"lower.{name}": {"lower": {"without": [name]}} for name in fusions},
    }


def made(model: Path, work: Path, calibration: Path, name: str, change: Change) -> Path:
    """The result folder without one of them."""
    folder = work / name
    if not folder.exists():
        quiet = {"bench": {"enabled": False}, "proof": {"enabled": False}}
        recipe = load_recipe().replace(quiet).replace({"lower": {"measure": False}})
        confpress.optimize(model, recipe.replace(change), output=folder, calibration=calibration)
    return folder


@click.command()
@click.argument("model", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.argument("work", type=click.Path(file_okay=False, path_type=Path))
@click.option("--calibration", required=True, type=click.Path(exists=True, path_type=Path))
@click.option("--rounds", default=20, show_default=True, help="Timed runs of each model.")
@click.option("--only", "names", metavar="NAME", type=click.Choice([*changes()][1:]), multiple=True)
@click.option("--markdown", type=click.Path(dir_okay=False, path_type=Path))
def main(
    model: Path,
    work: Path,
    calibration: Path,
    rounds: int,
    names: tuple[str, ...],
    markdown: Path | None,
) -> None:
    """Prints, for each target, the time without a rewrite over the time with all."""
    work.mkdir(parents=True, exist_ok=True)
    wanted = {n: each for n, each in changes().items() if n == ALL or not names or n in names}
    folders = {n: made(model, work, calibration, n, change) for n, change in wanted.items()}
    gains: dict[str, list[str]] = {name: [] for name in folders if name != ALL}
    for target in TARGETS:
        paths = {name: folder / target / "model.onnx" for name, folder in folders.items()}
        whole = paths[ALL].read_bytes()
        timed = {n: p for n, p in paths.items() if n == ALL or p.read_bytes() != whole}
        models = [AsrModel.load(path) for path in timed.values()]
        timings = bench(models, BenchOptions(rounds=rounds, memory=False)).cases[0].timings
        speeds = dict(zip(timed, (timing.speedup for timing in timings), strict=True))
        for name, found in gains.items():
            speed = speeds.get(name)
            if speed is None:
                found.append("–")
            else:
                found.append(
                    f"{1 / speed.median:.3f} ({1 / speed.high:.3f} to {1 / speed.low:.3f})"
                )
    lines = [f"| without | {' | '.join(f'`{target}`' for target in TARGETS)} |", "|---|---|---|"]
    lines += [f"| `{name}` | {' | '.join(found)} |" for name, found in gains.items()]
    text = "\n".join(lines) + "\n"
    print(text)
    if markdown is not None:
        markdown.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
