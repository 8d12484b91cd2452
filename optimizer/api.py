"""The Python interface: what the command line does, as functions."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from .job import Inputs
from .recipe.recipe import Recipe, Target, load_recipe
from .run import Result, run_pipeline


def optimize(
    model: Path | str,
    recipe: Recipe | Path | str | None = None,
    *,
    output: Path | str,
    calibration: Path | str | None = None,
    validation: Path | str | None = None,
    selection: Path | str | None = None,
    target: Target | Sequence[Target] | None = None,
    frontend: Path | str | None = None,
    tokens: Path | str | None = None,
    decisions: Path | str | None = None,
    quiet: bool = True,
    cache: bool = True,
) -> Result:
    """Makes a trained Conformer in ONNX smaller and faster, with the proof beside it.

    Args:
        model: The ONNX file of a CTC model; its inputs are features, [batch, mels, frames] or
            [batch, frames, mels], and at most their lengths.
        recipe: What to do: a recipe, the path of one (TOML), or the name of a preset; None is the
            preset `default`.
        output: The result folder; it appears whole or not at all.
        calibration: Folder or manifest of speech, without texts, that sets constant ranges.
        validation: Folder or manifest of speech, with texts if the word error rate is to be
            known, that the results are compared with the original on.
        selection: Folder or manifest of speech with texts that formats are chosen by, where the
            recipe limits their word errors.
        target: `portable`, `cpu`, `cuda`, or several; None is what the recipe says.
        frontend: Description of the features; None is the one beside the model.
        tokens: Vocabulary; None is the one beside the model.
        decisions: `decisions.json` of an earlier run of the same model, whose measured choices
            are taken over: the models are the same, bit by bit.
        quiet: Whether the stages are not told of on standard error.
        cache: Whether what earlier runs heard and observed is taken from the user's cache folder.

    Returns:
        The result: its folder, the report, the models' paths.

    Raises:
        ConfpressError: an input is bad, the folder cannot be written, or a stage fails; nothing
            is written then.
    """
    chosen = _recipe(recipe)
    if target is not None:
        targets = [target] if isinstance(target, str) else list(target)
        chosen = chosen.replace({"lower": {"targets": targets}})
    inputs = Inputs(
        model=Path(model),
        calibration=_path(calibration),
        validation=_path(validation),
        frontend=_path(frontend),
        tokens=_path(tokens),
        decisions=_path(decisions),
        selection=_path(selection),
    )
    command = ["confpress", "optimize", str(model), "-o", str(output)]
    for name in ("calibration", "validation", "selection", "frontend", "tokens", "decisions"):
        path = getattr(inputs, name)
        if path is not None:
            command += [f"--{name}", str(path)]
    return run_pipeline(inputs, chosen, Path(output), command=command, quiet=quiet, cache=cache)


def _recipe(recipe: Recipe | Path | str | None) -> Recipe:
    if isinstance(recipe, Recipe):
        return recipe
    if recipe is None:
        return load_recipe()
    if isinstance(recipe, str) and not recipe.endswith(".toml"):
        return load_recipe(preset_name=recipe)
    return load_recipe(Path(recipe))


def _path(path: Path | str | None) -> Path | None:
    return None if path is None else Path(path)
