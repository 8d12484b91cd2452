"""Whether sherpa-onnx can compute the features that a model takes.

For NeMo's CTC models it does so itself, by fixed rules; only the sample rate and the number of mel
filters can be set. Its windows lie half a hop later than NeMo's: that alone it does to every model.
"""

from __future__ import annotations

from collections.abc import Mapping

from ...passes.errors import ConfpressError
from ...runtime.speech import FrontEnd


def refuse_other_features(frontend: FrontEnd) -> None:
    """Compares a front end with sherpa-onnx' rules.

    Raises:
        ConfpressError: an option is not the one that sherpa-onnx has.
    """
    for name, value in _rules(frontend.sample_rate).items():
        own = getattr(frontend, name)
        if own != value:
            raise ConfpressError(
                f"sherpa-onnx computes features with {name} = {value:g}, and that cannot be set, "
                f"but the model was trained with {own:g}; make a `bundle`, which computes its own."
            )


def _rules(sample_rate: int) -> Mapping[str, float]:
    """Options that sherpa-onnx fixes: windows of 25 ms every 10 ms, and the like."""
    window = sample_rate * 25 // 1000
    return {
        "preemphasis": 0.97,
        "window_length": window,
        "n_fft": 1 << (window - 1).bit_length(),
        "hop_length": sample_rate // 100,
        "f_min": 0.0,
        "f_max": sample_rate / 2,
        "log_offset": 2.0**-24,
        "std_epsilon": 1e-5,
    }
