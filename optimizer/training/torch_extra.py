"""The extra `train`: torch, which only `models` uses."""

from __future__ import annotations

import importlib
from types import ModuleType

from ...passes.errors import ConfpressError

#: Packages that the extra installs.
_EXTRA = ("torch", "safetensors")


def import_models(name: str) -> ModuleType:
    """Imports a module of `confpress.models`.

    Args:
        name: Below `models`: ``training.loop``.

    Raises:
        ConfpressError: torch is not installed; the sentence says how to install it.
    """
    try:
        return importlib.import_module(f"...models.{name}", __package__)
    except ModuleNotFoundError as error:
        if error.name in _EXTRA:
            raise ConfpressError(
                f"this needs {error.name}, which is not installed: pip install 'confpress[train]'."
            ) from error
        raise
