"""The programs that run a model with numpy and ONNX Runtime alone, as packages carry them.

The modules behind them are the very files of this installation.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from ...passes import errors
from ...runtime import machine
from ...runtime.benchmark import turns
from ...runtime.on_device import cost_table, integrity, recogniser, wave_file
from ...runtime.speech import decode, log_mel, sherpa_frames, transducer_search

#: Modules that the scripts import; they import numpy, ONNX Runtime and each other.
_MODULES = (
    *(errors, machine, turns, decode, log_mel, sherpa_frames, transducer_search),
    *(integrity, recogniser, wave_file, cost_table),
)
#: Programs of packages, which stand there beside the modules that they import.
SCRIPTS = Path(__file__).parent / "scripts"

_PACKAGE_TEXT = '"""The part of Confpress that this package runs with."""\n'

_USAGE = """\
```
pip install numpy onnxruntime
python transcribe.py call.wav        # what the model hears in mono WAV files of {rate} Hz
python bench.py -o cost_table.json   # how long it takes on this device
```

Both compare every file with `manifest.json` before they load it. Your own program:

```python
from pathlib import Path
from confpress.runtime.on_device.recogniser import Recogniser

recogniser = Recogniser.open(Path("."), threads=1)
text = recogniser.text(audio)  # float32 [samples], {rate} Hz, full scale 1.0
```
"""


def write_programs(folder: Path) -> None:
    """Copies `transcribe.py`, `bench.py` and what they import."""
    for name in ("transcribe.py", "bench.py"):
        shutil.copyfile(SCRIPTS / name, folder / name)
    for module in _MODULES:
        *packages, name = module.__name__.split(".")
        place = folder
        for package in packages:
            place = place / package
            place.mkdir(exist_ok=True)
            # Ours import more than these modules need.
            (place / "__init__.py").write_text(_PACKAGE_TEXT, encoding="utf-8")
        assert module.__file__ is not None, "modules of ours are files"
        shutil.copyfile(module.__file__, place / f"{name}.py")


def programs_usage(sample_rate: int) -> str:
    """How to use them, for a README."""
    return _USAGE.format(rate=sample_rate)
