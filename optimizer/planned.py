"""The check that layers run as the recipe planned: what was lowered must be what is computed."""

from __future__ import annotations

from collections.abc import Iterable

from ..passes.errors import ConfpressError
from ..runtime.audit.layers import Audit, LayerAudit
from .records import grouped

#: What our lowerings write; the rest of a model is its own matter.
_PLANNED = ("integer", "low-bit", "storage")


def check_planned(audit: Audit, target: str, *, kernels: bool) -> None:
    """Refuses a model whose lowered layers are computed otherwise.

    Args:
        audit: Of the target's model.
        target: Its name, for the error.
        kernels: Whether the kernel library is there; function bodies run without it, as they may.

    Raises:
        ConfpressError: layers run otherwise; the sentence names them and says why.
    """
    failed = [layer for layer in audit.unplanned if _is_ours(layer, kernels)]
    if not failed:
        return
    raise ConfpressError(
        f"on target {target} {len(failed)} layers do not run as planned: {_listed(failed)}; leave "
        "them out by quantize.exclude, and `confpress audit` shows what runs"
    )


def _is_ours(layer: LayerAudit, kernels: bool) -> bool:
    # A product that nothing was found for may have been computed once, at load.
    allowed = ("gone",) if kernels else ("gone", "body")
    return layer.stated in _PLANNED and layer.runs not in allowed


def _listed(failed: Iterable[LayerAudit]) -> str:
    said = [(layer.findings[0] if layer.findings else layer.runs, layer.id) for layer in failed]
    return "; ".join(f"{where} ({why})" for why, where in grouped(said))
