"""Where the error enters: two models compared module by module.

Both models are run with the output of every module as an output of the graph. Then the candidate
is run once more, cut open: every module is fed what the reference has at its input, so that what
differs after it is its own error, and not one that it was handed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import onnx_ir as ir
from pydantic import Field

from ...passes.errors import ConfpressError
from ...passes.fuse.unfuse import Unfuse
from ...passes.structure import recognise
from ...passes.structure.modules import Kind, Module
from ..inputs import SpeechSource
from ..interface import Array, FloatArray
from ..model_file import load_model
from ..recognition.asr import AsrModel
from ..record import Record
from ..runner import Runner
from ..session import DEFAULT_OPTIONS, SessionOptions, create_session, run_session
from ..speech.manifest import Utterance
from .compare import difference

#: Of audio; errors of modules hardly depend on it.
_SECONDS = 3.0


class ModuleDifference(Record):
    """How far one module of two models is apart, in dB (10·log10 of signal over error energy)."""

    id: str
    kind: str
    own_db: float | None = Field(
        description="after the module, fed what the reference's is fed; none if equal"
    )
    total_db: float | None = Field(
        description="after the module, with the errors of all modules before it; none if equal"
    )


def compare_modules(
    reference: AsrModel,
    candidate: AsrModel,
    utterances: Sequence[Utterance] = (),
    options: SessionOptions = DEFAULT_OPTIONS,
) -> tuple[ModuleDifference, ...]:
    """Compares the outputs of every module that both models have.

    Args:
        reference: The model that counts as right.
        candidate: The other one; operators of ours are run by their function bodies.
        utterances: Speech of which so many seconds are taken; noise without it.
        options: How both are run.

    Raises:
        ConfpressError: the models have no module in common, or one cannot be run.
    """
    face, source = reference.interface, SpeechSource(reference.frontend, utterances)
    batch = source.batch(_frames(reference, options), face.batch or 1)
    models = [_opened(model) for model in (reference, candidate)]
    modules = [{m.id: m for m in recognise(model).modules} for model in models]
    common = [name for name in modules[0] if name in modules[1] and _comparable(modules, name)]
    if not common:
        raise ConfpressError(
            f"{reference.path} and {candidate.path} have no module in common by their ids, so "
            "that errors cannot be told module by module."
        )
    joined = _last_norms(modules[1], common)
    cut = [name for name in common if name not in joined.values()]
    shown = [name for name in common if name not in joined]
    features = reference.interface.feeds(batch), candidate.interface.feeds(batch)
    wanted = [{name: by_id[name].output for name in shown} for by_id in modules]
    right = _run(models[0], features[0], wanted[0], options)
    inputs = {name: modules[0][name].input for name in cut}
    fed = _run(models[0], features[0], {n: v for n, v in inputs.items() if v is not None}, options)
    total = _run(models[1], features[1], wanted[1], options)
    feeds = dict(features[1])
    for name in cut:
        if name in fed:
            feeds[_cut_open(models[1], modules[1][name])] = fed[name]
    own = _run(models[1], feeds, wanted[1], options)
    return tuple(
        ModuleDifference(
            id=name,
            kind=str(modules[0][name].kind),
            own_db=_db(right[name], own[name], batch),
            total_db=_db(right[name], total[name], batch),
        )
        for name in shown
    )


def _frames(model: AsrModel, options: SessionOptions) -> int:
    """Frames of one run: all that the model takes, a first chunk, or so many seconds."""
    face = model.interface
    if face.states:
        return Runner(face, create_session(model.path, options)).chunks.window
    return face.frames or round(_SECONDS / model.frontend.seconds_per_frame)


def _last_norms(modules: Mapping[str, Module], common: Sequence[str]) -> dict[str, str]:
    """Norms that only the head reads, with the head: one module for us.

    A pass may move factors from such a norm into the head's weights; what lies between them then
    is another number with the same meaning. Other norms' results go into the stream, which keeps
    its scale.
    """
    heads = {modules[n].input: n for n in common if modules[n].kind is Kind.HEAD}
    return {
        name: heads[modules[name].output]
        for name in common
        if modules[name].kind is Kind.NORM and modules[name].output in heads
    }


def _opened(model: AsrModel) -> ir.Model:
    loaded = load_model(model.path)
    Unfuse()(loaded)
    return loaded


def _comparable(modules: Sequence[Mapping[str, Module]], name: str) -> bool:
    """Whether both have a float stream before and after the module, and none is an input."""
    ends = [end for by_id in modules for end in (by_id[name].input, by_id[name].output)]
    return all(v is None or v.dtype in (None, ir.DataType.FLOAT) for v in ends)


def _run(
    model: ir.Model,
    feeds: Mapping[str, Array],
    values: Mapping[str, ir.Value],
    options: SessionOptions,
) -> dict[str, Array]:
    """Values inside a model, by their keys."""
    graph = model.graph
    outputs = list(graph.outputs)
    try:
        for value in values.values():
            if value not in graph.outputs and not value.is_graph_input():
                value.dtype = value.dtype or ir.DataType.FLOAT
                graph.outputs.append(value)
        session = create_session(model, options)
        names = list(
            dict.fromkeys(str(v.name) for v in values.values() if str(v.name) not in feeds)
        )
        taken = {i.name for i in session.get_inputs()}
        given = {name: array for name, array in feeds.items() if name in taken}
        found = dict(zip(names, run_session(session, given, names), strict=True))
    finally:
        graph.outputs[:] = outputs
    return {key: {**feeds, **found}[str(value.name)] for key, value in values.items()}


def _cut_open(model: ir.Model, module: Module) -> str:
    """Gives a module an input of its own; returns the input's name."""
    source = module.input
    assert source is not None, "only modules that read the stream are cut"
    fed = ir.Value(
        name=f"{module.id}.fed",
        type=ir.TensorType(source.dtype or ir.DataType.FLOAT),
        shape=source.shape,
    )
    for node in module.nodes:
        for index, value in enumerate(node.inputs):
            if value is source:
                node.replace_input_with(index, fed)
    model.graph.inputs.append(fed)
    return str(fed.name)


def _db(expected: Array, actual: Array, batch: Sequence[FloatArray]) -> float | None:
    right, left = (list(np.asarray(each, np.float32)) for each in (expected, actual))
    return difference("module", batch, right, left, False).sqnr_db
