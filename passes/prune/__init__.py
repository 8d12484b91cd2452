"""Exact removal of what is pruned: analysis, coupled axes, surgery; plans and importance."""

from __future__ import annotations

from .remove import RemovePruned

__all__ = ["RemovePruned"]
