"""The lossless pipeline on Conformers of ``transformers`` and other toolkits: float32 outputs stay.

With `-m evidence -rP` each case prints its largest difference, relative to the largest output, and
the modules that target `cpu` fused.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx_ir as ir
import onnxruntime as ort
import pytest

pytest.importorskip("torch", reason="the extra `train` is not installed")
pytest.importorskip("transformers", reason="transformers is not installed")

from confpress.optimizer.recipe.recipe import preset
from confpress.optimizer.stages import LOSSLESS_STAGES, LOWER, Findings, Skip, Stage
from confpress.passes.base import run
from confpress.passes.errors import ConfpressError
from confpress.passes.operators.quantlinear import DOMAIN
from confpress.runtime.model_file import load_model
from confpress.runtime.session import create_session, run_session

from tests.passes.prune.exports import randomise
from tests.passes.structure.toolkits import TOOLKITS
from tests.passes.structure.zoo import ARCHITECTURES, FRAMES, export, export_built

TOLERANCE = 1e-4
#: Batch and length, as shares of the exported example's.
SIZES = ((1, 1.0), (1, 1.5), (3, 1.0), (3, 1.5))
CASES = [
    pytest.param(name, exporter, opset, marks=() if quick else pytest.mark.evidence)
    for name in ARCHITECTURES
    for exporter, opset in (("torchscript", 17), ("dynamo", 18))
    for quick in [name == "parakeet masked"]
]
#: Whose attention target `cpu` leaves to ONNX Runtime; docs/fusions.md has the reasons.
LEFT_ALONE = {
    ("gemma3n", "dynamo"),
    ("torchaudio conformer", "torchscript"),
    ("torchaudio convolution first", "torchscript"),
}
Array = npt.NDArray[np.generic]
Arrays = Mapping[str, Array]


@pytest.mark.parametrize(("name", "exporter", "opset"), CASES)
def test_rewritten_models_compute_the_same(
    name: str, exporter: str, opset: int, tmp_path: Path
) -> None:
    path = tmp_path / "model.onnx"
    with _what_torch_exports():
        export(name, exporter, opset, path, prepare=randomise)
    _compare(name, exporter, path)


@pytest.mark.evidence
@pytest.mark.parametrize(("exporter", "opset"), [("torchscript", 17), ("dynamo", 18)])
@pytest.mark.parametrize("name", TOOLKITS)
def test_other_toolkits(name: str, exporter: str, opset: int, tmp_path: Path) -> None:
    build, package = TOOLKITS[name]
    pytest.importorskip(package, reason=f"{package} is not installed")
    path = tmp_path / "model.onnx"
    with _what_torch_exports():
        export_built(build, exporter, opset, path, prepare=randomise)
    _compare(name, exporter, path)


@contextlib.contextmanager
def _what_torch_exports() -> Iterator[None]:
    """Skips what torch cannot export: not every model at every opset."""
    try:
        yield
    except Exception as error:
        pytest.skip(f"torch cannot export it: {str(error)[:100]}")


def _compare(name: str, exporter: str, path: Path) -> None:
    original = create_session(path)
    given = [f for size in SIZES if runs(original, f := feeds(original, *size))]
    assert given, "the exported model itself runs at none of the sizes"
    model = load_model(path)
    recipe = preset("lossless")
    for stage in LOSSLESS_STAGES:
        apply(stage, model)
    for target in recipe.lower.targets:
        lowered = model.clone()
        apply(LOWER[target], lowered)
        session = create_session(lowered)
        worst = max(
            difference(run_session(original, each), run_session(session, each)) for each in given
        )
        ours = Counter(node.op_type for node in lowered.graph if node.domain == DOMAIN)
        print(f"{name} | {exporter} | {target} | {len(given)} sizes | {worst:.1e} | {dict(ours)}")
        assert worst <= TOLERANCE
        fused = any("Attention" in operator for operator in ours)
        assert fused == (target == "cpu" and (name, exporter) not in LEFT_ALONE)


def apply(stage: Stage, model: ir.Model) -> None:
    passes = stage.passes(preset("lossless"), Findings())
    if not isinstance(passes, Skip):
        run(passes, model)


def feeds(session: ort.InferenceSession, batch: int, share: float) -> Arrays:
    """Random inputs for a share of the example's length; masks of a batch end early."""
    random = np.random.default_rng(0)
    frames = round(share * FRAMES)
    made: dict[str, Array] = {}
    for each in session.get_inputs():
        if each.type == "tensor(float)":
            # Two axes are a waveform, ten samples for each frame.
            length = frames if len(each.shape) == 3 else 10 * frames
            shape = (batch, length, *each.shape[2:])
            made[each.name] = random.standard_normal(shape).astype(np.float32)
        else:
            lengths = np.linspace(frames, frames / 2, batch).astype(np.int64)
            valid = np.arange(frames)[None] < lengths[:, None]
            mask = valid.astype(bool if "bool" in each.type else np.int64)
            made[each.name] = lengths if len(each.shape) == 1 else mask
    return made


def runs(session: ort.InferenceSession, given: Arrays) -> bool:
    """Whether the exported model takes these sizes, and computes numbers."""
    try:
        outputs = run_session(session, given)
    except ConfpressError:
        return False
    return all(np.isfinite(each).all() for each in outputs)


def difference(expected: list[Array], found: list[Array]) -> float:
    pairs = list(zip(expected, found, strict=True))
    # Of an utterance that the mask leaves nothing of, some encoders put out zeros alone.
    return max(float(np.abs(a - b).max() / (np.abs(a).max() or 1.0)) for a, b in pairs)
