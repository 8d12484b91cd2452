"""Print what sherpa-onnx hears with this model: ``python transcribe.py call.wav ...``.

Needs numpy and sherpa-onnx, nothing else.
"""

from __future__ import annotations

import argparse
import json
import sys
import wave
from pathlib import Path

import numpy as np
import sherpa_onnx

HERE = Path(__file__).resolve().parent


def main() -> int:
    """Transcribes every file; a line for each: its name, a tab, the text."""
    parser = argparse.ArgumentParser(description="Print what sherpa-onnx hears in WAV files.")
    parser.add_argument("audio", nargs="+", type=Path, help="mono WAV files of 16-bit samples")
    parser.add_argument("--threads", type=int, default=1, help="threads of ONNX Runtime [1]")
    given = parser.parse_args()
    frontend = json.loads((HERE / "frontend.json").read_text(encoding="utf-8"))
    recogniser = sherpa_onnx.OfflineRecognizer.from_nemo_ctc(
        model=str(HERE / "model.onnx"),
        tokens=str(HERE / "tokens.txt"),
        num_threads=given.threads,
        sample_rate=frontend["sample_rate"],
        feature_dim=frontend["n_mels"],
    )
    for path in given.audio:
        try:
            with wave.open(str(path), "rb") as file:
                if (file.getnchannels(), file.getsampwidth()) != (1, 2):
                    raise wave.Error("not mono with 16 bits")
                rate, data = file.getframerate(), file.readframes(file.getnframes())
        except (OSError, EOFError, wave.Error) as error:
            print(f"Error: {path} is no mono WAV file of 16 bits: {error}.", file=sys.stderr)
            return 1
        stream = recogniser.create_stream()
        stream.accept_waveform(rate, np.frombuffer(data, "<i2").astype(np.float32) / 32768)
        recogniser.decode_stream(stream)
        print(f"{path}\t{' '.join(stream.result.text.split())}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
