"""Turn a checkpoint of `train_demo.py` into the demo's folder, and measure it.

    python examples/pack_demo.py --checkpoint WORK/ckpt/best.pt --an4 DATA/an4 --out models/demo

Writes model.onnx, tokens.txt, frontend.json and the clips with their manifest, and prints the
word error rates of the ONNX file on AN4's test part and on the clips.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import onnxruntime
import soundfile
from confpress.models.export import export_onnx
from confpress.models.training.loop import load_checkpoint
from confpress.runtime.speech import (
    Tokens,
    Utterance,
    character_errors,
    greedy_ctc,
    load_utterances,
    read_audio,
    word_errors,
)
from train_demo import FRONT_END, calibration_audio, clip_audio


def write_clips(folder: Path) -> None:
    """Synthesise the clips as 16-bit FLAC, with a manifest."""
    clips = folder / "clips"
    clips.mkdir(parents=True, exist_ok=True)
    lines = ["id\tpath\tsample_rate\tseconds\ttext"]
    spoken = [(f"clip-{i:02d}", *item) for i, item in enumerate(clip_audio(), start=1)]
    spoken += [
        (f"calibration-{i:02d}", *item) for i, item in enumerate(calibration_audio(), start=1)
    ]
    for name, audio, text in spoken:
        soundfile.write(clips / f"{name}.flac", audio, FRONT_END.sample_rate, subtype="PCM_16")
        seconds = audio.size / FRONT_END.sample_rate
        lines.append(f"{name}\t{name}.flac\t{FRONT_END.sample_rate}\t{seconds:.3f}\t{text}")
    (clips / "manifest.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")


def measure(name: str, model: Path, utterances: list[Utterance]) -> None:
    """Print the error rates of a model."""
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    tokens = Tokens.load(model.with_name("tokens.txt"))
    hypotheses = []
    for utterance in utterances:
        features = FRONT_END.features(read_audio(utterance.path, FRONT_END.sample_rate))
        length = np.array([features.shape[1]], np.int64)
        logprobs, lengths = session.run(None, {"audio_signal": features[None], "length": length})
        hypotheses.append(tokens.text(greedy_ctc(logprobs[0], int(lengths[0]), tokens.blank)))
    references = [utterance.text or "" for utterance in utterances]
    words, characters = (count(references, hypotheses) for count in (word_errors, character_errors))
    interval = words.interval()
    print(
        f"{name}: {len(utterances)} utterances, {words.reference.sum()} words, "
        f"WER {100 * words.rate:.2f} % ({100 * interval.low:.2f} to {100 * interval.high:.2f}), "
        f"CER {100 * characters.rate:.2f} %"
    )


def main() -> None:
    """Export, write, measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--checkpoint", type=Path, required=True)
    parser.add_argument("--an4", type=Path, required=True, help="folder with manifest.tsv")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    model, vocabulary = load_checkpoint(options.checkpoint)
    path = options.out / "model.onnx"
    export_onnx(model, path)
    Tokens(tuple(vocabulary.characters)).save(options.out / "tokens.txt")
    FRONT_END.save(options.out / "frontend.json")
    write_clips(options.out)
    print(f"{path}: {path.stat().st_size} bytes, {model.parameter_count()} parameters")
    measure("AN4 test", path, load_utterances(options.an4, "an4test_clstk"))
    measure("clips", path, load_utterances(options.out / "clips", "clip-"))


if __name__ == "__main__":
    main()
