"""ORT format: the model as ONNX Runtime optimised it, for builds that cannot read ONNX.

With it comes the list of kernels that the model needs, from which a reduced ONNX Runtime is built
(https://onnxruntime.ai/docs/build/custom.html). It is made from `portable`: a model that ONNX
Runtime saves loses its functions.
"""

from __future__ import annotations

import contextlib
import io
import json
import logging
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime as ort
from onnxruntime.tools.convert_onnx_models_to_ort import (
    OptimizationStyle,
    convert_onnx_models_to_ort,
)

from ...passes.errors import ConfpressError
from ...runtime.on_device.recogniser import Recogniser
from ...runtime.session import error_text
from ...runtime.speech.audio import read_audio
from ...runtime.speech.manifest import Utterance
from .check import Checked, same_texts, transcripts
from .kind import Filled, write_speech_files
from .manifest import Kind
from .programs import programs_usage, write_programs
from .source import Source, refuse_transducer

MODEL = "model.ort"
CONFIG = "required_operators.config"
#: The one optimisation that is for one processor only, and left out of the file.
_NOT_PORTABLE = ("NchwcTransformer",)
# Largest difference of log probabilities from the ONNX model's under the same optimisations.
_TOLERANCE = 1e-4

_USAGE = """\
`model.ort` is for every ONNX Runtime from {version} on, and for one that is built for this model
alone, from a checkout of its sources:

```
./build.sh --config MinSizeRel --parallel --skip_tests --minimal_build \\
    --include_ops_by_config required_operators.config --enable_reduced_operator_type_support
```

{contrib}The kernels it needs, by domain and version:

{kernels}

With the ordinary ONNX Runtime:

"""


@dataclass(frozen=True)
class OrtFormat:
    """A folder with the model in ORT format and what a minimal build must contain."""

    name: Kind = "ort"
    targets: Sequence[str] = ("portable",)

    def fill(self, source: Source, folder: Path) -> Filled:
        """Converts the model and lists its kernels.

        Raises:
            ConfpressError: ONNX Runtime cannot convert the model, or it is a transducer.
        """
        refuse_transducer(source.model, self.name)
        _convert(source.model.path, folder)
        write_speech_files(source, folder)
        write_programs(folder)
        version = ".".join(ort.__version__.split(".")[:2])
        kernels = required_kernels(folder / CONFIG)
        usage = _USAGE.format(
            version=version,
            contrib="Do not disable contrib operators. " if _uses_contrib(kernels) else "",
            kernels="\n".join(f"- `{domain}` {since}: {names}" for domain, since, names in kernels),
        )
        rate = source.model.frontend.sample_rate
        return Filled(MODEL, usage + programs_usage(rate), minimum_onnxruntime=version)

    def check(self, folder: Path, source: Source, clips: Sequence[Utterance]) -> Checked:
        """Scores and texts must be those of the ONNX model under the same optimisations.

        Raises:
            ConfpressError: they differ.
        """
        model, reference = source.model, _reference(source.model.path)
        converted = Recogniser.open(folder)
        worst = 0.0
        for clip in clips:
            audio = read_audio(clip.path, model.frontend.sample_rate)
            expected = model.scores(reference, [model.frontend.features(audio)])[0]
            found = converted.scores(converted.feeds(audio))
            worst = max(worst, float(np.abs(expected - found).max()))
        if not worst <= _TOLERANCE:
            raise ConfpressError(
                f"the scores of {MODEL} differ by {worst:.2g} from those of {model.path}, more "
                f"than {_TOLERANCE:g}, so the package is not written."
            )
        heard = transcripts(folder / "transcribe.py", clips)
        checked = same_texts(source, clips, heard, reference)
        return Checked(
            checked.words, f"{checked.sentence} Its scores differ by at most {worst:.2g}."
        )


def required_kernels(config: Path) -> list[tuple[str, str, str]]:
    """Domain, version and names of the kernels in a configuration for reduced builds."""
    lines = config.read_text(encoding="utf-8").splitlines()
    found = []
    for line in lines:
        if line and not line.startswith("#"):
            domain, since, operators = line.split(";", 2)
            found.append((domain, since, _without_types(operators).replace(",", ", ")))
    return found


def _without_types(operators: str) -> str:
    """`Conv{"inputs": ...},And` as `Conv,And`: a name may carry its types as JSON."""
    decoder, rest, kept = json.JSONDecoder(), operators, ""
    while "{" in rest:
        name, _, _ = rest.partition("{")
        _, end = decoder.raw_decode(rest, len(name))
        kept, rest = kept + name, rest[end:]
    return kept + rest


def _uses_contrib(kernels: Sequence[tuple[str, str, str]]) -> bool:
    return any(domain == "com.microsoft" for domain, _, _ in kernels)


def _convert(model: Path, folder: Path) -> None:
    with tempfile.TemporaryDirectory(prefix="confpress-") as name, _quiet():
        try:
            convert_onnx_models_to_ort(
                model, Path(name), [OptimizationStyle.Fixed], enable_type_reduction=True
            )
        # ONNX Runtime's exceptions have no common class but Exception.
        except Exception as error:
            raise ConfpressError(
                f"ONNX Runtime cannot convert {model} to ORT format: {error_text(error)}."
            ) from error
        shutil.move(Path(name) / MODEL, folder / MODEL)
        (config,) = Path(name).glob("*.config")
        lines = config.read_text(encoding="utf-8").splitlines()
    # The comments name temporary files.
    kept = [f"# Kernels that {MODEL} needs", *(line for line in lines if line[:1] != "#")]
    (folder / CONFIG).write_text("\n".join(kept) + "\n", encoding="utf-8")


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keeps what the converter prints and logs off the user's screen."""
    logger = logging.getLogger("ort_format_model.utils")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        logger.setLevel(level)


def _reference(model: Path) -> ort.InferenceSession:
    """A session of the ONNX model with the optimisations that ORT format keeps."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    return ort.InferenceSession(
        str(model),
        options,
        providers=["CPUExecutionProvider"],
        disabled_optimizers=list(_NOT_PORTABLE),
    )
