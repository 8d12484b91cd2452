"""Checkpoints to ONNX, with what belongs to the model beside it."""

from __future__ import annotations

import tempfile
from pathlib import Path

from ...passes.errors import ConfpressError
from ...runtime.recognition.asr import TOKENS_NAME
from ...runtime.speech import FrontEnd, Tokens
from ...runtime.speech.frontend import FILE_NAME as FRONTEND_NAME
from .torch_extra import import_models

_OPSETS = {"torchscript": 17, "dynamo": 18}


def export_checkpoint(
    checkpoint: Path, output: Path, exporter: str = "torchscript", opset: int | None = None
) -> list[Path]:
    """Writes a checkpoint as ONNX.

    Args:
        checkpoint: A checkpoint of `confpress train`, or safetensors under NeMo's names.
        output: The ONNX file; for a checkpoint of ours `<stem>.tokens.txt` and
            `<stem>.frontend.json` are written beside it.
        exporter: `torchscript` or `dynamo`.
        opset: Version of the operators; None is the exporter's usual one.

    Returns:
        The files written, the model first.

    Raises:
        ConfpressError: torch is missing, or the checkpoint is none of these.
    """
    if not checkpoint.is_file():
        raise ConfpressError(f"there is no checkpoint {checkpoint}.")
    tokens: Tokens | None = None
    if import_models("checkpoints").is_nemo(checkpoint):
        model = import_models("adapters.nemo").load_nemo(checkpoint)
    else:
        model, vocabulary = import_models("training.loop").load_checkpoint(checkpoint)
        tokens = Tokens(tuple(vocabulary.characters))
    export_onnx = import_models("export").export_onnx
    with tempfile.TemporaryDirectory(prefix=f".{output.name}.", dir=output.parent) as folder:
        # Written aside, so that an export that fails leaves nothing.
        written = Path(folder) / output.name
        export_onnx(model, written, exporter, opset or _OPSETS[exporter])
        if tokens is not None:
            tokens.save(Path(folder) / f"{output.stem}.{TOKENS_NAME}")
            _front_end(checkpoint).save(Path(folder) / f"{output.stem}.{FRONTEND_NAME}")
        # The model goes last: where it stands, everything that it needs does.
        files = sorted(Path(folder).iterdir(), key=lambda path: path.name == output.name)
        moved = [path.replace(output.parent / path.name) for path in files]
    return moved[::-1]


def _front_end(checkpoint: Path) -> FrontEnd:
    """The front end that training wrote beside its checkpoints."""
    return FrontEnd.beside(checkpoint)
