"""The proof that a lossless stage is lossless: the outputs are compared with the original's."""

from __future__ import annotations

import itertools

import onnx_ir as ir
import onnxruntime as ort

from ..passes.errors import ConfpressError
from ..runtime.chunks import Chunks
from ..runtime.inputs import SpeechSource
from ..runtime.interface import Interface
from ..runtime.recognition.asr import AsrModel
from ..runtime.runner import Runner
from ..runtime.session import create_session
from ..runtime.validation.compare import compare_stream
from ..runtime.validation.streaming import StreamSource
from .recipe.recipe import ProofSection
from .records import Proof

#: Of a stream: what attention sees of the past fills and begins to move on.
_CHUNKS = 6


class Prover:
    """Compares rewritten models with the original at two lengths and two batch sizes.

    The utterances of a batch have different lengths, so that masks take part. Models with a fixed
    length or batch size are compared at that one. Streaming models are compared along streams,
    states carried, in their chunks and in chunks twice as long.

    Args:
        model: The original.
        session: A session of it.
        options: Tolerance, lengths and batch sizes.
        longest: Feature frames that rewritten models need take; None is any number.
    """

    def __init__(
        self,
        model: AsrModel,
        session: ort.InferenceSession,
        options: ProofSection,
        longest: int | None = None,
    ) -> None:
        self._tolerance = options.tolerance
        self._original = Runner(model.interface, session)
        self._names = [output.name for output in session.get_outputs()]
        source = SpeechSource(model.frontend)
        face = model.interface
        sizes = [face.batch] if face.batch is not None else sorted(set(options.batches))
        if face.states:
            cuts = _cuts(face, self._original.chunks)
            self._streams = [
                StreamSource(source, cut, _CHUNKS).batch(size)
                for cut, size in itertools.product(cuts, sizes)
            ]
            return
        lengths = {count if longest is None else min(count, longest) for count in options.frames}
        frames = [face.frames] if face.frames is not None else sorted(lengths)
        self._streams = [
            [source.batch(count, size, ragged=face.length is not None)]
            for count, size in itertools.product(frames, sizes)
        ]

    def prove(self, model: ir.Model, stage: str) -> Proof:
        """Compares a model with the original.

        Args:
            model: The model after the stage.
            stage: Its name, for the error.

        Raises:
            ConfpressError: an output is missing, has another shape, or differs by more than the
                tolerance; the sentence names the stage.
        """
        found = [str(value.name) for value in model.graph.outputs]
        if found != self._names:
            raise ConfpressError(
                f"the stage {stage} changed the outputs from {', '.join(self._names)} to "
                f"{', '.join(found)}; please report this."
            )
        try:
            candidate = Runner(self._original.interface, create_session(model))
            cases = tuple(
                case
                for stream in self._streams
                for case in compare_stream(self._original, candidate, stream).outputs
            )
        except ConfpressError as error:
            raise ConfpressError(f"after the stage {stage}: {error}") from error
        proof = Proof(tolerance=self._tolerance, cases=cases)
        if proof.worst > self._tolerance:
            raise ConfpressError(
                f"the stage {stage} changed the outputs by {proof.worst:.2g} of their largest "
                f"value, and {self._tolerance:g} is allowed; {advice(model)}."
            )
        return proof


def advice(model: ir.Model) -> str:
    """What to do about a stage that is found not to be lossless."""
    weights = model.graph.initializers.values()
    if any(weight.dtype == ir.DataType.FLOAT16 for weight in weights):
        return "the model computes in float16, which rounds as much: export it in float32"
    return "please report this, and leave the stage out by a recipe"


def _cuts(face: Interface, chunks: Chunks) -> list[Chunks]:
    """The model's chunks and, where it takes any length, chunks twice as long."""
    if face.frames is not None or face.chunk_window is not None:
        return [chunks]
    return [chunks, Chunks(chunks.window + chunks.shift, 2 * chunks.shift)]
