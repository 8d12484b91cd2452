"""Exact removal of what is pruned: analysis, coupled axes, surgery; plans and importance."""

from __future__ import annotations

from .apply_plan import ApplyPlan, check_plan, mask_plan
from .importance import Keep, Moments, choose, watched_values
from .plan import Cut, Plan, plan_template
from .remove import RemovePruned
from .repair import RepairPlan

__all__ = [
    "ApplyPlan",
    "Cut",
    "Keep",
    "Moments",
    "Plan",
    "RemovePruned",
    "RepairPlan",
    "check_plan",
    "choose",
    "mask_plan",
    "plan_template",
    "watched_values",
]
