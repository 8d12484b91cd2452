"""The graph that ONNX Runtime makes of a model when it loads it, alone or with its times."""

from __future__ import annotations

import dataclasses
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import onnx_ir as ir
import onnx_ir.passes.common as common

from ..model_file import load_model, save_model
from ..recognition.asr import AsrModel
from ..session import DEFAULT_OPTIONS, SessionOptions, create_session
from ..speech.manifest import Utterance
from .operators import Profile, profile

_FILE = "optimised.onnx"
#: ONNX Runtime keeps the weights of the graph that it saves out of the message, which may not
#: hold them.
_WEIGHTS_ASIDE = (("session.optimized_model_external_initializers_file_name", "weights.data"),)


@dataclass(frozen=True)
class Traced:
    """A model that ran under the profiler.

    Attributes:
        model: As it was loaded; every node has a name of its own.
        optimised: What ONNX Runtime made of it: structure only, as its weights are gone.
        whole: The time of every node of it.
    """

    model: ir.Model
    optimised: ir.Model
    whole: Profile


def optimised_graph(path: Path, options: SessionOptions = DEFAULT_OPTIONS) -> ir.Model:
    """Loads a model and returns the graph that runs: structure only, as its weights are gone.

    Raises:
        ConfpressError: ONNX Runtime refuses the model.
    """
    with tempfile.TemporaryDirectory(prefix="confpress-") as name:
        folder = Path(name)
        create_session(path, _saving(options, folder))
        return load_model(folder / _FILE)


def trace(
    model: AsrModel,
    options: SessionOptions = DEFAULT_OPTIONS,
    *,
    seconds: float = 10.0,
    batch: int = 1,
    runs: int = 10,
    utterances: Sequence[Utterance] = (),
) -> Traced:
    """Runs a model under the profiler and keeps the graph that ran.

    Args: as `profile`.

    Raises:
        ConfpressError: the model cannot be run, or audio cannot be read.
    """
    loaded, given = load_model(model.path), str(model.path)
    with tempfile.TemporaryDirectory(prefix="confpress-") as name:
        folder = Path(name)
        if _lacks_names(loaded.graph):
            common.NameFixPass()(loaded)
            model = dataclasses.replace(model, path=folder / "named.onnx")
            save_model(loaded, model.path)
        whole = profile(
            model,
            _saving(options, folder),
            seconds=seconds,
            batch=batch,
            runs=runs,
            utterances=utterances,
        )
        optimised = load_model(folder / _FILE)
        return Traced(loaded, optimised, whole.model_copy(update={"model": given}))


def _saving(options: SessionOptions, folder: Path) -> SessionOptions:
    return dataclasses.replace(
        options, optimised_path=folder / _FILE, config=(*options.config, *_WEIGHTS_ASIDE)
    )


def _lacks_names(graph: ir.Graph) -> bool:
    names = Counter(node.name for node in graph)
    return bool(names[None] or names[""]) or max(names.values(), default=1) > 1
