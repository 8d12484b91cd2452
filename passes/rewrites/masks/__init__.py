"""Masks: where they cost less, and as what later passes know."""
