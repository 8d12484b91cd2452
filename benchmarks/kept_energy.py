"""What zeros leave of a model's linear layers: equal counts per span of columns, or by energy.

    python benchmarks/kept_energy.py model.onnx speech/ --subset flac/an4_clstk/f

For every linear layer: the share of its weights' energy that is kept, weighted with the mean square
of its inputs on the speech, and the error of its output on frames of that speech, as a share of the
output's root mean square. Both ways store the same number of weights, or the uneven one fewer where
the last span is a part of one. Figures are means over the layers; nothing is trained.
"""

from __future__ import annotations

import json
from pathlib import Path

import click
import numpy as np
import numpy.typing as npt
import onnx_ir as ir
from confpress.optimizer.calibration import load_recordings
from confpress.optimizer.formats.sensitivity import observe_inputs
from confpress.optimizer.recipe.recipe import preset
from confpress.optimizer.stages import preparation
from confpress.passes.base import run
from confpress.passes.format_choice import LayerInputs, eligible_layers
from confpress.passes.rewrite import constant
from confpress.passes.sparsify import PATTERNS, energy_of, kept_by, kept_unevenly
from confpress.runtime.recognition.asr import AsrModel
from rich import box
from rich.console import Console
from rich.table import Table

SHOWN = ("8:16", "4:16", "2:16", "32:64", "16:64", "8:64")
FRAMES = 256


def measure(weight: npt.NDArray[np.float32], seen: LayerInputs, pattern: str) -> list[float]:
    """Kept energy and error of the output, with equal counts and by energy.

    Args:
        weight: [K, N].
        seen: The layer's inputs.
        pattern: How many weights are kept.
    """
    assert seen.rows is not None, "rows were asked for"
    scores = (np.square(weight.T) * seen.mean_square).astype(np.float32)
    exact = seen.rows @ weight
    figures = []
    for keep in (kept_by, kept_unevenly):
        kept = keep(scores, PATTERNS[pattern])
        lost = seen.rows @ np.where(kept.T, 0, weight)
        error = np.linalg.norm(lost) / max(float(np.linalg.norm(exact)), 1e-30)
        figures += [energy_of(scores, kept), float(error)]
    return figures


@click.command()
@click.argument("model", type=click.Path(exists=True, path_type=Path))
@click.argument("speech", type=click.Path(exists=True, path_type=Path))
@click.option("--subset", help="Only files whose path contains this text.")
@click.option(
    "--json", "json_path", type=click.Path(path_type=Path), help="Where to write figures."
)
def main(model: Path, speech: Path, subset: str | None, json_path: Path | None) -> None:
    """Compare equal counts with counts by energy in every linear layer of MODEL on SPEECH."""
    recipe = preset("default").replace({"calibration": {"subset": subset}})
    recordings = load_recordings(speech, AsrModel.load(model, None).frontend, recipe)
    loaded = ir.load(model)
    run(preparation(recipe), loaded)
    inputs = observe_inputs(loaded, recordings, rows=FRAMES)
    layers = [
        (weight, inputs[str(layer.input.name)])
        for layer in eligible_layers(loaded)
        if (weight := constant(layer.weight)) is not None
    ]
    table = Table(
        title=f"means of {len(layers)} layers, equal counts → by energy", box=box.MARKDOWN
    )
    for name in ("pattern", "kept energy", "error of the output", "layers that keep more"):
        table.add_column(name, justify="right")
    found = {name: [measure(*layer, name) for layer in layers] for name in SHOWN}
    for name, figures in found.items():
        equal, equal_error, uneven, uneven_error = np.mean(figures, axis=0)
        more = sum(each[2] > each[0] for each in figures)
        table.add_row(
            name,
            f"{equal:.3f} → {uneven:.3f}",
            f"{equal_error:.3f} → {uneven_error:.3f}",
            f"{more} of {len(layers)}",
        )
    Console(width=120).print(table)
    if json_path is not None:
        json_path.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
