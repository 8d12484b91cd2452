"""Weights under the parameter names of NVIDIA NeMo's Conformer-CTC models.

The names are those of our own modules, so that loading is little more than reading the shape
of the model off the tensors. NeMo stores no hint of the number of heads other than
`pos_bias_u`, and its position table is not a parameter.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from ...passes.errors import ConfpressError
from ..config import ConformerConfig
from ..ctc import ConformerCTC

_FIRST_LAYER = "encoder.layers.0."
#: What inference does not use, and checkpoints may lack.
UNUSED: Final = "num_batches_tracked"
#: The window and the mel filters, which a state of NeMo's holds beside the model's weights.
_FRONT_END = "preprocessor."


def config_from_weights(weights: Mapping[str, Tensor], xscale: bool = True) -> ConformerConfig:
    """The shape of the model that the tensors belong to.

    Args:
        weights: tensors by NeMo's names.
        xscale: whether the model scales the stream by sqrt(d_model); no tensor tells.

    Raises:
        KeyError: a tensor of a Conformer-CTC is missing.
    """
    convolutions = sorted(
        (int(match.group(1)), name)
        for name in weights
        if (match := re.fullmatch(r"encoder\.pre_encode\.conv\.(\d+)\.weight", name))
    )
    strided = [name for _, name in convolutions if weights[name].shape[-1] == 3]
    channels = weights[strided[0]].shape[0]
    factor = 2 ** len(strided)
    heads, _ = weights[f"{_FIRST_LAYER}self_attn.pos_bias_u"].shape
    ff_dim, d_model = weights[f"{_FIRST_LAYER}feed_forward1.linear1.weight"].shape
    gate = weights.get(f"{_FIRST_LAYER}feed_forward1.gate.weight")
    bins = weights["encoder.pre_encode.out.weight"].shape[1] // channels
    layers = {name.split(".")[2] for name in weights if name.startswith("encoder.layers.")}
    return ConformerConfig(
        features=bins * factor,
        vocabulary=weights["decoder.decoder_layers.0.weight"].shape[0] - 1,
        d_model=d_model,
        layers=len(layers),
        heads=heads,
        ff_dim=ff_dim,
        experts=1 if gate is None else gate.shape[0],
        kernel=weights[f"{_FIRST_LAYER}conv.depthwise_conv.weight"].shape[-1],
        subsampling="striding" if len(strided) == len(convolutions) else "dw_striding",
        subsampling_factor=factor,
        subsampling_channels=channels,
        xscale=xscale,
    )


def load_nemo(path: Path, xscale: bool = True) -> ConformerCTC:
    """A Conformer-CTC from a safetensors file with NeMo's names, in evaluation mode.

    Raises:
        ConfpressError: the file cannot be read, or its tensors are not those of such a model.
    """
    try:
        weights = {n: w for n, w in load_file(path).items() if not n.startswith(_FRONT_END)}
    except (OSError, SafetensorError) as error:
        raise ConfpressError(f"{path} is not a safetensors file: {error}.") from error
    try:
        model = ConformerCTC(config_from_weights(weights, xscale))
        missing, unexpected = model.load_state_dict(weights, strict=False)
    except (KeyError, IndexError, RuntimeError, ValueError) as error:
        raise ConfpressError(
            f"{path} does not hold a Conformer-CTC under NeMo's names: {error}."
        ) from error
    missing = [name for name in missing if not name.endswith(UNUSED)]
    if missing or unexpected:
        name = (missing or unexpected)[0]
        kind = "lacks" if missing else "has the unknown tensor"
        raise ConfpressError(f"{path} {kind} {name}, so it is not a Conformer-CTC of NeMo's.")
    return model.eval()
