"""The model of a bundle: audio in, text out."""

from __future__ import annotations

import json
import platform
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime as ort

from ...passes.errors import ConfpressError
from ..speech.decode import Tokens, greedy_ctc
from ..speech.log_mel import FloatArray, log_mel
from ..speech.transducer_search import TransducerSearch
from .integrity import verified_manifest

Feeds = dict[str, npt.NDArray[Any]]

FRONTEND = "frontend.json"
TOKENS = "tokens.txt"


@dataclass(frozen=True)
class Recogniser:
    """A bundle that was found whole, with a session of its model.

    Attributes:
        manifest: What is in `manifest.json`.
        frontend: Options of `log_mel`.
        tokens: The vocabulary.
        session: A session of the model.
        transducer: The search of a transducer, whose encoder is the model; None for CTC.
        kernels: Whether the bundle's kernel library is loaded; a model that is made for it gives
            the same results without, more slowly.
    """

    manifest: dict[str, Any]
    frontend: dict[str, Any]
    tokens: Tokens
    session: ort.InferenceSession
    transducer: TransducerSearch | None
    kernels: bool

    @classmethod
    def open(cls, folder: Path, threads: int = 1) -> Recogniser:
        """Verifies a bundle and loads its model.

        Args:
            folder: The unpacked bundle.
            threads: Threads of ONNX Runtime.

        Raises:
            ConfpressError: a file is missing or changed, or ONNX Runtime refuses the model.
        """
        manifest = verified_manifest(folder)
        library = _kernel_library(folder, manifest)
        return cls(
            manifest=manifest,
            frontend=json.loads((folder / FRONTEND).read_text(encoding="utf-8")),
            tokens=Tokens.load(folder / TOKENS),
            session=_start(folder / manifest["model"]["file"], library, threads),
            transducer=_transducer(folder, manifest["model"]["transducer"], threads),
            kernels=library is not None,
        )

    @property
    def sample_rate(self) -> int:
        """Samples per second that the model takes."""
        return int(self.frontend["sample_rate"])

    def text(self, audio: FloatArray) -> str:
        """What the model hears, searched greedily.

        Args:
            audio: float32 [samples].

        Raises:
            ConfpressError: the audio is empty or longer than the model takes, or the model fails.
        """
        seconds, longest = audio.size / self.sample_rate, self.manifest["model"]["longest_seconds"]
        if longest is not None and seconds > longest:
            raise ConfpressError(
                f"the audio lasts {seconds:.1f} s, but the model takes at most {longest:.1f} s."
            )
        scores = self.scores(self.feeds(audio))
        if self.transducer is not None:
            return self.tokens.text(self.transducer.best_path(scores, self.tokens.blank))
        return self.tokens.text(greedy_ctc(scores, blank=self.tokens.blank))

    def feeds(self, audio: FloatArray) -> Feeds:
        """The model's inputs for one utterance.

        Args:
            audio: float32 [samples].
        """
        face = self.manifest["model"]["interface"]
        features = log_mel(audio, **self.frontend)
        frames = features.shape[1]
        signal = features if face["mels_first"] else features.T
        feeds: Feeds = {face["features"]: np.ascontiguousarray(signal[None], face["dtype"])}
        if face["length"] is not None:
            feeds[face["length"]] = np.array([frames], face["length_dtype"])
        if face["mask"] is not None:
            feeds[face["mask"]] = np.ones((1, frames), face["mask_dtype"])
        return feeds

    def scores(self, feeds: Feeds) -> FloatArray:
        """Log probabilities or logits, float32 [encoder frames, vocabulary]; an encoder's frames.

        Raises:
            ConfpressError: ONNX Runtime fails.
        """
        face = self.manifest["model"]["interface"]
        wanted = [name for name in (face["scores"], face["score_lengths"]) if name is not None]
        try:
            scores, *lengths = self.session.run(wanted, feeds)
        # ONNX Runtime's exceptions have no common class but Exception.
        except Exception as error:
            raise ConfpressError(f"the model fails: {_first_line(error)}.") from error
        if face["scores_turned"]:
            scores = scores.swapaxes(1, 2)
        valid = int(lengths[0][0]) if lengths else scores.shape[1]
        return np.asarray(scores[0, :valid], dtype=np.float32)


def _kernel_library(folder: Path, manifest: dict[str, Any]) -> Path | None:
    """The bundle's kernel library, where it has one for this machine."""
    files = {each["architecture"]: str(each["file"]) for each in manifest["kernels"]}
    file = files.get(platform.machine())
    return None if file is None else folder / file


def _transducer(
    folder: Path, files: tuple[str, str] | None, threads: int
) -> TransducerSearch | None:
    if files is None:
        return None
    return TransducerSearch.start(*(_start(folder / file, None, threads) for file in files))


def _start(model: Path, library: Path | None, threads: int) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 4  # what fails is raised
    try:
        if library is not None:
            options.register_custom_ops_library(str(library))
        return ort.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
    except Exception as error:
        raise ConfpressError(
            f"ONNX Runtime {ort.__version__} cannot load {model}: {_first_line(error)}."
        ) from error


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
