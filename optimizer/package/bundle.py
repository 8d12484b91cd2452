"""The bundle: a model with everything that it needs to run on a device with numpy alone.

The modules that run there are the very files of this installation.
"""

from __future__ import annotations

import platform
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from ...passes import errors
from ...runtime import machine, turns
from ...runtime.kernels import describe
from ...runtime.model_file import model_files, opset_domains
from ...runtime.on_device import cost_table, integrity, recogniser, wave_file
from ...runtime.session import KERNEL_DOMAIN_PREFIX
from ...runtime.speech import decode, log_mel, sherpa_frames
from ...runtime.speech.manifest import Utterance
from .check import Checked, same_texts, transcripts
from .kind import MODEL, Filled, write_speech_files
from .manifest import Kind, PackagedKernels
from .scripts import bench, transcribe
from .source import TARGETS, Source

#: Modules that the scripts import; they import numpy, ONNX Runtime and each other.
_MODULES = (
    *(errors, machine, turns, decode, log_mel, sherpa_frames),
    *(integrity, recogniser, wave_file, cost_table),
)
_SCRIPTS = (transcribe, bench)

_PACKAGE_TEXT = '"""The part of Confpress that this bundle runs with."""\n'

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


@dataclass(frozen=True)
class Bundle:
    """A folder that runs with numpy and ONNX Runtime, kernels and programs included."""

    name: Kind = "bundle"
    targets: Sequence[str] = TARGETS

    def fill(self, source: Source, folder: Path) -> Filled:
        """Copies the model, the kernel library where the model uses it, and the programs."""
        for path in model_files(source.model.path):
            shutil.copyfile(path, folder / path.name)
        write_speech_files(source, folder)
        for script in _SCRIPTS:
            shutil.copyfile(_file(script), folder / _file(script).name)
        for module in _MODULES:
            _copy_module(module, folder)
        usage = _USAGE.format(rate=source.model.frontend.sample_rate)
        return Filled(MODEL, usage, _copy_kernels(source, folder))

    def check(self, folder: Path, source: Source, clips: Sequence[Utterance]) -> Checked:
        """`transcribe.py` must hear what the result's model does."""
        return same_texts(source, clips, transcripts(folder / "transcribe.py", clips))


def _file(module: ModuleType) -> Path:
    assert module.__file__ is not None, "modules of ours are files"
    return Path(module.__file__)


def _copy_module(module: ModuleType, folder: Path) -> None:
    """Copies a module to its place, with packages around it that import nothing."""
    *packages, name = module.__name__.split(".")
    place = folder
    for package in packages:
        place = place / package
        place.mkdir(exist_ok=True)
        (place / "__init__.py").write_text(_PACKAGE_TEXT, encoding="utf-8")
    shutil.copyfile(_file(module), place / f"{name}.py")


def _copy_kernels(source: Source, folder: Path) -> PackagedKernels | None:
    """Copies the kernel library, where the model uses operators of ours."""
    domains = opset_domains(source.model.path)
    if not any(domain.startswith(KERNEL_DOMAIN_PREFIX) for domain in domains):
        return None
    info = describe()
    place = Path("lib") / platform.machine() / info.path.name
    (folder / place.parent).mkdir(parents=True)
    shutil.copyfile(info.path, folder / place)
    return PackagedKernels(
        file=place.as_posix(),
        architecture=platform.machine(),
        paths=info.built,
        compiler=info.compiler,
    )
