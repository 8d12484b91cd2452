"""The one place where ONNX Runtime sessions are made.

Every option used here exists in ONNX Runtime 1.18 already, the oldest version supported.
"""

from __future__ import annotations

import contextlib
import io
import re
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import onnx_ir as ir
import onnxruntime as ort

from ..passes.errors import ConfpressError
from .model_file import opset_domains, release_pages, save_model

Provider = Literal["cpu", "cuda"]
GraphLevel = Literal["disabled", "basic", "extended", "all"]

#: Domains of our operators start with this; the rest is the version of the layout.
KERNEL_DOMAIN_PREFIX = "confpress."

#: ONNX Runtime's names of providers.
PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}
_LEVELS = {
    "disabled": ort.GraphOptimizationLevel.ORT_DISABLE_ALL,
    "basic": ort.GraphOptimizationLevel.ORT_ENABLE_BASIC,
    "extended": ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED,
    "all": ort.GraphOptimizationLevel.ORT_ENABLE_ALL,
}
# What fails is raised and becomes our sentence: ONNX Runtime's own log would say it twice.
_LOG_FATAL_ONLY = 4
# "[ONNXRuntimeError] : 7 : INVALID_PROTOBUF : Load model from x.onnx failed:..."
_ERROR_HEAD = re.compile(r"^\[ONNXRuntimeError\] : \d+ : [A-Z_]+ : ")


@dataclass(frozen=True)
class SessionOptions:
    """How a model is run.

    Attributes:
        provider: `cpu` or `cuda`.
        provider_options: Options of the CUDA provider, such as `use_tf32` or `enable_cuda_graph`.
        threads: Threads of one operator; operators run one after another.
        kernels: Register the kernel library where a model uses operators of ours. Without it
            they run by their function bodies: the same results, slower.
        graph_level: How far ONNX Runtime optimises the graph.
        profile_prefix: Where ONNX Runtime's profiler writes; None is off.
        optimised_path: Where the optimised graph is saved; None is nowhere.
        config: Further entries of ONNX Runtime's session configuration.
    """

    provider: Provider = "cpu"
    threads: int = 1
    kernels: bool = True
    graph_level: GraphLevel = "all"
    profile_prefix: Path | None = None
    optimised_path: Path | None = None
    config: tuple[tuple[str, str], ...] = ()
    provider_options: tuple[tuple[str, str], ...] = ()


#: One thread of the CPU, kernels registered, every graph optimisation.
DEFAULT_OPTIONS = SessionOptions()


def create_session(
    model: Path | str | bytes | ir.Model, options: SessionOptions = DEFAULT_OPTIONS
) -> ort.InferenceSession:
    """Load a model into ONNX Runtime.

    Args:
        model: A file, a serialised model, or a model in memory (written to a temporary file,
            so that its weights are not held twice).
        options: How to run it.

    Raises:
        ConfpressError: the file is missing or broken, the provider is not there, the kernel
            library is not built, or ONNX Runtime refuses the model.
    """
    if isinstance(model, ir.Model):
        with tempfile.TemporaryDirectory(prefix="confpress-") as folder:
            path = Path(folder) / "model.onnx"
            # ONNX Runtime maps external data and would copy weights out of the model file.
            save_model(model, path, external_data=True)
            release_pages(model)
            return create_session(path, options)
    _check_provider(options.provider)
    if options.provider != "cpu":
        # Why a provider does not start is logged outside of sessions, over several lines.
        ort.set_default_logger_severity(_LOG_FATAL_ONLY)
        _preload_libraries()
    uses_kernels = any(d.startswith(KERNEL_DOMAIN_PREFIX) for d in opset_domains(model))
    native = _native_options(options)
    name = "the model" if isinstance(model, bytes) else str(model)
    try:
        if uses_kernels and options.kernels:
            _register_kernels(native)
        session = ort.InferenceSession(
            model if isinstance(model, bytes) else str(model),
            native,
            providers=_providers(options),
        )
    except ConfpressError:
        raise
    # ONNX Runtime's exceptions have no common class but Exception.
    except Exception as error:
        raise ConfpressError(f"ONNX Runtime cannot load {name}: {error_text(error)}.") from error
    if PROVIDERS[options.provider] not in session.get_providers():
        raise ConfpressError(
            f"ONNX Runtime could not start its {options.provider} provider for {name} and would "
            "have run on the CPU: it needs an NVIDIA GPU with its driver, CUDA and cuDNN."
        )
    return session


def run_session(
    session: ort.InferenceSession,
    feeds: Mapping[str, npt.NDArray[Any]],
    outputs: Sequence[str] | None = None,
) -> list[npt.NDArray[Any]]:
    """Run a model once.

    Args:
        session: The session.
        feeds: An array per input name.
        outputs: Names of the outputs wanted, all by default.

    Raises:
        ConfpressError: ONNX Runtime fails, for instance at a length the model cannot take.
    """
    try:
        return [np.asarray(y) for y in session.run(outputs, dict(feeds))]
    except Exception as error:
        shapes = ", ".join(f"{name} {list(array.shape)}" for name, array in feeds.items())
        raise ConfpressError(f"the model fails on {shapes}: {error_text(error)}.") from error


def error_text(error: BaseException) -> str:
    """An exception of ONNX Runtime as part of a sentence: its first line, without codes."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    text = _ERROR_HEAD.sub("", lines[0]) if lines else type(error).__name__
    return text.rstrip(".")


def _check_provider(provider: Provider) -> None:
    if PROVIDERS[provider] not in ort.get_available_providers():
        raise ConfpressError(
            f"this ONNX Runtime ({ort.__version__}) has no {provider} provider; "
            "install onnxruntime-gpu for it."
        )


def _preload_libraries() -> None:
    """CUDA and cuDNN from where pip puts them, and the system does not look; since 1.21."""
    # What it does not find it prints, also where the provider starts without.
    with contextlib.redirect_stdout(io.StringIO()):
        getattr(ort, "preload_dlls", lambda: None)()


def _providers(options: SessionOptions) -> list[str | tuple[str, dict[str, str]]]:
    cpu = PROVIDERS["cpu"]
    if options.provider == "cpu":
        return [cpu]
    return [(PROVIDERS[options.provider], dict(options.provider_options)), cpu]


def _native_options(options: SessionOptions) -> ort.SessionOptions:
    if options.threads < 1:
        raise ConfpressError(f"threads must be at least 1, not {options.threads}.")
    native = ort.SessionOptions()
    native.intra_op_num_threads = options.threads
    native.inter_op_num_threads = 1
    native.graph_optimization_level = _LEVELS[options.graph_level]
    native.log_severity_level = _LOG_FATAL_ONLY
    if options.profile_prefix is not None:
        native.enable_profiling = True
        native.profile_file_prefix = str(options.profile_prefix)
    if options.optimised_path is not None:
        native.optimized_model_filepath = str(options.optimised_path)
    for key, value in options.config:
        native.add_session_config_entry(key, value)
    return native


def _register_kernels(native: ort.SessionOptions) -> None:
    from .kernels import library_path

    native.register_custom_ops_library(str(library_path()))
