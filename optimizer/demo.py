"""The whole pipeline on the Conformer and the clips that come with the package."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from .. import models
from ..passes.errors import ConfpressError
from .job import Inputs
from .recipe.recipe import preset
from .run import Result, run_pipeline

#: Clips whose file names begin so set ranges; the others are only transcribed.
CALIBRATION_CLIPS = "calibration-"
TEST_CLIPS = "clip-"


def demo_folder() -> Path:
    """Where the demo's model and clips lie.

    Raises:
        ConfpressError: the installation lacks them.
    """
    # An editable installation keeps packages in several places; __path__ names all.
    for place in models.__path__:
        folder = Path(place) / "demo"
        if (folder / "model.onnx").is_file():
            return folder
    raise ConfpressError("this installation lacks the demo's model; install the package again.")


def run_demo(output: Path, *, command: Sequence[str], quiet: bool = False) -> Result:
    """Optimises the demo's model and writes the result folder.

    The clips that calibrate are spoken by other voices than those that are transcribed, and none
    of them was heard in training.

    Args:
        output: The result folder.
        command: What to type to get the same, for the report.
        quiet: Whether the stages are not told of on standard error.

    Raises:
        ConfpressError: the installation lacks the demo, or the folder cannot be written.
    """
    folder = demo_folder()
    clips = folder / "clips"
    recipe = preset("default").replace(
        {"calibration": {"subset": CALIBRATION_CLIPS}, "validation": {"subset": TEST_CLIPS}}
    )
    inputs = Inputs(folder / "model.onnx", calibration=clips, validation=clips)
    return run_pipeline(inputs, recipe, output, command=command, quiet=quiet)
