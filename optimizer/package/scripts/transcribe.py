"""Print what this bundle's model hears: ``python transcribe.py call.wav ...``.

Needs numpy and onnxruntime, nothing else.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from confpress.passes.errors import ConfpressError
from confpress.runtime.on_device.recogniser import Recogniser
from confpress.runtime.on_device.wave_file import read_wave


def main() -> int:
    """Transcribes every file; a line for each: its name, a tab, the text."""
    parser = argparse.ArgumentParser(description="Print what the model hears in WAV files.")
    parser.add_argument("audio", nargs="+", type=Path, help="mono WAV files of integer samples")
    parser.add_argument("--threads", type=int, default=1, help="threads of ONNX Runtime [1]")
    given = parser.parse_args()
    try:
        recogniser = Recogniser.open(Path(__file__).resolve().parent, given.threads)
        for path in given.audio:
            audio = read_wave(path, recogniser.sample_rate)
            print(f"{path}\t{recogniser.text(audio)}", flush=True)
    except ConfpressError as error:
        print(f"Error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
