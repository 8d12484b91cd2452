"""A package for sherpa-onnx: the `portable` model with the metadata of a NeMo CTC model.

https://k2-fsa.github.io/sherpa/onnx/pretrained_models/offline-ctc/nemo/index.html
"""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from ...passes.errors import ConfpressError
from ...runtime.model_file import load_model, save_model
from ...runtime.recognition.asr import TOKENS_NAME
from ...runtime.speech import FrontEnd, word_errors
from ...runtime.speech.frontend import FILE_NAME as FRONTEND_NAME
from ...runtime.speech.manifest import Utterance
from .check import Checked, own_texts, transcripts
from .kind import MODEL, Filled
from .manifest import Kind
from .programs import SCRIPTS
from .sherpa_features import refuse_other_features
from .sherpa_model import refuse_other_interface, sherpa_tokens, subsampling
from .source import Source, refuse_transducer

# Of the words heard: in int8 models the rounding of the last digit of a feature changes letters of
# words that the model is unsure of, while wrong metadata changes all.
_MOST_DIFFERENT = 0.1

_USAGE = """\
```
pip install sherpa-onnx
python transcribe.py call.wav
```

Or with any of sherpa-onnx' programs and libraries, as a NeMo CTC model:

```python
import sherpa_onnx

recogniser = sherpa_onnx.OfflineRecognizer.from_nemo_ctc(
    model="model.onnx", tokens="tokens.txt", sample_rate={rate}, feature_dim={mels}
)
```

sherpa-onnx computes the features itself, from windows that lie half a hop later than those that
the model was trained with, so single words may differ. `frontend.json` describes its features:
`confpress validate` and `transcribe` with `--frontend frontend.json` show what they change.
"""


@dataclass(frozen=True)
class Sherpa:
    """A folder that sherpa-onnx loads by `from_nemo_ctc`."""

    name: Kind = "sherpa-onnx"
    targets: Sequence[str] = ("portable",)

    def fill(self, source: Source, folder: Path) -> Filled:
        """Writes the model with metadata, the vocabulary with its blank, and a program.

        Raises:
            ConfpressError: sherpa-onnx cannot feed the model or spell what it says.
        """
        if find_spec("sherpa_onnx") is None:
            raise ConfpressError(
                "the package is checked with sherpa-onnx, which is not installed: "
                "pip install sherpa-onnx."
            )
        refuse_transducer(source.model, self.name)
        frontend = source.model.frontend
        refuse_other_features(frontend)
        refuse_other_interface(source.model)
        model = load_model(source.model.path)
        tokens = sherpa_tokens(source.model)
        model.metadata_props.update(
            {
                "model_type": "EncDecCTCModelBPE",
                "vocab_size": str(len(tokens.pieces) - 1),
                "subsampling_factor": str(subsampling(source.model)),
                "normalize_type": "" if frontend.normalization == "none" else "per_feature",
            }
        )
        save_model(model, folder / MODEL)
        tokens.save(folder / TOKENS_NAME)
        sherpa_frontend(source).save(folder / FRONTEND_NAME)
        shutil.copyfile(SCRIPTS / "transcribe_sherpa.py", folder / "transcribe.py")
        return Filled(MODEL, _USAGE.format(rate=frontend.sample_rate, mels=frontend.n_mels))

    def check(self, folder: Path, source: Source, clips: Sequence[Utterance]) -> Checked:
        """sherpa-onnx must hear what the model hears of sherpa-onnx' features.

        Raises:
            ConfpressError: more than a tenth of the words differ.
        """
        heard = transcripts(folder / "transcribe.py", clips)
        same_features = dataclasses.replace(source.model, frontend=sherpa_frontend(source))
        expected, own = own_texts(same_features, clips), own_texts(source.model, clips)
        different = _different_words(expected, heard)
        words = sum(len(text.split()) for text in expected)
        if different > _MOST_DIFFERENT * words:
            raise ConfpressError(
                f"sherpa-onnx hears {different} of {words} words otherwise than Confpress with the "
                f"same features, '{heard[0]}' instead of '{expected[0]}', so the package is not "
                "written."
            )
        return Checked(
            words,
            f"Unpacked elsewhere, sherpa-onnx differs in {different} of {words} words from "
            f"Confpress with the same features, and in {_different_words(own, heard)} from "
            "Confpress with the features that the model was trained with.",
        )


def sherpa_frontend(source: Source) -> FrontEnd:
    """The model's front end with sherpa-onnx' windows."""
    return source.model.frontend.model_copy(update={"framing": "sherpa-onnx"})


def _different_words(expected: Sequence[str], heard: Sequence[str]) -> int:
    return int(word_errors(expected, heard).errors.sum())
