"""Checkpoints that a model can be read from and written back to: NeMo's tensors, or our own."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from .adapters.nemo import UNUSED, load_nemo
from .ctc import ConformerCTC
from .files import whole
from .training.loop import load_checkpoint

_NEMO_SUFFIX = ".safetensors"


def is_nemo(path: Path) -> bool:
    """Whether a checkpoint holds tensors under NeMo's names; else it is one of our trainer."""
    return path.suffix == _NEMO_SUFFIX


def load_model(path: Path) -> ConformerCTC:
    """The model of a checkpoint, in evaluation mode.

    Raises:
        ConfpressError: it is none.
    """
    return load_nemo(path) if is_nemo(path) else load_checkpoint(path)[0]


def save_model(model: ConformerCTC, like: Path, path: Path) -> None:
    """Writes a checkpoint as another one is, with the weights of this model.

    Args:
        model: Of the other checkpoint's shape; it may have gates of experts besides.
        like: The other checkpoint; what it holds beside the weights is kept.
        path: The file to write, whole or not at all.
    """
    weights = {name: tensor.cpu() for name, tensor in model.state_dict().items()}
    if is_nemo(like):
        with safe_open(like, "pt") as file:
            facts = file.metadata()
        tensors = load_file(like)
        tensors |= {
            name: weight.to(tensors[name].dtype if name in tensors else weight.dtype).contiguous()
            for name, weight in weights.items()
            if name in tensors or not name.endswith(UNUSED)
        }
        with whole(path) as place:
            save_file(tensors, place, facts)
    else:
        state = torch.load(like, map_location="cpu", weights_only=True)
        facts = {"config": model.config.model_dump(), "characters": state["characters"]}
        with whole(path) as place:
            torch.save(facts | {"model": weights}, place)
