"""Runs of a session whose inputs and outputs stay in a device's memory."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime as ort

from ...passes.errors import ConfpressError
from ..session import error_text

#: Of ONNX Runtime: a run with this number is not captured in a CUDA graph.
_NOT_CAPTURED = ("gpu_graph_id", "-1")


def bound_call(
    session: ort.InferenceSession,
    feeds: Mapping[str, npt.NDArray[Any]],
    device: str = "cuda",
) -> Callable[[], None]:
    """What runs a session on inputs that are copied once, now.

    Outputs are written to the same memory in every run of a thread, as CUDA graphs ask for; a call
    returns when they are there.

    Args:
        session: The session.
        feeds: An array per input name.
        device: Whose memory: ``cuda`` or ``cpu``.

    Raises:
        ConfpressError: the model fails on these inputs.
    """
    bindings = threading.local()
    bindings.own = _bound(session, feeds, device)

    def call() -> None:
        # A run writes to what it is bound to: threads must not share that.
        if not hasattr(bindings, "own"):
            bindings.own = _bound(session, feeds, device)
        session.run_with_iobinding(bindings.own)
        bindings.own.synchronize_outputs()

    return call


def _bound(
    session: ort.InferenceSession, feeds: Mapping[str, npt.NDArray[Any]], device: str
) -> ort.IOBinding:
    """Inputs, and outputs of the sizes that a run has."""
    try:
        binding = session.io_binding()
        for name, array in feeds.items():
            copied = ort.OrtValue.ortvalue_from_numpy(np.ascontiguousarray(array), device, 0)
            binding.bind_ortvalue_input(name, copied)
        # The sizes of outputs are known after a run alone.
        for output in session.get_outputs():
            binding.bind_output(output.name, device)
        options = ort.RunOptions()
        options.add_run_config_entry(*_NOT_CAPTURED)
        session.run_with_iobinding(binding, options)
        written = binding.get_outputs()
        binding.clear_binding_outputs()
        for output, value in zip(session.get_outputs(), written, strict=True):
            binding.bind_ortvalue_output(output.name, value)
    except Exception as error:
        shapes = ", ".join(f"{name} {list(array.shape)}" for name, array in feeds.items())
        raise ConfpressError(
            f"the model fails on {shapes} in the memory of {device}: {error_text(error)}."
        ) from error
    return binding
