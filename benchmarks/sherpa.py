"""What sherpa-onnx hears beside what Confpress hears: python -m benchmarks.sherpa RESULT DATA.

RESULT has a `portable` model. Three columns of texts: Confpress with the features that the model
was trained with, Confpress with sherpa-onnx' features, and sherpa-onnx from the package.
"""

from __future__ import annotations

import argparse
import dataclasses
import tempfile
from pathlib import Path

import sherpa_onnx
from confpress.optimizer.package.sherpa import Sherpa, sherpa_frontend
from confpress.optimizer.package.source import open_source
from confpress.runtime.recognition.asr import transcribe
from confpress.runtime.session import create_session
from confpress.runtime.speech import Utterance, load_utterances, read_audio, word_errors


def main() -> None:
    """Prints how many texts are equal, and the word error rates."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("result", type=Path)
    parser.add_argument("data", type=Path)
    parser.add_argument("--subset")
    given = parser.parse_args()
    utterances = load_utterances(given.data, given.subset)
    source = open_source(given.result, "portable")
    with tempfile.TemporaryDirectory() as folder:
        Sherpa().fill(source, Path(folder))
        heard = _sherpa(Path(folder), utterances, source.model.frontend.sample_rate)
    session = create_session(source.model.path)
    same = dataclasses.replace(source.model, frontend=sherpa_frontend(source))
    texts = {
        name: [each.text for each in transcribe(model, session, utterances)]
        for name, model in (("Confpress", source.model), ("the same features", same))
    }
    references = [utterance.text or "" for utterance in utterances]
    for name, column in (*texts.items(), ("sherpa-onnx", heard)):
        equal = sum(one == other for one, other in zip(column, heard, strict=True))
        rate = word_errors(references, column).rate
        print(f"{name}: WER {rate:.2%}, {equal} of {len(heard)} texts as sherpa-onnx")


def _sherpa(folder: Path, utterances: list[Utterance], sample_rate: int) -> list[str]:
    recogniser = sherpa_onnx.OfflineRecognizer.from_nemo_ctc(
        model=str(folder / "model.onnx"),
        tokens=str(folder / "tokens.txt"),
        sample_rate=sample_rate,
    )
    texts = []
    for utterance in utterances:
        stream = recogniser.create_stream()
        stream.accept_waveform(sample_rate, read_audio(utterance.path, sample_rate))
        recogniser.decode_stream(stream)
        texts.append(" ".join(stream.result.text.split()))
    return texts


if __name__ == "__main__":
    main()
